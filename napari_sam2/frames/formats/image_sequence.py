"""Numbered images as frames: PNG, JPEG, TIFF and the like, one file per frame (or per stack)."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.frames.disk_cache import file_key
from napari_sam2.frames.errors import FrameReadError, SourceError
from napari_sam2.frames.extensions import TIFF_ENDINGS
from napari_sam2.frames.formats.image_names import arranged
from napari_sam2.frames.formats.tiff import TiffPlanes
from napari_sam2.frames.source import Source, checked_axes, lazy_array, unknown_scale

# Stacks in a folder of multi-page TIFFs that stay open at the same time.
_OPEN_STACKS = 8
# Files that are tried for size and type, where the first ones are damaged.
_TRIED = 20


class AnimationPlanes:
    """Frames of one animated PNG or WebP; a :class:`~napari_sam2.frames.source.PlaneReader`."""

    def __init__(self, file: str) -> None:
        self._file = file

    def read(self, index: tuple[int, ...]) -> NDArray[Any]:
        """Return frame ``index[0]``; decoders start at the first frame where they can't jump."""
        try:
            return read_image(self._file, index[0])
        except Exception as error:
            raise FrameReadError(
                f"Frame {index[0]} can't be read from {self._file} ({error}).", index[0], self._file
            ) from error

    def close(self) -> None:
        """Do nothing: the file is closed after each frame."""


class ImagePlanes:
    """Planes of a sequence of image files; a :class:`~napari_sam2.frames.source.PlaneReader`.

    Parameters
    ----------
    files : sequence of str
        One for each place on the grid.
    grid : tuple of int
        Number of files along each leading axis.
    shape : tuple of int
        Shape of the plane that every file must have.
    dtype : str
        And its type.
    """

    def __init__(
        self, files: Sequence[str], grid: tuple[int, ...], shape: tuple[int, ...], dtype: str
    ) -> None:
        self._files = tuple(files)
        self._grid = grid
        self._shape = shape
        self._dtype = dtype
        self._lock = Lock()
        self._stacks: OrderedDict[int, TiffPlanes] = OrderedDict()

    def __reduce__(self) -> tuple[type[ImagePlanes], tuple[Any, ...]]:
        return type(self), (self._files, self._grid, self._shape, self._dtype)

    def read(self, index: tuple[int, ...]) -> NDArray[Any]:
        """Return the plane of a file; numbers behind those of the grid choose a page of a multi-page TIFF."""
        frame, page = index[0], index[len(self._grid) :]
        place = int(np.ravel_multi_index(index[: len(self._grid)], self._grid))
        file = self._files[place]
        try:
            pixels = self._stack(place).read(page) if page else read_image(file)
        except (
            Exception
        ) as error:  # whatever a decoder raises on a damaged file: this frame is lost, not the session
            reason = str(error) or type(error).__name__
            raise FrameReadError(
                f"Frame {frame} can't be read from {file} ({reason}).", frame, file
            ) from error
        if pixels.shape != self._shape or pixels.dtype != self._dtype:
            raise FrameReadError(
                f"Frame {frame}, {file}, is {_described(pixels.shape, pixels.dtype)}, but the first image is "
                f"{_described(self._shape, self._dtype)}; all images must be alike.",
                frame,
                file,
            )
        return pixels

    def close(self) -> None:
        """Close the TIFF stacks that are open."""
        with self._lock:
            for stack in self._stacks.values():
                stack.close()
            self._stacks.clear()

    def _stack(self, place: int) -> TiffPlanes:
        with self._lock:
            stack = self._stacks.pop(place, None) or TiffPlanes(self._files[place])
            self._stacks[place] = stack
            while len(self._stacks) > _OPEN_STACKS:
                self._stacks.popitem(last=False)[1].close()
            return stack


def read_image(file: str, number: int = 0) -> NDArray[Any]:
    """Read one image (or frame ``number`` of an animation) as (H, W), (H, W, 3) or (H, W, 4).

    Pictures are turned upright by their EXIF note, palettes become RGB, black and white becomes bool.
    """
    if file.lower().endswith(TIFF_ENDINGS):
        planes = TiffPlanes(file)
        try:
            return planes.read((0,) * len(planes.leading))
        finally:
            planes.close()
    from PIL import Image, ImageOps

    with Image.open(file) as picture:
        if number:
            picture.seek(number)
        upright = ImageOps.exif_transpose(picture)
        if upright.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
            upright = upright.convert("RGBA" if "transparency" in upright.info else "RGB")
        elif upright.mode == "LA":
            upright = upright.convert("L")
        return np.array(upright)


def open_images(
    groups: Sequence[Sequence[str]],
    name: str,
    axes: tuple[str, ...] | None = None,
    series: int | str | None = None,
) -> Source:
    """Open images as one array, a frame per file; the first readable file determines size and type.

    A folder of multi-page TIFFs becomes one more axis: (T, Z, Y, X); names with several numbers or words become
    channels, see :func:`~napari_sam2.frames.formats.image_names.arranged`.

    Raises
    ------
    SourceError
        If no file can be read, or the last readable one differs.
    """
    grid = arranged(groups, name, series)
    files = [os.path.abspath(file) for file in grid.files]
    if len(files) == 1 and (count := _animation_length(files[0])) > 1:
        return _open_animation(files[0], count, name, axes)
    first, sample = _first_readable(files, name)
    inner_axes: tuple[str, ...] = ()
    leading: tuple[int, ...] = ()
    if first.lower().endswith(TIFF_ENDINGS):
        stack = TiffPlanes(first)
        try:
            leading, inner_axes = stack.leading, stack.axes[: len(stack.leading)]
        finally:
            stack.close()
        if all(n == 1 for n in leading):
            leading, inner_axes = (), ()
    shape = sample.shape
    _check_alike(first, sample, files[-1])
    planes = ImagePlanes(files, grid.shape, shape, sample.dtype.str)
    key = file_key(first, str(grid.shape), file_key(files[-1]))
    array = lazy_array(planes, (*grid.shape, *leading), shape, sample.dtype, f"images-{key}")
    outer = grid.axes if "t" not in inner_axes else ("p", *grid.axes[1:])
    inner_axes = tuple(letter if letter not in outer else "r" for letter in inner_axes)
    names = checked_axes(axes, (*outer, *inner_axes, *_plane_axes(sample)), array.shape)
    scale, units = unknown_scale(names)
    return Source(
        name,
        "images",
        array,
        names,
        scale,
        units,
        channel_names=grid.channel_names,
        frame_names=tuple(os.path.basename(f) for f in files[:: len(files) // grid.shape[0]]),
        series=grid.series,
        reader=planes,
    )


def _open_animation(file: str, count: int, name: str, axes: tuple[str, ...] | None) -> Source:
    planes, sample = AnimationPlanes(file), read_image(file)
    array = lazy_array(planes, (count,), sample.shape, sample.dtype, f"animation-{file_key(file)}")
    names = checked_axes(axes, ("t", *_plane_axes(sample)), array.shape)
    return Source(name, "images", array, names, *unknown_scale(names), reader=planes)


def _animation_length(file: str) -> int:
    if file.lower().endswith(TIFF_ENDINGS):
        return 1
    from PIL import Image

    with Image.open(file) as picture:
        return int(getattr(picture, "n_frames", 1))


def _plane_axes(sample: NDArray[Any]) -> tuple[str, ...]:
    return ("y", "x", "s" if sample.ndim == 3 and sample.shape[-1] in (3, 4) else "c")[: sample.ndim]


def _first_readable(files: Sequence[str], name: str) -> tuple[str, NDArray[Any]]:
    errors: list[Exception] = []
    for file in files[:_TRIED]:
        try:
            return file, read_image(file)
        except Exception as error:
            errors.append(error)
    raise SourceError(f"{name} can't be read: {files[0]} is damaged ({errors[0]}).") from errors[0]


def _check_alike(first: str, sample: NDArray[Any], last: str) -> None:
    if last == first:
        return
    try:
        other = read_image(last)
    except Exception:  # told when this frame is read
        return
    if other.shape != sample.shape or other.dtype != sample.dtype:
        raise SourceError(
            f"{last} is {_described(other.shape, other.dtype)}, but {first} is "
            f"{_described(sample.shape, sample.dtype)}; "
            "all images of a sequence must be alike. Name a pattern that matches only one kind."
        )


def _described(shape: tuple[int, ...], dtype: Any) -> str:
    return f"{' × '.join(str(n) for n in shape)} {np.dtype(dtype).name}"

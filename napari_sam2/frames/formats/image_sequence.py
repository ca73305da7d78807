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
from napari_sam2.frames.formats.tiff import TiffPlanes
from napari_sam2.frames.source import Source, checked_axes, lazy_array, unknown_scale

# Stacks in a folder of multi-page TIFFs that stay open at the same time.
_OPEN_STACKS = 8


class ImagePlanes:
    """Planes of a sequence of image files; a :class:`~napari_sam2.frames.source.PlaneReader`.

    Parameters
    ----------
    files : sequence of str
        In the order of the frames.
    shape : tuple of int
        Shape of the plane that every file must have.
    dtype : str
        And its type.
    """

    def __init__(self, files: Sequence[str], shape: tuple[int, ...], dtype: str) -> None:
        self._files = tuple(files)
        self._shape = shape
        self._dtype = dtype
        self._lock = Lock()
        self._stacks: OrderedDict[int, TiffPlanes] = OrderedDict()

    def __reduce__(self) -> tuple[type[ImagePlanes], tuple[tuple[str, ...], tuple[int, ...], str]]:
        return type(self), (self._files, self._shape, self._dtype)

    def read(self, index: tuple[int, ...]) -> NDArray[Any]:
        """The plane of file ``index[0]``; further numbers choose a page of a multi-page TIFF."""
        frame = index[0]
        file = self._files[frame]
        try:
            pixels = self._stack(frame).read(index[1:]) if len(index) > 1 else read_image(file)
        except (
            Exception
        ) as error:  # whatever a decoder raises on a damaged file: this frame is lost, not the session
            reason = str(error) or type(error).__name__
            raise FrameReadError(
                f"Frame {frame} can't be read from {file} ({reason}).", frame, file
            ) from error
        if pixels.shape != self._shape or pixels.dtype != self._dtype:
            raise FrameReadError(
                f"Frame {frame}, {file}, is {_told(pixels.shape, pixels.dtype)}, but the first image is "
                f"{_told(self._shape, self._dtype)}; all images must be alike.",
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

    def _stack(self, frame: int) -> TiffPlanes:
        with self._lock:
            stack = self._stacks.pop(frame, None) or TiffPlanes(self._files[frame])
            self._stacks[frame] = stack
            while len(self._stacks) > _OPEN_STACKS:
                self._stacks.popitem(last=False)[1].close()
            return stack


def read_image(file: str) -> NDArray[Any]:
    """One image as (H, W), (H, W, 3) or (H, W, 4).

    Pictures are turned as their camera noted (EXIF), palettes become RGB, black and white becomes bool.
    """
    if file.lower().endswith(TIFF_ENDINGS):
        planes = TiffPlanes(file)
        try:
            return planes.read((0,) * len(planes.leading))
        finally:
            planes.close()
    from PIL import Image, ImageOps

    with Image.open(file) as picture:
        upright = ImageOps.exif_transpose(picture)
        if upright.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
            upright = upright.convert("RGBA" if "transparency" in upright.info else "RGB")
        elif upright.mode == "LA":
            upright = upright.convert("L")
        return np.array(upright)


def open_images(files: Sequence[str], name: str, axes: tuple[str, ...] | None = None) -> Source:
    """Open images as one array, a frame per file; the first file tells size and type.

    A folder of multi-page TIFFs becomes one more axis: (T, Z, Y, X).

    Raises
    ------
    SourceError
        If the first file can't be read, or the last is not like it.
    """
    inner_axes: tuple[str, ...] = ()
    leading: tuple[int, ...] = ()
    first, last = files[0], files[-1]
    if first.lower().endswith(TIFF_ENDINGS):
        stack = TiffPlanes(first)
        try:
            leading, inner_axes = stack.leading, stack.axes[: len(stack.leading)]
        finally:
            stack.close()
        if all(n == 1 for n in leading):
            leading, inner_axes = (), ()
    sample = read_image(first)
    shape = sample.shape
    _check_alike(first, sample, last)
    planes = ImagePlanes([os.path.abspath(file) for file in files], shape, sample.dtype.str)
    key = file_key(first, str(len(files)), file_key(last))
    array = lazy_array(planes, (len(files), *leading), shape, sample.dtype, f"images-{key}")
    plane_axes = ("y", "x", "s")[: len(shape)]
    found = (_outer_letter(inner_axes), *inner_axes, *plane_axes)
    names = checked_axes(axes, found, array.shape)
    scale, units = unknown_scale(names)
    return Source(
        name,
        "images",
        array,
        names,
        scale,
        units,
        frame_names=tuple(os.path.basename(file) for file in files),
        reader=planes,
    )


def _outer_letter(inner: tuple[str, ...]) -> str:
    return next(letter for letter in "tpr" if letter not in inner)


def _check_alike(first: str, sample: NDArray[Any], last: str) -> None:
    if last == first:
        return
    other = read_image(last)
    if other.shape != sample.shape or other.dtype != sample.dtype:
        raise SourceError(
            f"{last} is {_told(other.shape, other.dtype)}, but {first} is {_told(sample.shape, sample.dtype)}; "
            "all images of a sequence must be alike. Name a pattern that matches only one kind."
        )


def _told(shape: tuple[int, ...], dtype: Any) -> str:
    return f"{' × '.join(str(n) for n in shape)} {np.dtype(dtype).name}"

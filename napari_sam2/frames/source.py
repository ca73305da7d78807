"""Source: an opened recording, of which nothing is read yet; its axes, scale and planes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_sam2.frames.contrast import check_dtype
from napari_sam2.frames.errors import PartialSourceWarning, SourceError
from napari_sam2.frames.options import FrameStackOptions
from napari_sam2.frames.stack import FrameStack

# More than any recording has; a file of a few bytes can claim them, and each takes memory before it is read.
MOST_PLANES = 4_000_000
# Frames this narrow are none: so few values on the last axis are channels.
_MOST_CHANNELS_LAST, _LEAST_SIDE = 5, 16
_USUAL = {2: "yx", 3: "tyx", 4: "tzyx", 5: "tczyx", 6: "ptczyx"}


class PlaneReader(Protocol):
    """Reads one plane. Safe to use from several threads; can be pickled (and then opens its file again)."""

    def read(self, index: tuple[int, ...]) -> NDArray[Any]:
        """Return the plane at an index on all leading axes."""

    def close(self) -> None:
        """Close files and processes; reading again opens them again."""


@dataclass(frozen=True)
class Source:
    """A recording that was opened by path.

    Attributes
    ----------
    path : str
        What was opened.
    kind : str
        ``video``, ``images``, ``tiff``, ``zarr`` or ``npy``.
    array : dask.array.Array
        One chunk per frame, plane or RGB picture; read when computed.
    axes : tuple of str
        A letter for each axis of the array: ``t`` time, ``z`` depth, ``c`` channel, ``y``, ``x``, ``s`` RGB(A) samples
        (always last), and other letters for what else the file names.
    scale : tuple of float
        Size of a step along each axis; 1 where it is not known.
    units : tuple of str
        Unit of each step: ``second``, ``micrometer``, …; ``pixel`` (or nothing, for channels) where it is not known.
    frame_times : ndarray of float64, optional
        Time of each frame in seconds after the first, where the file gives times. With a variable frame rate the steps
        differ; ``scale`` then holds their mean.
    channel_names : tuple of str
        Names of the channels, where the file gives any.
    frame_names : tuple of str
        File names along the first axis, where the source is a sequence of images.
    series : tuple of str
        Names of all images of the file (stage positions, wells), where it holds several.
    """

    path: str
    kind: str
    array: Any
    axes: tuple[str, ...]
    scale: tuple[float, ...]
    units: tuple[str, ...]
    frame_times: NDArray[np.float64] | None = None
    channel_names: tuple[str, ...] = ()
    frame_names: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    reader: PlaneReader | None = field(default=None, repr=False, compare=False)

    @property
    def rgb(self) -> bool:
        """True where the last axis holds RGB(A) samples."""
        return self.axes[-1] == "s"

    def options(self) -> FrameStackOptions:
        """Return options whose frame axis is time where there is more than one time, else z, else the first axis."""
        channel = self.axes.index("c") if "c" in self.axes and not self.rgb else None
        candidates = [i for i, letter in enumerate(self.axes) if letter not in "cyxs"]
        long = [i for i in candidates if self.array.shape[i] > 1]
        preferred = [i for letter in "tz" for i in long if self.axes[i] == letter] or long or candidates
        plane = (self.axes.index("y"), self.axes.index("x"))
        return FrameStackOptions(
            axis=preferred[0] if preferred else None, plane=plane, channel_axis=channel, rgb=self.rgb
        )

    def names_of(self, options: FrameStackOptions) -> tuple[str, ...]:
        """Return the file name of each frame; empty where frames are no files."""
        if options.axis is None or options.axis % len(self.axes) != 0:
            return ()
        return self.frame_names[::-1] if options.reverse else self.frame_names

    def frames(self, options: FrameStackOptions | None = None) -> FrameStack:
        """Return the recording as frames for the model, with :meth:`options` unless others are given."""
        return FrameStack(self.array, options or self.options())

    def close(self) -> None:
        """Close processes and files. Reading the array again opens them again."""
        if self.reader is not None:
            self.reader.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def unknown_scale(axes: tuple[str, ...]) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Return scale and units of axes that a file does not describe."""
    units = tuple("" if letter in "cs" else "pixel" for letter in axes)
    return (1.0,) * len(axes), units


def guessed_axes(shape: Sequence[int], dtype: Any) -> tuple[str, ...]:
    """Guess axes by their number: ``tyx``, ``tzyx``, ``tczyx``; a last axis of 3 or 4 bytes is RGB(A).

    A last axis of 2 to 5 behind two axes of 16 or more holds channels.
    """
    rgb = len(shape) >= 3 and shape[-1] in (3, 4) and np.dtype(dtype) == np.uint8
    count = len(shape) - int(rgb)
    if count not in _USUAL:
        raise SourceError(f"An array of shape {tuple(shape)} can't be read as frames; give axes.")
    last = 2 <= shape[-1] <= _MOST_CHANNELS_LAST and len(shape) >= 3 and min(shape[-3:-1]) >= _LEAST_SIDE
    if last and not rgb:
        return (*{2: "yx", 3: "tyx", 4: "tzyx", 5: "ptzyx"}[count - 1], "c")
    return tuple(_USUAL[count]) + (("s",) if rgb else ())


def checked_axes(
    given: tuple[str, ...] | None, found: tuple[str, ...], shape: Sequence[int]
) -> tuple[str, ...]:
    """Return the axes that the user gave, checked against the shape, or else those that were found."""
    if given is None:
        return found
    if len(given) != len(shape):
        raise SourceError(
            f"axes {''.join(given)!r} names {len(given)} axes, but the array has {len(shape)}: shape {tuple(shape)}."
        )
    if given[-1] == "s" and shape[-1] not in (3, 4):
        raise SourceError(
            f"RGB samples (s) are 3 or 4, but the last axis of shape {tuple(shape)} has {shape[-1]}."
        )
    return given


def check_pixels(shape: Sequence[int], dtype: Any, path: str) -> np.dtype[Any]:
    """Return the dtype of an array, if frames can be made of it; nothing is read for it.

    Raises
    ------
    SourceError
        For complex numbers, objects, text and dates, and for arrays without a pixel.
    """
    if any(n < 1 for n in shape):
        raise SourceError(f"{path} holds an array of shape {tuple(shape)}: there is no pixel in it.")
    try:
        return check_dtype(dtype)
    except TypeError as error:
        hint = (
            " For complex numbers take the absolute value or the phase."
            if np.dtype(dtype).kind == "c"
            else ""
        )
        raise SourceError(f"{path}: {error}{hint}") from error


def plane_order(axes: tuple[str, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the positions of the leading axes and those of a plane's axes (y, x, and s where there is one)."""
    plane = tuple(axes.index(letter) for letter in "yxs" if letter in axes)
    return tuple(i for i in range(len(axes)) if i not in plane), plane


def take_plane(array: Any, index: tuple[int, ...], axes: tuple[str, ...]) -> NDArray[Any]:
    """Index an array with axes in any order; returns the plane as (y, x) or (y, x, s)."""
    leading, plane = plane_order(axes)
    parts: list[int | slice] = [slice(None)] * len(axes)
    for position, place in zip(leading, index, strict=True):
        parts[position] = place
    order = sorted(plane)
    return np.asarray(array[tuple(parts)]).transpose([order.index(position) for position in plane])


def chosen_series(names: Sequence[str], wanted: int | str | None, path: str, default: int = 0) -> int:
    """Return the place of the wanted series, by its number or name; warn where one of several had to be chosen.

    Raises
    ------
    SourceError
        If there is no such series.
    """
    shown = ", ".join(f"{i} {name}" for i, name in enumerate(names[:8])) + (", …" if len(names) > 8 else "")
    if wanted is None:
        if len(names) > 1:
            warnings.warn(
                f"{path} holds {len(names)} series ({shown}); {default} is opened, choose another with series "
                "(--series on the command line, --mask-series for masks).",
                PartialSourceWarning,
                stacklevel=6,
            )
        return default
    if str(wanted) in names:
        return list(names).index(str(wanted))
    if str(wanted).isdecimal() and int(wanted) < len(names):
        return int(wanted)
    raise SourceError(f"{path} has no series {wanted!r}: there are {shown or 'none'}.")


def lazy_array(
    reader: PlaneReader, leading: Sequence[int], plane: Sequence[int], dtype: Any, name: str
) -> Any:
    """Return a dask array with one chunk per plane, of which nothing is read yet.

    Parameters
    ----------
    reader : PlaneReader
        Where planes come from.
    leading, plane : sequence of int
        Shape of the axes over which planes lie, and of one plane.
    dtype : dtype
        Of the pixels.
    name : str
        Names the array in dask: the same for the same content.

    Returns
    -------
    dask.array.Array, shape (*leading, *plane)
    """
    from dask.array import map_blocks

    count = math.prod(leading)
    if count > MOST_PLANES:
        raise SourceError(f"This recording claims {count} planes; up to {MOST_PLANES} can be read.")
    build: Any = map_blocks  # dask has no types for it
    chunks = tuple((1,) * n for n in leading) + tuple((n,) for n in plane)
    # map_blocks makes one small task per plane; stacking delayed arrays would take seconds for a long video.
    return build(
        _read_block,
        reader=reader,
        leading=len(leading),
        chunks=chunks,
        dtype=np.dtype(dtype),
        meta=np.empty((0,) * len(chunks), dtype),
        name=name,
    )


def _read_block(reader: PlaneReader, leading: int, block_id: tuple[int, ...]) -> NDArray[Any]:
    pixels = reader.read(tuple(int(i) for i in block_id[:leading]))
    return pixels[(np.newaxis,) * leading]

"""Arrays saved by numpy, read through a memory map."""

from __future__ import annotations

import math
import threading
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.frames.disk_cache import file_key
from napari_sam2.frames.errors import DamagedSourceWarning, FrameReadError
from napari_sam2.frames.source import (
    Source,
    check_pixels,
    checked_axes,
    guessed_axes,
    lazy_array,
    plane_order,
    take_plane,
    unknown_scale,
)


class NpyPlanes:
    """Planes of an npy file; a :class:`~napari_sam2.frames.source.PlaneReader`."""

    def __init__(self, path: str, axes: tuple[str, ...]) -> None:
        self._path = path
        self._axes = axes
        self._lock = threading.Lock()
        self._map: NDArray[Any] | None = None

    def __reduce__(self) -> tuple[type[NpyPlanes], tuple[str, tuple[str, ...]]]:
        return type(self), (self._path, self._axes)

    def read(self, index: tuple[int, ...]) -> NDArray[Any]:
        """Return a copy of the plane, so that nothing keeps the file open."""
        with self._lock:
            if self._map is None:
                self._map, _ = _mapped(self._path)
            try:
                return np.array(take_plane(self._map, index, self._axes))
            except IndexError as error:
                raise FrameReadError(
                    f"Frame {index[0]} of {self._path} is missing: the file ends before it.",
                    index[0],
                    self._path,
                ) from error

    def close(self) -> None:
        """Drop the memory map."""
        with self._lock:
            self._map = None


def open_npy(path: str, axes: tuple[str, ...] | None = None) -> Source:
    """Open an npy file; axes are guessed from its shape unless given. Of a file that was cut off, what is there."""
    mapped, shape = _mapped(path)
    dtype = check_pixels(shape, mapped.dtype, path)
    if mapped.shape != shape:
        warnings.warn(
            f"{path} is cut off: {len(mapped)} of {shape[0]} positions on its first axis are readable.",
            DamagedSourceWarning,
            stacklevel=4,
        )
    names = checked_axes(axes, axes or guessed_axes(shape, dtype), shape)
    leading, plane = plane_order(names)
    planes = NpyPlanes(path, names)
    outer, inner = (tuple(shape[i] for i in positions) for positions in (leading, plane))
    array = lazy_array(planes, outer, inner, dtype, f"npy-{file_key(path, *names)}")
    ordered = tuple(names[i] for i in (*leading, *plane))
    scale, units = unknown_scale(ordered)
    return Source(path, "npy", array, ordered, scale, units, reader=planes)


def _mapped(path: str) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Map an npy file; return what of it is there, and the shape that its header announces."""
    try:
        mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return mapped, mapped.shape
    except ValueError:
        with open(path, "rb") as file:
            read_header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
            shape, fortran, dtype = read_header[np.lib.format.read_magic(file)[0]](file)
            offset = file.tell()
            bytes_there = file.seek(0, 2) - offset
        there = bytes_there // max(1, dtype.itemsize * math.prod(shape[1:]))
        if dtype.hasobject or fortran or len(shape) < 3 or not 0 < there < shape[0]:
            raise
        return np.memmap(path, dtype, "r", offset, (there, *shape[1:])), shape

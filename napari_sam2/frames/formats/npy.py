"""Arrays saved by numpy, read through a memory map."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.frames.disk_cache import file_key
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
                self._map = np.load(self._path, mmap_mode="r", allow_pickle=False)
            return np.array(take_plane(self._map, index, self._axes))

    def close(self) -> None:
        """Drop the memory map."""
        with self._lock:
            self._map = None


def open_npy(path: str, axes: tuple[str, ...] | None = None) -> Source:
    """Open an npy file; axes are guessed from its shape unless given."""
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    dtype = check_pixels(mapped.shape, mapped.dtype, path)
    names = checked_axes(axes, axes or guessed_axes(mapped.shape, dtype), mapped.shape)
    leading, plane = plane_order(names)
    planes = NpyPlanes(path, names)
    outer, inner = (tuple(mapped.shape[i] for i in positions) for positions in (leading, plane))
    array = lazy_array(planes, outer, inner, dtype, f"npy-{file_key(path, *names)}")
    ordered = tuple(names[i] for i in (*leading, *plane))
    scale, units = unknown_scale(ordered)
    return Source(path, "npy", array, ordered, scale, units, reader=planes)

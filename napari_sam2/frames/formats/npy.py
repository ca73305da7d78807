"""Arrays saved by numpy, read through a memory map."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.frames.contrast import check_dtype
from napari_sam2.frames.disk_cache import file_key
from napari_sam2.frames.source import Source, checked_axes, guessed_axes, lazy_array, unknown_scale


class NpyPlanes:
    """Planes of an npy file; a :class:`~napari_sam2.frames.source.PlaneReader`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._map: NDArray[Any] | None = None

    def __reduce__(self) -> tuple[type[NpyPlanes], tuple[str]]:
        return type(self), (self._path,)

    def read(self, index: tuple[int, ...]) -> NDArray[Any]:
        """Return a copy of the plane, so that nothing keeps the file open."""
        return np.array(self.mapped()[index])

    def mapped(self) -> NDArray[Any]:
        """Return the whole file as a read-only memory map."""
        with self._lock:
            if self._map is None:
                self._map = np.load(self._path, mmap_mode="r", allow_pickle=False)
            return self._map

    def close(self) -> None:
        """Drop the memory map."""
        with self._lock:
            self._map = None


def open_npy(path: str, axes: tuple[str, ...] | None = None) -> Source:
    """Open an npy file; axes are guessed from its shape unless given."""
    planes = NpyPlanes(path)
    mapped = planes.mapped()
    dtype = check_dtype(mapped.dtype)
    names = checked_axes(axes, axes or guessed_axes(mapped.shape, dtype), mapped.shape)
    inner = 3 if names[-1] == "s" else 2
    leading, plane = mapped.shape[:-inner], mapped.shape[-inner:]
    array = lazy_array(planes, leading, plane, dtype, f"npy-{file_key(path)}")
    scale, units = unknown_scale(names)
    return Source(path, "npy", array, names, scale, units, reader=planes)

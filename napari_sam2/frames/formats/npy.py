"""Arrays saved by numpy, read through a memory map."""

from __future__ import annotations

import math
import os
import threading
import warnings
import zipfile
from dataclasses import replace
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.frames.disk_cache import file_key
from napari_sam2.frames.errors import DamagedSourceWarning, FrameReadError, SourceError
from napari_sam2.frames.source import (
    Source,
    check_pixels,
    checked_axes,
    chosen_series,
    guessed_axes,
    lazy_array,
    plane_order,
    take_plane,
    unknown_scale,
)

# Zeros pack that well at most; what claims more is a damaged header. Small claims are not worth a look.
_MOST_COMPRESSED = 1100
_ALWAYS_POSSIBLE = 256 * 2**20


class NpyPlanes:
    """Planes of an npy file, or of one array of an npz file; a :class:`~napari_sam2.frames.source.PlaneReader`."""

    def __init__(self, path: str, axes: tuple[str, ...], name: str = "") -> None:
        self._path = path
        self._axes = axes
        self._name = name
        self._lock = threading.Lock()
        self._map: NDArray[Any] | None = None

    def __reduce__(self) -> tuple[type[NpyPlanes], tuple[str, tuple[str, ...], str]]:
        return type(self), (self._path, self._axes, self._name)

    def read(self, index: tuple[int, ...]) -> NDArray[Any]:
        """Return a copy of the plane, so that nothing keeps the file open."""
        with self._lock:
            if self._map is None:
                self._map = _unpacked(self._path, self._name) if self._name else _mapped(self._path)[0]
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
    with open(path, "rb") as file:
        shape, _, stored = _header(file)
    check_pixels(shape, stored, path)
    mapped, shape = _mapped(path)
    dtype = check_pixels(shape, mapped.dtype, path)
    if mapped.shape != shape:
        warnings.warn(
            f"{path} is cut off: {len(mapped)} of {shape[0]} positions on its first axis are readable.",
            DamagedSourceWarning,
            stacklevel=4,
        )
    return _source(path, shape, dtype, axes)


def open_npz(path: str, axes: tuple[str, ...] | None = None, series: int | str | None = None) -> Source:
    """Open an array of an npz file, the largest unless ``series`` names one; it is read into memory as a whole."""
    with zipfile.ZipFile(path) as archive:
        arrays = {}
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as file:
                    shape, _, dtype = _header(file)
                if len(shape) >= 2 and not dtype.hasobject:
                    arrays[member.removesuffix(".npy")] = shape, dtype
    if not arrays:
        raise SourceError(f"{path} holds no array of pixels.")
    names = tuple(arrays)
    sizes = [math.prod(shape) for shape, _ in arrays.values()]
    name = names[chosen_series(names, series, path, default=sizes.index(max(sizes)))]
    shape, dtype = arrays[name]
    claimed = math.prod(shape) * dtype.itemsize
    if claimed > max(os.path.getsize(path) * _MOST_COMPRESSED, _ALWAYS_POSSIBLE):
        raise SourceError(f"{path} is damaged: it claims {claimed >> 20} MiB of pixels and can't hold them.")
    source = _source(path, shape, check_pixels(shape, dtype, path), axes, name)
    return replace(source, series=names if len(names) > 1 else ())


def _source(
    path: str, shape: tuple[int, ...], dtype: np.dtype[Any], axes: tuple[str, ...] | None, member: str = ""
) -> Source:
    names = checked_axes(axes, axes or guessed_axes(shape, dtype), shape)
    leading, plane = plane_order(names)
    planes = NpyPlanes(path, names, member)
    outer, inner = (tuple(shape[i] for i in positions) for positions in (leading, plane))
    array = lazy_array(planes, outer, inner, dtype, f"npy-{file_key(path, member, *names)}")
    ordered = tuple(names[i] for i in (*leading, *plane))
    scale, units = unknown_scale(ordered)
    return Source(path, "npz" if member else "npy", array, ordered, scale, units, reader=planes)


def _mapped(path: str) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Map an npy file; return what of it is there, and the shape that its header announces."""
    try:
        mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return mapped, mapped.shape
    except ValueError:
        with open(path, "rb") as file:
            shape, fortran, dtype = _header(file)
            offset = file.tell()
            bytes_there = file.seek(0, 2) - offset
        there = bytes_there // max(1, dtype.itemsize * math.prod(shape[1:]))
        if dtype.hasobject or fortran or len(shape) < 3 or not 0 < there < shape[0]:
            raise
        return np.memmap(path, dtype, "r", offset, (there, *shape[1:])), shape


def _unpacked(path: str, name: str) -> NDArray[Any]:
    with np.load(path, allow_pickle=False) as arrays:
        return np.asarray(arrays[name])


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether the order is Fortran's, and the type that an npy file begins with."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
    return read(file)

"""OME-Zarr images and plain zarr arrays, versions 2 and 3."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.frames.contrast import check_dtype
from napari_sam2.frames.disk_cache import file_key
from napari_sam2.frames.errors import SourceError
from napari_sam2.frames.formats.tiff_metadata import full_unit_name
from napari_sam2.frames.source import Source, checked_axes, guessed_axes, lazy_array, unknown_scale

# A chunk that spans several planes is decompressed once and kept, if all chunks at its place need no more than this.
_MAX_SLAB_BYTES = 128 * 2**20


class ZarrPlanes:
    """Planes of a zarr array; a :class:`~napari_sam2.frames.source.PlaneReader`.

    Parameters
    ----------
    path : str
        The store.
    name : str
        Path of the array in it; empty where the store is the array.
    plane_axes : int
        How many of the last axes make up a plane.
    """

    def __init__(self, path: str, name: str, plane_axes: int) -> None:
        self._path = path
        self._name = name
        self._plane_axes = plane_axes
        self._lock = threading.Lock()
        self._array: Any = None
        self._slab: tuple[tuple[int, ...], NDArray[Any]] | None = None

    def __reduce__(self) -> tuple[type[ZarrPlanes], tuple[str, str, int]]:
        return type(self), (self._path, self._name, self._plane_axes)

    def read(self, index: tuple[int, ...]) -> NDArray[Any]:
        """One plane."""
        array = self._opened()
        depth = array.chunks[: len(index)]
        needed = array.dtype.itemsize * math.prod(depth) * math.prod(array.shape[len(index) :])
        if math.prod(depth) == 1 or needed > _MAX_SLAB_BYTES:
            return np.asarray(array[index])
        corner = tuple(i // d * d for i, d in zip(index, depth, strict=True))
        with self._lock:
            if self._slab is None or self._slab[0] != corner:
                block = tuple(slice(c, c + d) for c, d in zip(corner, depth, strict=True))
                self._slab = corner, np.asarray(array[block])
            return np.array(self._slab[1][tuple(i - c for i, c in zip(index, corner, strict=True))])

    def close(self) -> None:
        """Let go of the array and of what was read ahead."""
        with self._lock:
            self._array = self._slab = None

    def _opened(self) -> Any:
        with self._lock:
            if self._array is None:
                import zarr

                opened: Any = zarr.open(self._path, mode="r")
                self._array = opened[self._name] if self._name else opened
            return self._array


def open_zarr(path: str, axes: tuple[str, ...] | None = None) -> Source:
    """Open an OME-Zarr image (the full resolution of the first multiscale) or a plain zarr array."""
    import zarr

    opened: Any = zarr.open(path, mode="r")
    multiscale = _multiscale(opened)
    name = _only_array(opened, path) if multiscale is None else str(multiscale["datasets"][0]["path"])
    array: Any = opened[name] if name else opened
    dtype = check_dtype(array.dtype)
    found = _axes(multiscale, array, axes)
    names = checked_axes(axes, found, array.shape)
    inner = 3 if names[-1] == "s" else 2
    leading, plane = array.shape[:-inner], array.shape[-inner:]
    planes = ZarrPlanes(path, name, inner)
    scale, units = unknown_scale(names)
    if multiscale is not None and len(_ome_axes(multiscale)) == len(names):
        scale = _scale(multiscale, len(names))
        units = tuple(unit or known for unit, known in zip(_units(multiscale), units, strict=True))
    return Source(
        path=path,
        kind="zarr",
        array=lazy_array(planes, leading, plane, dtype, f"zarr-{_key(path, name)}"),
        axes=names,
        scale=scale,
        units=units,
        frame_times=_times(names, scale, units, array.shape),
        channel_names=_channel_names(opened),
        reader=planes,
    )


def _multiscale(opened: Any) -> Mapping[str, Any] | None:
    attributes = dict(opened.attrs)
    described = attributes.get("ome", attributes).get("multiscales")
    if not described:
        return None
    first: Mapping[str, Any] = described[0]
    return first


def _only_array(opened: Any, path: str) -> str:
    """The name of the array in a group, or nothing where the store is an array itself."""
    if hasattr(opened, "shape"):
        return ""
    names = sorted(name for name, _ in opened.arrays())
    if len(names) == 1:
        return str(names[0])
    if not names:
        raise SourceError(f"{path} holds neither an OME-Zarr image nor an array; name a folder inside of it.")
    raise SourceError(
        f"{path} holds several arrays ({', '.join(names[:8])}); name one, such as {path}/{names[0]}."
    )


def _ome_axes(multiscale: Mapping[str, Any]) -> list[str]:
    # Version 0.3 names axes by letters, later ones by dictionaries, earlier ones not at all.
    listed = multiscale.get("axes", "tczyx")
    return [str(axis["name"] if isinstance(axis, Mapping) else axis).lower() for axis in listed]


def _axes(multiscale: Mapping[str, Any] | None, array: Any, given: tuple[str, ...] | None) -> tuple[str, ...]:
    named: Sequence[str | None] = []
    if multiscale is not None:
        named = _ome_axes(multiscale)
    elif getattr(array.metadata, "dimension_names", None):
        named = array.metadata.dimension_names
    elif "_ARRAY_DIMENSIONS" in array.attrs:
        named = array.attrs["_ARRAY_DIMENSIONS"]
    if len(named) == len(array.shape) and all(named):
        letters = tuple({"time": "t", "channel": "c"}.get(str(n).lower(), str(n).lower()[:1]) for n in named)
        if len(set(letters)) == len(letters) and letters[-2:] == ("y", "x"):
            return letters
    return given or guessed_axes(array.shape, array.dtype)


def _scale(multiscale: Mapping[str, Any], count: int) -> tuple[float, ...]:
    steps = np.ones(count)
    for place in (multiscale["datasets"][0], multiscale):
        for transformation in place.get("coordinateTransformations", ()):
            if transformation.get("type") == "scale" and len(transformation.get("scale", ())) == count:
                steps *= np.asarray(transformation["scale"], dtype=float)
    return tuple(float(step) if np.isfinite(step) and step > 0 else 1.0 for step in steps)


def _units(multiscale: Mapping[str, Any]) -> list[str]:
    listed = multiscale.get("axes", "tczyx")
    return [
        full_unit_name(str(axis.get("unit") or "")) if isinstance(axis, Mapping) else "" for axis in listed
    ]


def _times(
    names: tuple[str, ...], scale: tuple[float, ...], units: tuple[str, ...], shape: Sequence[int]
) -> NDArray[np.float64] | None:
    from napari_sam2.frames.formats.tiff_metadata import TiffScale

    calibration = TiffScale(dict(zip(names, scale, strict=True)), dict(zip(names, units, strict=True)))
    return calibration.times_of(shape[names.index("t")]) if "t" in names else None


def _channel_names(opened: Any) -> tuple[str, ...]:
    attributes = dict(opened.attrs)
    channels = (attributes.get("ome", attributes).get("omero") or {}).get("channels", ())
    names = tuple(str(channel.get("label") or "") for channel in channels)
    return names if all(names) else ()


def _key(path: str, name: str) -> str:
    try:
        return file_key(path, name)
    except OSError:
        return f"{abs(hash((path, name))):x}"

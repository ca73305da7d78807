"""OME-Zarr images and plain zarr arrays, versions 2 and 3, in folders and zip files."""

from __future__ import annotations

import json
import math
import os
import threading
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.frames.disk_cache import file_key
from napari_sam2.frames.errors import FrameReadError, PartialSourceWarning, SourceError
from napari_sam2.frames.formats.tiff_metadata import TiffScale, full_unit_name, positive_step
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

# A chunk that spans several planes is decompressed once and kept, if all chunks at its place need no more than this.
_MAX_SLAB_BYTES = 128 * 2**20
# No recording needs larger chunks, and a file of a few bytes can claim them.
_MAX_CHUNK_BYTES = 2**30
# Codecs that only move and compress numbers. Others, such as pickle, run code of whoever wrote the file.
_CODECS = frozenset(
    "blosc zlib gzip zstd lz4 bz2 lzma delta fixedscaleoffset quantize packbits shuffle bitround astype "
    "crc32 crc32c adler32 fletcher32 jenkins_lookup3 zfpy pcodec "
    "bytes transpose sharding_indexed cast_value scale_offset".split()
)
# Looking for chunks that are not there takes too long in stores of more.
_MOST_COUNTED = 100_000
_AXIS_NAMES = {"time": "t", "channel": "c", "row": "y", "column": "x", "col": "x", "depth": "z"}


class ZarrPlanes:
    """Planes of a zarr array; a :class:`~napari_sam2.frames.source.PlaneReader`.

    Parameters
    ----------
    path : str
        The store.
    name : str
        Path of the array in it; empty where the store is the array.
    axes : tuple of str
        Letters of the array's axes, in its own order.
    """

    def __init__(self, path: str, name: str, axes: tuple[str, ...]) -> None:
        self._path = path
        self._name = name
        self._axes = axes
        self._lock = threading.Lock()
        self._array: Any = None
        self._slab: tuple[tuple[int, ...], NDArray[Any]] | None = None

    def __reduce__(self) -> tuple[type[ZarrPlanes], tuple[str, str, tuple[str, ...]]]:
        return type(self), (self._path, self._name, self._axes)

    def read(self, index: tuple[int, ...]) -> NDArray[Any]:
        """Return one plane, (y, x) or (y, x, s)."""
        try:
            return self._read(index)
        except Exception as error:  # whatever a codec raises on damage: this plane is lost, not the session
            frame = index[0] if index else 0
            raise FrameReadError(
                f"Frame {frame} of {self._path} can't be read ({error or type(error).__name__}).",
                frame,
                self._path,
            ) from error

    def _read(self, index: tuple[int, ...]) -> NDArray[Any]:
        array = self._opened()
        leading, plane = plane_order(self._axes)
        depth = tuple(array.chunks[axis] for axis in leading)
        needed = array.dtype.itemsize * math.prod(depth) * math.prod(array.shape[axis] for axis in plane)
        if math.prod(depth) == 1 or needed > _MAX_SLAB_BYTES:
            return take_plane(array, index, self._axes)
        corner = tuple(i // d * d for i, d in zip(index, depth, strict=True))
        with self._lock:
            if self._slab is None or self._slab[0] != corner:
                block = [slice(None)] * len(self._axes)
                for axis, c, d in zip(leading, corner, depth, strict=True):
                    block[axis] = slice(c, c + d)
                self._slab = corner, np.asarray(array[tuple(block)])
            inside = tuple(i - c for i, c in zip(index, corner, strict=True))
            return np.array(take_plane(self._slab[1], inside, self._axes))

    def close(self) -> None:
        """Drop the array and what was read ahead."""
        with self._lock:
            self._array = self._slab = None

    def _opened(self) -> Any:
        with self._lock:
            if self._array is None:
                opened = open_store(self._path)
                self._array = opened[self._name] if self._name else opened
            return self._array


def open_zarr(path: str, axes: tuple[str, ...] | None = None, series: int | str | None = None) -> Source:
    """Open an OME-Zarr image (the full resolution of its first multiscale) or a plain zarr array.

    Of a plate, or what bioformats2raw writes, one image is opened; ``series`` chooses it.
    """
    opened = open_store(path)
    names = _series(opened)
    prefix = names[chosen_series(names, series, path)] if names else ""
    image: Any = opened[prefix] if prefix else opened
    multiscales = [] if hasattr(image, "shape") else list(_ome(image).get("multiscales") or ())
    if len(multiscales) > 1 and not names:
        names = tuple(str(m.get("name") or m["datasets"][0]["path"]) for m in multiscales)
        multiscales = [multiscales[chosen_series(names, series, path)]]
    elif series is not None and not names:
        names = tuple(sorted(name for name, _ in opened.arrays())) if hasattr(opened, "arrays") else ()
        prefix = names[chosen_series(names, series, path)] if len(names) > 1 and not multiscales else ""
        if not prefix:
            raise SourceError(f"{path} holds one image: there is no series {series!r}.")
        image = opened[prefix]
    multiscale = multiscales[0] if multiscales else None
    name = _only_array(image, path) if multiscale is None else str(multiscale["datasets"][0]["path"])
    array: Any = image[name] if name else image
    name = "/".join(part for part in (prefix, name) if part)
    dtype = check_pixels(array.shape, array.dtype, path)
    check_codecs(array, path)
    _warn_of_absent_chunks(array, path)
    found = axes or named_axes(multiscale, array, path) or guessed_axes(array.shape, dtype)
    letters = checked_axes(axes, found, array.shape)
    leading, plane = plane_order(letters)
    order = (*leading, *plane)
    planes = ZarrPlanes(path, name, letters)
    found_scale, found_units = unknown_scale(letters)
    if multiscale is not None and len(_ome_axes(multiscale)) == len(letters):
        found_scale = _scale(multiscale, len(letters))
        found_units = tuple(u or known for u, known in zip(_units(multiscale), found_units, strict=True))
    names_in_order = tuple(letters[i] for i in order)
    scale, units = tuple(found_scale[i] for i in order), tuple(found_units[i] for i in order)
    outer, inner = (tuple(array.shape[i] for i in positions) for positions in (leading, plane))
    return Source(
        path=path,
        kind="zarr",
        array=lazy_array(planes, outer, inner, dtype, f"zarr-{_key(path, name, *letters)}"),
        axes=names_in_order,
        scale=scale,
        units=units,
        frame_times=_times(names_in_order, scale, units, tuple(array.shape[i] for i in order)),
        channel_names=_channel_names(image),
        series=names if len(names) > 1 else (),
        reader=planes,
    )


def open_store(path: str) -> Any:
    """Open a zarr group or array for reading, in a folder or a zip file."""
    import zarr

    if not path.lower().endswith((".zip", ".ozx")):
        for name in (".zarray", "zarr.json"):
            # Before zarr sees it: versions differ in what they make of such codecs.
            if os.path.isfile(file := os.path.join(path, name)):
                _check_codec_ids(json.loads(Path(file).read_text(encoding="utf-8")), path)
        return zarr.open(path, mode="r")
    with zipfile.ZipFile(path) as archive:
        roots = [n for n in archive.namelist() if n.rsplit("/", 1)[-1] in ("zarr.json", ".zgroup", ".zarray")]
    if not roots:
        raise SourceError(f"{path} is a zip file without a zarr group or array in it.")
    root = min(roots, key=lambda n: n.count("/")).rpartition("/")[0]
    opened: Any = zarr.open(zarr.storage.ZipStore(path, mode="r"), mode="r", path=root)
    return opened


def check_codecs(array: Any, path: str) -> None:
    """Refuse an array whose codecs run code or whose chunks are absurdly large, before a chunk is read.

    Raises
    ------
    SourceError
        If it has such codecs or chunks.
    """
    _check_codec_ids(array.metadata.to_dict(), path)
    largest = math.prod(array.chunks) * array.dtype.itemsize
    if largest > _MAX_CHUNK_BYTES:
        raise SourceError(
            f"{path} has chunks of {largest / 2**30:.1f} GiB, too large to be read frame by frame; save it again with "
            "one chunk for each plane."
        )


def _warn_of_absent_chunks(array: Any, path: str) -> None:
    """Warn where chunks were never written, as when a recording was interrupted: they are read as a constant."""
    if path.lower().endswith((".zip", ".ozx")) or not 1 < array.nchunks <= _MOST_COUNTED:
        return
    written = array.nchunks_initialized
    if written < array.nchunks:
        warnings.warn(
            f"{path} holds {written} of {array.nchunks} chunks; the others were never written, or are empty, and "
            f"are read as {array.fill_value}.",
            PartialSourceWarning,
            stacklevel=5,
        )


def _check_codec_ids(metadata: Any, path: str) -> None:
    for codec in _codec_ids(metadata):
        if codec.removeprefix("numcodecs.") not in _CODECS:
            raise SourceError(
                f"{path} is stored with the codec {codec!r}, which is not read because it may run code; save it again "
                "with zstd or blosc."
            )


def _codec_ids(metadata: Any) -> list[str]:
    """Names of all codecs in the metadata of an array, those inside of shards too."""
    listed: list[Any] = list(metadata.get("codecs") or ())
    listed += [metadata.get("compressor"), *(metadata.get("filters") or ())]
    found: list[str] = []
    for codec in listed:
        if codec is None:
            continue
        about: Mapping[str, Any] = (
            codec
            if isinstance(codec, Mapping)
            else {"name": getattr(codec, "codec_id", type(codec).__name__)}
        )
        found.append(str(about.get("id") or about.get("name")))
        inside = about.get("configuration") or {}
        for key in ("codecs", "index_codecs"):
            found += _codec_ids({"codecs": inside.get(key)})
    return found


def _series(opened: Any) -> tuple[str, ...]:
    """Paths of the images of a plate or of what bioformats2raw writes; empty where the store is an image itself."""
    if hasattr(opened, "shape") or multiscale_of(opened) is not None:
        return ()
    about = _ome(opened)
    if about.get("plate"):
        wells = [str(well["path"]) for well in about["plate"].get("wells", ())]
        return tuple(
            f"{well}/{image}" for well in wells if well in opened for image in _images_of(opened[well])
        )
    if about.get("well"):
        return _images_of(opened)
    if "bioformats2raw.layout" in about:
        listed = _ome(opened["OME"]).get("series") if "OME" in opened else None
        names = [str(name) for name in listed or sorted(opened.group_keys())]
        return tuple(name for name in names if name in opened and multiscale_of(opened[name]) is not None)
    return ()


def _images_of(well: Any) -> tuple[str, ...]:
    return tuple(str(image["path"]) for image in (_ome(well).get("well") or {}).get("images", ()))


def _ome(group: Any) -> Mapping[str, Any]:
    attributes = dict(group.attrs)
    about: Mapping[str, Any] = attributes.get("ome", attributes)
    return about


def multiscale_of(opened: Any) -> Mapping[str, Any] | None:
    """Return the first multiscale of a group's OME metadata; None where it has none."""
    described = _ome(opened).get("multiscales")
    return dict(described[0]) if described else None


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
        f"{path} holds several arrays ({', '.join(names[:8])}); choose one with series (--series on the command line)."
    )


def _ome_axes(multiscale: Mapping[str, Any]) -> list[str]:
    # Version 0.3 names axes by letters, later ones by dictionaries, earlier ones not at all.
    listed = multiscale.get("axes", "tczyx")
    return [str(axis["name"] if isinstance(axis, Mapping) else axis).lower() for axis in listed]


def named_axes(multiscale: Mapping[str, Any] | None, array: Any, path: str) -> tuple[str, ...] | None:
    """Return the axes that the metadata names, in the array's order; None where it names none.

    Raises
    ------
    SourceError
        If OME metadata name axes without x and y, or another number of axes than the array has.
    """
    named: Sequence[str | None] = []
    if multiscale is not None:
        named = _ome_axes(multiscale)
    elif getattr(array.metadata, "dimension_names", None):
        named = array.metadata.dimension_names
    elif "_ARRAY_DIMENSIONS" in array.attrs:
        named = array.attrs["_ARRAY_DIMENSIONS"]
    letters = tuple(_AXIS_NAMES.get(str(n).lower(), str(n).lower()[:1]) for n in named)
    if len(letters) == len(array.shape) and len(set(letters)) == len(letters) and {"y", "x"} <= set(letters):
        rgb = letters[-1] == "s" and array.shape[-1] in (3, 4)
        return letters if rgb else tuple("a" if letter == "s" else letter for letter in letters)
    if named and (multiscale is None or multiscale.get("axes")):
        message = f"{path} names its axes {', '.join(map(str, named))} for shape {tuple(array.shape)}"
        if multiscale is not None:
            raise SourceError(f"{message}; say what they are with axes.")
        warnings.warn(
            f"{message}; they are guessed, say what they are with axes.", PartialSourceWarning, stacklevel=5
        )
    return guessed_axes(array.shape, array.dtype)


def _scale(multiscale: Mapping[str, Any], count: int) -> tuple[float, ...]:
    steps = np.ones(count)
    for place in (multiscale["datasets"][0], multiscale):
        for transformation in place.get("coordinateTransformations", ()):
            if transformation.get("type") == "scale" and len(transformation.get("scale", ())) == count:
                steps *= np.asarray(transformation["scale"], dtype=float)
    return tuple(positive_step(step) or 1.0 for step in steps)


def _units(multiscale: Mapping[str, Any]) -> list[str]:
    listed = multiscale.get("axes", "tczyx")
    return [
        full_unit_name(str(axis.get("unit") or "")) if isinstance(axis, Mapping) else "" for axis in listed
    ]


def _times(
    names: tuple[str, ...], scale: tuple[float, ...], units: tuple[str, ...], shape: Sequence[int]
) -> NDArray[np.float64] | None:
    calibration = TiffScale(dict(zip(names, scale, strict=True)), dict(zip(names, units, strict=True)))
    return calibration.times_of(shape[names.index("t")]) if "t" in names else None


def _channel_names(opened: Any) -> tuple[str, ...]:
    channels = (_ome(opened).get("omero") or {}).get("channels", ())
    names = tuple(str(channel.get("label") or "") for channel in channels)
    return names if all(names) else ()


def _key(path: str, *names: str) -> str:
    try:
        return file_key(path, *names)
    except OSError:
        return f"{abs(hash((path, *names))):x}"

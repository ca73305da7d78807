"""TIFF, OME-TIFF and ImageJ hyperstacks: memory-mapped where pixels lie open, page by page otherwise."""

from __future__ import annotations

import logging
import math
import os
import re
import struct
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.frames.disk_cache import file_key
from napari_sam2.frames.errors import DamagedSourceWarning, FrameReadError, PartialSourceWarning, SourceError
from napari_sam2.frames.formats.tiff_metadata import tiff_calibration
from napari_sam2.frames.source import (
    MOST_PLANES,
    Source,
    check_pixels,
    checked_axes,
    chosen_series,
    lazy_array,
)

# tifffile's letters of axes that have no meaning of their own.
_NAMELESS = "IQ"
# Deflate packs at most 1,032 bytes into one; what claims more is a damaged header. Small claims are not worth a look.
_MOST_COMPRESSED = 1100
_ALWAYS_POSSIBLE = 256 * 2**20


class TiffPlanes:
    """Planes of one image of a TIFF; a :class:`~napari_sam2.frames.source.PlaneReader`.

    Parameters
    ----------
    path : str
        The file.
    series : int or str, optional
        Number or name of one of several images; None: the largest.
    samples : bool
        Read separate planes of an RGB picture as its samples, (y, x, s); otherwise as an axis ``c``.

    Attributes
    ----------
    axes : tuple of str
        Letters of all axes.
    leading, plane : tuple of int
        Shape of the axes over which planes lie, and of one plane.
    dtype : dtype
        Of the pixels, in native byte order.
    """

    def __init__(self, path: str, series: int | str | None = None, samples: bool = True) -> None:
        self._path = path
        self._wanted = series
        self._samples = samples
        self.series_names: tuple[str, ...] = ()
        self.missing_files: tuple[str, ...] = ()
        self._lock = threading.RLock()
        self._file: Any = None
        self._series: Any = None
        self._map: NDArray[Any] | None = None
        image: Any = self._opened()
        axes, shape = _axes_and_shape(image)
        self.axes = _letters(axes, shape)
        if not {"y", "x"} <= set(self.axes):
            raise SourceError(
                f"{path} holds no frames: its axes are {''.join(self.axes)}, of {shape} pixels."
            )
        # RGB in separate planes, (s, y, x) in the file, is read as (y, x, s).
        self._planar = samples and _is_planar_rgb(image)
        if self._planar:
            self.axes, shape = (*self.axes[:-3], "y", "x", "s"), (*shape[:-3], *shape[-2:], shape[-3])
        inner = 3 if self.axes[-3:-1] == ("y", "x") else 2
        if self.axes[-inner:][:2] != ("y", "x"):
            inner = len(shape)  # an unusual order of pixels: the series is read as a whole
        self.leading, self.plane = shape[: len(shape) - inner], shape[len(shape) - inner :]
        self.dtype = check_pixels(shape, image.dtype, path).newbyteorder("=")

    def __reduce__(self) -> tuple[Callable[..., TiffPlanes], tuple[str, int | str | None, bool]]:
        return _reopened, (self._path, self._wanted, self._samples)

    def __del__(self) -> None:
        # A dask array that is dropped takes its reader along; tifffile would complain about its open file.
        if hasattr(self, "_file"):
            self.close()

    @property
    def file(self) -> Any:
        """tifffile's view of the file."""
        with self._lock:
            self._opened()
            return self._file

    @property
    def mapped(self) -> bool:
        """True where planes are read through a memory map."""
        with self._lock:
            return self._opened().dataoffset is not None

    @property
    def may_be_frames(self) -> bool:
        """True for a single RGB picture in separate planes: tifffile wrote three or four frames like that unasked."""
        with self._lock:
            return self._planar and not self.leading and getattr(self._opened(), "kind", "") == "shaped"

    @property
    def readable(self) -> int:
        """How many planes lie within the file, as far as that is known without decompressing them."""
        count = int(np.prod(self.leading, dtype=np.int64))
        with self._lock:
            series = self._opened()
            if series.dataoffset is None:
                return count
            there = self._file.filehandle.size - int(series.dataoffset)
            return int(min(count, max(0, there // self._plane_bytes())))

    def read(self, index: tuple[int, ...]) -> NDArray[Any]:
        """One plane, in native byte order."""
        place = int(np.ravel_multi_index(index, self.leading)) if self.leading else 0
        with self._lock:
            try:
                return np.asarray(self._plane(self._opened(), place), self.dtype)
            except FrameReadError:
                raise
            except (
                Exception
            ) as error:  # whatever a decoder raises on damage: this plane is lost, not the session
                reason = str(error) or type(error).__name__
                raise FrameReadError(
                    f"Page {place} of {self._path} can't be read ({reason}).", place, self._path
                ) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._file = self._series = self._map = None

    def _opened(self) -> Any:
        import tifffile

        if self._series is None:
            try:
                self._file = tifffile.TiffFile(self._path)
            except tifffile.TiffFileError as error:
                raise SourceError(f"{self._path} is no readable TIFF ({error}).") from error
            _check_structure(self._file, self._path)
            if not self._file.series:
                raise SourceError(f"{self._path} holds no image.")
            self._series = self._chosen(_joined(list(self._file.series)))
            self.missing_files = _missing_files(self._file.ome_metadata or "", self._path)
        return self._series

    def _chosen(self, series: list[Any]) -> Any:
        sizes = [int(np.prod(one.shape, dtype=np.int64)) for one in series]
        names = tuple(str(getattr(one, "name", "") or f"image {k}") for k, one in enumerate(series))
        if len(set(names)) < len(names):
            names = tuple(f"{name} ({k})" for k, name in enumerate(names))
        self.series_names = names if len(names) > 1 else ()
        return series[chosen_series(names, self._wanted, self._path, default=sizes.index(max(sizes)))]

    @property
    def absent(self) -> int:
        """How many planes an OME-TIFF announces and does not hold."""
        with self._lock:
            series = self._opened()
            if series.dataoffset is not None:
                return 0
            return sum(page is None for page in series.pages)

    def _plane(self, series: Any, place: int) -> NDArray[Any]:
        if series.dataoffset is not None:
            return self._mapped_plane(series, place)
        count = int(np.prod(self.leading, dtype=np.int64))
        if len(series.pages) != count:  # several planes in one page
            planes: NDArray[Any] = np.asarray(series.asarray()).reshape(count, *self._stored)
            return self._turned(planes[place])
        page = series.pages[place]
        if page is None and self.missing_files:
            raise FrameReadError(
                f"Page {place} of {self._path} lies in a file that is missing: {', '.join(self.missing_files[:3])}.",
                place,
                self._path,
            )
        if page is None:  # OME-TIFF: a plane that was never acquired
            return np.zeros(self.plane, self.dtype)
        try:
            pixels = page.asarray()
        except (ValueError, KeyError) as error:
            if "imagecodecs" not in str(error) and not isinstance(error, KeyError):
                raise
            pixels = _read_with_pillow(self._path, page.index)  # LZW, or numbers stored as differences
        return self._turned(np.asarray(pixels).reshape(self._stored))

    @property
    def _stored(self) -> tuple[int, ...]:
        """Shape of a plane in the file."""
        return (self.plane[2], *self.plane[:2]) if self._planar else self.plane

    def _turned(self, pixels: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(np.moveaxis(pixels, 0, -1)) if self._planar else np.asarray(pixels)

    def _mapped_plane(self, series: Any, place: int) -> NDArray[Any]:
        count = self.readable
        if place >= count:
            raise FrameReadError(
                f"Page {place} of {self._path} is missing: the file ends after {count} pages.",
                place,
                self._path,
            )
        if self._map is None:
            dtype = np.dtype(series.dtype).newbyteorder(self._file.byteorder)
            self._map = np.memmap(self._path, dtype, "r", int(series.dataoffset), (count, *self._stored))
        return self._turned(np.array(self._map[place]))

    def _plane_bytes(self) -> int:
        return max(1, int(np.prod(self.plane, dtype=np.int64)) * self.dtype.itemsize)

    def check_size(self) -> None:
        """Refuse a file whose header claims more pixels than any compression could pack into it.

        Raises
        ------
        SourceError
            If it does.
        """
        with self._lock:
            series = self._opened()
            claimed = self._plane_bytes() * int(np.prod(self.leading, dtype=np.int64))
            page = series.keyframe
            strips = int(np.prod(page.chunked, dtype=np.int64))
            if series.dataoffset is None and strips > 2 * max(len(page.dataoffsets), 500):
                # tifffile would make up every strip that is missing, which can take hours
                raise SourceError(
                    f"{self._path} is damaged: a page has {len(page.dataoffsets)} of {strips} strips or tiles."
                )
            possible = self._file.filehandle.size * _MOST_COMPRESSED
            if claimed > max(possible, _ALWAYS_POSSIBLE) and not series.is_multifile:
                raise SourceError(
                    f"{self._path} is damaged: it claims {claimed >> 20} MiB of pixels and can't hold them."
                )


def open_tiff(path: str, axes: tuple[str, ...] | None = None, series: int | str | None = None) -> Source:
    """Open a TIFF with its axes, scale, units and times; of several images the largest, with a warning.

    Images that are alike, as programs write them that append pages one by one, are one stack. Axes without a name in
    the file become time.
    """
    complaints = _Complaints(logging.ERROR)
    logger = logging.getLogger("tifffile")
    logger.addHandler(complaints)
    try:
        planes = TiffPlanes(path, series, samples=axes is None or "s" in axes)
    finally:
        logger.removeHandler(complaints)
    planes.check_size()
    count, readable = int(np.prod(planes.leading, dtype=np.int64)), planes.readable
    if readable < count or complaints.said:
        of = f" of {count}" if readable < count else ""
        why = f" ({complaints.said[0]})" if complaints.said else ""
        warnings.warn(
            f"{path} is damaged or cut off: {readable}{of} planes are readable{why}.",
            DamagedSourceWarning,
            stacklevel=4,
        )
    _warn_of_absent_planes(planes, path, count)
    if planes.may_be_frames and axes is None:
        warnings.warn(
            f"{path} is read as one RGB picture, as it says. If its {planes.plane[2]} planes are frames or channels, "
            "which some programs write like that, give axes tyx or cyx (--axes on the command line).",
            PartialSourceWarning,
            stacklevel=4,
        )
    shape = (*planes.leading, *planes.plane)
    names = checked_axes(axes, planes.axes, shape)
    calibration = tiff_calibration(planes.file)
    array = lazy_array(
        planes,
        planes.leading,
        planes.plane,
        planes.dtype,
        f"tiff-{file_key(path, str(series), *planes.axes)}",
    )
    channels = names.index("c") if "c" in names else None
    return Source(
        path=path,
        kind="tiff",
        array=array,
        axes=names,
        scale=tuple(calibration.step(letter) for letter in names),
        units=tuple(calibration.unit(letter) for letter in names),
        frame_times=calibration.times_of(shape[names.index("t")] if "t" in names else 0),
        channel_names=calibration.channel_names if channels is not None else (),
        series=planes.series_names,
        reader=planes,
    )


def _warn_of_absent_planes(planes: TiffPlanes, path: str, count: int) -> None:
    absent = planes.absent
    if absent and planes.missing_files:
        missing = ", ".join(planes.missing_files[:3])
        warnings.warn(
            f"{path} is incomplete: {missing} is missing, so {count - absent} of {count} planes are readable. "
            "Copy the missing files beside it.",
            DamagedSourceWarning,
            stacklevel=5,
        )
    elif absent:
        warnings.warn(
            f"{path} announces {count} planes and holds {count - absent}; the others were never acquired and are "
            "black.",
            PartialSourceWarning,
            stacklevel=5,
        )


def _reopened(path: str, series: int | str | None, samples: bool) -> TiffPlanes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PartialSourceWarning)  # shown when the file was opened first
        return TiffPlanes(path, series, samples)


@dataclass
class _JoinedSeries:
    """Images that are alike as one stack, with the attributes of a ``tifffile.TiffPageSeries`` that are read here."""

    parts: list[Any]
    dataoffset: None = None
    is_multifile: bool = False

    def __post_init__(self) -> None:
        first = self.parts[0]
        self.keyframe, self.dtype = first.keyframe, first.dtype
        self.pages = [page for part in self.parts for page in part.pages]
        inner = [letter for letter in first.axes if letter in "YXS"]
        self.axes = "I" + "".join(inner)
        self.shape = (len(self.pages), *first.shape[-len(inner) :])


def _joined(series: list[Any]) -> list[Any]:
    """Join images that a program wrote one by one: no format says that they are positions, and all are alike."""
    if len(series) < 2 or any(one.kind not in ("shaped", "generic", "uniform") for one in series):
        return series
    first = series[0]
    inner = sum(letter in "YXS" for letter in first.axes)
    for one in series:
        if (
            one.dtype != first.dtype
            or one.shape[-inner:] != first.shape[-inner:]
            or one.axes[-inner:] != first.axes[-inner:]
            or len(one.pages) != math.prod(one.shape[:-inner])
        ):
            return series
    return [_JoinedSeries(series)]


def _axes_and_shape(series: Any) -> tuple[str, tuple[int, ...]]:
    """Return axes and shape of an image; tifffile leaves out y or x where it is 1 pixel long."""
    if {"Y", "X"} <= set(series.axes):
        return series.axes, tuple(int(n) for n in series.shape)
    whole = zip(series.get_axes(squeeze=False), series.get_shape(squeeze=False), strict=True)
    kept = [(letter, int(n)) for letter, n in whole if n != 1 or letter in "YX"]
    return "".join(letter for letter, _ in kept), tuple(n for _, n in kept)


def _is_planar_rgb(series: Any) -> bool:
    page = series.keyframe
    rgb = int(page.photometric) == 2 and int(page.planarconfig) == 2
    return rgb and series.axes[-3:] == "SYX" and series.shape[-3] in (3, 4)


def _missing_files(xml: str, path: str) -> tuple[str, ...]:
    """Names of the files of a multi-file OME-TIFF that are not beside it."""
    folder = os.path.dirname(os.path.abspath(path))
    names = dict.fromkeys(re.findall(r"<(?:\w+:)?UUID\b[^>]*\bFileName\s*=\s*[\"']([^\"']+)[\"']", xml))
    own = {os.path.basename(path)}
    return tuple(
        n for n in names if n not in own and not os.path.exists(os.path.join(folder, os.path.basename(n)))
    )


class _Complaints(logging.Handler):
    """Messages that tifffile logs instead of raising: signs of damage."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self.said.append(record.getMessage())


def _letters(axes: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    """tifffile's axes as ours: small letters, samples last or else channels, nameless ones as time, then depth."""
    letters = list(axes)
    if "S" in letters and (letters[-1] != "S" or shape[-1] not in (3, 4)):
        letters[letters.index("S")] = "C" if "C" not in letters else "A"
    free = [letter for letter in "TZPR" if letter not in letters]
    for place, letter in enumerate(letters):
        if letter in _NAMELESS:
            letters[place] = free.pop(0)
    return tuple(letter.lower() for letter in letters)


def _read_with_pillow(path: str, page: int) -> NDArray[Any]:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.seek(page)
            return np.array(picture)
    except Exception as error:
        raise FrameReadError(
            f"Page {page} of {path} is compressed in a way that needs another package: pip install imagecodecs.",
            page,
            path,
        ) from error


def _check_structure(file: Any, path: str) -> None:
    """Refuse a ``tifffile.TiffFile`` whose pages come round in a circle or whose OME-XML announces absurd numbers.

    Reads two numbers of each page.

    Raises
    ------
    SourceError
        If it is damaged like that.
    """
    if _comes_round(file):
        raise SourceError(f"{path} is damaged: its list of pages never ends.")
    announced = _most_announced(file.ome_metadata or "")
    if announced > MOST_PLANES:
        raise SourceError(f"{path} is damaged: its OME-XML announces {announced} planes.")


def _comes_round(file: Any) -> bool:
    # tifffile notices circles of up to 100 pages.
    tiff, stream = file.tiff, file.filehandle
    offset, seen = int(file.pages.first.offset), set[int]()
    while 0 < offset < stream.size:
        if offset in seen:
            return len(seen) >= 100
        seen.add(offset)
        try:
            stream.seek(offset)
            (tags,) = struct.unpack(tiff.tagnoformat, stream.read(tiff.tagnosize))
            stream.seek(offset + tiff.tagnosize + tags * tiff.tagsize)
            (offset,) = struct.unpack(tiff.offsetformat, stream.read(tiff.offsetsize))
        except (struct.error, OSError, OverflowError, ValueError):
            return False  # cut off: tifffile says so itself
    return False


def _most_announced(xml: str) -> int:
    """The largest number of planes that an element of an OME-XML speaks of."""
    most = 0
    for element in re.findall(r"<(?:\w+:)?(?:Pixels|TiffData)\b([^>]*)", xml):
        numbers = {name: int(n) for name, n in re.findall(r"\b(\w+)\s*=\s*[\"'](\d{1,30})[\"']", element)}
        planes = 1
        for name in ("SizeC", "SizeZ", "SizeT"):
            planes *= max(1, numbers.get(name, 1))
        places = (numbers.get(name, 0) for name in ("PlaneCount", "IFD", "FirstC", "FirstZ", "FirstT"))
        most = max(most, planes, *places)
    return most

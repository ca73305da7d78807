"""Frame-exact random access to a video: frame i is the same picture whatever was read before."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from napari_sam2.frames.disk_cache import file_key
from napari_sam2.frames.errors import DamagedSourceWarning, FrameReadError, PartialSourceWarning, SourceError
from napari_sam2.frames.source import Source, checked_axes, lazy_array
from napari_sam2.frames.video import ffmpeg
from napari_sam2.frames.video.ffmpeg_decoder import FramePipe, PixelFormat
from napari_sam2.frames.video.packet_index import FrameIndex, PacketIndex, read_packet_index, trusted_table
from napari_sam2.frames.video.remux import is_indexed, remuxed

DEFAULT_CACHE_BYTES = 256 * 2**20

# Starting ffmpeg costs about as much as decoding this many frames, so frames that are this near are read through.
_NEAR = 8
# How many groups of pictures earlier decoding starts, one try after the other, when a frame does not come out.
_EARLIER = (0, 1, 2, 4)
# Going back by at most this many frames is taken for stepping, and what lies before is decoded along with it.
_STEP = 32
# VP8 hides frames in packets of their own, so its packets have to be checked against the decoder once.
_HIDES_FRAMES = {"vp8"}
# Codecs whose key frames may be mere recovery points, from which the picture only becomes whole after some frames.
_REFRESHES_GRADUALLY = {"h264", "hevc"}


class VideoReader:
    """A video file as frames.

    A :class:`~napari_sam2.frames.source.PlaneReader`. One ffmpeg runs as long as frames are read in order; a jump
    starts it anew at the key frame before. Stepping back decodes a group of pictures once and keeps it. Safe to use
    from several threads; can be pickled (a copy opens the file again).

    Parameters
    ----------
    path : str or path-like
        The video: mp4, mov, mkv, avi, webm, mpg, ts and what else ffmpeg reads.
    cache_bytes : int
        Most memory for decoded frames.

    Raises
    ------
    SourceError
        If the file can't be read as a video.

    Warns
    -----
    DamagedSourceWarning
        If the file is truncated or damaged; it says how many frames are readable.
    """

    def __init__(self, path: str | os.PathLike[str], *, cache_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self.path = os.path.abspath(os.fspath(path))
        self._cache_bytes = cache_bytes
        if not os.path.isfile(self.path):
            raise SourceError(f"{self.path} does not exist or is not a file; check the path.")
        self.info = ffmpeg.probe(self.path)
        index = read_packet_index(self.path)
        self._file, self.table = _trusted_file(self.path, self.info, index)
        _warn_of_damage(self.path, self.info, index.complaints, len(self.table))
        self.pixels = PixelFormat.of(self.info)
        self._lock = threading.RLock()
        # One frame always fits, however large it is.
        self._cache: LRUCache[int, NDArray[Any]] = LRUCache(
            max(cache_bytes, self._frame_bytes()), getsizeof=lambda pixels: pixels.nbytes
        )
        self._unreadable: set[int] = set()
        self._decoder: FramePipe | None = None
        self._next = 0
        self._last = -1
        self._lead: int | None = None

    def __len__(self) -> int:
        return len(self.table)

    def __reduce__(self) -> tuple[Callable[..., VideoReader], tuple[str, int]]:
        return _reopen, (self.path, self._cache_bytes)

    @property
    def cached_bytes(self) -> int:
        """Return the memory of the cached frames."""
        return int(self._cache.currsize)

    def read(self, index: tuple[int, ...]) -> NDArray[Any]:
        """Return the frame at ``index[0]``, as :meth:`frame` does."""
        return self.frame(index[0])

    def frame(self, index: int) -> NDArray[Any]:
        """Return one frame.

        Parameters
        ----------
        index : int
            0 … ``len(self) - 1``.

        Returns
        -------
        ndarray
            (H, W, 3) uint8, or (H, W) uint16 for a video that is grey with more than 8 bits. Read-only.

        Raises
        ------
        IndexError
            If there is no such frame.
        FrameReadError
            If the file is damaged there. Other frames can still be read.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"Frame {index} does not exist: {self.path} has frames 0 to {len(self) - 1}.")
        with self._lock:
            pixels: NDArray[Any] | None = self._cache.get(index)
            if pixels is None:
                pixels = self._read(index)
            self._last = index
            return pixels

    def close(self) -> None:
        """End ffmpeg and drop the decoded frames. Reading again starts it again."""
        with self._lock:
            self._stop()
            self._cache.clear()

    def _read(self, index: int) -> NDArray[Any]:
        if index not in self._unreadable:
            if self._near_enough(index):
                pixels = self._read_on(index)
                if pixels is not None:
                    return pixels
            for step in _EARLIER:
                first = self._first_wanted(index)
                earlier = step + self._groups_of_lead(first)
                self._restart(first, earlier)
                pixels = self._read_on(index)
                if pixels is not None:
                    return pixels
                if self.table.seek_pts(first, earlier) is None:
                    break  # that was the whole file from its beginning
            self._unreadable.add(index)
        raise FrameReadError(
            f"Frame {index} of {self.path} can't be decoded: the file is damaged there. Other frames can be read.",
            index,
            self.path,
        )

    def _read_on(self, index: int) -> NDArray[Any] | None:
        """Read up to a frame, keeping what comes before it; None where the decoder skips it."""
        while self._decoder is not None:
            decoded = self._decoder.read()
            if decoded is None:
                self._stop()
                return None
            pts, pixels = decoded
            frame = self.table.frame_of(pts)
            if frame is None:
                continue
            pixels.flags.writeable = False
            self._cache[frame] = pixels
            self._next = frame + 1
            if frame == index:
                return pixels
            if frame > index:
                return None
        return None

    def _near_enough(self, index: int) -> bool:
        if self._decoder is None or index < self._next:
            return False
        return index - self._next <= max(_NEAR, index - self.table.group_start(index) + _NEAR)

    def _first_wanted(self, index: int) -> int:
        if not 0 < self._last - index <= _STEP:
            return index
        frame_bytes = self._frame_bytes()
        room = max(1, 3 * self._cache_bytes // (4 * frame_bytes))
        return max(self.table.group_start(index), index - room + 1)

    def _groups_of_lead(self, first: int) -> int:
        """Return how many groups of pictures a decoder needs before a frame is complete; tried at the first jump."""
        if self._lead is None and self.table.seek_pts(first) is not None:
            self._lead = 0
            if self.info.codec in _REFRESHES_GRADUALLY:
                key = self.table.group_start(first)
                self._restart(key, 0)
                decoded = self._decoder.read() if self._decoder is not None else None
                self._lead = int(decoded is None or decoded[0] != self.table.pts[key])
        return self._lead or 0

    def _frame_bytes(self) -> int:
        height, width = self.info.size
        return height * width * (2 if self.info.deep_grey else 3)

    def _restart(self, first: int, earlier: int) -> None:
        self._stop()
        self._decoder = FramePipe(self._file, self.table, self.pixels, first, earlier)
        self._next = first

    def _stop(self) -> None:
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None


def open_video(path: str, axes: tuple[str, ...] | None = None) -> Source:
    """Open a video as a (T, Y, X, 3) array, or (T, Y, X) where it is grey with more than 8 bits."""
    video = VideoReader(path)
    if video.info.streams > 1:
        warnings.warn(
            f"{path} holds {video.info.streams} video streams; the first is read. Save another one as a file of "
            f"its own: ffmpeg -i {os.path.basename(path)} -map 0:v:1 -c copy second.mkv",
            PartialSourceWarning,
            stacklevel=4,
        )
    pixels = video.pixels
    array = lazy_array(
        video,
        (len(video),),
        pixels.shape,
        pixels.dtype,
        f"video-{file_key(video.path, pixels.name)}",
    )
    found = ("t", "y", "x", "s")[: array.ndim]
    times = None if video.table.by_order else video.table.seconds()
    step = float(times[-1]) / (len(times) - 1) if times is not None and len(times) > 1 else 0.0
    if step == 0.0:
        step = 1.0 / video.info.frame_rate if video.info.frame_rate else 1.0
    if times is None:
        times = np.arange(len(video), dtype=np.float64) * step
    return Source(
        path=video.path,
        kind="video",
        array=array,
        axes=checked_axes(axes, found, array.shape),
        scale=(step, 1.0, 1.0, 1.0)[: array.ndim],
        units=("second", "pixel", "pixel", "")[: array.ndim],
        frame_times=times,
        reader=video,
    )


def _reopen(path: str, cache_bytes: int) -> VideoReader:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamagedSourceWarning)  # shown when the file was opened first
        return VideoReader(path, cache_bytes=cache_bytes)


def _trusted_file(path: str, info: ffmpeg.VideoInfo, index: PacketIndex) -> tuple[str, FrameIndex]:
    """Return the file to decode (the video itself, or a copy that has an index) and its frames."""
    if is_indexed(info.container) and not index.ambiguous:
        if info.codec in _HIDES_FRAMES:
            return path, trusted_table(path, index)
        table = index.table
        if (
            info.pixel_format == "pal8"
        ):  # the palette comes with the first packet only, so nothing can be skipped
            table = FrameIndex(table.pts, table.keys[:1], table.time_base)
        return path, table
    try:
        copy = remuxed(path)
        copied = read_packet_index(copy)
    except SourceError:
        return path, trusted_table(path, index)
    if not index.ambiguous and not copied.ambiguous and len(copied.table) == len(index.table):
        return copy, copied.table
    table = trusted_table(copy, copied)
    # A copy of packets without times can carry made-up ones that the decoder does not confirm.
    return (path, trusted_table(path, index)) if table.by_order else (copy, table)


def _warn_of_damage(path: str, info: ffmpeg.VideoInfo, complaints: tuple[str, ...], readable: int) -> None:
    if not complaints:
        return
    claimed = ""
    if info.duration and info.frame_rate:
        count = round(info.duration * info.frame_rate)
        if count > readable:
            claimed = f" of about {count}"
    warnings.warn(
        f"{path} is damaged or cut off: {readable} frames{claimed} are readable ({ffmpeg.reason(list(complaints))}).",
        DamagedSourceWarning,
        stacklevel=3,
    )

"""One running ffmpeg that writes the frames of a video, in order, from one frame on."""

from __future__ import annotations

import io
import subprocess
import threading
import time
import weakref
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.frames.video import ffmpeg
from napari_sam2.frames.video.packet_index import FrameIndex, shown_frame

# How pixels are made from a video's colours, named so that builds with another default give the same pixels. swscale
# takes its fast path with this one; with accurate rounding it needs five times as long.
SCALER = "bicubic"

Decoded = tuple[int, NDArray[Any]]


@dataclass(frozen=True)
class PixelFormat:
    """Format of decoded frames.

    Attributes
    ----------
    name : str
        ffmpeg's name: ``rgb24`` or ``gray16le``.
    shape : tuple of int
        (H, W, 3) or (H, W).
    dtype : str
        ``uint8`` or ``uint16``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, info: ffmpeg.VideoInfo) -> PixelFormat:
        """Return 8-bit RGB, or 16-bit grey for a video that is grey with more than 8 bits."""
        if info.deep_grey:
            return cls("gray16le", info.size, "uint16")
        return cls("rgb24", (*info.size, 3), "uint8")


class FramePipe:
    """A running ffmpeg that gives the frames of a video in order, from one frame on.

    Every frame comes with its presentation time (ffmpeg writes both, with ``-stats_enc_pre`` or ``showinfo``), so a
    frame that the decoder drops is noticed and never shifts the ones behind it.

    Parameters
    ----------
    path : str
        The video.
    table : FrameIndex
        Its frames.
    pixels : PixelFormat
        Format of the frames.
    first : int
        The first frame that is wanted; frames before it are decoded where needed, but not given.
    earlier : int
        How many groups of pictures before the frame's own decoding starts.
    """

    def __init__(
        self, path: str, table: FrameIndex, pixels: PixelFormat, first: int, earlier: int = 0
    ) -> None:
        self._pixels = pixels
        self._first = first
        self._by_order = table.by_order
        command = _command(path, table, pixels, first, earlier)
        self._process = ffmpeg.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        self._reports_times = ffmpeg.build().reports_times
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._stdout = self._process.stdout
        # The pipe keeps its usual size: no gain was seen from a wider one (timings were noisy).
        self._times = io.BufferedReader(self._process.stderr)  # type: ignore[type-var]
        self._count = 0
        self._waiting: list[float] = []  # since when a frame is waited for; shared with the watchdog
        self._closed = threading.Event()
        watchdog = (self._process, self._waiting, self._closed)
        threading.Thread(target=ffmpeg.end_when_stuck, args=watchdog, daemon=True).start()
        self._finalizer = weakref.finalize(self, _end, self._process, self._times, self._closed)

    def read(self) -> Decoded | None:
        """Return the next frame as (presentation time, pixels of its own), or None at the end."""
        frame = np.empty(self._pixels.shape, self._pixels.dtype)
        view = frame.data.cast("B")
        filled = 0
        self._waiting[:] = [time.monotonic()]
        while filled < len(view):
            try:
                count = self._stdout.readinto(view[filled:])  # type: ignore[attr-defined]
            except ValueError:  # closed by another thread
                return None
            if not count:
                self._check_end()
                return None
            filled += count
        # ffmpeg writes a frame's line before its pixels, so it is there by now, and the two pipes never fill up.
        number, pts = self._next_time()
        self._waiting.clear()
        if number != self._count:
            return None  # a time was lost: better no frame than one under a wrong number
        self._count += 1
        return (self._first + number if self._by_order else pts), frame

    def _next_time(self) -> tuple[int, int]:
        """Return number and presentation time of the frame that ffmpeg wrote last; a number of -1 where it is lost."""
        for line in self._times:
            if self._reports_times:
                fields = line.split()
                return (int(fields[0]), int(fields[1])) if len(fields) == 2 else (-1, 0)
            shown = shown_frame(line)
            if shown is not None:
                return shown
        return -1, 0

    def _check_end(self) -> None:
        """Raise SourceError where ffmpeg ended for a reason that is none of the video's."""
        self._waiting.clear()
        if not self._closed.is_set():
            ffmpeg.check_exit(self._process.wait())

    def close(self) -> None:
        """End ffmpeg."""
        self._finalizer()


def _command(path: str, table: FrameIndex, pixels: PixelFormat, first: int, earlier: int) -> list[str]:
    seek: list[str] = []
    position = table.seek_pts(first, earlier)
    if position is not None:
        # Times in the table are absolute (-copyts); -ss counts from the start of the container unless told otherwise.
        seek = ["-noaccurate_seek", "-seek_timestamp", "1", "-ss", f"{position * float(table.time_base):.6f}"]
    cut = f"trim=start_frame={first}" if table.by_order else f"trim=start_pts={int(table.pts[first])}"
    height, width = pixels.shape[:2]
    build = ffmpeg.build()
    filters = f"{cut},scale={width}:{height}:flags={SCALER}{build.chroma_location}"
    # fmt: off
    if build.reports_times:
        level = "quiet"
        times = ["-enc_time_base", "demux", "-stats_enc_pre", "pipe:2", "-stats_enc_pre_fmt", "{n} {ptsi}"]
    else:
        level, times, filters = "info", [], f"{filters},showinfo"
    return [ffmpeg.executable(), "-hide_banner", "-nostdin", "-nostats", "-v", level, "-copyts", *seek,
            *ffmpeg.source_arguments(path), "-map", ffmpeg.STREAM, *build.passthrough, "-vf", filters,
            "-c:v", "rawvideo", "-pix_fmt", pixels.name, *times, "-f", "rawvideo", "pipe:1"]
    # fmt: on


def _end(process: subprocess.Popen[bytes], times: IO[bytes], closed: threading.Event) -> None:
    closed.set()
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
    times.close()

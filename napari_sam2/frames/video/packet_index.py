"""Frames of a video and places where decoding can start, read from its packets without decoding.

ffmpeg lists every packet of a stream in its ``framecrc`` format. The presentation times in that list are those of the
decoded frames, so they name frames exactly where frame numbers computed from a frame rate do not.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import threading
from array import array
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from napari_sam2.frames.errors import SourceError
from napari_sam2.frames.video import ffmpeg

_NO_TIME = -(2**63)
_KEY, _CORRUPT, _DISCARD = 0x1, 0x2, 0x4


@dataclass(frozen=True)
class FrameIndex:
    """The frames of a video in the order in which they are shown.

    Attributes
    ----------
    pts : ndarray of int64, shape (N,)
        Presentation time of each frame in units of ``time_base``, ascending. In a table ``by_order`` they are
        just 0, 1, 2, …
    keys : ndarray of int64, shape (K,)
        Presentation times at which decoding can start, ascending.
    time_base : Fraction
        Seconds per unit of ``pts``.
    by_order : bool
        True where the file has no usable times: frames can only be counted from the start.
    """

    pts: NDArray[np.int64]
    keys: NDArray[np.int64]
    time_base: Fraction
    by_order: bool = False

    def __len__(self) -> int:
        return len(self.pts)

    def seconds(self) -> NDArray[np.float64]:
        """Return the time of each frame after the first, in seconds; shape (N,)."""
        return np.asarray((self.pts - self.pts[0]) * float(self.time_base))

    def frame_of(self, pts: int) -> int | None:
        """Return the frame shown at a presentation time, or None where the table has none."""
        place = int(np.searchsorted(self.pts, pts))
        return place if place < len(self.pts) and self.pts[place] == pts else None

    def group_start(self, frame: int) -> int:
        """Return the first frame of the group of pictures in which a frame is shown (0 before the first key frame)."""
        place = int(np.searchsorted(self.keys, self.pts[frame], side="right")) - 1
        return 0 if place < 0 else int(np.searchsorted(self.pts, self.keys[place]))

    def seek_pts(self, frame: int, earlier: int = 0) -> float | None:
        """Return the time to seek to so that decoding passes a frame: in its group, or ``earlier`` groups before.

        None means: from the beginning of the file.
        """
        place = int(np.searchsorted(self.keys, self.pts[frame], side="right")) - 1 - earlier
        if self.by_order or place < 1:
            return None
        # A quarter of the way to the next frame: rounding in the container can't push it before the key frame.
        target = frame if earlier == 0 else int(np.searchsorted(self.pts, self.keys[place]))
        following = self.pts[target + 1] if target + 1 < len(self.pts) else self.pts[target] + 1
        return float(self.pts[target]) + 0.25 * float(following - self.pts[target])


@dataclass(frozen=True)
class PacketIndex:
    """A frame index with the signs that it is wrong.

    Attributes
    ----------
    table : FrameIndex
        The frames.
    ambiguous : bool
        True where packets without times or with equal times mean that the table must not be trusted.
    complaints : tuple of str
        What the demuxer complained about: signs of damage.
    """

    table: FrameIndex
    ambiguous: bool
    complaints: tuple[str, ...]


def read_packet_index(path: str) -> PacketIndex:
    """List the packets of the first video stream of a file; reads the file once and decodes nothing.

    Raises
    ------
    SourceError
        If the file holds no frame.
    """
    # fmt: off
    command = [ffmpeg.executable(), "-hide_banner", "-nostdin", "-v", "error", "-copyts",
               *ffmpeg.source_arguments(path), "-map", ffmpeg.STREAM, "-c", "copy", "-f", "framecrc", "-"]
    # fmt: on
    times, flags = array("q"), array("q")
    time_base = Fraction(1)
    with tempfile.TemporaryFile() as log:
        with ffmpeg.start(command, stdout=subprocess.PIPE, stderr=log, bufsize=1 << 16) as process:
            assert process.stdout is not None
            limit = threading.Timer(ffmpeg.PASS_SECONDS, process.kill)
            limit.daemon = True
            limit.start()
            for line in process.stdout:
                if line.startswith(b"#tb 0:"):
                    time_base = Fraction(line[6:].decode().strip())
                elif not line.startswith(b"#"):
                    _add_packet(line, times, flags)
            limit.cancel()
        ffmpeg.check_exit(process.returncode)
        log.seek(0)
        said = log.read(1 << 16).decode("utf-8", "replace").splitlines()
    complaints = tuple(line for line in said if "monotonically" not in line)
    return _index(np.array(times, np.int64), np.array(flags, np.int64), time_base, complaints, path)


def read_decoded_times(path: str) -> NDArray[np.int64]:
    """Return the presentation times of all frames as the decoder gives them; decodes the whole file. Shape (N,)."""
    build = ffmpeg.build()
    # fmt: off
    level = "quiet" if build.reports_times else "info"
    command = [ffmpeg.executable(), "-hide_banner", "-nostdin", "-nostats", "-v", level, "-copyts",
               *ffmpeg.source_arguments(path), "-map", ffmpeg.STREAM, *build.passthrough]
    if build.reports_times:
        command += ["-c:v", "wrapped_avframe", "-stats_enc_pre", "pipe:1", "-stats_enc_pre_fmt", "{ptsi}"]
        done = ffmpeg.finished([*command, "-f", "null", "-"], ffmpeg.PASS_SECONDS, capture_output=True)
        return np.array([int(line) for line in done.stdout.split()], np.int64)
    done = ffmpeg.finished([*command, "-vf", "showinfo", "-f", "null", "-"], ffmpeg.PASS_SECONDS, capture_output=True)
    # fmt: on
    shown = (shown_frame(line) for line in done.stderr.splitlines())
    return np.array([frame[1] for frame in shown if frame is not None], np.int64)


def shown_frame(line: bytes) -> tuple[int, int] | None:
    """Return (number, presentation time) from a line that ffmpeg's filter ``showinfo`` logs for a frame, or None."""
    found = re.search(rb"showinfo.*\bn: *(\d+) +pts: *(-?\d+) ", line)
    return None if found is None else (int(found[1]), int(found[2]))


def trusted_table(path: str, index: PacketIndex) -> FrameIndex:
    """Resolve an ambiguous index by decoding the file once.

    Times of frames that the decoder never shows are dropped; where its times are no use either, the table is
    ``by_order``.
    """
    decoded = read_decoded_times(path)
    table = index.table
    usable = (
        len(decoded) > 0 and bool((np.diff(decoded) > 0).all()) and bool(np.isin(decoded, table.pts).all())
    )
    if usable:
        return FrameIndex(decoded, table.keys, table.time_base)
    if len(decoded) == 0:
        raise SourceError(f"{path} holds no frame that can be decoded.")
    order = np.arange(len(decoded), dtype=np.int64)
    return FrameIndex(order, order[:1], table.time_base, by_order=True)


def _add_packet(line: bytes, times: array[int], flags: array[int]) -> None:
    # "stream, dts, pts, duration, size, checksum[, F=0xflags][, side data …]"; no F means: a key frame, nothing else
    fields = line.split(b",")
    if len(fields) < 6 or int(fields[4]) == 0:
        return  # a packet without content repeats the frame before it and is not decoded to one
    flag = _KEY
    if len(fields) > 6 and fields[6].strip().startswith(b"F="):
        flag = int(fields[6].strip()[2:], 16)
    times.append(int(fields[2]))
    flags.append(flag)


def _index(
    times: NDArray[np.int64],
    flags: NDArray[np.int64],
    time_base: Fraction,
    complaints: tuple[str, ...],
    path: str,
) -> PacketIndex:
    while len(times) and flags[-1] & _CORRUPT:  # where a truncated file ends
        times, flags = times[:-1], flags[:-1]
        complaints = (*complaints, "the last packet is incomplete")
    corrupt = int((flags & _CORRUPT > 0).sum())
    if corrupt:
        complaints = (*complaints, f"{corrupt} packets are corrupt")
    known = times != _NO_TIME
    keys = np.unique(times[known & (flags & _KEY > 0)])
    shown = times[known & (flags & _DISCARD == 0)]
    if len(shown) and len(keys):
        # What is shown before the first place where decoding can start has lost the frames that it builds on.
        shown = shown[shown >= keys[0]]
    pts = np.unique(shown)
    ambiguous = len(pts) < len(shown) or not bool(known.all())
    if len(times) == 0 or (len(pts) == 0 and not ambiguous):
        raise SourceError(f"{path} holds no video frame; it may be empty or cut off.")
    return PacketIndex(FrameIndex(pts, keys, time_base), ambiguous, complaints)

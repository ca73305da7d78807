"""Decoding in this process with PyAV, where it is installed: the same frames without starting a program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.frames.video.ffmpeg_decoder import Decoded, PixelFormat
from napari_sam2.frames.video.packet_index import FrameIndex

# swscale's number of frame_pipe.SCALER.
_BICUBIC = 4
# More frames than any decoder holds back.
_MAX_DELAY = 64


class PyavDecoder:
    """Decode one video with PyAV; parameters as of :class:`~napari_sam2.frames.video.ffmpeg_decoder.FramePipe`."""

    def __init__(
        self, path: str, table: FrameIndex, pixels: PixelFormat, first: int, earlier: int = 0
    ) -> None:
        import av

        self._pixels = pixels
        self._table = table
        self._first = first
        self._container = av.open(path)
        # Not streams.video[0]: that may be a cover picture.
        streams = [
            s for s in self._container.streams.video if not s.disposition & av.stream.Disposition.attached_pic
        ]
        self._stream = streams[0]
        self._stream.thread_type = "AUTO"
        position = table.seek_pts(first, earlier)
        if position is not None:
            self._container.seek(int(position), stream=self._stream, backward=True)
        self._frames = self._decode()

    def read(self) -> Decoded | None:
        """The next frame as (presentation time, pixels), or None at the end."""
        return next(self._frames, None)

    def close(self) -> None:
        """Close the file."""
        self._frames.close()  # type: ignore[attr-defined]
        self._container.close()

    def _decode(self) -> Iterator[Decoded]:
        first_pts = int(self._table.pts[self._first])
        for count, frame in enumerate(self._decoded()):
            pts = count if self._table.by_order else frame.pts
            if pts is not None and pts >= first_pts:
                yield pts, self._array(frame)

    def _decoded(self) -> Iterator[Any]:
        import av

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:
                break  # the file is cut off here; the decoder still holds frames
            try:
                yield from packet.decode()
            except av.error.FFmpegError:
                continue  # a damaged packet: go on with the next, as ffmpeg does
        for _ in range(_MAX_DELAY):
            try:
                yield from self._stream.codec_context.decode(None)
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                continue

    def _array(self, frame: Any) -> NDArray[Any]:
        turns = (round(frame.rotation / 90)) % 4
        height, width = self._pixels.shape[:2]
        if turns % 2:
            height, width = width, height
        picture = frame.reformat(width=width, height=height, format=self._pixels.name, interpolation=_BICUBIC)
        return np.ascontiguousarray(np.rot90(picture.to_ndarray(), turns))

"""Frames that were decoded lately, up to a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from numpy.typing import NDArray


class FrameCache:
    """The least recently used frame leaves first.

    Parameters
    ----------
    max_bytes : int
        Bytes of all frames together. One frame is always kept, however large.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._frames: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    def __contains__(self, frame: int) -> bool:
        return frame in self._frames

    def get(self, frame: int) -> NDArray[Any] | None:
        """The frame's pixels, which now count as used, or None."""
        pixels = self._frames.get(frame)
        if pixels is not None:
            self._frames.move_to_end(frame)
        return pixels

    def put(self, frame: int, pixels: NDArray[Any]) -> None:
        """Keep a frame and drop what no longer fits."""
        old = self._frames.pop(frame, None)
        self.nbytes += pixels.nbytes - (0 if old is None else old.nbytes)
        self._frames[frame] = pixels
        while self.nbytes > self._max_bytes and len(self._frames) > 1:
            self.nbytes -= self._frames.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Drop all frames."""
        self._frames.clear()
        self.nbytes = 0

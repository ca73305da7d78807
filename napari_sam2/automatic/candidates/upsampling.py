"""Low-resolution logits at the size of the frame: only where a mask can be, in pieces of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Pixels that are made at a time: 512 KiB of float32, which stay in a CPU's caches.
PIXELS_AT_ONCE = 1 << 17
FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LowResolution:
    """A window of a low-resolution grid of logits.

    Parameters
    ----------
    values : ndarray of float32, shape (a, b)
        The window. What lies outside of it must not matter to who asks.
    row, column : int
        Where it starts on the grid.
    grid : tuple of int
        (h, w) of the whole grid.
    """

    values: FloatArray
    row: int
    column: int
    grid: tuple[int, int]

    def strips(self, size: tuple[int, int], limit: float) -> Iterator[tuple[FloatArray, int, int]]:
        """Enlarge to (H, W) the box in which pixels can exceed ``limit``, in strips of whole columns.

        Bilinear, as the reference's ``postprocess_masks`` up to the rounding of the last bit. A pixel can only exceed
        the limit when one of the cells it draws on does: what is left out lies at or below it.

        Yields
        ------
        (strip, x0, y0)
            float32 (rows, columns), and the pixel of its upper left corner. Its columns lie together in memory, which
            the next strip uses again.
        """
        above = self.values > limit
        rows, columns = np.flatnonzero(above.any(1)), np.flatnonzero(above.any(0))
        if not len(rows):
            return
        y0, y1 = _pixels(self.row + rows[0], self.row + rows[-1], size[0], self.grid[0])
        x0, x1 = _pixels(self.column + columns[0], self.column + columns[-1], size[1], self.grid[1])
        if y1 <= y0:
            return
        # Columns first, a small array; then all their pixels along x, each one copied from whole columns.
        vertical = _sources(y0, y1, size[0], self.grid[0])
        tall = np.ascontiguousarray(_between(self.values, self.row, vertical).T)
        step = max(1, PIXELS_AT_ONCE // (y1 - y0))
        room = np.empty((2, min(step, x1 - x0), y1 - y0), np.float32)
        for left in range(x0, x1, step):
            right = min(left + step, x1)
            horizontal = _sources(left, right, size[1], self.grid[1])
            yield _between(tall, self.column, horizontal, room[:, : right - left]).T, left, y0


def _pixels(first: int, last: int, length: int, cells: int) -> tuple[int, int]:
    """Return the range of pixels of ``length`` that draw on cells first…last of ``cells``."""
    scale = length / cells
    low = 0 if first == 0 else int(np.ceil((first - 0.5) * scale - 0.5))
    high = length if last == cells - 1 else int(np.floor((last + 1.5) * scale - 0.5)) + 1
    return max(low, 0), min(high, length)


def _between(
    values: FloatArray,
    origin: int,
    sources: tuple[NDArray[np.int64], NDArray[np.int64], FloatArray],
    room: FloatArray | None = None,
) -> FloatArray:
    """Interpolate rows of a window that starts at row ``origin`` of its grid; in ``room`` (2, rows, ...), if given."""
    low, high, weight = sources
    if room is None:
        room = np.empty((2, len(low), *values.shape[1:]), np.float32)
    # Clipped, because a source with weight 0 may lie one cell beyond the window.
    below = np.take(values, low - origin, axis=0, out=room[0], mode="clip")
    out: FloatArray = np.take(values, high - origin, axis=0, out=room[1], mode="clip")
    out -= below
    out *= weight[:, None]
    out += below
    return out


def _sources(
    start: int, stop: int, length: int, cells: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """For pixels start…stop of ``length``: the two cells (of ``cells``) each lies between, and the second's weight."""
    # Rounded where PyTorch rounds, whose weights differ from the true ones by 1e-5 at the far end of a grid.
    scale = float(np.float32(cells) / np.float32(length))
    position = ((np.arange(start, stop, dtype=np.float64) + 0.5) * scale - 0.5).astype(np.float32)
    position = np.clip(position, 0, cells - 1)
    low = position.astype(np.int64)
    return low, np.minimum(low + 1, cells - 1), position - low.astype(np.float32)

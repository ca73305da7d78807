"""Masks as runs of pixels, made and used without ever holding a frame-size array."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from napari_sam2.masks import Rle

# Pixels that are addressed one by one at a time.
_PAINT_PIXELS = 1 << 22
Piece = tuple[NDArray[np.bool_], int, int]


@dataclass(frozen=True, eq=False)
class Runs:
    """One mask of a frame as runs of its pixels, column by column, as COCO counts them.

    Parameters
    ----------
    size : tuple of int
        (height, width) of the frame.
    starts, ends : ndarray of int64, shape (N,)
        Pixel ``x * height + y`` where each run starts, and where it has ended; in order, with gaps between them.
    """

    size: tuple[int, int]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int((self.ends - self.starts).sum())

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.starts.nbytes + self.ends.nbytes

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """Smallest box (x0, y0, x1, y1), right and lower edge exclusive; None when the mask is empty."""
        if not len(self.starts):
            return None
        height = self.size[0]
        first, last = self.starts // height, (self.ends - 1) // height
        x0, x1 = int(first[0]), int(last[-1]) + 1
        if (first != last).any():
            return x0, 0, x1, height  # a run that goes on in the next column fills the height
        return x0, int((self.starts % height).min()), x1, int(((self.ends - 1) % height).max()) + 1

    def counts(self) -> list[int]:
        """Return COCO's uncompressed counts: outside, inside, outside… (counterpart: ``mask_to_rle_pytorch``)."""
        height, width = self.size
        edges = np.empty(2 * len(self.starts) + 2, np.int64)
        edges[0], edges[-1] = 0, height * width
        edges[1:-1:2], edges[2:-1:2] = self.starts, self.ends
        lengths: list[int] = np.diff(edges).tolist()
        # A mask that reaches the last pixel ends with its own run.
        return lengths if len(lengths) == 1 or lengths[-1] > 0 else lengths[:-1]

    def rle(self) -> Rle:
        """Return COCO's compressed run lengths."""
        height, width = self.size
        packed = coco.frPyObjects({"size": [height, width], "counts": self.counts()}, height, width)
        return Rle(self.size, packed["counts"].decode("ascii"))

    def crop(self) -> Piece:
        """Return the mask inside its box, bool (h, w), and the box's left and upper edge; 0 × 0 when empty."""
        box = self.box
        if box is None:
            return np.zeros((0, 0), bool), 0, 0
        x0, y0, x1, y1 = box
        shape = (x1 - x0, y1 - y0)
        change = np.zeros(shape[0] * shape[1] + 1, np.int8)
        last = self.ends - 1
        np.add.at(change, (self.starts // self.size[0] - x0) * shape[1] + self.starts % self.size[0] - y0, 1)
        np.add.at(change, (last // self.size[0] - x0) * shape[1] + last % self.size[0] - y0 + 1, -1)
        inside = np.cumsum(change[:-1], dtype=np.int8).view(bool)
        return inside.reshape(shape).T, x0, y0

    def decode(self) -> NDArray[np.bool_]:
        """Return the whole mask, bool (H, W)."""
        out = np.zeros(self.size, bool)
        inside, x0, y0 = self.crop()
        out[y0 : y0 + inside.shape[0], x0 : x0 + inside.shape[1]] = inside
        return out

    def pixels(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield the mask's pixels as (rows, columns), a bounded number at a time."""
        for starts, ends in self._pieces():
            lengths = ends - starts
            offsets = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
            index = offsets + np.arange(len(offsets))
            yield index % self.size[0], index // self.size[0]

    def contains(self, x: int, y: int) -> bool:
        """Tell whether a pixel of the frame belongs to the mask."""
        height, width = self.size
        if not (0 <= x < width and 0 <= y < height):
            return False
        row = int(np.searchsorted(self.starts, x * height + y, side="right")) - 1
        return row >= 0 and x * height + y < int(self.ends[row])

    def _pieces(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        done = 0
        total = np.cumsum(self.ends - self.starts)
        while done < len(self.starts):
            before = int(total[done - 1]) if done else 0
            stop = max(done + 1, int(np.searchsorted(total, before + _PAINT_PIXELS, side="right")))
            if stop == done + 1 and int(total[done]) - before > _PAINT_PIXELS:
                for low in range(int(self.starts[done]), int(self.ends[done]), _PAINT_PIXELS):
                    yield np.array([low]), np.array([min(low + _PAINT_PIXELS, int(self.ends[done]))])
            else:
                yield self.starts[done:stop], self.ends[done:stop]
            done = stop


def runs_of(mask: NDArray[np.bool_], size: tuple[int, int] | None = None, x0: int = 0, y0: int = 0) -> Runs:
    """Return the runs of a mask (h, w) at (x0, y0) on a frame of ``size`` (default: the mask is the frame)."""
    return joined_runs([(mask, x0, y0)], size or (mask.shape[0], mask.shape[1]))


def joined_runs(pieces: Iterable[Piece], size: tuple[int, int]) -> Runs:
    """Return the runs of a mask that comes in disjoint pieces (mask, x0, y0), such as bands of rows or columns."""
    parts = [_piece_runs(mask, size[0], x0, y0) for mask, x0, y0 in pieces]
    if not parts:
        return Runs(size, np.empty(0, np.int64), np.empty(0, np.int64))
    starts = np.sort(np.concatenate([part[0] for part in parts]))
    ends = np.sort(np.concatenate([part[1] for part in parts]))
    apart = np.ones(len(starts) + 1, bool)
    apart[1:-1] = starts[1:] != ends[:-1]
    return Runs(size, starts[apart[:-1]], ends[apart[1:]])


def _piece_runs(mask: NDArray[np.bool_], height: int, x0: int, y0: int) -> tuple[NDArray[Any], NDArray[Any]]:
    rows, columns = mask.shape
    # One pixel of background below each column, so that no run goes on into the next one.
    flat = np.zeros((columns, rows + 1), bool)
    flat[:, :rows] = mask.T
    flat = flat.ravel()
    change = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat.size and flat[0]:
        change = np.concatenate([[0], change])
    column, row = np.divmod(change.astype(np.int64), rows + 1)
    place = (column + x0) * height + row + y0
    return place[::2], place[1::2]

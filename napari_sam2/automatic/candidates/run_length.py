"""Masks as runs of pixels, made and used without ever holding a frame-size array."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from napari_sam2.masks import Rle

# Pixels that are unpacked at a time.
_PIECE_PIXELS = 1 << 22
Piece = tuple[NDArray[np.bool_], int, int]


@dataclass(frozen=True, eq=False)
class RunLengthMask:
    """One mask of a frame as runs of its pixels, column by column, as COCO counts them.

    Parameters
    ----------
    size : tuple of int
        (height, width) of the frame.
    lengths : ndarray of an unsigned integer, shape (2 N,)
        Pixels outside, inside, outside… counted from pixel 0, where pixel ``x * height + y`` is (x, y); the last one
        is inside, what follows is outside.
    """

    size: tuple[int, int]
    lengths: NDArray[np.unsignedinteger[Any]]

    def edges(self) -> NDArray[np.int64]:
        """Return the pixels where runs start (even rows) and where they have ended (odd rows), in order."""
        return np.cumsum(self.lengths, dtype=np.int64)

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(self.lengths[1::2].sum(dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.lengths.nbytes

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """Smallest box (x0, y0, x1, y1), right and lower edge exclusive; None when the mask is empty."""
        if not len(self.lengths):
            return None
        height = self.size[0]
        starts, ends = self._starts_and_ends()
        first, last = starts // height, (ends - 1) // height
        x0, x1 = int(first[0]), int(last[-1]) + 1
        if (first != last).any():
            return x0, 0, x1, height  # a run that goes on in the next column fills the height
        return x0, int((starts % height).min()), x1, int(((ends - 1) % height).max()) + 1

    def counts(self) -> list[int]:
        """Return COCO's uncompressed counts: outside, inside, outside… (counterpart: ``mask_to_rle_pytorch``)."""
        lengths: list[int] = self.lengths.tolist()
        left = self.size[0] * self.size[1] - sum(lengths)
        # A mask that reaches the last pixel ends with its own run.
        return lengths if lengths and not left else [*lengths, left]

    def rle(self) -> Rle:
        """Return COCO's compressed run lengths."""
        height, width = self.size
        packed = coco.frPyObjects({"size": [height, width], "counts": self.counts()}, height, width)
        return Rle(self.size, packed["counts"].decode("ascii"))

    def crop(self) -> Piece:
        """Return the mask inside its box, bool (h, w), and the box's left and upper edge; 0 × 0 when empty."""
        pieces = list(self.pieces())
        if not pieces:
            return np.zeros((0, 0), bool), 0, 0
        inside = pieces[0][0] if len(pieces) == 1 else np.concatenate([mask.T for mask, _, _ in pieces]).T
        return inside, pieces[0][1], pieces[0][2]

    def decode(self) -> NDArray[np.bool_]:
        """Return the whole mask, bool (H, W)."""
        out = np.zeros(self.size, bool)
        self.paint(out, True)
        return out

    def paint(self, image: NDArray[Any], value: int) -> None:
        """Write a value into an image (H, W), wherever the mask is."""
        for mask, x0, y0 in self.pieces():
            part = image[y0 : y0 + mask.shape[0], x0 : x0 + mask.shape[1]]
            np.copyto(part, image.dtype.type(value), where=mask)

    def pieces(self) -> Iterator[Piece]:
        """Yield the box of the mask in strips of whole columns of the box: (mask, x0, y0), from left to right."""
        box = self.box
        if box is None:
            return
        x0, y0, x1, y1 = box
        height, edges = self.size[0], self.edges()
        step = max(1, _PIECE_PIXELS // height)
        for left in range(x0, x1, step):
            right = min(left + step, x1)
            first, last = np.searchsorted(edges, [left * height, right * height], side="right")
            cuts = np.concatenate([[left * height], edges[first:last], [right * height]])
            flat = np.repeat(np.arange(first, last + 1) % 2 == 1, np.diff(cuts))
            yield flat.reshape(-1, height)[:, y0:y1].T, left, y0

    def contains(self, x: int, y: int) -> bool:
        """Return whether a pixel of the frame belongs to the mask."""
        height, width = self.size
        if not (0 <= x < width and 0 <= y < height):
            return False
        return bool(np.searchsorted(self.edges(), x * height + y, side="right") % 2)

    def _starts_and_ends(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        edges = self.edges()
        return edges[::2], edges[1::2]


def run_length_mask(
    mask: NDArray[np.bool_], size: tuple[int, int] | None = None, x0: int = 0, y0: int = 0
) -> RunLengthMask:
    """Return the runs of a mask (h, w) at (x0, y0) on a frame of ``size`` (default: the mask is the frame)."""
    return joined_pieces([(mask, x0, y0)], size or (mask.shape[0], mask.shape[1]))


def joined_pieces(pieces: Iterable[Piece], size: tuple[int, int]) -> RunLengthMask:
    """Return the runs of a mask that comes in disjoint pieces (mask, x0, y0), such as bands of rows or columns."""
    parts = [_edges(mask, size[0], x0, y0) for mask, x0, y0 in pieces]
    edges = np.concatenate(parts) if parts else np.empty(0, np.int64)
    if (edges[1:] < edges[:-1]).any():  # bands of rows; strips of columns come in order
        edges.sort()
    # Where one run ends and the next one starts there is no edge.
    apart = np.ones(len(edges) + 1, bool)
    np.not_equal(edges[1:], edges[:-1], out=apart[1:-1])
    if not apart.all():
        edges = edges[apart[:-1] & apart[1:]]
    lengths = np.diff(edges, prepend=0)
    return RunLengthMask(size, lengths.astype(np.min_scalar_type(int(lengths.max(initial=0)))))


def _edges(mask: NDArray[np.bool_], height: int, x0: int, y0: int) -> NDArray[np.int64]:
    """Return the pixels of the frame where the mask begins or has ended, column by column."""
    rows, columns = mask.shape
    # One pixel of background below each column, so that no run goes on into the next one.
    inside = np.zeros((columns, rows + 1), bool)
    inside[:, :rows] = mask.T
    flat = inside.ravel()
    change = np.empty(flat.shape, bool)
    change[:1] = flat[:1]
    np.not_equal(flat[1:], flat[:-1], out=change[1:])
    place = np.flatnonzero(change)
    # Columns by searching, because dividing millions of numbers takes longer than all the rest.
    each = np.diff(np.searchsorted(place, np.arange(columns + 1) * (rows + 1)))
    place += np.repeat(np.arange(columns) * (height - rows - 1), each)
    place += x0 * height + y0
    return place

"""The part of a candidate's low-resolution logits in which its mask lies, as bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_sam2.automatic.candidates.run_length import Piece
from napari_sam2.automatic.candidates.upsampling import LowResolution
from napari_sam2.automatic.sampling.crops import Crop


@dataclass(frozen=True, eq=False)
class LogitWindow:
    """Quantised logits of one candidate around its mask.

    Parameters
    ----------
    levels : ndarray of uint8, shape (a, b)
        See :class:`~napari_sam2.automatic.candidates.quantization.Quantiser`.
    row, column : int
        Where the window starts on the low-resolution grid.
    """

    levels: NDArray[np.uint8]
    row: int
    column: int

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.levels.nbytes

    def pieces(
        self, logits: NDArray[np.float32], grid: tuple[int, int], crop: Crop, threshold: float
    ) -> Iterator[Piece]:
        """Yield the mask above a threshold as strips (mask, x0, y0) in pixels of the frame.

        Parameters
        ----------
        logits : ndarray of float32, shape (256,)
            The logit of each level.
        grid : tuple of int
            (h, w) of the low-resolution grid.
        crop : Crop
            The part of the frame that the grid covers.
        threshold : float
            Logits above it belong to the mask.
        """
        low = LowResolution(logits[self.levels], self.row, self.column, grid)
        for strip, x, y in low.strips(crop.size, threshold):
            yield strip > threshold, crop.x0 + x, crop.y0 + y


def cut_windows(
    levels: NDArray[np.uint8], row_peaks: NDArray[np.uint8], column_peaks: NDArray[np.uint8], outside: int
) -> list[LogitWindow]:
    """Cut each candidate's levels (N, h, w) down to where they exceed ``outside``, and one cell around it.

    ``row_peaks`` (N, h) and ``column_peaks`` (N, w) are the highest levels of each row and column.
    """
    out = []
    for level, in_rows, in_columns in zip(levels, row_peaks > outside, column_peaks > outside):
        rows, columns = np.flatnonzero(in_rows), np.flatnonzero(in_columns)
        if not len(rows):
            out.append(LogitWindow(np.zeros((0, 0), np.uint8), 0, 0))
            continue
        top, left = max(int(rows[0]) - 1, 0), max(int(columns[0]) - 1, 0)
        part = level[top : rows[-1] + 2, left : columns[-1] + 2]
        out.append(LogitWindow(part.copy(), top, left))
    return out

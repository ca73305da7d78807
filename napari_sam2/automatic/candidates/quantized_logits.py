"""Low-resolution logits as bytes: their levels, the window around each mask, and what thresholds need of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sam2.automatic.candidates.run_length import Piece
from napari_sam2.automatic.candidates.upsampling import LowResolution
from napari_sam2.automatic.sampling.crops import Crop

FloatArray = NDArray[np.float32]
# Beyond this the reference clamps low-resolution logits, too.
LOGIT_LIMIT = 32.0
LEVELS = 256


@dataclass(frozen=True)
class Quantiser:
    """Maps logits to 256 levels and back; the step grows with the distance from ``centre``.

    Near the centre a step is about 0.03 logits, at a distance of 32 about 0.9. Levels are floors, so a logit below the
    centre stays below it.

    Parameters
    ----------
    centre : float
        The mask threshold.
    """

    centre: float = 0.0

    def levels(self, logits: Tensor) -> NDArray[np.uint8]:
        """Return the level of each logit, 0 to 255; level 128 starts at the centre."""
        distance = logits.float() - self.centre
        curve = torch.log1p(distance.abs().clamp(max=LOGIT_LIMIT)) * (128 / np.log1p(LOGIT_LIMIT))
        position = torch.where(distance < 0, -curve, curve).floor_().add_(128).clamp_(0, LEVELS - 1)
        out: NDArray[np.uint8] = position.to(torch.uint8).cpu().numpy()
        return out

    def position(self, logit: float) -> float:
        """Return where a logit lies on the scale of levels, with its fraction."""
        distance = logit - self.centre
        curve = float(np.log1p(min(abs(distance), LOGIT_LIMIT)) / np.log1p(LOGIT_LIMIT)) * 128
        return min(max(128 + (curve if distance >= 0 else -curve), 0.0), LEVELS - 1e-6)

    @cached_property
    def logits(self) -> NDArray[np.float32]:
        """The logit in the middle of each level, float32 (256,)."""
        middle = (np.arange(LEVELS) + 0.5 - 128) / 128
        distance = np.expm1(np.abs(middle) * np.log1p(LOGIT_LIMIT))
        out: NDArray[np.float32] = (self.centre + np.sign(middle) * distance).astype(np.float32)
        return out


@dataclass(frozen=True, eq=False)
class LogitWindow:
    """Quantised logits of one candidate around its mask.

    Parameters
    ----------
    levels : ndarray of uint8, shape (a, b)
        See :class:`~napari_sam2.automatic.candidates.quantized_logits.Quantiser`.
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


@dataclass(frozen=True, eq=False)
class ThresholdProfiles:
    """Per candidate, small enough to keep for thousands, and enough for areas, boxes and stability at any threshold.

    Parameters
    ----------
    above : ndarray of uint32, shape (N, 257)
        Low-resolution pixels at or above each level.
    row_peaks, column_peaks : ndarray of uint8, shape (N, h) and (N, w)
        Highest level in each row and column.
    """

    above: NDArray[np.uint32]
    row_peaks: NDArray[np.uint8]
    column_peaks: NDArray[np.uint8]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.above.nbytes + self.row_peaks.nbytes + self.column_peaks.nbytes

    def __len__(self) -> int:
        return len(self.above)

    def take(self, rows: NDArray[np.int64]) -> ThresholdProfiles:
        """Return the profiles of some candidates."""
        return ThresholdProfiles(self.above[rows], self.row_peaks[rows], self.column_peaks[rows])

    def pixels_above(self, quantiser: Quantiser, logit: float) -> FloatArray:
        """Return how many low-resolution pixels exceed a logit, (N,); within a level, in proportion."""
        position = quantiser.position(logit)
        level = int(position)
        low, high = self.above[:, level].astype(np.float32), self.above[:, level + 1].astype(np.float32)
        out: FloatArray = high + (low - high) * np.float32(1 - (position - level))
        return out

    def stability(self, quantiser: Quantiser, threshold: float, offset: float) -> FloatArray:
        """Return the stability score of each candidate, (N,); NaN where nothing exceeds the lower threshold."""
        inner = self.pixels_above(quantiser, threshold + offset)
        outer = self.pixels_above(quantiser, threshold - offset)
        with np.errstate(invalid="ignore", divide="ignore"):
            out: FloatArray = inner / outer
        return out

    def boxes(self, quantiser: Quantiser, threshold: float, sizes: NDArray[np.int64]) -> FloatArray:
        """Estimate the boxes (N, 4) of masks enlarged to ``sizes`` (N, 2) of (height, width), in pixels.

        (x0, y0, x1, y1) with x1 and y1 the last column and row, as the reference has it; zeros where empty.
        """
        top, bottom, any_row = _span(self.row_peaks, quantiser, threshold, sizes[:, 0])
        left, right, any_column = _span(self.column_peaks, quantiser, threshold, sizes[:, 1])
        boxes = np.stack([left, top, right, bottom], axis=1)
        boxes[~(any_row & any_column)] = 0
        return boxes


def _span(
    peaks: NDArray[np.uint8], quantiser: Quantiser, threshold: float, lengths: NDArray[np.int64]
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Return the first and last pixel at which the interpolated peaks (N, cells) exceed the threshold."""
    count, cells = peaks.shape
    above = (quantiser.logits > threshold)[peaks]
    first = above.argmax(1)
    last = cells - 1 - above[:, ::-1].argmax(1)
    scale = lengths / cells
    row = np.arange(count)

    def crossing(inner: NDArray[np.int64], outer: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the place of the threshold between ``inner`` (0) and ``outer`` (1)."""
        high = quantiser.logits[peaks[row, inner]].astype(np.float64)
        low = quantiser.logits[peaks[row, np.clip(outer, 0, cells - 1)]].astype(np.float64)
        return np.where(high > low, (high - threshold) / np.maximum(high - low, 1e-9), 1.0)

    start = np.ceil((first - crossing(first, first - 1) + 0.5) * scale - 0.5)
    stop = np.floor((last + crossing(last, last + 1) + 0.5) * scale - 0.5)
    start = np.where(first == 0, 0, np.clip(start, 0, lengths - 1)).astype(np.float32)
    stop = np.where(last == cells - 1, lengths - 1, np.clip(stop, 0, lengths - 1)).astype(np.float32)
    return start, np.maximum(start, stop), np.asarray(above.any(1), bool)


def profiles_of(levels: NDArray[np.uint8]) -> ThresholdProfiles:
    """Measure levels (N, h, w)."""
    count = len(levels)
    histograms = np.empty((count, LEVELS), np.int64)
    for row, level in enumerate(levels):
        histograms[row] = np.bincount(level.ravel(), minlength=LEVELS)
    above = np.zeros((count, LEVELS + 1), np.uint32)
    above[:, :LEVELS] = histograms[:, ::-1].cumsum(1)[:, ::-1]
    return ThresholdProfiles(above, levels.max(2), levels.max(1))


def joined_profiles(parts: Sequence[ThresholdProfiles]) -> ThresholdProfiles:
    """Put the profiles of several batches one after the other."""
    return ThresholdProfiles(
        np.concatenate([p.above for p in parts]),
        np.concatenate([p.row_peaks for p in parts]),
        np.concatenate([p.column_peaks for p in parts]),
    )

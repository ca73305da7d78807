"""All masks that the network returns for a grid of points, compressed so that they can be filtered again and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_sam2.automatic.candidates.candidate_masks import CandidateMasks, joined_masks
from napari_sam2.automatic.candidates.coverage import CoverageMask
from napari_sam2.automatic.candidates.run_length import RunLengthMask
from napari_sam2.automatic.options import AutomaticOptions
from napari_sam2.automatic.sampling.crops import Crop, cut_off

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Candidates:
    """All answers of the network to a grid of points on one frame.

    Parameters
    ----------
    size : tuple of int
        (height, width) of the frame.
    options : AutomaticOptions
        Options of the search.
    points : ndarray of float32, shape (N, 2)
        (x, y) on the frame where each was asked for.
    predicted_ious : ndarray of float32, shape (N,)
        The network's own estimate of the quality of each mask.
    crop_index : ndarray of int64, shape (N,)
        The part of the frame each was found in.
    crops : tuple of Crop
        The parts of the frame.
    masks : CandidateMasks
        The masks.
    asked : int
        Candidates that the network gave, including those that were not kept.
    """

    size: tuple[int, int]
    options: AutomaticOptions
    points: FloatArray
    predicted_ious: FloatArray
    crop_index: NDArray[np.int64]
    crops: tuple[Crop, ...]
    masks: CandidateMasks
    asked: int

    def __len__(self) -> int:
        return len(self.points)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.points.nbytes + self.predicted_ious.nbytes + self.crop_index.nbytes + self.masks.nbytes

    @property
    def forgotten(self) -> int:
        """Candidates that were dropped for good: looser thresholds cannot bring them back."""
        return self.asked - len(self)

    def crop_of(self, row: int) -> Crop:
        """Return the part of the frame that a candidate was found in."""
        return self.crops[int(self.crop_index[row])]

    def take(self, rows: ArrayLike) -> Candidates:
        """Return some candidates, by rows or as a bool selection; the others count as forgotten."""
        index = np.asarray(rows)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        return replace(
            self,
            points=self.points[index],
            predicted_ious=self.predicted_ious[index],
            crop_index=self.crop_index[index],
            masks=self.masks.take(index),
        )

    def stability(self, options: AutomaticOptions | None = None) -> FloatArray:
        """Return the stability score of each candidate (N,), NaN where there is no mask."""
        return self.masks.stability(options or self.options)

    def boxes(self, options: AutomaticOptions | None = None) -> FloatArray:
        """Return boxes (N, 4) as (x0, y0, x1, y1) on the frame, right and lower edge inclusive."""
        return self.masks.boxes(options or self.options, self._crop_of_each())

    def areas(self, options: AutomaticOptions | None = None) -> FloatArray:
        """Return areas (N,) in pixels of the frame."""
        return self.masks.areas(options or self.options, self._crop_of_each())

    def mask(self, row: int, options: AutomaticOptions | None = None) -> RunLengthMask:
        """Return one candidate's mask on the frame."""
        return self.masks.mask(row, options or self.options, self.crop_of(row), self.size)

    def share(
        self, row: int, coverage: CoverageMask, options: AutomaticOptions | None = None
    ) -> float | None:
        """Return how much of one candidate's mask is covered, 0 to 1; None when there is no mask."""
        return self.masks.share(row, coverage, options or self.options, self.crop_of(row))

    def cut_off(self, boxes: FloatArray) -> NDArray[np.bool_]:
        """Return which boxes end at an edge of their crop, bool (N,)."""
        out = np.zeros(len(self), bool)
        for index, crop in enumerate(self.crops):
            rows = self.crop_index == index
            out[rows] = cut_off(boxes[rows], crop, self.size)
        return out

    def _crop_of_each(self) -> list[Crop]:
        return [self.crops[i] for i in self.crop_index]


def joined(parts: Sequence[Candidates]) -> Candidates:
    """Put batches of candidates of one frame, found with the same options, one after the other."""
    if not parts:
        raise ValueError("there are no candidates to join: at least one batch is needed")
    first = parts[0]
    if any(p.size != first.size or p.options != first.options for p in parts):
        raise ValueError("candidates of different frames or options cannot be joined")
    return replace(
        first,
        points=np.concatenate([p.points for p in parts]),
        predicted_ious=np.concatenate([p.predicted_ious for p in parts]),
        crop_index=np.concatenate([p.crop_index for p in parts]),
        masks=joined_masks([p.masks for p in parts]),
        asked=sum(p.asked for p in parts),
    )

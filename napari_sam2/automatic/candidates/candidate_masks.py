"""The masks of candidates, in the two forms in which they are kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_sam2.automatic.candidates.coverage import CoverageMask
from napari_sam2.automatic.candidates.quantized_logits import (
    LogitWindow,
    Quantiser,
    ThresholdProfiles,
    cut_windows,
    joined_profiles,
    profiles_of,
)
from napari_sam2.automatic.candidates.run_length import Piece, RunLengthMask, joined_pieces
from napari_sam2.automatic.candidates.upsampling import LowResolution
from napari_sam2.automatic.options import THRESHOLD_MARGIN, AutomaticOptions
from napari_sam2.automatic.sampling.crops import Crop
from napari_sam2.session.tensors import InputGeometry

FloatArray = NDArray[np.float32]


class CandidateMasks(Protocol):
    """The masks of candidates, measured at any threshold (fast) or at one (exact)."""

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        ...

    def __len__(self) -> int: ...

    def take(self, rows: NDArray[np.int64]) -> CandidateMasks:
        """Return some of them."""
        ...

    def stability(self, options: AutomaticOptions) -> FloatArray:
        """Return stability scores (N,), NaN where there is no mask."""
        ...

    def boxes(self, options: AutomaticOptions, crops: Sequence[Crop]) -> FloatArray:
        """Return boxes (N, 4) on the frame, right and lower edge inclusive, zeros where there is no mask."""
        ...

    def areas(self, options: AutomaticOptions, crops: Sequence[Crop]) -> FloatArray:
        """Return areas (N,) in pixels of the frame."""
        ...

    def mask(self, row: int, options: AutomaticOptions, crop: Crop, size: tuple[int, int]) -> RunLengthMask:
        """Return one mask on the frame."""
        ...

    def share(self, row: int, coverage: CoverageMask, options: AutomaticOptions, crop: Crop) -> float | None:
        """Return how much of one mask is covered, 0 to 1; None when there is no mask."""
        ...


@dataclass(frozen=True, eq=False)
class FastCandidateMasks:
    """Quantised low-resolution logits and their threshold profiles.

    Parameters
    ----------
    quantiser : Quantiser
        What the levels mean.
    profiles : ThresholdProfiles
        Of all candidates.
    windows : tuple of LogitWindow
        One for each candidate.
    """

    quantiser: Quantiser
    profiles: ThresholdProfiles
    windows: tuple[LogitWindow, ...]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.profiles.nbytes + sum(window.nbytes for window in self.windows)

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the low-resolution grid."""
        return self.profiles.row_peaks.shape[1], self.profiles.column_peaks.shape[1]

    def take(self, rows: NDArray[np.int64]) -> FastCandidateMasks:
        """Return some of them."""
        return FastCandidateMasks(
            self.quantiser, self.profiles.take(rows), tuple(self.windows[r] for r in rows)
        )

    def stability(self, options: AutomaticOptions) -> FloatArray:
        """Return stability scores (N,), measured at low resolution."""
        return self.profiles.stability(self.quantiser, options.mask_threshold, options.stability_score_offset)

    def boxes(self, options: AutomaticOptions, crops: Sequence[Crop]) -> FloatArray:
        """Return boxes (N, 4) on the frame, estimated from low resolution."""
        sizes = np.array([crop.size for crop in crops], np.int64).reshape(-1, 2)
        boxes = self.profiles.boxes(self.quantiser, options.mask_threshold, sizes)
        corners = np.array([(crop.x0, crop.y0) * 2 for crop in crops], np.float32).reshape(-1, 4)
        return boxes + corners

    def areas(self, options: AutomaticOptions, crops: Sequence[Crop]) -> FloatArray:
        """Return areas (N,) in pixels of the frame, estimated from low resolution."""
        pixels = np.array([crop.size[0] * crop.size[1] for crop in crops], np.float32)
        cells = self.profiles.pixels_above(self.quantiser, options.mask_threshold)
        out: FloatArray = cells * pixels / np.float32(self.grid[0] * self.grid[1])
        return out

    def mask(self, row: int, options: AutomaticOptions, crop: Crop, size: tuple[int, int]) -> RunLengthMask:
        """Return one mask on the frame."""
        pieces = self.windows[row].pieces(self.quantiser.logits, self.grid, crop, options.mask_threshold)
        return joined_pieces(pieces, size)

    def share(self, row: int, coverage: CoverageMask, options: AutomaticOptions, crop: Crop) -> float | None:
        """Return how much of one mask is covered, measured at low resolution."""
        window = self.windows[row]
        above = (self.quantiser.logits > options.mask_threshold)[window.levels]
        if not above.any():
            return None
        rows, columns = above.shape
        cells = coverage.cells(crop, self.grid)[
            window.row : window.row + rows, window.column : window.column + columns
        ]
        return float(cells[above].mean())


@dataclass(frozen=True, eq=False)
class ExactCandidateMasks:
    """Masks that were made and measured at the frame's size, at the thresholds of ``options``.

    Parameters
    ----------
    options : AutomaticOptions
        What they were made with.
    scores : ndarray of float32, shape (N,)
        Stability scores.
    frame_boxes : ndarray of float32, shape (N, 4)
        Right and lower edge inclusive.
    masks : tuple of RunLengthMask
        One for each candidate.
    """

    options: AutomaticOptions
    scores: FloatArray
    frame_boxes: FloatArray
    masks: tuple[RunLengthMask, ...]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.scores.nbytes + self.frame_boxes.nbytes + sum(runs.nbytes for runs in self.masks)

    def __len__(self) -> int:
        return len(self.masks)

    def take(self, rows: NDArray[np.int64]) -> ExactCandidateMasks:
        """Return some of them."""
        masks = tuple(self.masks[r] for r in rows)
        return ExactCandidateMasks(self.options, self.scores[rows], self.frame_boxes[rows], masks)

    def stability(self, options: AutomaticOptions) -> FloatArray:
        """Return stability scores (N,)."""
        self._check(options)
        return self.scores

    def boxes(self, options: AutomaticOptions, crops: Sequence[Crop]) -> FloatArray:
        """Return boxes (N, 4) on the frame."""
        self._check(options)
        return self.frame_boxes

    def areas(self, options: AutomaticOptions, crops: Sequence[Crop]) -> FloatArray:
        """Return areas (N,) in pixels of the frame."""
        self._check(options)
        return np.array([runs.area for runs in self.masks], np.float32)

    def mask(self, row: int, options: AutomaticOptions, crop: Crop, size: tuple[int, int]) -> RunLengthMask:
        """Return one mask on the frame."""
        self._check(options)
        return self.masks[row]

    def share(self, row: int, coverage: CoverageMask, options: AutomaticOptions, crop: Crop) -> float | None:
        """Return how much of one mask is covered."""
        self._check(options)
        inside, x0, y0 = self.masks[row].crop()
        if not inside.size:
            return None
        part = coverage.mask[y0 : y0 + inside.shape[0], x0 : x0 + inside.shape[1]]
        return float(np.count_nonzero(part & inside) / np.count_nonzero(inside))

    def _check(self, options: AutomaticOptions) -> None:
        if options.needs_network(self.options):
            raise ValueError(
                "these candidates were found in exact mode with other or stricter thresholds: find them again, or use "
                "mode='fast', which can be filtered freely"
            )


def joined_masks(parts: Sequence[CandidateMasks]) -> CandidateMasks:
    """Put the masks of several batches one after the other."""
    fast = [p for p in parts if isinstance(p, FastCandidateMasks)]
    if len(fast) == len(parts):
        windows = tuple(window for part in fast for window in part.windows)
        return FastCandidateMasks(fast[0].quantiser, joined_profiles([p.profiles for p in fast]), windows)
    exact = [p for p in parts if isinstance(p, ExactCandidateMasks)]
    return ExactCandidateMasks(
        exact[0].options,
        np.concatenate([p.scores for p in exact]),
        np.concatenate([p.frame_boxes for p in exact]),
        tuple(runs for part in exact for runs in part.masks),
    )


def fast_masks(logits: Tensor, options: AutomaticOptions) -> FastCandidateMasks:
    """Quantise and measure low-resolution logits (N, h, w)."""
    quantiser = Quantiser(options.mask_threshold)
    levels = quantiser.levels(logits)
    profiles = profiles_of(levels)
    outside = int(quantiser.position(options.mask_threshold - THRESHOLD_MARGIN))
    windows = cut_windows(levels, profiles.row_peaks, profiles.column_peaks, outside)
    return FastCandidateMasks(quantiser, profiles, tuple(windows))


def exact_masks(
    logits: Tensor,
    options: AutomaticOptions,
    crop: Crop,
    size: tuple[int, int],
    geometry: InputGeometry | None = None,
) -> tuple[ExactCandidateMasks, list[int]]:
    """Bring low-resolution logits (N, h, w) to the frame's size and keep those that are stable.

    ``geometry`` says where the crop is in the network's input; by default it fills all of it.

    Returns
    -------
    ExactCandidateMasks
        The stable ones.
    list of int
        Their rows in ``logits``.
    """
    scores: list[float] = []
    masks: list[RunLengthMask] = []
    rows: list[int] = []
    for row in range(len(logits)):
        # One by one: with a padded input they are enlarged before they are cropped.
        inside = logits[row : row + 1].float()
        low = (inside if geometry is None else geometry.inside_logits(inside))[0].cpu().numpy()
        inner, outer, pieces = _measured(low, options, crop)
        # 0 / 0 is not a number; the reference drops it unless the filter is off.
        score = np.float32(inner) / np.float32(outer) if outer else np.float32(np.nan)
        if options.stability_score_thresh > 0 and not score >= np.float32(options.stability_score_thresh):
            continue
        scores.append(float(score))
        masks.append(joined_pieces(pieces, size))
        rows.append(row)
    boxes = np.array([_inclusive_box(runs, crop) for runs in masks], np.float32).reshape(-1, 4)
    return ExactCandidateMasks(options, np.array(scores, np.float32), boxes, tuple(masks)), rows


def _inclusive_box(runs: RunLengthMask, crop: Crop) -> tuple[int, int, int, int]:
    box = runs.box
    if box is None:
        return crop.x0, crop.y0, crop.x0, crop.y0  # where the reference puts empty masks
    return box[0], box[1], box[2] - 1, box[3] - 1


def _measured(
    low: NDArray[np.float32], options: AutomaticOptions, crop: Crop
) -> tuple[int, int, Iterable[Piece]]:
    """Return (pixels above the upper, above the lower threshold, mask in pieces) of one mask (h, w) on its crop."""
    threshold, offset = options.mask_threshold, options.stability_score_offset
    inner = outer = 0
    packed = []
    for strip, x, y in LowResolution(low, 0, 0, low.shape).strips(crop.size, threshold - offset):
        inner += int(np.count_nonzero(strip > threshold + offset))
        outer += int(np.count_nonzero(strip > threshold - offset))
        # As bits, because most masks are measured and never drawn, and a frame may have 268 million pixels.
        mask = strip > threshold
        packed.append((np.packbits(mask.T, axis=1), strip.shape[0], x, y))
    pieces = (
        (np.unpackbits(bits, axis=1, count=rows).view(bool).T, crop.x0 + x, crop.y0 + y)
        for bits, rows, x, y in packed
    )
    return inner, outer, pieces

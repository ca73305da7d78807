"""From the network's logits to candidates: measured at low resolution (fast) or at the frame's size (exact)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_sam2.automatic.candidates.candidate_masks import ExactCandidateMasks, FastCandidateMasks
from napari_sam2.automatic.candidates.logit_windows import cut_windows
from napari_sam2.automatic.candidates.quantization import Quantiser
from napari_sam2.automatic.candidates.run_length import Piece, RunLengthMask, joined_runs
from napari_sam2.automatic.candidates.threshold_profiles import profiles_of
from napari_sam2.automatic.candidates.upsampling import LowResolution
from napari_sam2.automatic.options import THRESHOLD_MARGIN, AutomaticOptions
from napari_sam2.automatic.sampling.crops import Crop


def fast_shapes(logits: Tensor, options: AutomaticOptions) -> FastCandidateMasks:
    """Quantise and measure low-resolution logits (N, h, w)."""
    quantiser = Quantiser(options.mask_threshold)
    levels = quantiser.levels(logits)
    profiles = profiles_of(levels)
    outside = int(quantiser.position(options.mask_threshold - THRESHOLD_MARGIN))
    windows = cut_windows(levels, profiles.row_peaks, profiles.column_peaks, outside)
    return FastCandidateMasks(quantiser, profiles, tuple(windows))


def exact_shapes(
    logits: Tensor, options: AutomaticOptions, crop: Crop, size: tuple[int, int]
) -> tuple[ExactCandidateMasks, list[int]]:
    """Bring low-resolution logits (N, h, w) to the frame's size and keep those that are stable.

    Returns
    -------
    ExactShapes
        The stable ones.
    list of int
        Their rows in ``logits``.
    """
    scores: list[float] = []
    masks: list[RunLengthMask] = []
    rows: list[int] = []
    for row, plane in enumerate(logits.float().cpu().numpy()):
        inner, outer, pieces = _measured(plane, options, crop)
        # 0 / 0 is not a number; the reference drops it unless the filter is off.
        score = np.float32(inner) / np.float32(outer) if outer else np.float32(np.nan)
        if options.stability_score_thresh > 0 and not score >= np.float32(options.stability_score_thresh):
            continue
        scores.append(float(score))
        masks.append(joined_runs(pieces, size))
        rows.append(row)
    boxes = np.array([_inclusive_box(runs, crop) for runs in masks], np.float32).reshape(-1, 4)
    return ExactCandidateMasks(options, np.array(scores, np.float32), boxes, tuple(masks)), rows


def _inclusive_box(runs: RunLengthMask, crop: Crop) -> tuple[int, int, int, int]:
    box = runs.box
    if box is None:
        return crop.x0, crop.y0, crop.x0, crop.y0  # where the reference puts empty masks
    return box[0], box[1], box[2] - 1, box[3] - 1


def _measured(
    plane: NDArray[np.float32], options: AutomaticOptions, crop: Crop
) -> tuple[int, int, Iterable[Piece]]:
    """Return (pixels above the upper, above the lower threshold, mask in pieces) of one mask (h, w) on its crop."""
    threshold, offset = options.mask_threshold, options.stability_score_offset
    inner = outer = 0
    packed = []
    for strip, x, y in LowResolution(plane, 0, 0, plane.shape).strips(crop.size, threshold - offset):
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

"""From the network's logits to candidates: measured at low resolution (fast) or at the frame's size (exact)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from napari_sam2.automatic.crops import Crop
from napari_sam2.automatic.enlarge import PIXELS_AT_ONCE, enlarged_bands
from napari_sam2.automatic.options import THRESHOLD_MARGIN, AutomaticOptions
from napari_sam2.automatic.profiles import profiles_of
from napari_sam2.automatic.quantise import Quantiser
from napari_sam2.automatic.runs import Piece, Runs, joined_runs
from napari_sam2.automatic.shapes import ExactShapes, FastShapes
from napari_sam2.automatic.windows import cut_windows


def fast_shapes(logits: Tensor, options: AutomaticOptions) -> FastShapes:
    """Quantise and measure low-resolution logits (N, h, w)."""
    quantiser = Quantiser(options.mask_threshold)
    levels = quantiser.levels(logits)
    profiles = profiles_of(levels)
    outside = int(quantiser.position(options.mask_threshold - THRESHOLD_MARGIN))
    windows = cut_windows(levels, profiles.row_peaks, profiles.column_peaks, outside)
    return FastShapes(quantiser, profiles, tuple(windows))


def exact_shapes(
    logits: Tensor, options: AutomaticOptions, crop: Crop, size: tuple[int, int]
) -> tuple[ExactShapes, list[int]]:
    """Bring low-resolution logits (N, h, w) to the frame's size and keep those that are stable.

    Returns
    -------
    ExactShapes
        The stable ones.
    list of int
        Their rows in ``logits``.
    """
    scores: list[float] = []
    masks: list[Runs] = []
    rows: list[int] = []
    for row, (inner, outer, pieces) in enumerate(_measured(logits, options, crop)):
        # 0 / 0 is not a number; the reference drops it unless the filter is off.
        score = np.float32(inner) / np.float32(outer) if outer else np.float32(np.nan)
        if options.stability_score_thresh > 0 and not score >= np.float32(options.stability_score_thresh):
            continue
        scores.append(float(score))
        masks.append(joined_runs(pieces, size))
        rows.append(row)
    boxes = np.array([_inclusive_box(runs, crop) for runs in masks], np.float32).reshape(-1, 4)
    return ExactShapes(options, np.array(scores, np.float32), boxes, tuple(masks)), rows


def _inclusive_box(runs: Runs, crop: Crop) -> tuple[int, int, int, int]:
    box = runs.box
    if box is None:
        return crop.x0, crop.y0, crop.x0, crop.y0  # where the reference puts empty masks
    return box[0], box[1], box[2] - 1, box[3] - 1


def _measured(
    logits: Tensor, options: AutomaticOptions, crop: Crop
) -> Iterator[tuple[int, int, Iterable[Piece]]]:
    """Yield (pixels above the upper, above the lower threshold, mask in pieces) of each mask on its crop."""
    height, width = crop.size
    at_once = PIXELS_AT_ONCE // (height * width)
    if at_once < 1:
        for plane in logits.float():
            yield _measured_in_bands(plane, options, crop)
        return
    for low in range(0, len(logits), at_once):
        part = logits[low : low + at_once, None].float()
        large = functional.interpolate(part, size=(height, width), mode="bilinear", align_corners=False)
        for plane in large[:, 0].cpu():
            inner, outer, mask = _counts(plane, options)
            yield inner, outer, [(mask, crop.x0, crop.y0)]


def _measured_in_bands(
    plane: Tensor, options: AutomaticOptions, crop: Crop
) -> tuple[int, int, Iterable[Piece]]:
    inner = outer = 0
    packed = []
    for band, top in enlarged_bands(plane, crop.size):
        more_inner, more_outer, mask = _counts(band.cpu(), options)
        inner, outer = inner + more_inner, outer + more_outer
        packed.append((np.packbits(mask, axis=1), top))
    # Bits, unpacked band by band: a frame of 16k x 16k has 268 million pixels.
    pieces = (
        (np.unpackbits(bits, axis=1, count=crop.size[1]).view(bool), crop.x0, crop.y0 + top)
        for bits, top in packed
    )
    return inner, outer, pieces


def _counts(plane: Tensor, options: AutomaticOptions) -> tuple[int, int, NDArray[np.bool_]]:
    threshold, offset = options.mask_threshold, options.stability_score_offset
    inner = int(torch.count_nonzero(plane > threshold + offset))
    outer = int(torch.count_nonzero(plane > threshold - offset))
    return inner, outer, (plane > threshold).numpy()

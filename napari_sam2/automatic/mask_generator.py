"""Masks of everything on an image: ask the network once, then filter as often as you like."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from napari_sam2.automatic.candidates.candidates import Candidates
from napari_sam2.automatic.candidates.run_length import RunLengthMask, runs_of
from napari_sam2.automatic.filters import Selection, select
from napari_sam2.automatic.nms import suppress
from napari_sam2.automatic.options import AutomaticOptions
from napari_sam2.automatic.proposals import Progress, find_candidates
from napari_sam2.automatic.result import AutomaticMask, AutomaticResult
from napari_sam2.automatic.small_regions import without_small_regions
from napari_sam2.automatic.spatial_filter import SpatialFilter
from napari_sam2.model.sam2 import Sam2
from napari_sam2.session.image import ImageSession

# Masks at the frame's size that are remembered between two filterings.
_REMEMBERED = 4096


def generate_masks(
    model: Sam2 | ImageSession,
    image: NDArray[np.uint8],
    options: AutomaticOptions | None = None,
    surroundings: SpatialFilter | None = None,
    progress: Progress | None = None,
) -> AutomaticResult:
    """Find masks of everything on an image (reference: ``SAM2AutomaticMaskGenerator.generate``).

    Parameters
    ----------
    model : Sam2 or ImageSession
        The network.
    image : ndarray of uint8, shape (H, W), (H, W, 1) or (H, W, 3)
        Grey or RGB.
    options : AutomaticOptions, optional
        Default: the reference's thresholds in fast mode.
    surroundings : Surroundings, optional
        A region to look in, and objects that are there already.
    progress : callable, optional
        Called with (points done, points in total).

    Returns
    -------
    AutomaticResult
        It may hold no mask; its ``explanation`` then says why.

    Raises
    ------
    TypeError, ValueError
        An image that is not bytes, or of a wrong shape, or without pixels.
    """
    options = options or AutomaticOptions()
    region = None if surroundings is None or surroundings.region is None else surroundings.region.mask
    candidates = find_candidates(model, image, options, region, progress)
    return InteractiveFilter(candidates).result(options, surroundings)


class InteractiveFilter:
    """Candidates of one frame that are filtered again and again, as when a slider is moved.

    Masks at the frame's size are made when they are first kept, and remembered.

    Parameters
    ----------
    candidates : Candidates
        From :func:`~napari_sam2.automatic.proposals.find_candidates`.
    """

    def __init__(self, candidates: Candidates) -> None:
        self.candidates = candidates
        self._masks: OrderedDict[tuple[int, float, int], tuple[RunLengthMask, bool]] = OrderedDict()

    def grow(self, candidates: Candidates) -> bool:
        """Take more candidates of the same search.

        Masks made so far are remembered when the candidates so far come first again, in the same rows.

        Returns
        -------
        bool
            Whether they do; False when some were forgotten meanwhile.
        """
        before, self.candidates = self.candidates, candidates
        count = len(before)
        same = np.array_equal(candidates.points[:count], before.points) and np.array_equal(
            candidates.predicted_ious[:count], before.predicted_ious
        )
        if not same:
            self._masks.clear()
        return same

    def select(
        self, options: AutomaticOptions | None = None, surroundings: SpatialFilter | None = None
    ) -> Selection:
        """Filter without making masks: counts and rows only."""
        return select(self.candidates, options, surroundings)

    def result(
        self, options: AutomaticOptions | None = None, surroundings: SpatialFilter | None = None
    ) -> AutomaticResult:
        """Filter, and make the masks that are kept."""
        options = options or self.candidates.options
        selection = select(self.candidates, options, surroundings)
        cleaned = [self._mask(int(row), options) for row in selection.rows]
        kept = _still_apart([runs for runs, _ in cleaned], [changed for _, changed in cleaned], options)
        stability = self.candidates.stability(options)
        masks = tuple(self._automatic_mask(int(selection.rows[i]), cleaned[i][0], stability) for i in kept)
        return AutomaticResult(self.candidates.size, masks, selection.stages, selection.explain(), options)

    def _automatic_mask(self, row: int, runs: RunLengthMask, stability: NDArray[np.float32]) -> AutomaticMask:
        found = self.candidates
        x, y = (float(v) for v in found.points[row])
        crop = found.crop_of(row)
        return AutomaticMask(
            runs, float(found.predicted_ious[row]), float(stability[row]), (x, y), crop.box, row
        )

    def _mask(self, row: int, options: AutomaticOptions) -> tuple[RunLengthMask, bool]:
        key = (row, options.mask_threshold, options.min_mask_region_area)
        if key not in self._masks:
            runs, changed = self.candidates.runs(row, options), False
            if options.min_mask_region_area:
                runs, changed = _cleaned(runs, options.min_mask_region_area)
            self._masks[key] = runs, changed
            if len(self._masks) > _REMEMBERED:
                self._masks.popitem(last=False)
        return self._masks[key]


def _cleaned(runs: RunLengthMask, area: int) -> tuple[RunLengthMask, bool]:
    inside, x0, y0 = runs.crop()
    if not inside.size:
        return runs, False
    clean, changed = without_small_regions(inside, area)
    return (runs_of(clean, runs.size, x0, y0), True) if changed else (runs, False)


def _still_apart(masks: list[RunLengthMask], changed: list[bool], options: AutomaticOptions) -> list[int]:
    """Suppress duplicates that cleaning made; a mask that did not need it wins."""
    if not any(changed):
        return list(range(len(masks)))
    boxes = np.array([runs.box or (0, 0, 1, 1) for runs in masks], np.float32)
    boxes[:, 2:] -= 1  # to the last pixel, as everywhere in suppression
    scores = np.array([not c for c in changed], np.float32)
    kept = suppress(boxes, scores, max(options.box_nms_thresh, options.crop_nms_thresh))
    return sorted(int(i) for i in kept)

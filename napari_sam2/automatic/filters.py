"""From candidates to the masks that are kept: filters, suppression, and what each stage left over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_sam2.automatic.candidates.candidates import Candidates
from napari_sam2.automatic.nms import suppress
from napari_sam2.automatic.options import AutomaticOptions
from napari_sam2.automatic.sampling.crops import Crop
from napari_sam2.automatic.spatial_filter import SpatialFilter

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class FilterStage:
    """Number of candidates that a stage left.

    Parameters
    ----------
    name : str
        Name of the stage.
    left : int
        Candidates that passed it and all before it.
    """

    name: str
    left: int


@dataclass(frozen=True, eq=False)
class Selection:
    """The candidates that pass.

    Parameters
    ----------
    rows : ndarray of int64
        Rows of the candidates in the order of the reference: best predicted IoU first, and with several crops those
        of smaller crops first.
    stages : tuple of FilterStage
        From all candidates to these.
    """

    rows: NDArray[np.int64]
    stages: tuple[FilterStage, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def explain(self) -> str:
        """Return a sentence with the number that is left and the stage that removed the most."""
        asked = self.stages[0].left
        if not asked:
            return "No points were asked: the region lies outside the grid."
        losses = [(a.left - b.left, b.name) for a, b in zip(self.stages, self.stages[1:])]
        if len(self):
            return f"{len(self)} of {asked} candidates are kept."
        stage = next(b.name for a, b in zip(self.stages, self.stages[1:]) if b.left == 0)
        most = max(losses)
        return (
            f"No masks: none of {asked} candidates is left after '{stage}'; most ({most[0]}) were dropped by "
            f"'{most[1]}'. Loosen that, or ask at more points."
        )


def select(
    candidates: Candidates,
    options: AutomaticOptions | None = None,
    spatial_filter: SpatialFilter | None = None,
) -> Selection:
    """Filter candidates; takes milliseconds and no network.

    Parameters
    ----------
    candidates : Candidates
        From :func:`~napari_sam2.automatic.proposals.find_candidates`.
    options : AutomaticOptions, optional
        May differ from those the candidates were found with in everything that does not need the network
        (:meth:`AutomaticOptions.needs_network`).
    spatial_filter : SpatialFilter, optional
        A region, and objects that are there already.

    Raises
    ------
    ValueError
        When the options need other candidates.
    """
    options = options or candidates.options
    _check(candidates, options)
    stages = [FilterStage("found", candidates.asked)]
    if candidates.forgotten:
        exact = candidates.options.mode == "exact"
        stages.append(
            FilterStage("scores at the frame's size" if exact else "kept in memory", len(candidates))
        )
    boxes = candidates.boxes(options)
    passing = np.ones(len(candidates), bool)
    for name, test in _quality_tests(candidates, options, boxes):
        passing &= test
        stages.append(FilterStage(name, int(passing.sum())))
    if spatial_filter is not None:
        passing = spatial_filter.passing(candidates, options, passing)
        stages.append(FilterStage("region and existing objects", int(passing.sum())))
    rows = _suppressed(candidates, options, boxes, passing)
    stages.append(FilterStage("suppression of duplicates", len(rows)))
    return Selection(rows, tuple(stages))


def _check(candidates: Candidates, options: AutomaticOptions) -> None:
    if options.needs_network(candidates.options):
        raise ValueError(
            "these options need other candidates than those given: call find_candidates() again (see "
            "AutomaticOptions.needs_network)"
        )


def scores_pass(candidates: Candidates, options: AutomaticOptions) -> BoolArray:
    """Return which candidates pass the two filters on scores, bool (N,)."""
    out = np.ones(len(candidates), bool)
    for _, test in _score_tests(candidates, options):
        out &= test
    return out


def _score_tests(candidates: Candidates, options: AutomaticOptions) -> list[tuple[str, BoolArray]]:
    tests = []
    if options.pred_iou_thresh > 0:
        tests.append(("predicted IoU", candidates.predicted_ious > np.float32(options.pred_iou_thresh)))
    if options.stability_score_thresh > 0:
        # A comparison with NaN is False: a candidate without any mask is not stable.
        stable = candidates.stability(options) >= np.float32(options.stability_score_thresh)
        tests.append(("stability", stable))
    return tests


def _quality_tests(
    candidates: Candidates, options: AutomaticOptions, boxes: NDArray[np.float32]
) -> list[tuple[str, BoolArray]]:
    tests = _score_tests(candidates, options)
    if len(candidates.crops) > 1:
        tests.append(("cut off by a crop", ~candidates.cut_off(boxes)))
    if options.min_area or options.max_area:
        areas = candidates.areas(options)
        tests.append(("area", (areas >= options.min_area) & (areas <= (options.max_area or np.inf))))
    if options.drop_at_border:
        height, width = candidates.size
        inside = (boxes[:, :2] > 0).all(1) & (boxes[:, 2] < width - 1) & (boxes[:, 3] < height - 1)
        tests.append(("border of the frame", inside))
    return tests


def _suppressed(
    candidates: Candidates, options: AutomaticOptions, boxes: NDArray[np.float32], passing: BoolArray
) -> NDArray[np.int64]:
    kept = []
    for index, crop in enumerate(candidates.crops):
        rows = np.flatnonzero(passing & (candidates.crop_index == index))
        corner = np.array((crop.x0, crop.y0) * 2, np.float32)
        best = suppress(boxes[rows] - corner, candidates.predicted_ious[rows], options.box_nms_thresh)
        kept.append(rows[best])
    rows = np.concatenate(kept) if kept else np.empty(0, np.int64)
    if len(candidates.crops) == 1:
        return rows
    if options.tile_size:
        # All tiles are about equally large: between them the better mask wins, not the smaller crop.
        scores = candidates.predicted_ious[rows]
    else:
        scores = np.array([1 / _area(candidates.crop_of(int(r))) for r in rows], np.float32)
    return rows[suppress(boxes[rows], scores, options.crop_nms_thresh)]


def _area(crop: Crop) -> int:
    return crop.size[0] * crop.size[1]

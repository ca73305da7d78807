"""Filters on candidates that need no network: each one on a world that can be seen, and all of them live."""

import time

import numpy as np
import pytest
import torch

from napari_sam2.automatic import (
    AutomaticOptions,
    Candidates,
    InteractiveFilter,
    SpatialFilter,
    joined,
    select,
)
from napari_sam2.automatic.candidates.candidate_masks import exact_masks, fast_masks
from napari_sam2.automatic.proposals import within_memory
from napari_sam2.automatic.sampling.crops import Crop
from tests.automatic.toy import GRID, smooth_logits

SIZE = (128, 128)
ALL = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0}


def discs(*places, steep=4.0):
    """Logits of discs at (x, y, radius) in pixels of a 128 × 128 frame."""
    centre = (np.arange(GRID) + 0.5) * 2
    xx, yy = np.meshgrid(centre, centre)
    planes = [steep * (radius - np.hypot(xx - x, yy - y)) for x, y, radius in places]
    return torch.from_numpy(np.stack(planes).astype(np.float32)).clamp(-32, 32)


def candidates(logits, ious=None, mode="fast", size=SIZE, crops=None, index=None):
    count = len(logits)
    options = AutomaticOptions(mode=mode, **ALL)
    crops = crops or (Crop(0, 0, size[1], size[0]),)
    shapes = (
        fast_masks(logits, options) if mode == "fast" else exact_masks(logits, options, crops[0], size)[0]
    )
    ious = np.linspace(0.9, 0.5, count, dtype=np.float32) if ious is None else np.array(ious, np.float32)
    index = np.zeros(count, np.int64) if index is None else np.array(index)
    points = np.arange(2 * count, dtype=np.float32).reshape(-1, 2)
    return Candidates(size, options, points, ious, index, crops, shapes, count)


FOUR = ((30, 30, 10), (90, 30, 20), (30, 90, 5), (118, 118, 12))


@pytest.fixture(params=["fast", "exact"])
def four(request):
    return candidates(discs(*FOUR), mode=request.param)


def kept(found, spatial_filter=None, **changes):
    return sorted(select(found, found.options.changed(**changes), spatial_filter).rows.tolist())


@pytest.mark.parametrize("name", ["pred_iou_thresh", "stability_score_thresh"])
def test_a_threshold_of_zero_is_off(name):
    """A network may estimate an IoU below zero, or no number at all."""
    found = candidates(discs(*FOUR), ious=[0.0, -0.2, 0.5, np.nan])
    assert kept(found, **{name: 0.0}) == [0, 1, 2, 3]
    assert kept(found, pred_iou_thresh=1e-6) == [2]


def test_nothing_is_dropped_without_filters(four):
    selection = select(four)
    assert selection.rows.tolist() == [0, 1, 2, 3]  # best predicted IoU first
    assert selection.explain() == "4 of 4 candidates are kept."


def test_predicted_iou_must_be_higher_not_equal():
    found = candidates(discs(*FOUR), [0.5, 0.8, 0.9, 0.81])
    assert select(found, found.options.changed(pred_iou_thresh=0.8)).rows.tolist() == [2, 3]


def test_stability_is_that_of_the_threshold():
    found = candidates(torch.cat([discs((64, 64, 20)), discs((64, 64, 20), steep=0.25)]))
    # steep: radius 20 ± 1/4, area ratio 0.95; flat: 20 ± 4, ratio (16 / 24)² = 0.44
    np.testing.assert_allclose(found.stability(), [0.95, 0.44], atol=0.03)
    assert kept(found, stability_score_thresh=0.8) == [0]
    assert kept(found, stability_score_thresh=0.3) == [0, 1]
    # moved half as far: 20 ± 2, ratio 0.67
    assert kept(found, stability_score_thresh=0.6, stability_score_offset=0.5) == [0, 1]


def test_area(four):
    assert kept(four, min_area=200) == [0, 1, 3]
    assert kept(four, max_area=500) == [0, 2, 3]
    assert kept(four, min_area=200, max_area=500) == [0, 3]


def test_border(four):
    assert kept(four, drop_at_border=True) == [0, 1, 2]


def test_region(four):
    left = np.zeros(SIZE, bool)
    left[:, :64] = True
    assert kept(four, SpatialFilter(region=left)) == [0, 2]
    assert kept(four, SpatialFilter(region=left), inside_region=0.0) == [0, 1, 2, 3]
    left[:, :88] = True  # nearly half of the second disc
    assert kept(four, SpatialFilter(region=left), inside_region=0.3) == [0, 1, 2]
    assert kept(four, SpatialFilter(region=left), inside_region=0.9) == [0, 2]


def test_existing_objects(four):
    labels = np.zeros(SIZE, np.uint16)
    labels[20:41, 20:31] = 7  # a little more than half of the first disc
    assert kept(four, SpatialFilter(existing=labels)) == [0, 1, 2, 3]
    assert kept(four, SpatialFilter(existing=labels), max_overlap=0.2) == [1, 2, 3]
    assert kept(four, SpatialFilter(existing=labels), max_overlap=0.8) == [0, 1, 2, 3]


def test_distance_to_existing_objects(four):
    labels = np.zeros(SIZE, np.uint16)
    labels[30, 50] = 1  # 10 pixels right of the first disc, 20 left of the second
    assert kept(four, SpatialFilter(existing=labels), min_distance=5) == [0, 1, 2, 3]
    assert kept(four, SpatialFilter(existing=labels), min_distance=15) == [1, 2, 3]
    assert kept(four, SpatialFilter(existing=labels), min_distance=25) == [2, 3]
    assert kept(four, SpatialFilter(existing=np.zeros(SIZE, int)), min_distance=25) == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["region", "existing"])
def test_surroundings_of_another_size_are_refused(four, name):
    with pytest.raises(ValueError, match=r"shape \(128, 64\), the image \(128, 128\)"):
        select(four, spatial_filter=SpatialFilter(**{name: np.ones((128, 64), bool)}))
    with pytest.raises(ValueError, match="two axes"):
        SpatialFilter(**{name: np.ones((1, 128, 64), bool)})


def test_the_better_of_two_duplicates_stays():
    found = candidates(discs((30, 30, 10), (31, 30, 10), (90, 90, 10)), [0.6, 0.9, 0.7])
    assert select(found, found.options.changed(box_nms_thresh=0.7)).rows.tolist() == [1, 2]
    assert kept(found, box_nms_thresh=0.95) == [0, 1, 2]


def test_small_crops_win_over_large_ones():
    crops = (Crop(0, 0, 128, 128), Crop(0, 0, 64, 64, 1))
    # In the small crop, a disc of twice the size on the grid is the same on the frame.
    found = candidates(discs((30, 30, 10), (60, 60, 20)), [0.9, 0.6], crops=crops, index=[0, 1])
    np.testing.assert_allclose(found.boxes()[0], found.boxes()[1], atol=1.5)
    assert select(found, found.options.changed(crop_nms_thresh=0.7)).rows.tolist() == [1]
    tiled = found.options.changed(tile_size=64)
    assert tiled.needs_network(found.options)


def test_masks_cut_off_by_a_crop_are_dropped():
    crops = (Crop(0, 0, 128, 128), Crop(0, 0, 64, 64, 1))
    found = candidates(discs((60, 60, 20), (120, 60, 20)), crops=crops, index=[1, 1])
    assert kept(found) == [0]


def test_explains_what_took_them_all():
    found = candidates(discs(*FOUR), [0.1, 0.2, 0.3, 0.9])
    selection = select(found, found.options.changed(pred_iou_thresh=0.8, min_area=5000))
    assert len(selection) == 0
    assert [stage.left for stage in selection.stages] == [4, 1, 0, 0]
    assert (
        "none of 4 candidates is left after 'area'; most (3) were dropped by 'predicted IoU'"
        in selection.explain()
    )


def test_other_questions_are_refused(four):
    with pytest.raises(ValueError, match=r"find_candidates\(\) again"):
        select(four, four.options.changed(points_per_side=8))
    with pytest.raises(ValueError, match=r"find_candidates\(\) again"):
        select(four, four.options.changed(mask_threshold=-5.0))


def test_batches_join_to_the_whole():
    logits = discs(*FOUR)
    whole = candidates(logits)
    parts = [candidates(logits[:1], [0.9]), candidates(logits[1:], whole.predicted_ious[1:])]
    together = joined(parts)
    assert select(together).rows.tolist() == select(whole).rows.tolist()
    assert together.nbytes == whole.nbytes
    assert together.asked == 4
    with pytest.raises(ValueError, match="at least one batch"):
        joined([])
    with pytest.raises(ValueError, match="different frames or options"):
        joined([parts[0], candidates(logits, mode="exact")])


def test_forgetting_changes_nothing_under_the_same_options():
    found = candidates(smooth_logits(200, seed=2), np.random.default_rng(0).random(200))
    options = found.options.changed(pred_iou_thresh=0.5, stability_score_thresh=0.9, candidate_memory_mb=1)
    trimmed = within_memory(found, options)
    assert 0 < trimmed.forgotten < 200
    before, after = InteractiveFilter(found).result(options), InteractiveFilter(trimmed).result(options)
    assert [m.point for m in before.masks] == [m.point for m in after.masks]
    assert (before.labels() == after.labels()).all()


def test_forgetting_keeps_within_memory():
    found = candidates(smooth_logits(900, seed=2), np.linspace(0, 1, 900))
    options = found.options.changed(candidate_memory_mb=1)
    assert found.nbytes > 2**20
    trimmed = within_memory(found, options)
    assert trimmed.nbytes <= 2**20
    assert trimmed.predicted_ious.min() > found.predicted_ious[: trimmed.forgotten // 2].max()


def test_three_thousand_candidates_are_filtered_live():
    """Less than 100 ms, whatever threshold moves (the network would need a minute); the best of several runs, because
    other programs take their time, too."""
    logits = smooth_logits(256, grid=128)
    parts = [candidates(logits, np.random.default_rng(i).random(256), size=(720, 1280)) for i in range(12)]
    live = InteractiveFilter(joined(parts))
    options = live.candidates.options.changed(box_nms_thresh=0.7)
    assert len(live.candidates) == 3072
    live.result(options)
    moves = [
        {"pred_iou_thresh": 0.4},
        {"stability_score_thresh": 0.9},
        {"stability_score_offset": 2.0},
        {"box_nms_thresh": 0.5},
        {"min_area": 3000, "drop_at_border": True},
    ]
    spent = {}
    for move in moves:
        times = []
        for _ in range(5):
            start = time.process_time()
            result = live.result(options.changed(**move))
            result.labels()
            times.append(time.process_time() - start)
        assert 0 < len(result) < 3072
        spent[str(move)] = min(times)
    assert max(spent.values()) < 0.1, spent


def test_another_mask_threshold_is_filtered_live():
    """All masks change with it: choosing among 3,072 takes less than 100 ms; those that are kept are drawn anew."""
    logits = smooth_logits(256, grid=128)
    parts = [candidates(logits, np.random.default_rng(i).random(256), size=(720, 1280)) for i in range(12)]
    found = joined(parts)
    options = found.options.changed(box_nms_thresh=0.7)
    times = []
    for threshold in (0.5, 1.0, 1.5, 2.0, 2.5):
        start = time.process_time()
        selection = select(found, options.changed(mask_threshold=threshold))
        times.append(time.process_time() - start)
        assert 0 < len(selection) < 3072
    assert min(times) < 0.1, times

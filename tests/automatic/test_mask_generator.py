"""From an image to masks, on a world that can be seen (toy.DiscSession knows the right answers)."""

import numpy as np
import pytest
import torch

from napari_sam2.automatic import (
    AutomaticOptions,
    InteractiveFilter,
    SpatialFilter,
    find_candidates,
    generate_masks,
    joined,
    propose,
    select,
)
from napari_sam2.automatic.sampling.preprocessing import shrunk_tensor
from napari_sam2.masks import without_small_regions
from napari_sam2.session.tensors import image_tensor
from tests.automatic.toy import DiscSession, discs
from tests.golden.recipe import recipe_model

PLACES = ((60, 40, 20), (150, 50, 15), (90, 110, 25), (200, 120, 12))
SIZE = (150, 240)
IMAGE = discs(SIZE, *PLACES)
GRID = {"points_per_side": 16}


def truth(place, size=SIZE):
    return discs(size, place) > 0


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


@pytest.fixture(params=["fast", "exact"])
def options(request):
    return AutomaticOptions(mode=request.param, stability_score_thresh=0.8, **GRID)


@pytest.fixture
def session():
    return DiscSession()


def test_finds_every_disc_once(session, options):
    result = generate_masks(session, IMAGE, options)
    assert len(result) == 4
    for place in PLACES:
        best = max(result.masks, key=lambda mask: overlap(mask.array(), truth(place)))
        assert overlap(best.array(), truth(place)) > 0.85
        x, y = best.point
        assert truth(place)[int(y), int(x)]
        assert best.predicted_iou == pytest.approx(0.95)
        assert best.stability_score > 0.8
        assert best.crop_box == (0, 0, 240, 150)
    assert session.asked == 256


def test_grey_and_rgb_are_the_same(session, options):
    rgb = np.repeat(IMAGE[..., None], 3, axis=2)
    a, b, c = (generate_masks(session, image, options).labels() for image in (IMAGE, IMAGE[..., None], rgb))
    assert (a == b).all()
    assert (a == c).all()


def test_crops_find_what_is_too_small_for_the_whole_frame(session):
    size = (600, 600)
    image = discs(size, (300, 300, 100), (120, 130, 9))
    coarse = AutomaticOptions(points_per_side=8, stability_score_thresh=0.6)
    whole = generate_masks(session, image, coarse)
    assert len(whole) == 1
    both = generate_masks(session, image, coarse.changed(crop_n_layers=2))
    assert {mask.area > 5000 for mask in both.masks} == {True, False}
    small = min(both.masks, key=lambda mask: mask.area)
    assert overlap(small.array(), truth((120, 130, 9), size)) > 0.75
    assert small.crop_box != (0, 0, 600, 600)


def test_tiles_look_at_parts_only(session):
    size = (500, 700)
    places = [(100, 100, 14), (250, 250, 14), (650, 450, 14), (256, 60, 14)]
    image = discs(size, *places)
    options = AutomaticOptions(points_per_side=16, stability_score_thresh=0.7, tile_size=256)
    result = generate_masks(session, image, options)
    assert max(max(seen.shape[:2]) for seen in session.images) == 256
    assert len(result) == 4
    for place in places:
        assert max(overlap(mask.array(), truth(place, size)) for mask in result.masks) > 0.8


def test_filtering_again_is_the_same_as_starting_again(session):
    first = AutomaticOptions(**GRID)
    live = InteractiveFilter(find_candidates(session, IMAGE, first))
    asked = session.asked
    for change in (
        {"stability_score_thresh": 0.8},
        {"pred_iou_thresh": 0.2, "stability_score_thresh": 0.0},
        {"stability_score_thresh": 0.7, "max_area": 900},
        {"box_nms_thresh": 0.9, "stability_score_thresh": 0.5},
    ):
        again = live.result(first.changed(**change))
        assert session.asked == asked
        fresh = generate_masks(DiscSession(), IMAGE, first.changed(**change))
        assert [mask.point for mask in again.masks] == [mask.point for mask in fresh.masks]
        assert (again.labels() == fresh.labels()).all()


def test_masks_appear_as_they_are_found(session, options):
    batches = list(propose(session, IMAGE, options.changed(points_per_batch=16)))
    assert [(b.done, b.total) for b in batches] == [(16 * (i + 1), 256) for i in range(16)]
    assert len(select(batches[4].candidates)) > 0
    whole = generate_masks(DiscSession(), IMAGE, options)
    together = InteractiveFilter(joined([b.candidates for b in batches])).result(options)
    assert [m.point for m in together.masks] == [m.point for m in whole.masks]


def test_masks_are_drawn_once_while_more_are_found(session):
    options = AutomaticOptions(points_per_side=12, points_per_batch=24, stability_score_thresh=0.7)
    batches = [found.candidates for found in propose(session, IMAGE, options)]
    live = InteractiveFilter(batches[0])
    seen = {}
    for count in range(1, len(batches) + 1):
        together = joined(batches[:count])
        assert live.grow(together)
        result = live.result()
        assert [m.row for m in result.masks] == [m.row for m in InteractiveFilter(together).result().masks]
        for mask in result.masks:
            assert seen.setdefault(mask.row, mask.pixels) is mask.pixels
    assert seen
    # When some were forgotten rows mean other masks.
    fewer = together.take(np.arange(1, len(together)))
    assert not live.grow(fewer)
    assert not live.grow(fewer.take(np.arange(5)))
    again, fresh = live.result(), InteractiveFilter(live.candidates).result()
    assert [m.pixels.counts() for m in again.masks] == [m.pixels.counts() for m in fresh.masks]


def test_stopping_asks_no_further(session, options):
    batches = propose(session, IMAGE, options.changed(points_per_batch=16))
    next(batches)
    next(batches)
    batches.close()
    assert session.asked == 32


def test_progress(session):
    seen = []
    generate_masks(
        session,
        IMAGE,
        AutomaticOptions(points_per_side=4, points_per_batch=8),
        progress=lambda *a: seen.append(a),
    )
    assert seen == [(8, 16), (16, 16)]


def test_region_asks_only_inside(session, options):
    region = np.zeros(SIZE, bool)
    region[:, 110:] = True
    result = generate_masks(session, IMAGE, options, SpatialFilter(region=region))
    assert session.asked < 256 * 0.6
    assert sorted(round(mask.point[0] / 50) for mask in result.masks) == [3, 4]
    nowhere = generate_masks(session, IMAGE, options, SpatialFilter(region=np.zeros(SIZE, bool)))
    assert len(nowhere) == 0
    assert nowhere.explanation == "No points were asked: the region lies outside the grid."
    with pytest.raises(ValueError, match="same height and width"):
        generate_masks(session, IMAGE, options, SpatialFilter(region=np.zeros((3, 3), bool)))


def test_new_objects_only(session, options):
    first = generate_masks(session, discs(SIZE, *PLACES[:2]), options).labels()
    more = generate_masks(session, IMAGE, options.changed(max_overlap=0.2), SpatialFilter(existing=first))
    assert len(more) == 2
    assert not (first.astype(bool) & (more.labels() > 0)).any()


def test_memory_is_bounded_and_results_stay(session):
    options = AutomaticOptions(points_per_side=24, stability_score_thresh=0.8)
    free = find_candidates(session, IMAGE, options)
    tight = find_candidates(DiscSession(), IMAGE, options.changed(candidate_memory_mb=2))
    assert free.nbytes > 2 * 2 * 2**20
    assert tight.nbytes <= 2 * 2**20
    assert tight.asked == free.asked == 24 * 24 * 3
    a, b = InteractiveFilter(free).result(), InteractiveFilter(tight).result()
    assert [m.point for m in a.masks] == [m.point for m in b.masks]


# -- what people give by mistake ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((0, 0, 3), np.uint8), ValueError, "at least one pixel"),
        (np.zeros((0, 7), np.uint8), ValueError, "at least one pixel"),
        (np.zeros((4, 4, 2), np.uint8), ValueError, r"\(H, W\), \(H, W, 1\) or \(H, W, 3\)"),
        (np.zeros(9, np.uint8), ValueError, r"\(H, W\)"),
        (np.zeros((9, 9), np.uint16), TypeError, "uint8"),
        (np.full((9, 9), np.nan), TypeError, "not finite"),
    ],
)
def test_wrong_images_are_refused(session, image, error, message):
    with pytest.raises(error, match=message):
        generate_masks(session, image)
    assert session.asked == 0


@pytest.mark.parametrize("mode", ["fast", "exact"])
@pytest.mark.parametrize(("size", "value"), [((1, 1), 0), ((1, 1), 255), ((1, 40), 9), ((120, 90), 128)])
def test_tiny_and_constant_images_work_with_a_real_network(mode, size, value):
    options = AutomaticOptions(points_per_side=2, mode=mode, stability_score_thresh=0.0, pred_iou_thresh=0.0)
    result = generate_masks(recipe_model(), np.full(size, value, np.uint8), options)
    assert result.labels().shape == size
    for mask in result.masks:
        assert mask.array().shape == size
        assert mask.record("coco_rle")["area"] == mask.area


@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_no_masks_is_a_result_that_explains_itself(session, mode):
    result = generate_masks(session, np.zeros(SIZE, np.uint8), AutomaticOptions(mode=mode, **GRID))
    assert len(result) == 0
    assert result.explanation.startswith("No masks: none of 768 candidates is left after")
    assert "Loosen that, or ask at more points." in result.explanation
    assert not result.labels().any()
    assert result.records() == []
    assert result.prompts() == {}
    assert result.frame_masks().masks.shape == (0, *SIZE)
    assert result.at(3, 3) is None


@pytest.mark.parametrize("shape", [(40, 61), (61, 40), (200, 33)])
def test_large_images_are_shrunk_strip_by_strip_to_the_same(monkeypatch, shape):
    monkeypatch.setattr("napari_sam2.automatic.sampling.preprocessing.PIXELS_AT_ONCE", 5 * shape[1])
    image = np.random.default_rng(1).integers(0, 255, (*shape, 3)).astype(np.uint8)
    torch.testing.assert_close(
        shrunk_tensor(image, 32), image_tensor(image, 32, "bilinear"), atol=2e-5, rtol=0
    )


# -- results -----------------------------------------------------------------------------------------------


@pytest.fixture
def nested():
    """A disc inside a larger one, and a third that overlaps nothing."""
    size = (100, 160)
    session = DiscSession()
    image = discs(size, (50, 50, 40), (130, 50, 15))
    options = AutomaticOptions(points_per_side=12, stability_score_thresh=0.6, pred_iou_thresh=0.7)
    # The second of three masks at each point is a smaller disc in the first.
    return InteractiveFilter(find_candidates(session, image, options.changed(box_nms_thresh=0.9))).result()


def test_labels_draw_small_masks_on_top(nested):
    labels = nested.labels()
    assert len(nested) == 4
    for index, mask in enumerate(nested.masks):
        inner = [m for m in nested.masks if m.area < mask.area and (m.array() & mask.array()).any()]
        visible = mask.array() & ~np.any([m.array() for m in inner], axis=0) if inner else mask.array()
        assert (labels[visible] == index + 1).all()
    assert ((labels > 0) == np.any([m.array() for m in nested.masks], axis=0)).all()


def test_labels_by_score_draw_the_best_on_top(nested):
    labels = nested.labels(order="score")
    best = [i for i, mask in enumerate(nested.masks) if mask.predicted_iou > 0.9]
    for index in best:
        assert (labels[nested.masks[index].array()] == index + 1).all()
    assert set(np.unique(labels)) == {0, *(i + 1 for i in best)}
    with pytest.raises(ValueError, match="unknown order 'size'"):
        nested.labels(order="size")


def test_labels_with_ids_of_your_own(nested):
    assert set(np.unique(nested.labels(object_ids=[5, 9, 70, 8]))) == {0, 5, 9, 70, 8}
    with pytest.raises(ValueError, match="4 masks need as many object ids, got 1"):
        nested.labels(object_ids=[1])
    with pytest.raises(ValueError, match="from 1 to 255"):
        nested.labels(object_ids=[1, 2, 3, 300], dtype=np.uint8)


def test_prompts_share_no_pixel_unless_they_may(nested):
    prompts = nested.prompts(first_id=3)
    planes = np.stack([prompt.mask.array() for prompt in prompts.values()])
    assert list(prompts) == [3, 4, 5, 6]
    assert planes.sum(0).max() == 1
    assert (planes.any(0) == (nested.labels() > 0)).all()
    shared = nested.prompts(overlapping=True)
    assert [p.mask.array().sum() for p in shared.values()] == [m.area for m in nested.masks]


def test_a_click_hits_the_smallest_mask(nested):
    index = nested.at(50, 50)
    assert nested.masks[index].area == min(m.area for m in nested.masks if m.pixels.contains(50, 50))
    assert nested.at(95, 5) is None
    chosen = nested.keep([index])
    assert len(chosen) == 1
    assert chosen.at(50, 50) == 0


def test_objects_of_a_frame(nested):
    masks = nested.frame_masks(frame=7, first_id=2)
    assert masks.frame == 7
    assert masks.object_ids == (2, 3, 4, 5)
    assert masks.masks.sum((1, 2)).tolist() == [m.area for m in nested.masks]


def test_records_have_the_reference_s_fields(nested):
    record = nested.records("uncompressed_rle")[0]
    assert set(record) == {
        "segmentation",
        "area",
        "bbox",
        "predicted_iou",
        "point_coords",
        "stability_score",
        "crop_box",
    }
    ys, xs = np.nonzero(nested.masks[0].array())
    assert record["bbox"] == [xs.min(), ys.min(), xs.max() - xs.min(), ys.max() - ys.min()]
    assert record["crop_box"] == [0, 0, 160, 100]
    with pytest.raises(ValueError, match="unknown output_mode 'png': choose one of binary_mask"):
        nested.records("png")


# -- cleaning ----------------------------------------------------------------------------------------------


def drawn(picture):
    return np.array([[c == "#" for c in line] for line in picture.split()])


def test_small_holes_are_filled_and_small_islands_removed():
    mask = drawn("""
        #####..#
        #.###...
        #####...
        #...#...
        #...#.##
        #####.##
    """)
    clean, changed = without_small_regions(mask, 4)
    assert changed
    assert (
        clean
        == drawn("""
        #####...
        #####...
        #####...
        #...#...
        #...#.##
        #####.##
    """)
    ).all()


def test_a_hole_is_not_open_to_the_rim_and_the_largest_island_stays():
    mask = drawn("""
        .#..
        #...
        ...#
    """)
    clean, changed = without_small_regions(mask, 5)
    assert changed
    assert (
        clean
        == drawn("""
        .#..
        #...
        ....
    """)
    ).all()
    solid = np.ones((4, 4), bool)
    assert without_small_regions(solid, 9)[1] is False
    assert (
        without_small_regions(solid, 99)[1] is True
    )  # it is small, and stays because there is no larger one
    assert (without_small_regions(solid, 9)[0] == solid).all()


def test_background_beyond_the_box_counts():
    """Corners inside the box of a round mask are part of the background around it, however small the box is."""
    round_mask = drawn("""
        .##.
        ####
        .##.
    """)
    clean, _ = without_small_regions(round_mask, 60, (100, 100), (40, 50))
    assert (clean == round_mask).all()
    # On an image of its own size each corner is cut off from the others: a hole.
    assert without_small_regions(round_mask, 60)[0].all()


@pytest.mark.parametrize(("area", "filled"), [(25, False), (26, True)])
def test_background_at_the_edge_of_the_image_is_a_hole_when_it_is_cut_off(area, filled):
    inside = np.ones((10, 3), bool)  # from the upper to the lower edge, two columns from the left one
    inside[::2, 0] = False
    # 2 columns of 10 pixels beyond the box are cut off from the rest, and 5 pixels inside it belong to them.
    clean, changed = without_small_regions(inside, area, (10, 40), (2, 0))
    assert changed is filled
    assert clean[:, 0].all() == filled


@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_min_mask_region_area_cleans_the_result(session, mode):
    image = discs(SIZE, (60, 60, 30))
    image[50:60, 50:60] = 0  # a hole of 100 pixels

    options = AutomaticOptions(mode=mode, stability_score_thresh=0.5, **GRID)
    holed = generate_masks(session, image, options).masks[0].array()
    clean = generate_masks(session, image, options.changed(min_mask_region_area=200)).masks[0].array()
    assert not holed[54, 54]
    assert clean[54, 54]
    assert overlap(clean, truth((60, 60, 30))) > 0.9
    kept = generate_masks(session, image, options.changed(min_mask_region_area=20)).masks[0].array()
    assert not kept[54, 54]

"""Options: what is refused, what presets say, what needs the network again."""

from dataclasses import fields

import pytest

from napari_sam2.automatic import AutomaticOptions
from napari_sam2.automatic.options import NETWORK_FIELDS

REFERENCE_DEFAULTS = {
    "points_per_side": 32,
    "points_per_batch": 64,
    "pred_iou_thresh": 0.8,
    "stability_score_thresh": 0.95,
    "stability_score_offset": 1.0,
    "mask_threshold": 0.0,
    "box_nms_thresh": 0.7,
    "crop_n_layers": 0,
    "crop_nms_thresh": 0.7,
    "crop_overlap_ratio": 512 / 1500,
    "crop_n_points_downscale_factor": 1,
    "point_grids": None,
    "min_mask_region_area": 0,
    "use_m2m": False,
    "multimask_output": True,
}


def test_defaults_are_the_reference_s():
    options = AutomaticOptions()
    assert {name: getattr(options, name) for name in REFERENCE_DEFAULTS} == REFERENCE_DEFAULTS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points_per_side": 0}, "points_per_side must be at least 1, got 0"),
        ({"points_per_side": None}, "exactly one"),
        ({"point_grids": (((0.5, 0.5),),)}, "exactly one"),
        ({"points_per_side": None, "point_grids": ()}, "at least one point"),
        ({"points_per_side": None, "point_grids": ((),)}, "at least one point"),
        ({"points_per_side": None, "point_grids": (((0.5, -0.1),),)}, "from 0 to 1"),
        (
            {"points_per_side": None, "point_grids": (((0.5, 0.5),),), "crop_n_layers": 1},
            "needs 2 point grids, got 1",
        ),
        ({"pred_iou_thresh": -0.01}, "pred_iou_thresh must be between 0 and 1"),
        ({"stability_score_thresh": 1.01}, "stability_score_thresh must be between 0 and 1"),
        ({"box_nms_thresh": 2}, "box_nms_thresh must be between 0 and 1"),
        ({"crop_nms_thresh": -1}, "crop_nms_thresh must be between 0 and 1"),
        ({"crop_overlap_ratio": 1.0}, "crop_overlap_ratio must be below 1"),
        ({"max_overlap": 1.2}, "max_overlap must be between 0 and 1"),
        ({"stability_score_offset": -1}, "a finite number of at least 0"),
        ({"mask_threshold": float("nan")}, "mask_threshold must be finite"),
        ({"mask_threshold": float("inf")}, "mask_threshold must be finite"),
        ({"min_distance": float("inf")}, "min_distance must be"),
        ({"crop_n_layers": -1}, "crop_n_layers must be at least 0"),
        ({"crop_n_layers": 6}, r"at most 5 \(1,365 parts of the frame\), got 6 \(5,461 parts\)"),
        ({"crop_n_layers": 12}, r"got 12 \(22,369,621 parts\)"),
        ({"crop_n_layers": 10**9}, "more than a million million"),
        ({"points_per_side": 4, "crop_n_layers": 3, "crop_n_points_downscale_factor": 2}, "leaves no points"),
        ({"points_per_batch": 0}, "points_per_batch must be at least 1"),
        ({"min_area": 10, "max_area": 5}, "nothing can pass"),
        ({"tile_size": 10}, "at least 64"),
        ({"tile_size": 512, "crop_n_layers": 1}, "cannot be combined"),
        ({"mode": "quick"}, "mode must be one of fast, exact"),
    ],
)
def test_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        AutomaticOptions(**changes)


@pytest.mark.parametrize(
    "changes", [{"points_per_side": 8.0}, {"pred_iou_thresh": "0.5"}, {"min_area": True}]
)
def test_refuses_other_types(changes):
    with pytest.raises(TypeError, match=next(iter(changes))):
        AutomaticOptions(**changes)


def test_presets():
    assert AutomaticOptions.preset() == AutomaticOptions()
    assert AutomaticOptions.preset("reference") == AutomaticOptions(mode="exact")
    assert AutomaticOptions.preset("sam1") == AutomaticOptions(mode="exact", pred_iou_thresh=0.88)
    assert (
        AutomaticOptions.preset("few large").points_per_side
        < AutomaticOptions.preset("many small").points_per_side
    )
    assert AutomaticOptions.preset("cells", points_per_side=7).points_per_side == 7
    with pytest.raises(ValueError, match="unknown preset 'huge': choose one of default, reference"):
        AutomaticOptions.preset("huge")
    with pytest.raises(TypeError, match="no option of automatic masks is called 'points'"):
        AutomaticOptions.preset("cells", points=3)


def test_every_option_is_documented():
    for field in fields(AutomaticOptions):
        assert f"{field.name}" in AutomaticOptions.__doc__, field.name


CHANGED = {
    "points_per_side": 8,
    "crop_n_layers": 1,
    "crop_overlap_ratio": 0.1,
    "crop_n_points_downscale_factor": 2,
    "tile_size": 128,
    "multimask_output": False,
    "use_m2m": True,
    "mode": "exact",
    "point_grids": (((0.5, 0.5),),),
}


@pytest.mark.parametrize("name", NETWORK_FIELDS)
def test_what_asks_the_network_again(name):
    change = {name: CHANGED[name]} | ({"points_per_side": None} if name == "point_grids" else {})
    assert AutomaticOptions(**change).needs_network(AutomaticOptions())


def test_filters_do_not_need_the_network():
    looser = AutomaticOptions(
        pred_iou_thresh=0,
        stability_score_thresh=0,
        box_nms_thresh=0.1,
        min_area=3,
        mask_threshold=-3.5,
        stability_score_offset=2,
        drop_at_border=True,
        max_overlap=0.5,
        min_mask_region_area=9,
        points_per_batch=1,
    )
    assert not looser.needs_network(AutomaticOptions())
    assert AutomaticOptions(mask_threshold=-4.5).needs_network(AutomaticOptions())


@pytest.mark.parametrize(
    ("change", "needed"),
    [
        ({"pred_iou_thresh": 0.9}, False),
        ({"pred_iou_thresh": 0.7}, True),
        ({"stability_score_thresh": 0.9}, True),
        ({"stability_score_offset": 0.5}, True),
        ({"mask_threshold": 1.0}, True),
        ({"box_nms_thresh": 0.1}, False),
    ],
)
def test_exact_candidates_can_only_be_filtered_more(change, needed):
    exact = AutomaticOptions.preset("reference")
    assert exact.changed(**change).needs_network(exact) is needed

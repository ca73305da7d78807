"""The reference's automatic masks: every mask, score and record, in its order (exact mode)."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from napari_sam2.automatic import AutomaticOptions, generate_masks
from napari_sam2.masks import Rle, decode_rle
from napari_sam2.reference.automatic_mask_generator import SAM2AutomaticMaskGenerator
from tests.golden.recipe import recipe_model

DATA = Path(__file__).parent / "data"
CASES = [(tag, case) for tag in ("nano256", "nano256_occ") for case in ("plain", "crops", "m2m", "single")]


@pytest.fixture(scope="module")
def reference():
    return json.loads(gzip.decompress((DATA / "reference_masks.json.gz").read_bytes()))


@pytest.fixture(scope="module")
def frame():
    with np.load(DATA / "frame.npz") as file:
        return file["frame"]


@pytest.fixture(scope="module")
def models():
    return {"nano256": recipe_model(), "nano256_occ": recipe_model(occluded=True)}


def overlap(found, wanted):
    size = wanted["size"]
    return float(coco.iou([coco.frPyObjects(found, *size)], [coco.frPyObjects(wanted, *size)], [0])[0, 0])


@pytest.mark.parametrize(("tag", "case"), CASES, ids=[f"{tag}-{case}" for tag, case in CASES])
def test_generator_gives_the_reference_s_records(reference, frame, models, tag, case):
    golden = reference[tag][case]
    records = SAM2AutomaticMaskGenerator(models[tag], **golden["args"]).generate(frame)
    assert len(records) == len(golden["anns"])
    for found, wanted in zip(records, golden["anns"]):
        assert set(found) == set(wanted)
        assert overlap(found["segmentation"], wanted["segmentation"]) >= 0.999
        for name in ("predicted_iou", "stability_score"):
            assert found[name] == pytest.approx(wanted[name], abs=1e-3)
        assert found["bbox"] == wanted["bbox"]
        assert found["crop_box"] == wanted["crop_box"]
        assert found["point_coords"] == wanted["point_coords"]
        assert found["area"] == pytest.approx(wanted["area"], rel=1e-3)


def test_output_modes_describe_the_same_masks(reference, frame, models):
    args = reference["nano256"]["single"]["args"] | {"points_per_side": 4}
    generators = {
        mode: SAM2AutomaticMaskGenerator(models["nano256"], **(args | {"output_mode": mode}))
        for mode in ("binary_mask", "uncompressed_rle", "coco_rle")
    }
    records = {mode: generator.generate(frame) for mode, generator in generators.items()}
    assert len(records["binary_mask"]) > 0
    for binary, plain, packed in zip(*records.values(), strict=True):
        mask = binary["segmentation"]
        assert mask.dtype == bool
        assert mask.shape == frame.shape[:2]
        assert int(mask.sum()) == binary["area"]
        size = list(mask.shape)
        again = coco.frPyObjects(plain["segmentation"], *size)
        assert again["counts"].decode() == packed["segmentation"]["counts"]
        assert (decode_rle(Rle(mask.shape, packed["segmentation"]["counts"])) == mask).all()
        json.dumps(packed)


def test_fast_mode_asks_the_network_the_same(reference, frame, models):
    """The network's scores and the points are the reference's in fast mode, too; only measures of masks differ."""
    args = {k: v for k, v in reference["nano256"]["plain"]["args"].items() if k != "output_mode"}
    args |= {
        "points_per_side": 4,
        "pred_iou_thresh": 0.0,
        "stability_score_thresh": 0.0,
        "box_nms_thresh": 1.0,
    }
    both = [
        generate_masks(models["nano256"], frame, AutomaticOptions(mode=mode, **args))
        for mode in ("fast", "exact")
    ]
    fast, exact = ([(m.predicted_iou, m.point) for m in result.masks] for result in both)
    assert fast == exact
    assert len(fast) == 48


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"points_per_side": 0}, "points_per_side must be at least 1"),
        ({"points_per_side": None}, "exactly one of the two"),
        ({"point_grids": [np.array([[0.5, 0.5]])]}, "exactly one of the two"),
        ({"points_per_side": None, "point_grids": [np.zeros((2, 3))]}, r"shape \(N, 2\)"),
        ({"points_per_side": None, "point_grids": [np.array([[0.5, 1.5]])]}, "from 0 to 1"),
        ({"pred_iou_thresh": 1.5}, "pred_iou_thresh must be between 0 and 1"),
        ({"stability_score_thresh": -0.1}, "stability_score_thresh must be between 0 and 1"),
        ({"box_nms_thresh": float("nan")}, "box_nms_thresh must be between 0 and 1"),
        ({"output_mode": "png"}, "unknown output_mode 'png'"),
    ],
)
def test_generator_refuses_bad_arguments(models, arguments, message):
    with pytest.raises(ValueError, match=message):
        SAM2AutomaticMaskGenerator(models["nano256"], **arguments)


def test_generator_has_the_reference_s_defaults(models):
    generator = SAM2AutomaticMaskGenerator(models["nano256"], unknown_argument="ignored, as in the reference")
    assert generator.options == AutomaticOptions.preset("reference")
    assert [len(grid) for grid in generator.point_grids] == [1024]
    assert generator.output_mode == "binary_mask"


def test_point_grids_replace_the_square_grid(frame, models):
    grid = np.array([[0.25, 0.5], [0.75, 0.25]])
    generator = SAM2AutomaticMaskGenerator(
        models["nano256"],
        points_per_side=None,
        point_grids=[grid],
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
    )
    asked = {tuple(record["point_coords"][0]) for record in generator.generate(frame)}
    assert asked <= {(60.0, 90.0), (180.0, 45.0)}
    assert asked

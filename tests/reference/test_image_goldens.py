"""The reference's image predictor: every kind of prompt, masks, qualities and low-resolution logits."""

import numpy as np
import pytest

from napari_sam2.reference import SAM2ImagePredictor
from tests.golden.recipe import recipe_model
from tests.reference.replay import HERE, SHARED, video

POINT = {"point_coords": np.array([[60, 60]]), "point_labels": np.array([1])}
PLUS_MINUS = {"point_coords": np.array([[60, 60], [100, 60]]), "point_labels": np.array([1, 0])}
BOX = {"box": np.array([34, 34, 87, 87])}
BOX_POINT = BOX | {"point_coords": np.array([[60, 80]]), "point_labels": np.array([0])}
SINGLE = {"multimask_output": False}
CASES = {
    "point_mm": POINT,
    "point_single": POINT | SINGLE,
    "points_pm": PLUS_MINUS | SINGLE,
    "box": BOX | SINGLE,
    "box_point": BOX_POINT | SINGLE,
    "box_mm": BOX,
}
REFINED = SINGLE | {"point_coords": np.array([[60, 60], [64, 48]]), "point_labels": np.array([1, 1])}


def best_of(golden):
    """The mask that the first of two clicks gave, to be refined by the second."""
    best = int(golden["point_mm_iou"].argmax())
    return golden["point_mm_low"][best : best + 1]


def check(predictor, golden, name, prompt):
    masks, ious, low = predictor.predict(**prompt, return_logits=True)
    assert masks.dtype == ious.dtype == low.dtype == np.float32
    np.testing.assert_allclose(ious, golden[f"{name}_iou"], atol=2e-3)
    np.testing.assert_allclose(low, golden[f"{name}_low"], atol=2e-3)
    if f"{name}_logits" in golden:
        expected = golden[f"{name}_logits"]  # float16
        np.testing.assert_allclose(masks, expected, atol=0.01)
        assert np.mean((masks > 0) != (expected > 0)) <= 0.001


def load(path):
    with np.load(path) as file:
        return {key: file[key] for key in file.files}


@pytest.fixture(scope="module")
def occluded():
    predictor = SAM2ImagePredictor(recipe_model(occluded=True))
    predictor.set_image(video(HERE)[0])
    return predictor


@pytest.mark.parametrize("name", CASES)
def test_shipped_goldens(name, occluded):
    check(occluded, load(HERE / "occ_image.npz"), name, CASES[name])


def test_shipped_golden_of_a_refinement(occluded):
    golden = load(HERE / "occ_image.npz")
    check(occluded, golden, "refine", REFINED | {"mask_input": best_of(golden)})


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the development data beside the repository")
@pytest.mark.parametrize("tag", ["nano256", "nano256_occ"])
def test_all_goldens(tag):
    predictor = SAM2ImagePredictor(recipe_model(occluded="occ" in tag))
    predictor.set_image(video(SHARED)[0])
    golden = load(SHARED / f"{tag}_image.npz")
    np.testing.assert_allclose(predictor.get_image_embedding()[0].numpy(), golden["image_embed"], atol=1e-4)
    for name, prompt in CASES.items():
        check(predictor, golden, name, prompt)
    check(predictor, golden, "refine", REFINED | {"mask_input": best_of(golden)})

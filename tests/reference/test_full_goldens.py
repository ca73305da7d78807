"""The released sizes against the reference, at 1024 pixels. Minutes of work: set SAM2_FULL=1 to run them."""

import os

import numpy as np
import pytest

from napari_sam2.model.weights.key_mapping import from_meta
from napari_sam2.reference import SAM2ImagePredictor, build_sam2, build_sam2_video_predictor
from tests.golden.recipe import recipe_state
from tests.reference.replay import SHARED, video

pytestmark = [
    pytest.mark.shared,
    pytest.mark.slow,
    pytest.mark.skipif(
        not SHARED.is_dir() or os.environ.get("SAM2_FULL") != "1",
        reason="needs the development data beside the repository, and SAM2_FULL=1",
    ),
]
POINT = dict(point_coords=np.array([[60, 60]]), point_labels=np.array([1]))


def fill(network):
    network.load_state_dict(from_meta(recipe_state(network)), strict=True)
    return network.requires_grad_(False)


def load(name):
    with np.load(SHARED / name) as file:
        return {key: file[key] for key in file.files}


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("sam2.1_t", "configs/sam2.1/sam2.1_hiera_t.yaml"),
        ("sam2.1_s", "configs/sam2.1/sam2.1_hiera_s.yaml"),
        ("sam2.1_b+", "configs/sam2.1/sam2.1_hiera_b+.yaml"),
        ("sam2.1_l", "configs/sam2.1/sam2.1_hiera_l.yaml"),
        ("sam2.0_t", "configs/sam2/sam2_hiera_t.yaml"),
    ],
)
def test_images(name, config):
    golden = load(f"full_{name}_image.npz")
    predictor = SAM2ImagePredictor(fill(build_sam2(config, device="cpu")))
    predictor.set_image(video(SHARED)[0])
    features = predictor._features[0]
    embedding = predictor.get_image_embedding()[0].numpy()
    for plane, head in (
        (embedding, "image_embed"),
        (features.stride4[0].numpy(), "hr0"),
        (features.stride8[0].numpy(), "hr1"),
    ):
        np.testing.assert_allclose(plane[:, :4, :4], golden[f"{head}_head"], atol=2e-3)
        np.testing.assert_allclose(plane.mean((1, 2)), golden[f"{head}_mean"], atol=1e-3)
    _, ious, low = predictor.predict(**POINT)
    np.testing.assert_allclose(ious, golden["iou"], atol=2e-3)
    np.testing.assert_allclose(low, golden["low"], atol=0.02)  # stored as float16


def test_a_video():
    golden = load("full_sam2.1_t_video.npz")
    predictor = build_sam2_video_predictor(
        "configs/sam2.1/sam2.1_hiera_t.yaml",
        device="cpu",
        hydra_overrides_extra=["++model.fill_hole_area=0"],
        memory_dtype="bfloat16",
    )
    fill(predictor.model)
    # Four frames: the number of frames sets the scale of the pointers' distances.
    state = predictor.init_state(video(SHARED)[: golden["rec_frame"].max() + 1])
    outputs = [predictor.add_new_points_or_box(state, 0, 1, [[60, 60]], [1])]
    outputs += list(predictor.propagate_in_video(state))
    for row, (frame, _, masks) in enumerate(outputs):
        assert frame == golden["rec_frame"][row]
        output = state.session.output(frame, 1)
        shown = masks[0, 0].numpy()
        bits = np.unpackbits(golden["video_mask_bits"][row])[: shown.size].reshape(shown.shape)
        assert np.mean((shown > 0) != bits) <= 0.001
        np.testing.assert_allclose(output.logits.numpy(), golden["low_res"][row], atol=0.15)
        np.testing.assert_allclose(output.pointer.numpy(), golden["obj_ptr"][row], atol=0.02)
        assert output.object_score == pytest.approx(golden["score"][row], abs=0.01)

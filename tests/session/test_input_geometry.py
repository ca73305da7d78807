"""Where a frame is in a network's input: stretched for SAM 2, padded for Segment Anything 1."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from napari_sam2.automatic import AutomaticOptions, generate_masks
from napari_sam2.model.weights.sam1_layouts import build_sam1, read_sam1
from napari_sam2.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt
from napari_sam2.reference import SamPredictor
from napari_sam2.session import ImageSession
from napari_sam2.session.tensors import InputGeometry, longest_side_shape
from tests.golden.sam1_recipe import meta_state

SIZE = (90, 200)


@pytest.fixture(scope="module")
def sam():
    return build_sam1(read_sam1(meta_state(blobs=True)), "small").requires_grad_(False)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(3).integers(0, 255, (*SIZE, 3), dtype=np.uint8)


def test_longest_side():
    assert longest_side_shape(90, 200, 256) == (115, 256)
    assert longest_side_shape(300, 120, 1024) == (1024, 410)


def test_a_stretched_frame_fills_the_input():
    geometry = InputGeometry.of(SIZE, 256, "stretch")
    logits = torch.randn(2, 64, 64)
    assert geometry.extent.tolist() == [256, 256]
    assert geometry.stretched(logits) is logits
    assert geometry.inside_logits(logits) is logits
    wanted = functional.interpolate(logits[None], SIZE, mode="bilinear", align_corners=False)[0]
    assert torch.equal(geometry.frame_logits(logits), wanted)


def test_padding_is_left_out():
    geometry = InputGeometry.of(SIZE, 256, "pad")
    assert geometry.inside == (115, 256)
    rows = torch.arange(64.0)[:, None].expand(64, 64)  # each cell holds its row
    frame = geometry.frame_logits(rows[None])[0]
    assert frame.shape == SIZE
    # Pixel y of the frame lies at (y + 0.5) * 115 / 90 / 4 - 0.5 cells.
    wanted = (np.arange(90) + 0.5) * 115 / 90 / 4 - 0.5
    np.testing.assert_allclose(frame[2:-2, 7], wanted[2:-2], atol=0.15)
    stretched = geometry.stretched(rows[None])[0]
    wanted = (np.arange(64) + 0.5) / 64 * 115 / 4 - 0.5
    np.testing.assert_allclose(stretched[1:, 7], wanted[1:], atol=1e-4)


def test_a_mask_becomes_logits_where_the_frame_is():
    geometry = InputGeometry.of(SIZE, 256, "pad")
    mask = np.zeros(SIZE, bool)
    mask[45:, :100] = True
    logits = geometry.mask_logits(mask, 64)
    assert logits.shape == (1, 64, 64)
    np.testing.assert_allclose(logits[0, 16:28, :30], 10, atol=1e-4)
    assert (logits[0, 30:] == -10).all()  # below the frame
    assert (logits[0, :13] == -10).all()


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        (
            Prompt((PointPrompt(60, 40, True), PointPrompt(150, 20, False))),
            {"point_coords": [[60, 40], [150, 20]], "point_labels": [1, 0]},
        ),
        (Prompt(box=BoxPrompt(30, 10, 120, 70)), {"box": [30, 10, 120, 70]}),
        (
            Prompt((PointPrompt(60, 40, True),), BoxPrompt(30, 10, 120, 70)),
            {"point_coords": [[60, 40]], "point_labels": [1], "box": [30, 10, 120, 70]},
        ),
    ],
)
def test_a_session_answers_as_the_reference(prompt, asked, sam, image):
    session = ImageSession(sam)
    session.set_image(image)
    found = session.predict(prompt)
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    masks, ious, _ = predictor.predict(**{k: np.array(v) for k, v in asked.items()})
    assert found.masks.shape == (1, 3, *SIZE)
    assert np.mean(found.masks[0] != masks) < 1e-3
    np.testing.assert_allclose(found.ious[0], ious, atol=1e-4)


def test_a_session_takes_masks_and_earlier_logits(sam, image):
    session = ImageSession(sam)
    session.set_image(image)
    first = session.predict(Prompt((PointPrompt(60, 40, True),)), multimask=False)
    again = session.predict(
        Prompt((PointPrompt(60, 40, True),)), multimask=False, previous_logits=first.logits
    )
    assert again.masks.shape == (1, 1, *SIZE)
    drawn = np.zeros(SIZE, bool)
    drawn[20:60, 40:120] = True
    masked = session.predict(Prompt(mask=MaskPrompt.from_array(drawn)), multimask=False)
    assert masked.masks.shape == (1, 1, *SIZE)
    assert (masked.logits != first.logits).any()


def test_fast_and_exact_automatic_masks_agree(sam, image):
    options = AutomaticOptions(
        points_per_side=5, pred_iou_thresh=0.6, stability_score_thresh=0.0, crop_n_layers=1
    )
    fast = generate_masks(sam, image, options)
    exact = generate_masks(sam, image, options.changed(mode="exact"))
    assert len(exact)
    partners = {mask.row: mask for mask in fast.masks}
    shared = [mask for mask in exact.masks if any(m.point == mask.point for m in partners.values())]
    assert len(shared) >= 0.7 * len(exact)
    best = max(exact.masks, key=lambda mask: mask.predicted_iou)
    same = [
        m for m in fast.masks if m.point == best.point and abs(m.predicted_iou - best.predicted_iou) < 1e-4
    ]
    assert len(same) == 1
    overlap = (same[0].array() & best.array()).sum() / (same[0].array() | best.array()).sum()
    assert overlap > 0.95

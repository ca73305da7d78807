"""The border between arrays and tensors."""

import numpy as np
import pytest
import torch
from PIL import Image

from napari_sam2.prompts import BoxPrompt, PointPrompt
from napari_sam2.session import ArrayFrames
from napari_sam2.session.tensors import (
    InputGeometry,
    fill_holes,
    image_tensor,
    non_overlapping,
    remove_sprinkles,
    rounded,
)
from tests.reference.replay import SHARED, video


def grid(*rows):
    return torch.tensor([[1.0 if c == "#" else -1.0 for c in row] for row in rows])


def drawn(logits):
    return ["".join("#" if v > 0 else "." for v in row) for row in logits]


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the development data beside the repository")
def test_a_frame_becomes_the_reference_s_input():
    with np.load(SHARED / "preprocessed_frame0.npz") as file:
        expected = file[file.files[0]]
    ours = image_tensor(video(SHARED)[0], 256, "bicubic")[0].numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("resize", ["bicubic", "bilinear"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (500, 3), (64, 64)])
def test_frames_of_any_shape_fill_the_square(resize, shape):
    frame = np.full((*shape, 3), 128, np.uint8)
    tensor = image_tensor(frame, 64, resize)
    assert tensor.shape == (1, 3, 64, 64)
    flat = (128 / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(tensor[0].mean((1, 2)).numpy(), flat, atol=1e-5)


def test_bicubic_is_pillow_s_on_bytes():
    frame = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(frame).resize((64, 64), Image.Resampling.BICUBIC))
    ours = image_tensor(frame, 64)[0].permute(1, 2, 0).numpy()
    back = ours * np.array([0.229, 0.224, 0.225]) + np.array([0.485, 0.456, 0.406])
    np.testing.assert_allclose(back * 255, expected, atol=1e-3)


def test_clicks_scale_with_the_frame_and_a_box_comes_first():
    geometry = InputGeometry.of((40, 20), 100, "stretch")
    xy, labels = geometry.points((PointPrompt(10, 20), PointPrompt(0, 0, False)), BoxPrompt(5, 5, 15, 25))
    assert xy.tolist() == [[[25, 12.5], [75, 62.5], [50, 50], [0, 0]]]
    assert labels.tolist() == [[2, 3, 1, 0]]


def test_a_mask_is_resized_and_thresholded():
    mask = np.zeros((10, 20), bool)
    mask[:, 10:] = True
    tensor = InputGeometry.of((10, 20), 40, "stretch").mask_tensor(mask)
    assert tensor.shape == (1, 1, 40, 40)
    assert set(tensor.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(tensor[0, 0, :, 20:], torch.ones(40, 20))
    assert not tensor[0, 0, :, :19].any()
    same = InputGeometry.of((40, 40), 40, "stretch")
    assert same.mask_tensor(np.eye(40, dtype=bool))[0, 0].diagonal().all()


def test_small_holes_are_filled_and_large_or_open_ones_are_not():
    logits = grid(
        "##########",
        "#.##...###",
        "##.#...###",
        "####...##.",
        "##########",
    )
    assert drawn(fill_holes(logits, 2)) == [
        "##########",
        "####...###",
        "####...###",
        "####...###",
        "##########",
    ]
    assert drawn(fill_holes(logits, 9))[2] == "##########"
    assert torch.equal(fill_holes(logits, 0), logits)
    assert fill_holes(logits, 2)[1, 1] == pytest.approx(0.1)


def test_each_plane_is_filled_on_its_own():
    stack = torch.stack([grid("###", "#.#", "###"), -torch.ones(3, 3)])[:, None]
    filled = fill_holes(stack, 3)
    assert (filled[0] > 0).all()
    assert not (filled[1] > 0).any()


def test_sprinkles_are_removed():
    assert drawn(remove_sprinkles(grid("#...", "...#", "..##"), 1)) == ["....", "...#", "..##"]


def test_each_pixel_belongs_to_the_strongest():
    logits = torch.tensor([[[3.0, 1.0, -2.0]], [[2.0, 5.0, -1.0]]])
    out = non_overlapping(logits)
    assert out[0].tolist() == [[3.0, -10.0, -10.0]]
    assert out[1].tolist() == [[-10.0, 5.0, -1.0]]
    assert torch.equal(non_overlapping(logits[:1]), logits[:1])


def test_rounding_is_what_the_store_keeps():
    logits = torch.tensor([[1e6, np.pi, -1024.0]])
    kept = rounded(logits, "float16")
    assert torch.equal(kept, kept.half().float())
    assert kept[0, 2] == -1024
    assert torch.isfinite(kept).all()
    assert torch.equal(rounded(logits, "float32"), logits)


@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 4, 5, 1), (3, 4, 5, 3)])
def test_array_frames(shape):
    source = ArrayFrames(np.ones(shape, np.uint8))
    assert (len(source), source.size) == (3, (4, 5))
    assert source.frame(1).shape == (4, 5, 3)

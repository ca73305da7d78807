"""Following objects without memory: each frame's masks prompt the next frame."""

import numpy as np
import pytest

from napari_sam2.model.weights.checkpoints import load_model
from napari_sam2.model.weights.sam1_layouts import build_sam1, read_sam1
from napari_sam2.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt
from napari_sam2.session import ArrayFrames, ImageSession, VideoSession
from napari_sam2.session.frame_by_frame import _moved, follow_frame_by_frame
from tests.golden.sam1_recipe import meta_state

SIZE = (160, 200)


def discs(count=4, step=6):
    """A grey disc that moves to the right, and a white one that stays, with their true masks (T, 2, H, W)."""
    yy, xx = np.mgrid[: SIZE[0], : SIZE[1]]
    frames = np.full((count, *SIZE), 30, np.uint8)
    masks = np.zeros((count, 2, *SIZE), bool)
    for t in range(count):
        masks[t, 0] = np.hypot(xx - 50 - step * t, yy - 60) <= 20
        masks[t, 1] = np.hypot(xx - 140, yy - 110) <= 25
        frames[t][masks[t, 0]] = 120
        frames[t][masks[t, 1]] = 220
    return frames, masks


@pytest.fixture(scope="module")
def nano():
    return ImageSession(load_model("nano", "cpu"))


@pytest.mark.parametrize("next_prompt", ["mask and box", "box"])
def test_a_trained_network_follows_discs(nano, next_prompt):
    frames, truth = discs()
    prompts = {
        3: Prompt(mask=MaskPrompt.from_array(truth[0, 0])),
        7: Prompt(box=BoxPrompt(114, 84, 166, 136)),
    }
    results = list(follow_frame_by_frame(nano, ArrayFrames(frames), prompts, next_prompt=next_prompt))
    assert [r.frame for r in results] == [0, 1, 2, 3]
    assert [r.object_ids for r in results] == [(3, 7)] * 4
    assert [r.prompted.all() for r in results] == [True, False, False, False]
    assert (results[0].of(3) == truth[0, 0]).all()  # a mask is taken as it is
    for result, masks in zip(results, truth):
        for found, mask in zip(result.masks, masks):
            assert (found & mask).sum() / (found | mask).sum() > 0.8
        assert (result.object_scores == 10).all()


def test_backwards_and_ranges(nano):
    frames, truth = discs(3)
    prompt = {1: Prompt((PointPrompt(140, 110, True),))}
    results = list(follow_frame_by_frame(nano, ArrayFrames(frames), prompt, start=2, stop=1, reverse=True))
    assert [r.frame for r in results] == [2, 1]
    assert (results[1].masks[0] & truth[1, 1]).sum() / (results[1].masks[0] | truth[1, 1]).sum() > 0.8
    with pytest.raises(ValueError, match="nothing to follow"):
        next(follow_frame_by_frame(nano, ArrayFrames(frames), {}))


def test_a_lost_object_stays_lost(nano):
    frames, truth = discs(3)
    frames[1:] = 30
    lost = Prompt(mask=MaskPrompt.from_array(truth[0, 0]))
    session = nano
    original = session.candidates

    def nothing(*args, **kwargs):
        found = original(*args, **kwargs)
        found.logits[:] = -5
        return found

    session.candidates = nothing
    try:
        results = list(follow_frame_by_frame(session, ArrayFrames(frames), {1: lost}))
    finally:
        del session.candidates
    assert [bool(r.masks.any()) for r in results] == [True, False, False]
    assert [float(r.object_scores[0]) for r in results] == [10, -10, -10]


def test_sam1_follows_too_and_its_masks_prompt_sam2():
    sam = build_sam1(read_sam1(meta_state(blobs=True)), "small").requires_grad_(False)
    frames, truth = discs(2)
    expert = ImageSession(sam)
    prompt = {1: Prompt(mask=MaskPrompt.from_array(truth[0, 0]))}
    for kind in ("mask and box", "mask", "box"):
        results = list(follow_frame_by_frame(expert, ArrayFrames(frames), prompt, next_prompt=kind))
        assert [r.frame for r in results] == [0, 1]
    with pytest.raises(TypeError, match="no memory to follow objects with: use it with ImageSession"):
        VideoSession(sam, ArrayFrames(frames))
    # On a key frame SAM 1's mask is a prompt of SAM 2 like any other.
    expert.set_image(frames[0])
    mask = expert.predict(Prompt(box=BoxPrompt(30, 40, 70, 80)), multimask=False).masks[0, 0]
    session = VideoSession(load_model("nano", "cpu"), ArrayFrames(frames))
    try:
        session.set_prompt(0, 1, Prompt(mask=MaskPrompt.from_array(mask)))
        assert (session.masks(0).of(1) == mask).mean() > 0.99
    finally:
        session.close()


def test_logits_move_by_whole_cells(nano):
    import torch

    nano.set_image(np.zeros((128, 256), np.uint8))  # stretched: 128 cells are 256 pixels wide and 128 high
    logits = torch.full((1, 128, 128), -3.0)
    logits[0, 10, 20] = 7
    moved = _moved(logits, np.array([4.0, -2.0]), nano)
    assert moved[0, 8, 22] == 7
    assert (moved[0, -2:] == -10).all()
    assert (moved[0, :, :2] == -10).all()
    assert _moved(logits, np.array([0.4, 0.2]), nano) is logits

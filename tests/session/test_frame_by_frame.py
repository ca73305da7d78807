"""Following objects without memory: each frame's masks prompt the next frame."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from napari_sam2.model.sam1 import frame_by_frame
from napari_sam2.model.sam1.config import SamConfig, VitConfig
from napari_sam2.model.sam1.sam import Sam
from napari_sam2.model.tensors import ImageFeatures, MaskCandidates
from napari_sam2.model.weights.checkpoints import load_model
from napari_sam2.model.weights.sam1_layouts import build_sam1, read_sam1
from napari_sam2.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt
from napari_sam2.session import ArrayFrames, ImageSession, LastFramePolicy, VideoSession
from tests.golden.sam1_recipe import meta_state

SIZE = (160, 200)
BRIGHTNESS = 20  # how much the pixels of an object may differ


class BrightnessSam(Sam):
    """Takes what is as bright as the middle of the box, or as the click, for the object."""

    def __init__(self):
        super().__init__(SamConfig(256, VitConfig(16, 16, 1, 1, 16, (0,), 7)))
        self.requires_grad_(False)
        self.asked = []

    def encode_image(self, images):
        grey = (images * self.pixel_std + self.pixel_mean)[:, :1]
        patches = functional.pixel_unshuffle(grey, 16)  # (1, 256, 16, 16): every pixel, one patch a token
        return ImageFeatures(*(patches.new_empty(1, 0, 16 * k, 16 * k) for k in (4, 2)), patches)

    def decode_masks(self, embedding, features, prompts, multimask):
        if prompts.points is None and prompts.mask_logits is None:
            return super().decode_masks(embedding, features, prompts, multimask)
        grey = functional.pixel_shuffle(features.stride16, 16)[0, 0]
        masks = [self._mask(grey, *row) for row in zip(prompts.points.tolist(), prompts.labels.tolist())]
        logits = functional.avg_pool2d(torch.stack(masks)[:, None], 4) * 20 - 10
        ious = torch.full((len(logits), 1), 0.9)
        return MaskCandidates(logits, ious, torch.full_like(ious, 10), logits.new_empty(len(logits), 1, 0))

    def _mask(self, grey, points, labels):
        allowed = torch.ones_like(grey)
        (x, y), *_ = points
        if labels[0] == 2:
            (x0, y0), (x1, y1) = points[:2]
            self.asked.append((x0, y0, x1, y1))
            allowed[:] = 0
            allowed[round(y0) : round(y1), round(x0) : round(x1)] = 1
            x, y = (x0 + x1) / 2, (y0 + y1) / 2
        seed = grey[int(y), int(x)]
        regions, _ = ndimage.label(((grey - seed).abs() < BRIGHTNESS).numpy() & (seed.item() > 60))
        alike = torch.from_numpy(regions == max(regions[int(y), int(x)], 1))
        return alike.float() * allowed


def discs(count=4, step=2):
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


def overlap(found, truth):
    return (found & truth).sum() / (found | truth).sum()


@pytest.fixture
def sam():
    return BrightnessSam()


@pytest.fixture
def session(sam):
    video = VideoSession(sam, ArrayFrames(discs()[0]))
    yield video
    video.close()


def test_objects_are_followed_from_a_mask_and_from_a_click(session):
    truth = discs()[1]
    session.set_prompt(0, 3, Prompt(mask=MaskPrompt.from_array(truth[0, 0])))
    session.set_prompt(0, 7, Prompt((PointPrompt(140, 110),)))
    results = list(session.propagate())
    assert [r.frame for r in results] == [0, 1, 2, 3]
    assert [r.object_ids for r in results] == [(3, 7)] * 4
    assert [r.prompted.all() for r in results] == [True, False, False, False]
    assert (results[0].of(3) == truth[0, 0]).all()  # a mask is taken as it is
    for result, masks in zip(results, truth):
        for found, mask in zip(result.masks, masks):
            assert overlap(found, mask) > 0.85
        assert (result.object_scores == 10).all()


def test_the_next_prompt_is_the_mask_and_its_box(session, sam):
    session.set_prompt(0, 1, Prompt(mask=MaskPrompt.from_array(discs()[1][0, 1])))
    list(session.propagate(stop=1))
    # The disc, 115 to 165 and 85 to 135 pixels, in an input 1.28 times as large, to whole cells of 4, and 5 % more.
    np.testing.assert_allclose(sam.asked[0], (147.2 - 3.3, 108.8 - 3.3, 211.2 + 3.3, 172.8 + 3.3), atol=4)


def test_backwards_from_the_nearest_prompt(session):
    truth = discs()[1]
    session.set_prompt(3, 1, Prompt((PointPrompt(56, 60),)))
    assert [r.frame for r in session.propagate(reverse=True, stop=1)] == [3, 2, 1]
    assert overlap(session.masks(1).of(1), truth[1, 0]) > 0.85


def test_a_lost_object_stays_lost_until_it_is_prompted_again(sam):
    frames, truth = discs(5)
    frames[2][truth[2, 0]] = 30  # hidden on one frame
    video = VideoSession(sam, ArrayFrames(frames))
    video.set_prompt(0, 1, Prompt(mask=MaskPrompt.from_array(truth[0, 0])))
    results = list(video.propagate())
    assert [bool(r.of(1).any()) for r in results] == [True, True, False, False, False]
    assert [float(r.object_scores[0]) for r in results] == [10, 10, -10, -10, -10]
    video.set_prompt(3, 1, Prompt((PointPrompt(56, 60),)))
    results = list(video.propagate())
    assert [bool(r.of(1).any()) for r in results] == [True, True, False, True, True]
    assert overlap(results[4].of(1), truth[4, 0]) > 0.85
    video.close()


def test_a_click_corrects_a_followed_mask_and_what_follows(session):
    truth = discs()[1]
    session.set_prompt(0, 1, Prompt((PointPrompt(140, 110),)))
    list(session.propagate())
    session.set_prompt(2, 1, Prompt((PointPrompt(54, 60),)))
    list(session.propagate())
    assert overlap(session.masks(1).of(1), truth[1, 1]) > 0.85
    assert overlap(session.masks(3).of(1), truth[3, 0]) > 0.85


def test_a_session_goes_on_from_its_store(sam):
    frames, truth = discs()
    first = VideoSession(sam, ArrayFrames(frames))
    first.set_prompt(0, 1, Prompt(mask=MaskPrompt.from_array(truth[0, 0])))
    whole = [r.masks.copy() for r in first.propagate()]
    again = VideoSession(sam, ArrayFrames(frames), store=first.store, prompts=first.prompts)
    for frame in (2, 3):
        again.store.remove(1, frame)
    assert all((a == b.masks).all() for a, b in zip(whole, again.propagate(), strict=True))
    first.close()


def test_answers_are_those_of_an_image_session():
    """A real network of Segment Anything 1: one way into it, whether for an image or for a frame."""
    model = build_sam1(read_sam1(meta_state(blobs=True)), "small").requires_grad_(False)
    frame = np.random.default_rng(0).integers(0, 255, (1, *SIZE, 3), dtype=np.uint8)
    image = ImageSession(model)
    image.set_image(frame[0])
    video = VideoSession(model, ArrayFrames(frame))
    for prompt in (Prompt((PointPrompt(60, 40),)), Prompt(box=BoxPrompt(30, 40, 70, 80))):
        several = prompt.box is None
        wanted = image.predict(prompt, multimask=several)
        found = video.set_prompt(0, 1, prompt)
        assert (found.of(1) == wanted.masks[0, wanted.ious[0].argmax()]).mean() > 0.999  # logits are rounded
    assert len(video.alternatives(0, 1).masks) == 1
    video.close()


def test_a_mask_of_sam1_is_a_prompt_of_sam2():
    frames, truth = discs(2)
    expert = VideoSession(BrightnessSam(), ArrayFrames(frames))
    mask = expert.set_prompt(0, 1, Prompt((PointPrompt(50, 60),))).of(1)
    session = VideoSession(load_model("nano", "cpu"), ArrayFrames(frames))
    session.set_prompt(0, 1, Prompt(mask=MaskPrompt.from_array(mask)))
    assert [overlap(r.of(1), t[0]) > 0.8 for r, t in zip(session.propagate(), truth, strict=True)] == [
        True
    ] * 2
    for each in (expert, session):
        each.close()


def test_a_memory_gives_back_mask_and_box():
    logits = torch.full((2, 1, 64, 64), -3.0)
    logits[0, 0, 8:16, 20:40] = 5
    memory = frame_by_frame.as_memory(logits)
    assert memory.shape == (2, 16, 16, 16)
    embedding = torch.randn(1, 32, 16, 16)
    image, back = frame_by_frame.separated(frame_by_frame.conditioned(embedding, memory), 32)
    assert torch.equal(image, embedding)
    assert torch.equal(back, logits)
    prompts = frame_by_frame.next_prompts(back)
    np.testing.assert_allclose(prompts.points[0], [[76, 30.4], [164, 65.6]])
    assert prompts.points[1].tolist() == [[0, 0], [0, 0]]


def test_the_policy_recalls_one_frame():
    policy, everything = LastFramePolicy(), lambda frame: True
    assert policy.recall(5, False, [0], everything, 9).spatial == ((1, 4),)
    assert policy.recall(5, True, [8], everything, 9).spatial == ((1, 6),)
    assert policy.recall(5, False, [0, 4], lambda frame: False, 9).spatial == ((1, 4),)
    assert policy.recall(5, False, [0], lambda frame: frame == 2, 9).spatial == (
        (1, 2),
    )  # 3 and 4 are unreadable
    assert policy.recall(15, False, [0, 17], lambda frame: False, 19).spatial == ((1, 17),)
    assert not policy.recall(5, False, [], lambda frame: False, 9)

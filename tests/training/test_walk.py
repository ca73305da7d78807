"""Training walks through a clip as the session does."""

import pytest
import torch

from napari_sam2.model.sam2 import Sam2
from napari_sam2.prompts import MaskPrompt, Prompt
from napari_sam2.session import ArrayFrames, SessionOptions, VideoSession
from napari_sam2.session.tensors import PIXEL_MEAN, PIXEL_STD
from napari_sam2.training import tracker
from napari_sam2.training.data.batches import StepBatch, StepPlan
from napari_sam2.training.losses import LossOptions
from napari_sam2.training.trainer import open_memory
from tests.golden.tiny_network import TINY

FRAMES, SIDE = 20, 64  # more frames than pointers are remembered for


def drifting_disc():
    """Frames (T, S, S, 3) uint8 and masks (T, S, S) of a bright disc that drifts to the right."""
    yy, xx = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    masks = torch.stack([(xx - 16 - 1.5 * t) ** 2 + (yy - 30) ** 2 < 150 for t in range(FRAMES)])
    noise = torch.randint(0, 40, (FRAMES, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    return (noise + masks * 150).to(torch.uint8)[..., None].expand(-1, -1, -1, 3), masks


@pytest.fixture
def model():
    torch.manual_seed(2)
    network = open_memory(Sam2(TINY)).eval().requires_grad_(False)
    torch.nn.init.constant_(network.mask_decoder.pred_obj_score_head.layers[-1].bias, 4.0)
    return network


def scores_of_training(model, frames, masks, monkeypatch, **plan):
    """Object scores of the tracked frames, with memories of the network's own making."""
    said, decode = [], model.decode_masks

    def decoding(embedding, features, prompts, multimask):
        answer = decode(embedding, features, prompts, multimask)
        if prompts.mask_logits is None:
            said.append(float(answer.object_score))
        return answer

    images = frames.permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
    details = StepPlan(0, "mask", SIDE, FRAMES, 1, 0.0, 0, None, **plan)
    batch = StepBatch(details, ((images - mean) / std)[None], torch.zeros(1, dtype=torch.long), masks[None])
    with monkeypatch.context() as patch, torch.no_grad():
        patch.setattr(model, "decode_masks", decoding)
        patch.setattr(tracker, "worn_masks", lambda truth, generator: truth)
        tracker.follow_clip(model, batch, torch.Generator().manual_seed(0), LossOptions())
    return said


def test_what_is_recalled_on_a_long_clip_is_what_the_session_recalls(model, monkeypatch):
    frames, masks = drifting_disc()
    options = SessionOptions(precision="exact", memory_dtype="float32", store_dtype="float32")
    session = VideoSession(model, ArrayFrames(frames.numpy()), options)
    session.set_prompt(0, 1, Prompt(mask=MaskPrompt.from_array(masks[0].numpy())))
    theirs = [float(step.object_scores[0]) for step in session.propagate()][1:]
    session.close()
    ours = scores_of_training(model, frames, masks, monkeypatch)
    assert len(ours) == FRAMES - 1
    assert max(theirs) - min(theirs) > 1e-3
    assert ours == pytest.approx(theirs, abs=1e-4)


def test_the_length_of_the_video_tells_how_old_a_pointer_is(model, monkeypatch):
    frames, masks = drifting_disc()
    short, long = frames[:6], masks[:6]
    monkeypatch.setattr("tests.training.test_walk.FRAMES", 6)
    alone = scores_of_training(model, short, long, monkeypatch)
    part = scores_of_training(model, short, long, monkeypatch, video_frames=6)
    of_more = scores_of_training(model, short, long, monkeypatch, video_frames=40)
    assert alone == part
    assert of_more[1:] != pytest.approx(alone[1:], abs=1e-6)

"""Prompts on one image, alone and in batches."""

import numpy as np
import pytest
import torch

from napari_sam2.model.tensors import PromptTensors
from napari_sam2.prompts import merged
from napari_sam2.session import ImageSession, SessionOptions
from tests.session.conftest import HEIGHT, WIDTH, box, click, clicks, painted


@pytest.fixture(scope="module")
def session(model, frames):
    opened = ImageSession(model)
    opened.set_image(frames.frame(0))
    return opened


MIXED = [
    click(15, 12),
    box(5, 5, 30, 30),
    clicks((45, 30), (20, 20, False)),
    click(25, 36),
    merged(box(30, 20, 60, 44), click(45, 30)),
    painted(np.tri(HEIGHT, WIDTH, dtype=bool)),
    click(60, 40),
]


@pytest.mark.parametrize(("multimask", "count"), [(True, 3), (False, 1)])
def test_shapes(session, multimask, count):
    prediction = session.predict(MIXED, multimask)
    assert prediction.masks.shape == (7, count, HEIGHT, WIDTH)
    assert prediction.ious.shape == (7, count)
    assert prediction.logits.shape == (7, count, 16, 16)
    assert prediction.object_scores.shape == (7,)
    assert prediction.logits.abs().max() <= 32


@pytest.mark.parametrize("multimask", [True, False])
def test_a_batch_is_the_prompts_one_by_one_in_order(session, multimask):
    together = session.predict(MIXED, multimask)
    for row, prompt in enumerate(MIXED):
        alone = session.predict(prompt, multimask)
        np.testing.assert_allclose(together.ious[row], alone.ious[0], atol=1e-4)
        assert torch.allclose(together.logits[row], alone.logits[0], atol=1e-3)


def test_previous_logits_refine(session):
    first = session.predict(click(15, 12))
    best = int(first.ious[0].argmax())
    refined = session.predict(
        clicks((15, 12), (40, 30, False)), multimask=False, previous_logits=first.logits[:, best : best + 1]
    )
    fresh = session.predict(clicks((15, 12), (40, 30, False)), multimask=False)
    assert not torch.equal(refined.logits, fresh.logits)


def test_another_image_another_answer(model, frames):
    session = ImageSession(model)
    session.set_image(frames.frame(0))
    first = session.predict(click(15, 12)).logits
    session.set_image(frames.frame(9)[:30, :40])
    assert session.size == (30, 40)
    assert session.predict(click(15, 12)).masks.shape == (1, 3, 30, 40)
    session.set_image(frames.frame(0))
    assert torch.equal(session.predict(click(15, 12)).logits, first)
    session.reset()
    with pytest.raises(RuntimeError):
        session.predict(click(15, 12))


def test_grey_is_rgb_with_equal_channels(model, frames):
    grey = frames.frame(0)[..., 0]
    answers = []
    for image in (grey, grey[..., None], np.repeat(grey[..., None], 3, 2)):
        session = ImageSession(model)
        session.set_image(image)
        answers.append(session.predict(click(15, 12)).logits)
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])


def test_prompts_that_are_tensors_already(session):
    points = torch.tensor([[[15.0, 16.0]], [[30.0, 20.0]], [[50.0, 40.0]], [[9.0, 9.0]], [[1.0, 1.0]]])
    out = session.decode(PromptTensors(points, torch.ones(5, 1, dtype=torch.int32)), multimask=True)
    alone = session.decode(PromptTensors(points[3:4], torch.ones(1, 1, dtype=torch.int32)), multimask=True)
    assert out.logits.shape == (5, 3, 16, 16)
    assert torch.allclose(out.logits[3], alone.logits[0], atol=1e-3)


def test_hole_filling(model, frames):
    mask = np.ones((HEIGHT, WIDTH), bool)
    shown = {}
    for area in (0, 10**6):
        session = ImageSession(model, SessionOptions(resize="bilinear", fill_hole_area=area))
        session.set_image(frames.frame(0))
        logits = session.geometry.mask_logits(mask, session.runner.mask_side)
        shown[area] = session.predict(painted(mask), multimask=False, previous_logits=logits).masks
    assert shown[10**6].all()
    assert not shown[0].all()

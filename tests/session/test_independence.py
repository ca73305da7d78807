"""One object never disturbs another, and a batch of objects is the objects one by one."""

import numpy as np
import pytest
import torch

from napari_sam2.session import SessionOptions, VideoSession
from tests.session.conftest import HEIGHT, WIDTH, click, painted
from tests.session.test_video_session import Counted, run, stored

PROMPTS = [(0, 1, click(15, 12)), (3, 2, click(45, 30)), (0, 3, click(25, 36)), (9, 4, click(40, 8))]
EXACT = SessionOptions(store_dtype="float32")


def prompted(model, frames, prompts, options=EXACT):
    session = VideoSession(model, frames, options)
    for frame, object_id, prompt in prompts:
        session.set_prompt(frame, object_id, prompt)
    run(session)
    run(session, reverse=True)
    return session


@pytest.fixture
def session(model, frames):
    return prompted(model, frames, PROMPTS)


def others(session, without):
    return {i: stored(session, i) for i in session.object_ids if i != without}


@pytest.mark.parametrize("object_id", [1, 2, 4])
def test_removing_an_object_leaves_the_others_bit_for_bit(session, object_id, monkeypatch):
    before = others(session, object_id)
    masks = {t: session.masks(t) for t in range(24)}
    session.remove_object(object_id)
    counted = Counted(session, monkeypatch)
    run(session, start=0)
    run(session, start=23, reverse=True)
    assert counted.tracked == 0
    assert others(session, object_id) == before
    for t in range(24):
        for other in session.masks(t).object_ids:
            assert np.array_equal(session.masks(t).of(other), masks[t].of(other))


def test_correcting_an_object_recomputes_nothing_of_the_others(session, monkeypatch):
    before = others(session, 2)
    mine = stored(session, 2)
    counted = Counted(session, monkeypatch)
    session.set_prompt(12, 2, painted(np.tri(HEIGHT, WIDTH, dtype=bool)))
    run(session, start=0)
    run(session, start=23, reverse=True)
    assert 0 < counted.tracked <= 23
    assert others(session, 2) == before
    assert stored(session, 2) != mine


def test_adding_an_object_recomputes_nothing_of_the_others(session):
    before = others(session, None)
    session.set_prompt(5, 9, click(50, 40))
    run(session)
    run(session, reverse=True)
    assert others(session, 9) == before
    assert len(session.store.frames(9)) == 24


def test_a_run_without_an_object_gives_the_others_the_same_logits(session, model, frames):
    without = prompted(model, frames, [p for p in PROMPTS if p[1] != 3])
    for object_id in (1, 2, 4):
        for frame in range(24):
            ours = session.output(frame, object_id).logits
            theirs = without.output(frame, object_id).logits
            assert torch.allclose(ours, theirs, atol=1e-4), (object_id, frame)


@pytest.mark.parametrize("count", [1, 3, 10])
def test_a_batch_is_the_objects_one_by_one(model, frames, count):
    rng = np.random.default_rng(count)
    prompts = [
        (int(rng.integers(0, 6)), k + 1, click(float(rng.integers(2, WIDTH - 2)), float(rng.integers(2, 46))))
        for k in range(count)
    ]
    together = prompted(model, frames, prompts, SessionOptions(store_dtype="float32", objects_per_batch=16))
    alone = {p[1]: prompted(model, frames, [p], EXACT) for p in prompts}
    for object_id, session in alone.items():
        for frame in session.store.frames(object_id):
            ours, theirs = together.output(frame, object_id), session.output(frame, object_id)
            assert torch.allclose(ours.logits, theirs.logits, atol=1e-4)
            assert torch.allclose(ours.pointer, theirs.pointer, atol=1e-4)
            assert ours.object_score == pytest.approx(theirs.object_score, abs=1e-4)


def test_objects_of_one_layout_share_forward_passes(model, frames, monkeypatch):
    batches = []
    condition = type(model).condition_on_memory

    def counted(self, features, readout):
        if readout is not None:
            batches.append(readout.spatial.shape[0])
        return condition(self, features, readout)

    monkeypatch.setattr(type(model), "condition_on_memory", counted)
    session = VideoSession(model, frames, SessionOptions(objects_per_batch=16))
    for object_id in range(1, 6):
        session.set_prompt(0, object_id, click(8 * object_id, 20))
    session.set_prompt(1, 6, click(50, 20))
    run(session, stop=4)
    # Object 6 has been there for one frame less, so it goes alone until all windows look the same.
    assert batches == [5, 5, 1, 5, 1, 5, 1]
    batches.clear()
    small = VideoSession(model, frames, SessionOptions(objects_per_batch=2))
    for object_id in range(1, 6):
        small.set_prompt(0, object_id, click(8 * object_id, 20))
    run(small, stop=1)
    assert batches == [2, 2, 1]

"""Precision, batches, and what happens when the device is out of memory."""

import numpy as np
import pytest
import torch

from napari_sam2.session import OutOfDeviceMemory, SessionOptions, VideoSession
from napari_sam2.session.runner import ModelRunner, is_out_of_memory
from tests.golden.recipe import recipe_model
from tests.session.conftest import TINY, click
from tests.session.test_video_session import run


class Small:
    """Pretends that the device holds at most ``rows`` objects at once."""

    def __init__(self, model, monkeypatch, rows):
        self.rows = rows
        self.sizes = []
        condition = type(model).condition_on_memory

        def limited(network, features, readout):
            batch = 1 if readout is None else readout.spatial.shape[0]
            self.sizes.append(batch)
            if batch > self.rows:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return condition(network, features, readout)

        monkeypatch.setattr(type(model), "condition_on_memory", limited)


def crowd(model, frames, **options):
    session = VideoSession(model, frames, SessionOptions(objects_per_batch=8, **options))
    for object_id in range(1, 9):
        session.set_prompt(0, object_id, click(7 * object_id, 20))
    return session


def test_a_batch_that_does_not_fit_is_halved_and_stays_small(model, frames, monkeypatch):
    expected = run(crowd(model, frames), stop=3)
    session = crowd(model, frames)
    small = Small(model, monkeypatch, rows=2)
    results = run(session, stop=3)
    assert small.sizes == [8, 4] + [2] * 4 * 3
    for frame, masks in expected.items():
        assert np.array_equal(masks.masks, results[frame].masks)


def test_then_things_are_moved_to_main_memory_one_after_the_other(model, frames, monkeypatch):
    session = crowd(model, frames)
    session.commit()
    small = Small(model, monkeypatch, rows=0)
    moved = []

    def relieve(name, rows):
        moved.append(name)
        small.rows = rows

    session.runner.oom_fallbacks[:] = [lambda: relieve("features", 0), lambda: relieve("memories", 1)]
    assert len(run(session, stop=2)) == 3
    assert moved == ["features", "memories"]


def test_then_it_fails_with_advice(model, frames, monkeypatch):
    session = crowd(model, frames)
    session.commit()
    Small(model, monkeypatch, rows=0)
    with pytest.raises(OutOfDeviceMemory, match="use a smaller model or image size.*device='cpu'"):
        run(session)
    assert session.store.frames(1) == [0]


def test_offloading_does_not_change_results(model, frames):
    expected = run(crowd(model, frames), stop=6)
    session = crowd(model, frames, offload_memories=True)
    generator = session.propagate(stop=6)
    results = {}
    for masks in generator:
        results[masks.frame] = masks
        for fallback in session.runner.oom_fallbacks:
            fallback()
    for frame, masks in expected.items():
        assert np.array_equal(masks.masks, results[frame].masks)


def test_other_errors_are_not_taken_for_missing_memory(model, frames, monkeypatch):
    def broken(*_):
        raise RuntimeError("shapes do not match")

    session = crowd(model, frames)
    session.commit()
    monkeypatch.setattr(type(model), "condition_on_memory", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run(session)
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_exact_and_fast(frames, half):
    model = recipe_model(TINY)
    exact = VideoSession(model, frames, SessionOptions(precision="exact"))
    model.compute_dtype = half
    fast = VideoSession(model, frames, SessionOptions(precision="fast"))
    assert fast.runner.autocast == half
    assert exact.runner.memory_dtype == torch.float32
    assert fast.runner.memory_dtype == torch.bfloat16
    for session in (exact, fast):
        session.set_prompt(0, 1, click(15, 12))
    a, b = run(exact), run(fast)
    logits = [(exact.output(t, 1).logits, fast.output(t, 1).logits) for t in a]
    assert any(not torch.equal(x, y) for x, y in logits)
    assert all((x - y).abs().mean() < 0.15 * x.std() for x, y in logits)
    assert np.mean([np.mean(a[t].of(1) == b[t].of(1)) for t in a]) > 0.95


def test_exact_stays_exact_inside_another_s_autocast(model, frames):
    outside = VideoSession(model, frames, SessionOptions(precision="exact"))
    inside = VideoSession(model, frames, SessionOptions(precision="exact"))
    plain = outside.set_prompt(0, 1, click(15, 12))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = inside.set_prompt(0, 1, click(15, 12))
    assert plain.predicted_ious == cast.predicted_ious


def test_a_session_computes_as_the_model_was_loaded(frames):
    model = recipe_model(TINY)
    model.compute_dtype = torch.bfloat16
    assert VideoSession(model, frames).runner.autocast == torch.bfloat16
    assert VideoSession(model, frames, SessionOptions(precision="exact")).runner.autocast is None
    model.compute_dtype = torch.float32
    assert VideoSession(model, frames).runner.autocast is None


@pytest.mark.parametrize(("chosen", "expected"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_precision_of_memories_can_be_chosen(model, frames, chosen, expected):
    session = VideoSession(model, frames, SessionOptions(memory_dtype=chosen))
    session.set_prompt(0, 1, click(15, 12))
    run(session, stop=2)
    assert session._objects[1].bank.get(0).spatial.dtype == expected


def test_the_model_is_put_into_evaluation_mode():
    model = recipe_model(TINY).train()
    ModelRunner(model, SessionOptions())
    assert not model.training


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_on_a_gpu(frames, precision):
    model = recipe_model(TINY)
    cpu = VideoSession(model, frames, SessionOptions(precision="exact"))
    gpu = VideoSession(recipe_model(TINY).to("cuda"), frames, SessionOptions(precision=precision))
    for session in (cpu, gpu):
        session.set_prompt(0, 1, click(15, 12))
        session.set_prompt(2, 2, click(45, 30))
    a, b = run(cpu), run(gpu)
    tolerance = 0.02 if precision == "exact" else 1.0
    assert (cpu.output(0, 1).logits - gpu.output(0, 1).logits).abs().max() < tolerance
    agree = np.mean([np.mean(a[t].masks == b[t].masks) for t in a])
    assert agree > (0.998 if precision == "exact" else 0.95)

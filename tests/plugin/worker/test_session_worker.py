"""The thread that owns the session, and propagation that can be interrupted."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from napari_sam2.masks import FrameMasks
from napari_sam2.plugin.state import HistoryState, UndoStep
from napari_sam2.plugin.worker.propagation_run import PropagationRun
from napari_sam2.plugin.worker.replies import (
    CallResult,
    FrameTracked,
    ModelLoading,
    PromptResult,
    PropagationPhase,
    RequestFailed,
    SessionOpened,
)
from napari_sam2.plugin.worker.reply_queue import ReplyQueue
from napari_sam2.plugin.worker.requests import Call, FrameRange, Open, Propagate, SetPrompt
from napari_sam2.plugin.worker.session_worker import SessionWorker
from napari_sam2.prompts import PointPrompt, Prompt

CLICK = Prompt((PointPrompt(5, 5),))


@pytest.fixture
def box():
    return ReplyQueue()


@pytest.fixture
def worker(box):
    worker = SessionWorker(box.post)
    yield worker
    worker.close()


def plan(frames=8):
    return SimpleNamespace(frames=Frames(frames))


class Frames:
    size = (20, 30)

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count


def opened(worker, fake, frames=8):
    worker.submit(Open(lambda progress: fake(plan(frames), progress), 0))
    return collected(worker)


def collected(worker, timeout=10):
    """All answers until the worker has nothing to do."""
    end = time.monotonic() + timeout
    box = worker._post.__self__
    found = []
    while time.monotonic() < end:
        reply = box.take()
        if reply is not None:
            found.append(reply)
        elif worker.pending == 0 and worker._march is None and not len(box):
            return found
        else:
            time.sleep(0.002)
    raise TimeoutError


def answers(replies, kind):
    return [r.answer for r in replies if isinstance(r.answer, kind)]


def test_mailbox_keeps_order_across_threads_and_wakes_its_owner():
    woken = []
    box = ReplyQueue(lambda: woken.append(1))
    thread = threading.Thread(target=lambda: [box.post(i) for i in range(50)])
    thread.start()
    assert box.wait(5)
    thread.join()
    assert [box.take() for _ in range(50)] == list(range(50))
    assert box.take() is None
    assert not box.wait(0.01)
    assert len(woken) == 50


def test_opening_reports_progress_then_what_there_is(worker, fake):
    found = opened(worker, fake)
    assert [type(r.answer) for r in found] == [ModelLoading, ModelLoading, SessionOpened]
    assert answers(found, ModelLoading)[1] == ModelLoading(1, 2)


def test_a_newer_prompt_of_the_same_key_supersedes_only_that(worker, fake):
    opened(worker, fake)
    release = threading.Event()
    worker.submit(Call("hold", lambda bench: release.wait(10)))
    first = worker.submit(SetPrompt(0, 1, CLICK))
    worker.submit(SetPrompt(0, 2, CLICK))
    newest = worker.submit(SetPrompt(0, 1, Prompt((PointPrompt(9, 9),))))
    release.set()
    found = collected(worker)
    numbers = [r.generation for r in found if isinstance(r.answer, PromptResult)]
    assert first not in numbers
    assert newest in numbers
    assert [a.key for a in answers(found, PromptResult)] == [(0, 2), (0, 1)]


def test_errors_come_back_with_their_title_and_the_thread_lives_on(worker, fake):
    worker.submit(SetPrompt(0, 1, CLICK))
    failed = answers(collected(worker), RequestFailed)[0]
    assert "choose a model" in failed.message
    opened(worker, fake)

    def broken(bench):
        raise KeyError("oops")

    worker.submit(Call("Exporting", broken))
    worker.submit(Call("Counting", lambda bench: bench.n_frames))
    found = collected(worker)
    assert answers(found, RequestFailed)[0].title == "Exporting"
    assert "KeyError" in answers(found, RequestFailed)[0].details
    assert answers(found, CallResult)[0].value == 8


def test_cancelled_opening_fails_with_a_hint_and_another_works(worker, fake):
    started, release = threading.Event(), threading.Event()

    def slow(progress):
        started.set()
        release.wait(10)
        progress(5, 10)
        raise AssertionError("was not cancelled")

    worker.submit(Open(slow, 0))
    assert started.wait(10)
    worker.cancel_opening()
    release.set()
    assert "cancelled" in answers(collected(worker), RequestFailed)[0].message
    assert answers(opened(worker, fake), SessionOpened)


def test_opening_again_closes_the_session_before(worker, fake):
    opened(worker, fake)
    opened(worker, fake)
    assert [b.closed for b in fake.benches] == [True, False]


def test_closing_answers_prompts_and_drops_the_rest(box, fake):
    worker = SessionWorker(box.post)
    opened(worker, fake)
    release = threading.Event()
    called = []
    worker.submit(Call("hold", lambda bench: release.wait(10)))
    worker.submit(Call("late", lambda bench: called.append(1)))
    worker.submit(SetPrompt(3, 1, CLICK))
    threading.Timer(0.05, release.set).start()
    assert worker.close()
    assert not worker.alive
    assert fake.bench.closed
    assert (3, 1) in fake.bench.prompts
    assert called == []
    with pytest.raises(RuntimeError, match="closed"):
        worker.submit(SetPrompt(0, 1, CLICK))


def test_propagation_stops_between_two_frames_when_closing(box, fake):
    worker = SessionWorker(box.post)
    opened(worker, fake, 5000)
    worker.submit(SetPrompt(0, 1, CLICK))
    worker.submit(Propagate((FrameRange(None, None, False),), None, (), "forward"))
    while not any(c[0] == "step" for c in fake.bench.calls):
        time.sleep(0.005)
    assert worker.close()
    steps = sum(c[0] == "step" for c in fake.bench.calls)
    assert 0 < steps < 5000
    assert len(fake.bench.said.masks) == steps


def test_prompts_overtake_a_propagation(worker, fake):
    opened(worker, fake, 400)
    worker.submit(SetPrompt(0, 1, CLICK))
    worker.submit(Propagate((FrameRange(None, None, False),), None, (), "forward"))
    box = worker._post.__self__
    found = []
    while not answers(found, FrameTracked):
        reply = box.take()
        if reply is not None:
            found.append(reply)
    worker.submit(SetPrompt(399, 2, CLICK))
    found += collected(worker, 60)
    kinds = [type(r.answer).__name__ for r in found]
    last_prompt = max(i for i, k in enumerate(kinds) if k == "PromptResult")
    assert kinds[last_prompt:].count("FrameTracked") > 10
    phases = [a.phase for a in answers(found, PropagationPhase)]
    assert phases == ["running", "paused", "running", "finished"]
    assert answers(found, PropagationPhase)[-1].done == 400


# -- march -------------------------------------------------------------------------------------------------


class Track:
    """A workbench of prompts only; notes which frames are visited."""

    def __init__(self, prompts, n_frames=20):
        self.prompts = dict.fromkeys(prompts, CLICK)
        self.n_frames = n_frames
        self.visited = []
        self.open = 0
        self.labels = []

    def propagate(self, start, stop, reverse, objects, gesture, joins):
        self.open += 1
        self.labels[-1 if joins else len(self.labels) :] = [gesture.label]
        try:
            for frame in range(start, stop - 1, -1) if reverse else range(start, stop + 1):
                self.visited.append(frame)
                yield FrameMasks.empty(frame, (4, 4))
        finally:
            self.open -= 1

    @property
    def history(self):
        steps = tuple(UndoStep(n, label) for n, label in enumerate(self.labels))
        return HistoryState(steps, len(steps))


def march(bench, *legs, objects=None, excluded=()):
    return PropagationRun(
        Propagate(legs or (FrameRange(None, None, False),), objects, excluded, "forward"), 1, bench
    )


def run(marching, steps=None):
    count = 0
    while (steps is None or count < steps) and marching.step() is not None:
        count += 1
    return count


def test_march_visits_every_frame_once_and_knows_how_many():
    bench = Track([(3, 1)], 10)
    m = march(bench, FrameRange(None, None, False), FrameRange(None, None, True))
    assert m.total == 10
    run(m, 7)
    assert (m.done, m.total) == (7, 10)
    run(m)
    assert bench.visited == [3, 4, 5, 6, 7, 8, 9, 3, 2, 1, 0]
    assert (m.done, m.total, bench.open) == (10, 10, 0)


def test_what_is_visited_again_is_not_done_meanwhile():
    bench = Track([(0, 1)], 10)
    m = march(bench)
    run(m, 6)
    bench.prompts[3, 2] = CLICK
    m.prompted(3, 2)
    assert (m.done, m.total) == (3, 10)
    run(m)
    assert (m.done, m.total) == (10, 10)


def test_pausing_goes_on_with_the_next_frame():
    bench = Track([(0, 1)], 6)
    m = march(bench)
    run(m, 3)
    m.pause()
    assert bench.open == 0
    assert m.total == 6
    run(m)
    assert bench.visited == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("prompts", "change", "again"),
    [
        ([(0, 1)], (4, 1), [0, 1, 2]),  # results answer the prompts on both sides: from the one before
        ([(0, 1), (3, 1)], (4, 1), [3, 4, 5]),
        ([(0, 1), (3, 2)], (4, 1), [0, 1, 2]),  # prompts of other objects do not matter
        ([(0, 1)], (15, 1), [0, 1, 2]),  # ahead, but what lies between answers it as well
        ([(0, 1)], (6, 3), [6, 7, 8]),  # a new object: nothing is looked for before its first prompt
        ([(0, 1)], (15, 3), [8, 9, 10]),
    ],
)
def test_a_prompt_behind_the_front_is_visited_again_from_where_it_matters(prompts, change, again):
    bench = Track(prompts)
    m = march(bench)
    run(m, 8)
    bench.prompts[change] = CLICK
    m.prompted(*change)
    run(m, 3)
    assert bench.visited[8:] == again
    run(m)
    assert bench.visited[-1] == 19


def test_a_prompt_on_a_finished_leg_brings_that_leg_back_at_the_end():
    bench = Track([(5, 1)], 10)
    m = march(bench, FrameRange(None, None, False), FrameRange(None, None, True))
    run(m, 7)
    bench.prompts[8, 1] = CLICK
    m.prompted(8, 1)
    run(m)
    assert bench.visited[:7] == [5, 6, 7, 8, 9, 5, 4]
    assert bench.visited[7:] == [3, 2, 1, 0, 5, 6, 7, 8, 9]


def test_all_legs_and_stretches_are_one_step_of_undo():
    bench = Track([(5, 1)], 10)
    m = march(bench, FrameRange(None, None, False), FrameRange(None, None, True))
    run(m, 2)
    assert m.is_fresh is False
    m.pause()
    run(m, 1)
    assert m.is_fresh
    run(m)
    assert bench.labels == ["Track"]


def test_what_is_done_meanwhile_and_the_tracking_after_it_are_one_step():
    bench = Track([(0, 1)], 10)
    m = march(bench)
    run(m, 3)
    for label in ("Point on object 1", "Box on object 1"):
        m.pause()
        bench.labels.append(label)
        run(m, 2)
    m.pause()
    run(m)
    assert bench.labels == [
        "Track",
        "Point on object 1, and tracking on",
        "Box on object 1, and tracking on",
    ]


def test_objects_can_be_chosen_and_excluded():
    bench = Track([(2, 1), (5, 2)], 8)
    m = march(bench, objects=(2,))
    run(m)
    assert bench.visited == [5, 6, 7]
    with pytest.raises(ValueError, match="click on an object first"):
        march(bench, objects=(2,), excluded=(2,))
    with pytest.raises(ValueError, match="cannot go forward"):
        march(bench, FrameRange(6, 2, False))
    empty = Track([])
    with pytest.raises(ValueError, match="nothing to propagate"):
        march(empty)


def test_removing_every_object_ends_it():
    bench = Track([(0, 1)])
    m = march(bench)
    run(m, 3)
    m.pause()
    bench.prompts.clear()
    assert m.step() is None
    np.testing.assert_array_equal(bench.visited, [0, 1, 2])


def test_whoever_is_told_last_finds_nothing_pending(fake):
    """Told by the answer alone, the window could look before the request is over and say "working" for ever."""
    seen = []
    slow = ReplyQueue(lambda: time.sleep(0.02))
    worker = SessionWorker(slow.post, lambda: seen.append(worker.pending))
    try:
        opened(worker, fake)
        worker.submit(SetPrompt(0, 1, CLICK))
        collected(worker)
        deadline = time.monotonic() + 10
        while len(seen) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert seen == [0, 0]
    finally:
        worker.close()

"""The thread that owns the session, and propagation that can be interrupted."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from napari_sam2.masks import FrameMasks
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
from napari_sam2.plugin.worker.requests import (
    Call,
    FrameRange,
    Open,
    Propagate,
    SetPrompt,
    StopPropagation,
)
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
        elif worker.pending == 0 and worker._run is None and not len(box):
            return found
        else:
            time.sleep(0.002)
    raise TimeoutError


def answers(replies, kind):
    return [r.answer for r in replies if isinstance(r.answer, kind)]


def test_the_reply_queue_keeps_order_across_threads_and_wakes_its_owner():
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
    worker.submit(Call("hold", lambda session: release.wait(10)))
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

    def broken(session):
        raise KeyError("oops")

    worker.submit(Call("Exporting", broken))
    worker.submit(Call("Counting", lambda session: session.n_frames))
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
    assert [b.closed for b in fake.sessions] == [True, False]


def test_closing_answers_prompts_and_drops_the_rest(box, fake):
    worker = SessionWorker(box.post)
    opened(worker, fake)
    release = threading.Event()
    called = []
    worker.submit(Call("hold", lambda session: release.wait(10)))
    worker.submit(Call("late", lambda session: called.append(1)))
    worker.submit(SetPrompt(3, 1, CLICK))
    threading.Timer(0.05, release.set).start()
    assert worker.close()
    assert not worker.alive
    assert fake.session.closed
    assert (3, 1) in fake.session.prompts
    assert called == []
    with pytest.raises(RuntimeError, match="closed"):
        worker.submit(SetPrompt(0, 1, CLICK))


def test_propagation_stops_between_two_frames_when_closing(box, fake):
    worker = SessionWorker(box.post)
    opened(worker, fake, 5000)
    worker.submit(SetPrompt(0, 1, CLICK))
    worker.submit(Propagate((FrameRange(None, None, False),), None, (), "forward"))
    while not any(c[0] == "step" for c in fake.session.calls):
        time.sleep(0.005)
    assert worker.close()
    steps = sum(c[0] == "step" for c in fake.session.calls)
    assert 0 < steps < 5000
    assert len(fake.session.content.masks) == steps


def test_a_queued_propagation_that_is_stopped_is_answered(worker, fake):
    """Without a reply the window would show "stopping" for ever."""
    opened(worker, fake)
    release = threading.Event()
    worker.submit(Call("hold", lambda session: release.wait(10)))
    worker.submit(SetPrompt(0, 1, CLICK))
    worker.submit(Propagate((FrameRange(None, None, False),), None, (), "forward"))
    worker.submit(StopPropagation())
    release.set()
    found = collected(worker)
    assert [(a.phase, a.done) for a in answers(found, PropagationPhase)] == [("stopped", 0)]
    assert (0, 1) in fake.session.prompts


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


# -- propagation --------------------------------------------------------------------------------------------


class Track:
    """A session of prompts only; notes which frames are visited."""

    def __init__(self, prompts, n_frames=20):
        self.prompts = dict.fromkeys(prompts, CLICK)
        self.n_frames = n_frames
        self.objects = {}
        self.visited = []
        self.open = 0
        self.labels = []

    def propagate(self, start, stop, reverse, objects, label, joins, group):
        self.open += 1
        self.labels[-1 if joins else len(self.labels) :] = [label]
        try:
            for frame in range(start, stop - 1, -1) if reverse else range(start, stop + 1):
                self.visited.append(frame)
                yield FrameMasks.empty(frame, (4, 4))
        finally:
            self.open -= 1

    @property
    def history(self):
        return SimpleNamespace(steps=tuple(enumerate(self.labels)), applied=len(self.labels))


def propagation(session, *ranges, objects=None, excluded=()):
    return PropagationRun(
        Propagate(ranges or (FrameRange(None, None, False),), objects, excluded, "forward"), 1, session
    )


def advance(run, frames=None):
    count = 0
    while (frames is None or count < frames) and run.advance() is not None:
        count += 1
    return count


def test_a_propagation_visits_every_frame_once_and_knows_how_many():
    session = Track([(3, 1)], 10)
    run = propagation(session, FrameRange(None, None, False), FrameRange(None, None, True))
    assert run.total == 10
    advance(run, 7)
    assert (run.done, run.total) == (7, 10)
    advance(run)
    assert session.visited == [3, 4, 5, 6, 7, 8, 9, 3, 2, 1, 0]
    assert (run.done, run.total, session.open) == (10, 10, 0)


def test_what_is_visited_again_is_not_done_meanwhile():
    session = Track([(0, 1)], 10)
    run = propagation(session)
    advance(run, 6)
    session.prompts[3, 2] = CLICK
    run.prompt_changed(3, 2)
    assert (run.done, run.total) == (3, 10)
    advance(run)
    assert (run.done, run.total) == (10, 10)


def test_pausing_goes_on_with_the_next_frame():
    session = Track([(0, 1)], 6)
    run = propagation(session)
    advance(run, 3)
    run.pause()
    assert session.open == 0
    assert run.total == 6
    advance(run)
    assert session.visited == [0, 1, 2, 3, 4, 5]


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
    session = Track(prompts)
    run = propagation(session)
    advance(run, 8)
    session.prompts[change] = CLICK
    run.prompt_changed(*change)
    advance(run, 3)
    assert session.visited[8:] == again
    advance(run)
    assert session.visited[-1] == 19


def test_a_prompt_on_a_finished_range_brings_that_range_back_at_the_end():
    session = Track([(5, 1)], 10)
    run = propagation(session, FrameRange(None, None, False), FrameRange(None, None, True))
    advance(run, 7)
    session.prompts[8, 1] = CLICK
    run.prompt_changed(8, 1)
    advance(run)
    assert session.visited[:7] == [5, 6, 7, 8, 9, 5, 4]
    assert session.visited[7:] == [3, 2, 1, 0, 5, 6, 7, 8, 9]


def test_all_ranges_and_pauses_are_one_step_of_undo():
    session = Track([(5, 1)], 10)
    run = propagation(session, FrameRange(None, None, False), FrameRange(None, None, True))
    advance(run, 2)
    assert run.history_changed is False
    run.pause()
    advance(run, 1)
    assert run.history_changed
    advance(run)
    assert session.labels == ["Track"]


def test_what_is_done_meanwhile_and_the_tracking_after_it_are_one_step():
    session = Track([(0, 1)], 10)
    run = propagation(session)
    advance(run, 3)
    for label in ("Point on object 1", "Box on object 1"):
        run.pause()
        session.labels.append(label)
        advance(run, 2)
    run.pause()
    advance(run)
    assert session.labels == [
        "Track",
        "Point on object 1, and tracking on",
        "Box on object 1, and tracking on",
    ]


def test_objects_can_be_chosen_and_excluded():
    session = Track([(2, 1), (5, 2)], 8)
    run = propagation(session, objects=(2,))
    advance(run)
    assert session.visited == [5, 6, 7]
    with pytest.raises(ValueError, match="click on an object first"):
        propagation(session, objects=(2,), excluded=(2,))
    with pytest.raises(ValueError, match="cannot go forward"):
        propagation(session, FrameRange(6, 2, False))
    empty = Track([])
    with pytest.raises(ValueError, match="nothing to propagate"):
        propagation(empty)


def test_removing_every_object_ends_it():
    session = Track([(0, 1)])
    run = propagation(session)
    advance(run, 3)
    run.pause()
    session.prompts.clear()
    assert run.advance() is None
    np.testing.assert_array_equal(session.visited, [0, 1, 2])


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

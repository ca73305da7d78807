"""What keeps the window responsive, by counts that a busy machine does not change; times are in tests/benchmarks."""

from __future__ import annotations

import os
import sys
import threading
import time

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_sam2.plugin.qt.open_tracker import open_tracker
from napari_sam2.plugin.state import HistoryState, PropagationState
from napari_sam2.plugin.worker.replies import FrameResult, FrameTracked, PropagationPhase, Reply
from tests.plugin.dock_world import WAIT

SIZE = (40, 60)


@pytest.fixture
def c(qtbot, fake, preferences):
    """A controller that Qt drives, without a window."""
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((200, *SIZE), np.uint8), name="movie")
    viewer.dims.set_point(0, 0)
    controller = open_tracker(viewer, image, opener=fake, preferences=preferences)
    controller.wait()
    yield controller
    controller.close()


def post_steps(c, count):
    labels = np.zeros(SIZE, np.uint16)
    for frame in range(count):
        shown = FrameResult(frame, labels, ())
        c.replies.post(Reply(10**6, FrameTracked(shown, frame + 1, count)))
    c.replies.post(Reply(10**6, PropagationPhase("finished", count, count, HistoryState())))


def test_a_flood_of_answers_leaves_turns_to_others(qtbot, c):
    """Each answer takes 5 ms here; 60 of them at once would block the window for 0.3 s."""
    c.events.propagation.connect(lambda state: time.sleep(0.005))
    turns = []
    timer = QTimer()
    timer.timeout.connect(lambda: turns.append(c.propagation.done))
    timer.start(0)
    post_steps(c, 60)
    qtbot.waitUntil(lambda: c.propagation.done == 60 and not len(c.replies), timeout=WAIT)
    timer.stop()
    between = {done for done in turns if 0 < done < 60}
    assert len(between) > 10, "others had their turn between the answers"


def test_an_answer_is_not_taken_over_inside_another_one(qtbot, c):
    """napari's progress bars run the event loop: with recursion the newest frame came first and the oldest last."""
    seen, inside, deepest = [], [0], [0]

    def listen(state: PropagationState) -> None:
        inside[0] += 1
        deepest[0] = max(deepest[0], inside[0])
        QApplication.processEvents()
        seen.append(state.done)
        inside[0] -= 1

    c.events.propagation.connect(listen)
    post_steps(c, 30)
    qtbot.waitUntil(lambda: c.propagation.done == 30 and not len(c.replies), timeout=WAIT)
    assert deepest[0] == 1
    assert seen == sorted(seen)


def test_following_leaves_most_of_the_time_to_the_window(qtbot, c, monkeypatch):
    shown = []

    def slow(frame):
        shown.append(frame)
        time.sleep(0.02)

    progress = c._progress
    monkeypatch.setattr(progress, "_show", slow)
    progress.begin("forward")
    begin = time.monotonic()
    post_steps(c, 150)
    while c.propagation.done < 150:
        QApplication.processEvents()
    spent = time.monotonic() - begin
    assert 1 <= len(shown) <= spent / (4 * 0.02) + 2
    assert shown == sorted(shown)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux")
def test_the_thread_of_the_session_gives_way_to_the_window(c):
    thread = next(t for t in threading.enumerate() if t.name == "napari-sam2 session")
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, thread.native_id) == min(mine + 4, 19)


def test_what_can_wait_waits_until_nobody_clicks(qtbot, c, fake):
    session, order = fake.session, []
    session.write_deferred = lambda: order.append("write")
    done = session.set_prompt

    def slow(*args):
        order.append("prompt")
        time.sleep(0.05)
        return done(*args)

    session.set_prompt = slow
    for x in range(6):
        c.prompts.add_point(5 + 8 * x, 20, object_id=x + 1)
    c.wait()
    c.wait(until=lambda: "write" in order, timeout=60)
    assert order == ["prompt"] * 6 + ["write"]

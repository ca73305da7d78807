"""How long the event loop is blocked while a tracker propagates."""

from __future__ import annotations

import time

import napari
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

TICK = 0.01


def watched(viewer, tracker):
    """Propagate to the end and close both.

    Returns what each turn of the loop was late by, what each computed, and how long all took: in seconds.
    """
    for _ in range(50):
        QApplication.processEvents()
    late, busy, last = [], [], [time.perf_counter(), time.thread_time()]

    def tick():
        now = [time.perf_counter(), time.thread_time()]
        late.append(now[0] - last[0] - TICK)
        busy.append(now[1] - last[1])
        last[:] = now
        if tracker.propagation.phase == "idle":
            timer.stop()
            tracker.close()
            viewer.close()

    timer = QTimer()
    timer.timeout.connect(tick)
    start = time.perf_counter()
    tracker.propagate()
    timer.start(round(TICK * 1000))
    napari.run()
    return late[1:], busy[1:], time.perf_counter() - start

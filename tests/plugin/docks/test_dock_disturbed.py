"""Layers, dock and window are changed, replaced and closed in the middle of a propagation."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from napari_sam2.plugin.docks.parts import controller_link
from napari_sam2.plugin.docks.tracker.tracker_dock import TrackerDock
from napari_sam2.plugin.qt.open_tracker import open_tracker
from tests.plugin.dock_world import WAIT, add_dock, drag, fail_on_leaks, press_button, shown

pytestmark = pytest.mark.gui
nothing_left = pytest.fixture(autouse=True)(fail_on_leaks)
FRAMES = 8


@pytest.fixture
def tracking(qtbot, make_napari_viewer, monkeypatch, fake, preferences):
    """A window with a dock that has tracked three frames of eight and waits for ``go()``."""
    monkeypatch.setattr(
        controller_link, "open_tracker", lambda v, i: open_tracker(v, i, opener=fake, preferences=preferences)
    )
    viewer = shown(make_napari_viewer(show=True))
    viewer.add_image(np.zeros((FRAMES, 60, 80), np.uint8), name="movie")
    viewer.dims.set_point(0, 0)
    dock = add_dock(viewer, TrackerDock(viewer))
    viewer.reset_view()
    c = dock.controller
    qtbot.waitUntil(lambda: c.model.phase == "ready", timeout=WAIT)
    c.prompts.add_point(30, 20, frame=0)
    qtbot.waitUntil(lambda: c.results.layer is not None, timeout=WAIT)
    session = fake.session
    session.gate = threading.Semaphore(3)
    press_button(qtbot, dock.tracking.forward)
    qtbot.waitUntil(lambda: c.propagation.done == 3, timeout=WAIT)
    yield viewer, dock, c, session
    session.gate.release(100)


def tracked(session):
    return sorted(frame for frame, _ in session.content.masks)


def test_hidden_renamed_and_reordered_layers_are_tracked_on(qtbot, tracking):
    viewer, _, c, session = tracking
    for layer in viewer.layers:
        layer.visible = False
        layer.name = f"{layer.name} of yesterday"
    viewer.layers.move(0, len(viewer.layers))
    session.gate.release(100)
    qtbot.waitUntil(lambda: c.propagation.outcome == "finished", timeout=WAIT)
    assert c.propagation.done == FRAMES
    assert all((np.asarray(c.results.layer.data[t]) == 1).any() for t in range(FRAMES))


def test_other_pixels_stop_it_and_get_a_session_of_their_own(qtbot, tracking, fake):
    viewer, _, c, session = tracking
    viewer.layers["movie"].data = np.full((FRAMES, 60, 80), 9, np.uint8)
    session.gate.release(100)
    qtbot.waitUntil(lambda: len(fake.sessions) == 2 and c.status.phase == "ready", timeout=WAIT)
    assert session.closed
    assert c.propagation.phase == "idle"
    assert tracked(session)[:3] == [0, 1, 2]
    qtbot.waitUntil(lambda: (0, 1) in fake.session.prompts, timeout=WAIT)  # what is said still holds


def test_the_image_is_deleted(qtbot, tracking):
    viewer, dock, c, session = tracking
    threading.Timer(0.2, session.gate.release, (100,)).start()
    viewer.layers.remove("movie")
    assert c.closed
    assert dock.controller is None
    qtbot.waitUntil(lambda: session.closed, timeout=WAIT)
    assert tracked(session)[:3] == [0, 1, 2]
    assert "SAM 2 objects – movie" in viewer.layers


@pytest.mark.parametrize("what", ["dock", "window"])
def test_dock_or_window_is_closed(qtbot, tracking, what):
    viewer, dock, c, session = tracking
    threading.Timer(0.2, session.gate.release, (100,)).start()
    if what == "dock":
        viewer.window.remove_dock_widget(dock)
    else:
        viewer.close()
    qtbot.waitUntil(lambda: c.closed and session.closed, timeout=WAIT)
    assert tracked(session)[:3] == [0, 1, 2]
    alive = [t.name for t in threading.enumerate() if t.name.startswith("napari-sam2")]
    assert alive == []


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64"])
def test_labels_of_the_user_s_own_are_painted_as_prompts_whatever_their_type(qtbot, tracking, dtype):
    viewer, _, c, session = tracking
    session.gate.release(100)
    qtbot.waitUntil(lambda: c.propagation.outcome == "finished", timeout=WAIT)
    mine = viewer.add_labels(np.zeros((FRAMES, 60, 80), dtype), name="mine")
    c.prompts.attach(mine)
    c.frame = 2
    mine.selected_label, mine.brush_size, mine.mode = 5, 6, "paint"
    viewer.layers.selection.active = mine
    drag(qtbot, viewer, (40, 20), (40, 40))
    qtbot.waitUntil(lambda: (2, 5) in c.prompts.all, timeout=WAIT)
    mask = c.prompts.all[2, 5].mask.array()
    np.testing.assert_array_equal(mask, mine.data[2] == 5)
    assert 80 < mask.sum() < 400

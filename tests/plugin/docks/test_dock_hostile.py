"""What goes wrong around the docks: layers renamed, replaced, deleted; other images, other windows, errors."""

from __future__ import annotations

import numpy as np
import pytest
from napari.utils.notifications import notification_manager

from napari_sam2.plugin.docks.parts import controller_link
from napari_sam2.plugin.docks.prompts.prompt_docks import LabelsDock, PointsDock, ShapesDock
from napari_sam2.plugin.docks.tracker.tracker_dock import TrackerDock
from napari_sam2.plugin.qt.open_tracker import open_tracker
from napari_sam2.plugin.state import ModelState, ProjectState
from tests.plugin.dock_world import WAIT, add_dock, click, drag, fail_on_leaks, press_button, shown

pytestmark = pytest.mark.gui
nothing_left = pytest.fixture(autouse=True)(fail_on_leaks)


@pytest.fixture
def opened_by_docks(monkeypatch, fake, preferences):
    """Docks open images with the fake session and a folder of the test."""

    def open_fake(viewer, images):
        return open_tracker(viewer, images, opener=fake, preferences=preferences)

    monkeypatch.setattr(controller_link, "open_tracker", open_fake)
    return fake


@pytest.fixture
def viewer(make_napari_viewer):
    return shown(make_napari_viewer(show=True))


def movie(viewer, shape=(8, 60, 80), name="movie", **place):
    image = viewer.add_image(np.zeros(shape, np.uint8), name=name, **place)
    for axis in range(len(shape) - 2):
        viewer.dims.set_point(axis, 0)
    return image


def ready(qtbot, dock):
    qtbot.waitUntil(lambda: dock.controller.model.phase == "ready", timeout=WAIT)
    return dock.controller


def quiet(qtbot, controller):
    qtbot.waitUntil(lambda: controller.status.phase == "ready", timeout=WAIT)


def test_renaming_and_reordering_the_image_changes_nothing_but_the_name(qtbot, viewer, opened_by_docks):
    image = movie(viewer)
    dock = add_dock(viewer, TrackerDock(viewer))
    c = ready(qtbot, dock)
    image.name = "renamed"
    assert dock.image.combo.currentText() == "renamed"
    viewer.add_labels(np.zeros((8, 60, 80), int))
    viewer.layers.move(0, 1)
    assert dock.controller is c
    assert not c.closed


def test_deleting_the_image_leaves_a_dock_that_can_go_on(qtbot, viewer, opened_by_docks):
    image, other = movie(viewer), movie(viewer, name="other")
    viewer.layers.selection.active = image
    dock = add_dock(viewer, TrackerDock(viewer))
    first = ready(qtbot, dock)
    assert first.image is image
    viewer.layers.remove(image)
    assert first.closed
    qtbot.waitUntil(lambda: dock.controller is not None and dock.controller.image is other, timeout=WAIT)
    ready(qtbot, dock)
    viewer.layers.remove(other)
    assert dock.controller is None
    assert dock.image.combo.currentText() == "No image is open"
    assert not dock.tools.isEnabled()


def test_choosing_another_image_and_back_finds_the_same_session(qtbot, viewer, opened_by_docks):
    first, second = movie(viewer), movie(viewer, name="second")
    viewer.layers.selection.active = first
    dock = add_dock(viewer, TrackerDock(viewer))
    c = ready(qtbot, dock)
    c.objects.add("kept")
    dock.image.combo.setCurrentIndex(1)
    dock.image.combo.activated.emit(1)
    assert dock.controller.image is second
    assert dock.objects.model.rowCount() == 0
    ready(qtbot, dock)
    dock.image.combo.setCurrentIndex(0)
    dock.image.combo.activated.emit(0)
    assert dock.controller is c
    assert dock.objects.model.states[0].name == "kept"


def test_deleting_the_points_layer_keeps_the_prompts_and_the_tool_makes_a_new_one(
    qtbot, viewer, opened_by_docks
):
    movie(viewer)
    dock = add_dock(viewer, TrackerDock(viewer))
    c = ready(qtbot, dock)
    press_button(qtbot, dock.tools.buttons["points"])
    click(qtbot, viewer, 30, 40)
    qtbot.waitUntil(lambda: (0, 1) in c.prompts.all, timeout=WAIT)
    viewer.layers.remove(c.prompts.layer("points"))
    assert not dock.tools.buttons["points"].isChecked()
    assert (0, 1) in c.prompts.all
    press_button(qtbot, dock.tools.buttons["points"])
    assert len(c.prompts.layer("points").data) == 1


def test_a_scaled_and_shifted_image_is_prompted_where_it_is_clicked(qtbot, viewer, opened_by_docks):
    movie(viewer, scale=(2, 0.5, 0.5), translate=(0, 100, -20))
    viewer.reset_view()
    dock = add_dock(viewer, TrackerDock(viewer))
    c = ready(qtbot, dock)
    press_button(qtbot, dock.tools.buttons["points"])
    click(qtbot, viewer, 100 + 0.5 * 25, -20 + 0.5 * 40)
    qtbot.waitUntil(lambda: (0, 1) in c.prompts.all, timeout=WAIT)
    point = c.prompts.all[0, 1].points[0]
    assert (point.x, point.y) == pytest.approx((40, 25), abs=1.5)


def test_a_single_image_has_no_tracking(qtbot, viewer, opened_by_docks):
    movie(viewer, (60, 80), "picture")
    dock = add_dock(viewer, TrackerDock(viewer))
    c = ready(qtbot, dock)
    assert not dock.tracking.isVisible()
    c.prompts.add_point(20, 20)
    qtbot.waitUntil(lambda: c.results.layer is not None, timeout=WAIT)
    assert c.results.layer.data[20, 20] == 1


def test_two_windows_do_not_meet(qtbot, make_napari_viewer, opened_by_docks):
    viewers = [shown(make_napari_viewer(show=True)) for _ in range(2)]
    docks = []
    for viewer in viewers:
        movie(viewer)
        docks.append(add_dock(viewer, TrackerDock(viewer)))
    one, two = (ready(qtbot, dock) for dock in docks)
    one.objects.add()
    assert docks[0].objects.model.rowCount() == 1
    assert docks[1].objects.model.rowCount() == 0
    assert one is not two


def test_an_error_in_the_session_is_a_notification_and_the_next_click_works(qtbot, viewer, opened_by_docks):
    fake = opened_by_docks
    movie(viewer)
    dock = add_dock(viewer, TrackerDock(viewer))
    c = ready(qtbot, dock)
    fake.session.fail_on = lambda call: call == "prompt"
    with notification_manager:
        c.prompts.add_point(20, 20)
        qtbot.waitUntil(
            lambda: any("broke" in str(r.message) for r in notification_manager.records), timeout=WAIT
        )
    fake.session.fail_on = lambda call: False
    press_button(qtbot, dock.tools.buttons["points"])
    click(qtbot, viewer, 30, 40)
    qtbot.waitUntil(lambda: c.results.layer is not None and c.results.layer.data[0].any(), timeout=WAIT)


def test_tracking_without_prompts_says_why_nothing_happens(qtbot, viewer, opened_by_docks):
    movie(viewer)
    dock = add_dock(viewer, TrackerDock(viewer))
    c = ready(qtbot, dock)
    quiet(qtbot, c)
    dock.user_actions.cycle()  # nothing to cycle either: told, not raised
    with notification_manager:
        press_button(qtbot, dock.tracking.forward)
        qtbot.waitUntil(lambda: c.propagation.phase == "idle", timeout=WAIT)
    assert dock.tracking.forward.isVisible()


def test_a_model_that_cannot_be_loaded_is_said_and_can_be_tried_again(qtbot, viewer, opened_by_docks):
    fake = opened_by_docks
    fake.error = ValueError("there is no such model")
    movie(viewer)
    dock = add_dock(viewer, TrackerDock(viewer))
    qtbot.waitUntil(lambda: dock.controller.model.phase == "failed", timeout=WAIT)
    assert "no such model" in dock.banner.text.text()
    assert dock.model.runs.text() == "not loaded"
    fake.error = None
    press_button(qtbot, dock.banner.button)
    ready(qtbot, dock)
    assert dock.model.runs.text() == "CPU · 32 bit · 512 px"


def test_a_download_shows_how_far_it_is(qtbot, viewer, opened_by_docks):
    movie(viewer)
    dock = add_dock(viewer, TrackerDock(viewer))
    c = ready(qtbot, dock)
    c.events.model.emit(ModelState("tiny", "loading", bytes_done=39_000_000, bytes_total=156_000_000))
    assert dock.model.bar.isVisible()
    assert dock.model.bar.value() == 250
    assert dock.model.bar.text() == "39 of 156 MB"
    assert dock.model.cancel.isVisible()


def test_what_was_resumed_is_said_and_can_be_started_over(qtbot, viewer, opened_by_docks):
    movie(viewer)
    dock = add_dock(viewer, TrackerDock(viewer))
    c = ready(qtbot, dock)
    c.objects.add()
    quiet(qtbot, c)
    c.events.project.emit(ProjectState(resumed=True))
    c.events.status.emit(c.status)
    assert "Welcome back: 1 object" in dock.banner.text.text()
    press_button(qtbot, dock.banner.button)
    assert len(c.objects) == 0


@pytest.mark.parametrize("dock_class", [PointsDock, ShapesDock, LabelsDock])
def test_small_docks_prompt_on_their_own(qtbot, viewer, opened_by_docks, dock_class):
    movie(viewer)
    viewer.reset_view()
    dock = add_dock(viewer, dock_class(viewer))
    session = dock.session
    qtbot.waitUntil(lambda: session.controller.model.phase == "ready", timeout=WAIT)
    name = next(iter(dock.tools.buttons))
    press_button(qtbot, dock.tools.buttons[name])
    if dock_class is PointsDock:
        click(qtbot, viewer, 30, 40)
    else:
        drag(qtbot, viewer, (20, 30), (30, 50))
    qtbot.waitUntil(lambda: (0, 1) in session.controller.prompts.all, timeout=WAIT)
    prompt = session.controller.prompts.all[0, 1]
    assert bool(prompt.points) == (dock_class is PointsDock)
    assert (prompt.box is not None) == (dock_class is ShapesDock)
    assert (prompt.mask is not None) == (dock_class is LabelsDock)
    assert dock.object.combo.currentText() == "object 1"


def test_a_stack_in_depth_and_time_offers_its_axes(qtbot, viewer, opened_by_docks):
    movie(viewer, (3, 5, 40, 50), "volume", axis_labels=("t", "z", "y", "x"))
    dock = add_dock(viewer, TrackerDock(viewer))
    c = ready(qtbot, dock)
    assert [dock.image.axis.itemText(i) for i in range(2)] == ["along t (3)", "along z (5)"]
    assert c.n_frames == 3
    dock.image.axis.setCurrentIndex(1)
    dock.image.axis.activated.emit(1)
    qtbot.waitUntil(lambda: c.n_frames == 5 and c.model.phase == "ready", timeout=WAIT)
    quiet(qtbot, c)
    viewer.dims.set_point(0, 2)
    qtbot.waitUntil(lambda: not c.status.plane_is_current, timeout=WAIT)
    assert dock.banner.button.text() == "Work here"

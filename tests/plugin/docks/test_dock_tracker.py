"""SAM2 Tracker as a user meets it: buttons, keys and mouse, with a session that needs no network."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QEnterEvent
from qtpy.QtWidgets import QApplication, QDockWidget, QLineEdit, QToolButton

from napari_sam2.plugin.docks.parts import controller_link
from napari_sam2.plugin.docks.parts.shortcuts import SHORTCUTS
from napari_sam2.plugin.docks.prompts.prompt_docks import PointsDock
from napari_sam2.plugin.docks.tracker.tracker_dock import TIMELINE_NAME, TrackerDock
from napari_sam2.plugin.qt.open_tracker import find_controller, open_tracker
from napari_sam2.plugin.state import ExportState
from napari_sam2.review import FrameFact
from tests.plugin.dock_world import (
    WAIT,
    add_dock,
    click,
    drag,
    fail_on_leaks,
    press,
    press_button,
    shown,
)

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
def world(qtbot, make_napari_viewer, opened_by_docks):
    viewer = shown(make_napari_viewer(show=True))
    image = viewer.add_image(np.zeros((8, 60, 80), np.uint8), name="movie")
    viewer.dims.set_point(0, 0)
    dock = add_dock(viewer, TrackerDock(viewer), "SAM2 Tracker")
    viewer.reset_view()
    qtbot.waitUntil(lambda: dock.controller.model.phase == "ready", timeout=WAIT)
    return viewer, image, dock, dock.controller, opened_by_docks


def quiet(qtbot, controller):
    qtbot.waitUntil(lambda: controller.status.phase == "ready", timeout=WAIT)


def test_without_an_image_the_dock_says_what_to_do(make_napari_viewer, opened_by_docks):
    viewer = shown(make_napari_viewer(show=True))
    dock = add_dock(viewer, TrackerDock(viewer))
    assert dock.banner.button.text() == "Open sample"
    assert dock.controller is None
    assert not any(button.isEnabled() for button in dock.tools.buttons.values())
    assert not dock.tracking.forward.isEnabled()


def test_an_image_that_is_dropped_in_is_opened(qtbot, make_napari_viewer, opened_by_docks):
    viewer = shown(make_napari_viewer(show=True))
    dock = add_dock(viewer, TrackerDock(viewer))
    image = viewer.add_image(np.zeros((4, 30, 40), np.uint8), name="dropped")
    assert dock.controller is find_controller(viewer, (image,))
    assert dock.image.combo.currentText() == "dropped"
    qtbot.waitUntil(lambda: dock.controller.model.phase == "ready", timeout=WAIT)
    quiet(qtbot, dock.controller)
    assert dock.banner.text.text() == "Take the Points tool and click on an object, or drag a Box around it."


def test_tool_button_and_click_make_a_mask_and_a_row(qtbot, world):
    viewer, _, dock, c, fake = world
    press_button(qtbot, dock.tools.buttons["points"])
    assert dock.tools.buttons["points"].isChecked()
    click(qtbot, viewer, 25, 40)
    qtbot.waitUntil(lambda: c.results.layer is not None and c.results.layer.data[0].any(), timeout=WAIT)
    assert c.results.layer.data[0][25, 40] == 1
    assert dock.objects.model.rowCount() == 1
    qtbot.waitUntil(lambda: dock.tools.clear.isEnabled(), timeout=WAIT)


def test_every_tool_is_a_key(qtbot, world):
    viewer, _, dock, c, fake = world
    modes = {"points": "add", "box": "add_rectangle", "region": "add_polygon_lasso", "paint": "paint"}
    for name, mode in modes.items():
        press(qtbot, viewer, SHORTCUTS[name].key)
        assert str(viewer.layers.selection.active.mode) == mode
        checked = {n for n, b in dock.tools.buttons.items() if b.isChecked()}
        assert checked == {name}


def test_a_box_is_dragged(qtbot, world):
    viewer, _, dock, c, fake = world
    press_button(qtbot, dock.tools.buttons["box"])
    drag(qtbot, viewer, (15, 20), (35, 50))
    qtbot.waitUntil(lambda: (0, 1) in fake.session.prompts, timeout=WAIT)
    box = fake.session.prompts[0, 1].box
    np.testing.assert_allclose((box.x0, box.y0, box.x1, box.y1), (20, 15, 50, 35), atol=2)


def test_not_here_by_key_makes_a_negative_point_and_an_eraser(qtbot, world):
    viewer, _, dock, c, fake = world
    press_button(qtbot, dock.tools.buttons["points"])
    press(qtbot, viewer, SHORTCUTS["sign"].key)
    assert dock.tools.not_here.isChecked()
    click(qtbot, viewer, 25, 40)
    qtbot.waitUntil(lambda: (0, 1) in c.prompts.all, timeout=WAIT)
    assert not c.prompts.all[0, 1].points[0].positive
    press(qtbot, viewer, SHORTCUTS["paint"].key)
    assert str(viewer.layers.selection.active.mode) == "erase"
    press_button(qtbot, dock.tools.here)
    assert str(viewer.layers.selection.active.mode) == "paint"


def test_objects_by_keys(qtbot, world):
    viewer, _, dock, c, fake = world
    press(qtbot, viewer, "N")
    press(qtbot, viewer, "N")
    assert c.objects.ids == (1, 2)
    assert c.objects.active == 2
    press(qtbot, viewer, "J")
    assert c.objects.active == 1
    press(qtbot, viewer, "K")
    assert c.objects.active == 2
    press_button(qtbot, dock.tools.buttons["points"])
    click(qtbot, viewer, 30, 30)
    qtbot.waitUntil(lambda: (0, 2) in c.prompts.all, timeout=WAIT)
    press(qtbot, viewer, "Shift-S")
    assert c.objects.solo == (2,)
    assert dock.objects.solo.isChecked()
    press(qtbot, viewer, "Shift-S")
    assert c.objects.solo == ()


def test_track_forward_by_button_shows_progress_and_ends(qtbot, world):
    viewer, _, dock, c, fake = world
    c.prompts.add_point(40, 25)
    quiet(qtbot, c)
    fake.session.gate = gate = threading.Semaphore(3)
    press_button(qtbot, dock.tracking.forward)
    qtbot.waitUntil(lambda: c.propagation.done == 3, timeout=WAIT)
    assert dock.tracking.stop.isVisible()
    assert not dock.tracking.forward.isVisible()
    assert (dock.tracking.bar.value(), dock.tracking.bar.maximum()) == (3, 8)
    gate.release(100)
    qtbot.waitUntil(lambda: c.propagation.outcome == "finished", timeout=WAIT)
    assert dock.tracking.note.text() == "Tracked 8 frames"
    assert dock.tracking.forward.isVisible()
    assert c.objects.state(1).present == 8


def test_tracking_is_started_and_halted_by_keys(qtbot, world):
    viewer, _, dock, c, fake = world
    c.prompts.add_point(40, 25)
    quiet(qtbot, c)
    fake.session.gate = gate = threading.Semaphore(2)
    press(qtbot, viewer, ".")
    qtbot.waitUntil(lambda: c.propagation.done == 2, timeout=WAIT)
    press(qtbot, viewer, "H")
    assert c.propagation.phase == "stopping"
    gate.release(100)
    qtbot.waitUntil(lambda: c.propagation.outcome == "stopped", timeout=WAIT)
    assert c.results.layer.data[1].any()
    assert not c.results.layer.data[7].any()


def test_reach_is_what_is_set(qtbot, world):
    _, _, dock, c, fake = world
    c.prompts.add_point(40, 25, frame=2)
    quiet(qtbot, c)
    c.frame = 2
    dock.tracking.reach.setCurrentIndex(1)
    dock.tracking.count.setValue(2)
    assert dock.tracking.count.isVisible()
    press_button(qtbot, dock.tracking.forward)
    qtbot.waitUntil(lambda: c.propagation.outcome == "finished", timeout=WAIT)
    assert (c.objects.state(1).first, c.objects.state(1).last) == (2, 4)
    dock.tracking.reach.setCurrentIndex(2)
    dock.tracking.first.setValue(1)
    dock.tracking.last.setValue(6)
    press_button(qtbot, dock.tracking.both)
    qtbot.waitUntil(lambda: c.objects.state(1).last == 6 and c.propagation.phase == "idle", timeout=WAIT)
    assert (c.objects.state(1).first, c.objects.state(1).last) == (1, 6)


def test_undo_and_redo_by_key_and_button(qtbot, world):
    viewer, _, dock, c, fake = world
    c.prompts.add_point(40, 25)
    qtbot.waitUntil(lambda: c.history.can_undo, timeout=WAIT)
    quiet(qtbot, c)
    assert dock.history.undo.toolTip().startswith("Undo: point on object 1, frame 0\n")
    press(qtbot, viewer, "U")
    qtbot.waitUntil(lambda: not c.prompts.all, timeout=WAIT)
    press_button(qtbot, dock.history.redo)
    qtbot.waitUntil(lambda: bool(c.prompts.all), timeout=WAIT)
    assert len(c.prompts.layer("points").data) == 1


def test_table_renames_selects_locks_and_deletes(qtbot, world):
    _, _, dock, c, _ = world
    for x in (10, 30, 50):
        c.objects.add()
        c.prompts.add_point(x, 25)
    quiet(qtbot, c)
    view, model = dock.objects.view, dock.objects.model
    view.edit(model.index(1, 0))
    editor = view.findChild(QLineEdit)
    qtbot.keyClicks(editor, "nucleus")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: c.objects.infos[2].name == "nucleus", timeout=WAIT)
    place = view.visualRect(model.index(0, 1)).center()
    qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert (c.objects.active, c.objects.selected) == (1, (1,))
    third = view.visualRect(model.index(2, 1)).center()
    qtbot.mouseClick(
        view.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.ControlModifier, pos=third
    )
    assert c.objects.selected == (1, 3)
    press_button(qtbot, dock.objects.lock)
    assert c.objects.locked == {1, 3}
    press_button(qtbot, dock.objects.lock)
    view.setFocus()
    qtbot.keyClick(view, Qt.Key.Key_Delete)
    quiet(qtbot, c)
    assert c.objects.ids == (2,)
    assert model.rowCount() == 1


def test_selecting_in_a_script_selects_in_the_table(world):
    _, _, dock, c, _ = world
    for _ in range(3):
        c.objects.add()
    c.objects.select([1, 3])
    rows = {i.row() for i in dock.objects.view.selectionModel().selectedRows()}
    assert rows == {0, 2}


def test_timeline_goes_where_it_is_clicked_and_scrubs(qtbot, world):
    viewer, _, dock, c, fake = world
    c.prompts.add_point(10, 25)
    c.objects.add()
    c.prompts.add_point(30, 40)
    quiet(qtbot, c)
    view = dock.timeline.view
    assert view.isVisible()
    place = view.position_of(5, 1)
    qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert (c.frame, c.objects.active) == (5, 1)
    assert viewer.dims.current_step[0] == 5


def test_uncertainty_is_found_by_key(qtbot, world):
    viewer, _, dock, c, fake = world
    c.prompts.add_point(40, 25)
    press_button(qtbot, dock.tracking.forward)
    qtbot.waitUntil(lambda: c.propagation.outcome == "finished", timeout=WAIT)
    quiet(qtbot, c)
    c.frame = 0
    c.timeline.put([FrameFact(1, 4, False, 0.1, 0.2, 100, (44.0, 25.0))])
    assert dock.timeline.view.peaks == (4,)
    press(qtbot, viewer, "G")
    assert c.frame == 4


def test_results_are_written_where_the_dialog_says(qtbot, world, tmp_path):
    _, _, dock, c, _ = world
    c.prompts.add_point(40, 25)
    quiet(qtbot, c)
    dock.results.ask_path = lambda form, start: str(tmp_path / form.file_name)
    action = next(a for a in dock.results.export.menu().actions() if "labels.tif" in a.text())
    action.trigger()
    qtbot.waitUntil(lambda: (tmp_path / "labels.tif").exists(), timeout=WAIT)
    quiet(qtbot, c)
    press_button(qtbot, dock.results.tracks)
    qtbot.waitUntil(lambda: any("tracks" in layer.name for layer in dock.viewer.layers), timeout=WAIT)


def test_cancelled_dialog_writes_nothing(world):
    _, _, dock, _, _ = world
    dock.results.ask_path = lambda form, start: ""
    assert dock.results.export.menu().actions()[0].trigger() is None


def timeline_is_there():
    # napari 0.6 has no public list of its docks
    docks = [w for w in QApplication.allWidgets() if isinstance(w, QDockWidget)]
    return any(d.objectName() == TIMELINE_NAME and d.isVisible() for d in docks)


def test_closing_the_dock_closes_session_timeline_and_keys(qtbot, world):
    viewer, image, dock, c, _ = world
    assert any("G" in str(key) for key in viewer.keymap)
    assert timeline_is_there()
    viewer.window.remove_dock_widget(dock)
    qtbot.waitUntil(lambda: c.closed, timeout=WAIT)
    assert not timeline_is_there()
    assert not viewer.keymap
    assert find_controller(viewer, (image,)) is None


def test_docks_share_a_session_until_the_last_is_closed(qtbot, world):
    viewer, _, dock, c, _ = world
    small = add_dock(viewer, PointsDock(viewer), "Points prompts")
    assert small.session.controller is c
    press_button(qtbot, small.object.new)
    assert dock.objects.model.rowCount() == 1
    viewer.window.remove_dock_widget(dock)
    qtbot.wait(50)
    assert not c.closed
    QApplication.sendEvent(
        small, QEnterEvent(QPoint(1, 1).toPointF(), QPoint(1, 1).toPointF(), QPoint(1, 1).toPointF())
    )
    press(qtbot, viewer, "N")  # the keys went over to the dock that is left
    assert len(c.objects) == 2
    viewer.window.remove_dock_widget(small)
    qtbot.waitUntil(lambda: c.closed, timeout=WAIT)


def test_a_session_opened_by_a_script_outlives_the_docks(qtbot, make_napari_viewer, fake, preferences):
    viewer = shown(make_napari_viewer(show=True))
    image = viewer.add_image(np.zeros((4, 30, 40), np.uint8))
    c = open_tracker(viewer, image, opener=fake, preferences=preferences)
    dock = add_dock(viewer, TrackerDock(viewer))
    assert dock.controller is c
    viewer.window.remove_dock_widget(dock)
    qtbot.wait(50)
    assert not c.closed
    c.close()


def test_help_shows_every_key(qtbot, world):
    viewer, _, dock, _, _ = world
    press(qtbot, viewer, "F1")
    texts = {label.text() for label in dock.sheet.findChildren(type(dock.objects._count))}
    assert {s.shown for s in SHORTCUTS.values()} <= texts
    dock.sheet.close()


def test_every_button_says_what_it_does(world):
    _, _, dock, _, _ = world
    buttons = dock.findChildren(QToolButton) + dock.timeline.findChildren(QToolButton)
    ours = [b for b in buttons if not b.objectName().startswith("qt_")]
    assert len(ours) > 20
    assert not [b.objectName() for b in ours if not b.toolTip() or not b.accessibleName()]


@pytest.mark.parametrize("points", [9, 16])
def test_nothing_is_cut_off_at_the_sides(qtbot, world, points):
    viewer, _, dock, c, _ = world
    viewer.window.resize(1366, 768)
    c.objects.add("a cell with quite a long name indeed")
    dock.setStyleSheet(dock.styleSheet() + f"* {{ font-size: {points}pt; }}")
    qtbot.wait(100)
    for section in (dock.image, dock.model, dock.objects, dock.tools, dock.tracking, dock.results):
        assert section.width() >= section.minimumSizeHint().width(), type(section).__name__
        right = section.mapTo(dock, QPoint(section.width(), 0)).x()
        assert right <= dock.width(), type(section).__name__
    for button in dock.tools.buttons.values():
        assert button.width() >= button.minimumSizeHint().width()


def test_icons_follow_the_theme(world):
    viewer, _, dock, _, _ = world

    def brightest():
        image = dock.objects.delete.icon().pixmap(16).toImage()
        colors = [image.pixelColor(x, y) for x in range(16) for y in range(16)]
        return max((c.value() for c in colors if c.alpha() > 200), default=0)

    viewer.theme = "dark"
    bright = brightest()
    viewer.theme = "light"
    assert brightest() < 100 < bright


def test_theme_switch_restyles_dock_and_timeline(world):
    viewer, _, dock, _, _ = world
    viewer.theme = "dark"
    before = dock.styleSheet(), dock.timeline.styleSheet()
    viewer.theme = "light"
    assert dock.styleSheet() != before[0]
    assert dock.timeline.styleSheet() != before[1]


def test_writing_a_file_shows_how_far_it_is_and_can_be_given_up(qtbot, world):
    _, _, dock, c, _ = world
    c.events.export.emit(ExportState("labels.tif", "running", 3, 12))
    assert dock.results.saved.text() == "labels.tif 25%"
    press_button(qtbot, dock.results.cancel)
    c.events.export.emit(ExportState("labels.tif", "cancelled", 3, 12))
    assert not dock.results.cancel.isVisible()


def test_the_input_size_is_shown_and_chosen_among_the_models_settings(qtbot, world):
    _, _, dock, c, fake = world
    assert dock.model.runs.text() == "CPU · 32 bit · 512 px"
    press_button(qtbot, dock.model.settings)
    sizes = dock.model.input_size
    assert sizes.isVisible()
    assert sizes.currentText() == "that of its training"
    sizes.setCurrentIndex(sizes.findData(256))
    sizes.activated.emit(sizes.currentIndex())
    quiet(qtbot, c)
    assert fake.specs[-1].choice.image_size == 256
    c.load_model("nano", image_size=640)  # by a script
    quiet(qtbot, c)
    dock.model.show_controller(c)
    assert sizes.currentText() == "640 × 640 pixels"
    dock.model.combo.setCurrentIndex(dock.model.combo.findData("tiny"))
    dock.model.combo.activated.emit(dock.model.combo.currentIndex())  # another network has another size
    quiet(qtbot, c)
    assert (fake.specs[-1].choice.name, fake.specs[-1].choice.image_size) == ("tiny", None)

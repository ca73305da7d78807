"""Nothing is cut off: every dock on a small screen, both themes, letters as usual and 1.5 times as large."""

from __future__ import annotations

import numpy as np
import pytest
from napari.settings import get_settings
from qtpy.QtCore import QPoint
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QCheckBox,
    QComboBox,
    QDockWidget,
    QLabel,
    QPushButton,
    QSpinBox,
    QWidget,
)

from napari_sam2.plugin.docks.automatic.automatic_dock import AutomaticDock
from napari_sam2.plugin.docks.parts.cheat_sheet import CheatSheet
from napari_sam2.plugin.docks.parts.theme import CERTAIN, UNCERTAIN, Palette
from napari_sam2.plugin.docks.prompts.prompt_docks import LabelsDock, PointsDock, ShapesDock
from napari_sam2.plugin.docks.tracker.tracker_dock import TrackerDock
from napari_sam2.plugin.qt import open_tracker as opening
from tests.plugin.dock_world import WAIT, add_dock, fail_on_leaks, shown

pytestmark = pytest.mark.gui
DOCKS = (TrackerDock, AutomaticDock, PointsDock, ShapesDock, LabelsDock)
SMALL = (1366, 768)
USUAL, LARGE = 9, 14


@pytest.fixture(autouse=True)
def no_widgets_left():
    yield from fail_on_leaks()


@pytest.fixture
def letters():
    """Set napari's size of letters, and put it back."""
    appearance = get_settings().appearance
    before = appearance.font_size
    yield lambda points: setattr(appearance, "font_size", points)
    appearance.font_size = before


@pytest.fixture
def viewer(make_napari_viewer, fake, preferences, monkeypatch):
    monkeypatch.setattr(opening, "_default_opener", lambda: fake)
    monkeypatch.setattr(opening, "load_preferences", lambda: preferences)
    made = shown(make_napari_viewer(show=True), SMALL)
    made.add_image(np.zeros((30, 64, 64), np.uint8), name="cells")
    return made


def let_it_settle(qtbot):
    for _ in range(4):
        QApplication.processEvents()
    qtbot.wait(50)


def cut_off(dock: QWidget) -> list[str]:
    """What has less room than it needs, or sticks out of the dock at the side."""
    wrong = []
    for child in dock.findChildren(QWidget):
        if not child.isVisible() or child.width() == 0 or child.objectName().startswith("qt_"):
            continue
        text = child.text() if isinstance(child, (QAbstractButton, QLabel)) else ""
        name = f"{type(child).__name__} {child.objectName()} {text!r}"
        left = child.mapTo(dock, QPoint(0, 0)).x()
        if left < 0 or left + child.width() > dock.width():
            wrong.append(f"{name} sticks out: {left} to {left + child.width()} of {dock.width()}")
        if isinstance(child, QSpinBox):
            needed = child.fontMetrics().horizontalAdvance(str(child.maximum()))
            if child.lineEdit().width() < needed:
                wrong.append(f"{name} is cut off: {child.lineEdit().width()} of {needed}")
        if isinstance(child, QAbstractButton) and child.width() < child.minimumSizeHint().width():
            wrong.append(f"{name} is cut off: {child.width()} of {child.minimumSizeHint().width()}")
        if isinstance(child, QLabel) and not child.wordWrap() and child.width() < child.sizeHint().width():
            wrong.append(f"{name} is cut off: {child.width()} of {child.sizeHint().width()}")
        if (
            isinstance(child, QLabel)
            and child.wordWrap()
            and child.height() < child.heightForWidth(child.width())
        ):
            wrong.append(f"{name} is cut off: {child.height()} of {child.heightForWidth(child.width())} high")
    return wrong


@pytest.mark.parametrize("points", [USUAL, LARGE])
@pytest.mark.parametrize("kind", DOCKS)
def test_nothing_is_cut_off_on_a_small_screen(qtbot, viewer, letters, kind, points):
    letters(points)
    dock = add_dock(viewer, kind(viewer))
    controller = opening.find_controller(viewer, (viewer.layers["cells"],))
    qtbot.waitUntil(lambda: controller.status.phase == "ready", timeout=WAIT)
    for theme in ("dark", "light"):
        viewer.theme = theme
        viewer.window.resize(*SMALL)
        let_it_settle(qtbot)
        assert not cut_off(dock), theme
        assert dock.window().width() == SMALL[0]  # the dock asks for no more than there is


@pytest.mark.parametrize("points", [USUAL, LARGE])
def test_nothing_is_cut_off_when_there_is_more_to_say(qtbot, viewer, letters, points):
    letters(points)
    dock = add_dock(viewer, TrackerDock(viewer))
    c = dock.controller
    qtbot.waitUntil(lambda: c.status.phase == "ready", timeout=WAIT)
    for number in range(7):
        c.objects.add("a cell with quite a long name indeed" if number == 3 else "")
    c.prompts.add_point(20, 20, object_id=1)
    c.prompts.add_point(40, 40, object_id=2)
    c.propagate()
    qtbot.waitUntil(lambda: c.propagation.phase == "idle" and c.status.phase == "ready", timeout=WAIT)
    dock.model.settings.click()
    dock.tracking.reach.setCurrentIndex(2)
    let_it_settle(qtbot)
    assert "uncertain frame" in dock.banner.text.text()
    assert not cut_off(dock)
    dock.tracking.reach.setCurrentIndex(1)
    let_it_settle(qtbot)
    assert not cut_off(dock)


def test_the_model_that_runs_is_read_to_its_end(qtbot, viewer, letters):
    dock = add_dock(viewer, TrackerDock(viewer))
    qtbot.waitUntil(lambda: dock.controller.status.phase == "ready", timeout=WAIT)
    for points in (USUAL, LARGE):
        letters(points)
        let_it_settle(qtbot)
        combo: QComboBox = dock.model.combo
        text = combo.fontMetrics().horizontalAdvance("nano · built in")
        assert text + 24 <= combo.width(), points


def test_letters_of_buttons_and_table_follow_naparis_setting(qtbot, viewer, letters):
    dock = add_dock(viewer, TrackerDock(viewer))

    def sizes():
        let_it_settle(qtbot)
        parts = (dock.tools.here, dock.objects.view, dock.tracking.selected, dock.timeline.view)
        return [part.fontMetrics().height() for part in parts]

    letters(USUAL)
    usual = sizes()
    letters(LARGE)
    assert all(large >= 1.3 * small for small, large in zip(usual, sizes()))
    header = dock.objects.view.horizontalHeader()
    assert header.sectionSize(1) >= dock.objects.view.fontMetrics().horizontalAdvance("Prompts")


@pytest.mark.parametrize("points", [USUAL, LARGE])
def test_rows_of_the_timeline_are_never_cut_in_two(qtbot, viewer, letters, points):
    letters(points)
    dock = add_dock(viewer, TrackerDock(viewer))
    c, view = dock.controller, dock.timeline.view
    qtbot.waitUntil(lambda: c.status.phase == "ready", timeout=WAIT)
    for _ in range(9):
        c.objects.add()
    let_it_settle(qtbot)
    bar = view.verticalScrollBar()
    assert bar.maximum() > 0
    for value in (0, bar.maximum()):
        bar.setValue(value)
        places = [view.position_of(0, i).y() for i in c.objects.ids]
        half, ruler = abs(places[1] - places[0]) / 2, view.fontMetrics().height() + 6
        seen = [places[row] for row in view.visible_rows]
        assert len(seen) >= 3
        assert seen[0] - half >= ruler - 1
        assert seen[-1] + half <= view.viewport().height() + 1
    assert seen[-1] == places[-1]  # scrolled to its end, the last one is seen


def test_a_wide_button_goes_below_the_text(
    qtbot, make_napari_viewer, letters, fake, preferences, monkeypatch
):
    monkeypatch.setattr(opening, "_default_opener", lambda: fake)
    monkeypatch.setattr(opening, "load_preferences", lambda: preferences)
    viewer = shown(make_napari_viewer(show=True), SMALL)
    dock = add_dock(viewer, TrackerDock(viewer))
    letters(USUAL)
    let_it_settle(qtbot)
    banner = dock.banner
    assert banner.button.x() > banner.text.x() + banner.text.width() - 1
    letters(18)
    let_it_settle(qtbot)
    assert banner.button.y() >= banner.text.y() + banner.text.height() - 1
    assert not cut_off(dock)


@pytest.mark.parametrize("points", [USUAL, LARGE])
def test_the_cheat_sheet_shows_all_of_every_key(qtbot, viewer, letters, points):
    letters(points)
    dock = add_dock(viewer, TrackerDock(viewer))
    dock.show_help()
    let_it_settle(qtbot)
    sheet = dock.sheet
    assert isinstance(sheet, CheatSheet)
    labels = [label for label in sheet.findChildren(QLabel) if label.isVisible()]
    assert len(labels) > 40
    assert not [label.text() for label in labels if label.width() < label.minimumSizeHint().width()]
    assert sheet.width() <= SMALL[0]
    assert sheet.height() <= SMALL[1]
    sheet.close()


def test_the_sample_button_opens_the_sample(qtbot, make_napari_viewer, fake, preferences, monkeypatch):
    monkeypatch.setattr(opening, "_default_opener", lambda: fake)
    monkeypatch.setattr(opening, "load_preferences", lambda: preferences)
    viewer = shown(make_napari_viewer(show=True), SMALL)
    dock = add_dock(viewer, TrackerDock(viewer))
    button: QPushButton = dock.banner.button
    assert button.isVisible()
    button.click()
    qtbot.waitUntil(
        lambda: dock.controller is not None and dock.controller.status.phase == "ready", timeout=WAIT
    )
    assert [layer.name for layer in viewer.layers][:2] == ["cells", "cells ground truth"]
    assert dock.controller.image is viewer.layers["cells"]
    assert dock.controller.frame == 0
    assert not button.isVisible()


def test_the_table_follows_what_is_answered_and_tracked(qtbot, viewer):
    dock = add_dock(viewer, TrackerDock(viewer))
    c = dock.controller
    qtbot.waitUntil(lambda: c.status.phase == "ready", timeout=WAIT)
    c.frame = 0
    c.objects.add()
    c.prompts.add_point(20, 20)
    shown_frames = lambda: dock.objects.model.index(0, 2).data()  # noqa: E731
    qtbot.waitUntil(lambda: shown_frames() == "0", timeout=WAIT)
    for _ in range(6):
        dock.session.controller.events.timeline.emit(frozenset({1}))
    c.propagate()
    qtbot.waitUntil(lambda: c.propagation.phase == "idle", timeout=WAIT)
    qtbot.waitUntil(lambda: shown_frames() == "0–29", timeout=WAIT)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_colours_are_told_apart_and_read(theme):
    p = Palette.of(theme)
    assert contrast(p.text, p.background) > 7
    assert contrast(p.text, p.button) > 4.5
    # The accent is napari's own: 4.0 in the dark theme of napari 0.6.
    assert contrast(p.text, p.accent) > 3.9
    assert contrast(p.muted, p.background) > 3
    # Uncertainty stands out from the ground it is drawn on, and from what is sure, also without colour vision.
    assert distance(UNCERTAIN, p.button) > 60
    assert distance(CERTAIN, p.raised) > 60
    assert (
        abs(luminance(UNCERTAIN) - luminance(CERTAIN)) < 0.2
    )  # so their difference is one of hue: blue and orange


def luminance(color: str) -> float:
    """Relative luminance, as the contrast formula of WCAG 2 has it."""
    shown_ = QColor(color)
    parts = [shown_.redF(), shown_.greenF(), shown_.blueF()]
    linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def distance(a: str, b: str) -> float:
    one, two = QColor(a), QColor(b)
    return float(np.linalg.norm(np.subtract(one.getRgb()[:3], two.getRgb()[:3])))


def test_checkboxes_say_everything(qtbot, viewer, letters):
    letters(LARGE)
    dock = add_dock(viewer, AutomaticDock(viewer))
    let_it_settle(qtbot)
    boxes = [box for box in dock.findChildren(QCheckBox) if box.isVisible()]
    assert boxes
    assert not [box.text() for box in boxes if box.width() < box.sizeHint().width()]


def test_high_docks_are_tabs_of_one_place(qtbot, viewer):
    tracker = add_dock(viewer, TrackerDock(viewer), "SAM2 Tracker")
    let_it_settle(qtbot)
    auto = add_dock(viewer, AutomaticDock(viewer), "Auto-mask")
    let_it_settle(qtbot)
    window = auto.window()
    frames = [dock for dock in window.findChildren(QDockWidget) if dock.isAncestorOf(tracker)]
    assert [d for d in window.tabifiedDockWidgets(frames[0]) if d.isAncestorOf(auto)]
    assert not auto.visibleRegion().isEmpty()  # the one that was opened last is in front
    assert tracker.visibleRegion().isEmpty()
    assert auto.height() > 400
    points = add_dock(viewer, PointsDock(viewer), "Points prompts")
    let_it_settle(qtbot)
    assert points.isVisible()  # a small one has its own place
    assert auto.isVisible()


def test_auto_mask_says_its_own_next_step(qtbot, viewer):
    dock = add_dock(viewer, AutomaticDock(viewer))
    qtbot.waitUntil(lambda: dock.controller.status.phase == "ready", timeout=WAIT)
    let_it_settle(qtbot)
    assert "Find masks" in dock.banner.text.text()

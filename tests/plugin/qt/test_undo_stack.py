"""Undo through Qt: the stack, its actions, its list and the usual keys, with real keys and mouse."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_sam2.plugin.docks.parts import controller_link
from napari_sam2.plugin.docks.tracker.tracker_dock import TrackerDock
from napari_sam2.plugin.qt.open_tracker import open_tracker
from napari_sam2.plugin.qt.undo_stack import stack_of
from napari_sam2.plugin.state import HistoryState, UndoStep
from tests.plugin.dock_world import WAIT, add_dock, click, fail_on_leaks, press, press_button, shown

pytestmark = pytest.mark.gui
nothing_left = pytest.fixture(autouse=True)(fail_on_leaks)


@pytest.fixture
def c(qtbot, fake, preferences):
    """A controller that Qt drives, without a window."""
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((8, 60, 80), np.uint8), name="movie")
    viewer.dims.set_point(0, 0)
    controller = open_tracker(viewer, image, opener=fake, preferences=preferences)
    controller.wait()
    yield controller
    controller.close()


@pytest.fixture
def world(qtbot, make_napari_viewer, monkeypatch, fake, preferences):
    def open_fake(viewer, images):
        return open_tracker(viewer, images, opener=fake, preferences=preferences)

    monkeypatch.setattr(controller_link, "open_tracker", open_fake)
    viewer = shown(make_napari_viewer(show=True))
    viewer.add_image(np.zeros((8, 60, 80), np.uint8), name="movie")
    viewer.dims.set_point(0, 0)
    dock = add_dock(viewer, TrackerDock(viewer), "SAM2 Tracker")
    viewer.reset_view()
    qtbot.waitUntil(lambda: dock.controller.model.phase == "ready", timeout=WAIT)
    return viewer, dock, dock.controller


def points(c, *xs):
    for x in xs:
        c.prompts.add_point(x, 25, object_id=1)
        c.wait()


def texts(stack):
    return [stack.text(i) for i in range(stack.count())]


def test_the_stack_has_the_steps_of_the_project_in_words(c):
    stack = stack_of(c)
    assert (stack.count(), stack.canUndo()) == (0, False)
    points(c, 20)
    c.prompts.add_box(10, 10, 30, 30, object_id=3)
    c.wait()
    c.objects.rename(3, "nucleus")
    c.wait()
    assert texts(stack) == ["Point on object 1, frame 0", "Box on object 3, frame 0", "Rename object 3"]
    assert stack.undoText() == "rename object 3"
    c.undo()
    c.wait()
    assert (stack.index(), stack.undoText(), stack.redoText()) == (
        2,
        "box on object 3, frame 0",
        "rename object 3",
    )


def test_qt_undoes_and_redoes_in_the_project(c, fake):
    stack = stack_of(c)
    points(c, 10, 20, 30)
    stack.undo()
    assert stack.index() == 2, "the list is ahead of the answer"
    c.wait()
    assert len(c.prompts.all[0, 1].points) == 2
    stack.setIndex(0)
    c.wait()
    assert c.prompts.all == {}
    assert fake.session.prompts == {}
    stack.setIndex(2)
    stack.redo()
    stack.undo()
    stack.redo()
    c.wait()
    assert len(fake.session.prompts[0, 1].points) == 3
    assert (stack.index(), stack.count()) == (3, 3)


def test_something_new_takes_the_place_of_what_was_undone(c):
    stack = stack_of(c)
    points(c, 10, 20, 30)
    stack.setIndex(1)
    c.wait()
    c.prompts.add_box(10, 10, 30, 30, object_id=2)
    c.wait()
    assert texts(stack) == ["Point on object 1, frame 0", "Box on object 2, frame 0"]
    assert (stack.index(), stack.canRedo()) == (2, False)


def test_what_is_done_while_an_undo_is_under_way_comes_on_top_of_it(c):
    stack = stack_of(c)
    points(c, 10, 20)
    stack.undo()
    c.prompts.add_box(10, 10, 30, 30, object_id=2)
    c.wait()
    assert texts(stack) == ["Point on object 1, frame 0", "Box on object 2, frame 0"]
    assert stack.index() == 2


def test_the_stack_goes_back_when_the_project_could_not(c, fake):
    stack = stack_of(c)
    points(c, 10, 20)
    fake.session.undo = lambda: (_ for _ in ()).throw(RuntimeError("damaged"))
    told = []
    c.events.error.connect(lambda report: told.append(report.message))
    stack.undo()
    c.wait()
    assert told == ["damaged"]
    assert stack.index() == 2


def test_while_a_model_is_loaded_nothing_is_undone(c, monkeypatch):
    stack = stack_of(c)
    points(c, 10)
    told = []
    monkeypatch.setattr("napari_sam2.plugin.qt.undo_stack.show_warning", told.append)
    c._session.ready = False
    stack.undo()
    assert told == ["there is no session yet: wait until the model is loaded"]
    assert stack.index() == 1
    c._session.ready = True


@pytest.mark.parametrize(
    ("steps", "applied"),
    [
        ("abc", 3),
        ("abc", 1),
        ("ab", 2),  # what could be redone is gone
        ("a", 1),
        ("", 0),
        ("bcd", 3),  # the oldest is out of reach
        ("abx", 3),
        ("abxyz", 4),
        ("xyz", 0),
    ],
)
def test_the_stack_follows_any_history(c, steps, applied):
    stack, asked = stack_of(c), []
    c.undo = c.redo = asked.append
    for now, count in (("abc", 2), (steps, applied), ("abc", 3)):
        state = HistoryState(tuple(UndoStep(ord(letter), letter.upper()) for letter in now), count)
        c.events.history.emit(state)
        assert texts(stack) == list(now.upper())
        assert stack.index() == count
    assert asked == []


def test_a_project_that_is_opened_again_brings_its_steps(qtbot, fake, preferences, c):
    points(c, 10, 20)
    c.undo()
    c.wait()
    kept = fake.session
    c.close()
    fake.saved = kept.content
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((8, 60, 80), np.uint8), name="movie")

    def opened(spec, progress):
        found = fake(spec, progress)
        session = found.session
        session.done, session.undone, session.numbers = kept.done, kept.undone, kept.numbers
        return found

    again = open_tracker(viewer, image, opener=opened, preferences=preferences)
    again.wait()
    stack = stack_of(again)
    assert (stack.count(), stack.index()) == (2, 1)
    stack.redo()
    again.wait()
    assert len(again.prompts.all[0, 1].points) == 2
    again.close()


def test_keys_undo_and_redo_on_the_canvas_and_in_the_dock(qtbot, world):
    viewer, dock, c = world
    press_button(qtbot, dock.tools.buttons["points"])
    for x in (30, 40, 50):
        click(qtbot, viewer, 25, x)
        qtbot.waitUntil(
            lambda x=x: x == round(c.prompts.all.get((0, 1)).points[-1].x) if c.prompts.all else False,
            timeout=WAIT,
        )
        qtbot.waitUntil(lambda: c.status.phase == "ready", timeout=WAIT)
    count = lambda: len(c.prompts.all[0, 1].points)  # noqa: E731
    press(qtbot, viewer, "Control-Z")
    qtbot.waitUntil(lambda: count() == 2, timeout=WAIT)
    press(qtbot, viewer, "U")
    qtbot.waitUntil(lambda: count() == 1, timeout=WAIT)
    press(qtbot, viewer, "Control-Shift-Z")
    qtbot.waitUntil(lambda: count() == 2, timeout=WAIT)
    press(qtbot, viewer, "Shift-U")
    qtbot.waitUntil(lambda: count() == 3, timeout=WAIT)
    dock.activateWindow()
    dock.objects.view.setFocus()
    qtbot.waitUntil(lambda: dock.objects.view.hasFocus(), timeout=WAIT)
    qtbot.keyClick(dock.objects.view, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: count() == 2, timeout=WAIT)


def test_on_a_painted_layer_the_key_is_that_of_the_layer(qtbot, world):
    viewer, dock, c = world
    points(c, 40)
    layer = c.prompts.ensure_layer("labels")
    viewer.layers.selection.active = layer
    layer.selected_label = 2
    viewer.dims.set_point(0, 0)
    layer.paint((0, 10, 12), 2)
    qtbot.waitUntil(lambda: (0, 2) in c.prompts.all, timeout=WAIT)
    c.wait()
    press(qtbot, viewer, "Control-Z")
    qtbot.waitUntil(lambda: (0, 2) not in c.prompts.all, timeout=WAIT)
    c.wait()
    labels = [step.label for step in c.history.steps]
    assert labels == ["Point on object 1, frame 0", "Paint on object 2, frame 0", "Clear object 2, frame 0"]


def test_the_list_of_steps_goes_back_by_a_click(qtbot, world):
    viewer, dock, c = world
    points(c, 20, 40, 60)
    history = dock.history
    assert history.undo.toolTip() == "Undo: point on object 1, frame 0\nKey: U or Ctrl+Z"
    assert history.redo.toolTip().startswith("Nothing to redo")
    assert not history.redo.isEnabled()
    menu = history.undo.menu()
    menu.popup(history.undo.mapToGlobal(history.undo.rect().bottomLeft()))
    view = history.steps
    qtbot.waitUntil(view.isVisible, timeout=WAIT)
    model = view.model()
    said = [model.index(row, 0).data() for row in range(model.rowCount())]
    assert said == ["Where you began", *["Point on object 1, frame 0"] * 3]
    qtbot.mouseClick(
        view.viewport(), Qt.MouseButton.LeftButton, pos=view.visualRect(model.index(1, 0)).center()
    )
    qtbot.waitUntil(lambda: len(c.prompts.all[0, 1].points) == 1, timeout=WAIT)
    assert history.redo.isEnabled()
    assert history.redo.toolTip().startswith("Redo: point on object 1, frame 0")
    menu.close()
    QApplication.processEvents()
    press_button(qtbot, history.redo)
    qtbot.waitUntil(lambda: len(c.prompts.all[0, 1].points) == 2, timeout=WAIT)


def test_the_buttons_show_the_stack_of_the_image_that_is_chosen(qtbot, world):
    viewer, dock, c = world
    points(c, 20)
    assert dock.history.undo.isEnabled()
    dock.session.use(None)
    assert not dock.history.undo.isEnabled()
    dock.session.use(c)
    assert dock.history.undo.isEnabled()
    c.close()
    assert not dock.history.undo.isEnabled()

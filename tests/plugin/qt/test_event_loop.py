"""The controller in a real window: mouse clicks in, masks out, and nothing left behind."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

from napari_sam2.plugin.qt.open_tracker import open_tracker

pytestmark = pytest.mark.gui


@pytest.fixture
def window(make_napari_viewer, fake, preferences):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(900, 700)
    image = viewer.add_image(np.zeros((6, 60, 80), np.uint8), name="movie")
    viewer.dims.set_point(0, 0)
    viewer.reset_view()
    controller = open_tracker(viewer, image, opener=fake, preferences=preferences)
    yield viewer, controller, fake
    controller.close()


def canvas(viewer):
    from napari._vispy.canvas import VispyCanvas  # only to find the widget that gets the mouse

    found = viewer.window._qt_viewer.canvas
    assert isinstance(found, VispyCanvas)
    return found


def on_screen(viewer, y, x):
    """Where a pixel of the image is on the canvas."""
    native = canvas(viewer).native
    camera = viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera  # since 0.9
    center, zoom = np.asarray(camera.center[-2:]), camera.zoom
    offset = (np.array([y, x]) - center) * zoom
    # The zoom counts logical pixels of the canvas.
    return QPoint(round(native.width() / 2 + offset[1]), round(native.height() / 2 + offset[0]))


def click(qtbot, viewer, y, x):
    native = canvas(viewer).native
    place = on_screen(viewer, y, x)
    qtbot.mouseMove(native, place)
    qtbot.mouseClick(native, Qt.MouseButton.LeftButton, pos=place)


def move(native, place):
    """Move the mouse with the left button down; QTest's own mouseMove tells no buttons."""
    event = QMouseEvent(
        QEvent.Type.MouseMove,
        QPointF(place),
        QPointF(native.mapToGlobal(place)),
        Qt.MouseButton.NoButton,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    QApplication.sendEvent(native, event)


def drag(qtbot, viewer, start, end):
    native = canvas(viewer).native
    qtbot.mouseMove(native, on_screen(viewer, *start))
    qtbot.mousePress(native, Qt.MouseButton.LeftButton, pos=on_screen(viewer, *start))
    for part in np.linspace(0.2, 1, 5):
        qtbot.wait(60)  # napari takes moves that come faster for one click
        move(native, on_screen(viewer, *(np.array(start) + part * (np.array(end) - start))))
    qtbot.mouseRelease(native, Qt.MouseButton.LeftButton, pos=on_screen(viewer, *end))


def test_a_mouse_click_becomes_a_mask_without_anybody_calling(qtbot, window):
    viewer, c, fake = window
    layer = c.prompts.ensure_layer("points")
    qtbot.waitUntil(lambda: c.model.phase == "ready", timeout=20_000)
    viewer.layers.selection.active = layer
    layer.mode = "add"
    click(qtbot, viewer, 25, 40)
    qtbot.waitUntil(lambda: c.results.layer is not None and c.results.layer.data[0].any(), timeout=20_000)
    rows, columns = np.nonzero(c.results.layer.data[0])
    assert rows.mean() == pytest.approx(25, abs=1)
    assert columns.mean() == pytest.approx(40, abs=1)


def test_a_drawn_rectangle_is_one_box_when_the_mouse_is_released(qtbot, window):
    viewer, c, fake = window
    layer = c.prompts.ensure_layer("shapes")
    qtbot.waitUntil(lambda: c.model.phase == "ready", timeout=20_000)
    viewer.layers.selection.active = layer
    layer.mode = "add_rectangle"
    drag(qtbot, viewer, (10, 20), (30, 50))
    qtbot.waitUntil(lambda: (0, 1) in fake.session.prompts, timeout=20_000)
    box = fake.session.prompts[0, 1].box
    np.testing.assert_allclose((box.x0, box.y0, box.x1, box.y1), (20, 10, 50, 30), atol=2)
    assert [call[0] for call in fake.session.calls] == ["prompt"]


def test_a_brush_stroke_is_one_prompt_when_the_mouse_is_released(qtbot, window):
    viewer, c, fake = window
    layer = c.prompts.ensure_layer("labels")
    qtbot.waitUntil(lambda: c.model.phase == "ready", timeout=20_000)
    viewer.layers.selection.active = layer
    layer.mode = "paint"
    layer.brush_size = 4
    drag(qtbot, viewer, (20, 20), (20, 60))
    qtbot.waitUntil(lambda: (0, 1) in fake.session.prompts, timeout=20_000)
    mask = fake.session.prompts[0, 1].mask.array()
    assert mask[20, 22:58].all()
    assert [call[0] for call in fake.session.calls] == ["prompt"]


def test_painting_on_the_results_with_the_mouse_is_one_prompt(qtbot, window):
    viewer, c, fake = window
    qtbot.waitUntil(lambda: c.model.phase == "ready", timeout=20_000)
    c.prompts.add_point(40, 25)
    qtbot.waitUntil(lambda: c.results.layer is not None, timeout=20_000)
    layer = c.results.layer
    viewer.layers.selection.active = layer
    layer.mode = "paint"
    layer.brush_size = 4
    drag(qtbot, viewer, (25, 42), (25, 60))
    qtbot.waitUntil(lambda: len(fake.session.calls) > 1, timeout=20_000)
    assert [call[0] for call in fake.session.calls] == ["prompt", "prompt"]
    assert fake.session.prompts[0, 1].mask.array()[25, 58]


def test_propagation_shows_every_frame_through_the_event_loop(qtbot, window):
    viewer, c, fake = window
    qtbot.waitUntil(lambda: c.model.phase == "ready", timeout=20_000)
    c.prompts.add_point(40, 25)
    c.propagate()
    qtbot.waitUntil(lambda: c.propagation.outcome == "finished", timeout=20_000)
    assert viewer.dims.current_step[0] == 5
    assert c.objects.state(1).present == 6


def test_errors_become_notifications(qtbot, window):
    from napari.utils.notifications import notification_manager

    _, c, fake = window
    qtbot.waitUntil(lambda: c.model.phase == "ready", timeout=20_000)
    fake.session.fail_on = lambda call: call == "prompt"
    before = len(notification_manager.records)
    c.prompts.add_point(40, 25)
    qtbot.waitUntil(lambda: len(notification_manager.records) > before, timeout=20_000)
    assert "Prompting object 1 on frame 0: prompt broke" in notification_manager.records[-1].message


def test_closing_the_viewer_s_image_ends_the_thread(qtbot, window):
    viewer, c, fake = window
    qtbot.waitUntil(lambda: c.model.phase == "ready", timeout=20_000)
    viewer.layers.clear()
    assert c.closed
    assert fake.session.closed
    qtbot.wait(20)

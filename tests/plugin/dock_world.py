"""A window with docks in it, real mouse and real keys."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import QCoreApplication, QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QWidget

WAIT = 180_000  # shared machines can be slow; a wait ends as soon as what it waits for is there


def shown(viewer: Any, size: tuple[int, int] = (1000, 700)) -> Any:
    """Show a viewer at a size."""
    viewer.window.resize(*size)
    QApplication.processEvents()
    return viewer


def add_dock(viewer: Any, dock: QWidget, name: str = "dock") -> QWidget:
    """Dock a widget as napari does it for a plugin."""
    viewer.window.add_dock_widget(dock, name=name, area="right")
    for _ in range(5):
        QApplication.processEvents()
    return dock


def native(viewer: Any) -> QWidget:
    """The widget of the canvas, found through the window's tree."""
    window: QWidget = viewer.window._qt_viewer.canvas.native
    return window


def on_screen(viewer: Any, world_y: float, world_x: float) -> QPoint:
    """Where a point of the world is on the canvas."""
    widget = native(viewer)
    camera = viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera  # since napari 0.9
    center = np.asarray(camera.center[-2:])
    offset = (np.array([world_y, world_x]) - center) * camera.zoom
    return QPoint(round(widget.width() / 2 + offset[1]), round(widget.height() / 2 + offset[0]))


def click(qtbot: Any, viewer: Any, y: float, x: float) -> None:
    """Click on the canvas."""
    place = on_screen(viewer, y, x)
    qtbot.mouseMove(native(viewer), place)
    qtbot.mouseClick(native(viewer), Qt.MouseButton.LeftButton, pos=place)


def drag(qtbot: Any, viewer: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag on the canvas."""
    widget, first, last = native(viewer), np.array(start, float), np.array(end, float)
    qtbot.mouseMove(widget, on_screen(viewer, *first))
    qtbot.mousePress(widget, Qt.MouseButton.LeftButton, pos=on_screen(viewer, *first))
    for part in np.linspace(0.2, 1, 5):
        qtbot.wait(60)  # napari takes moves that come faster for one click
        place = QPointF(on_screen(viewer, *(first + part * (last - first))))
        event = QMouseEvent(
            QEvent.Type.MouseMove,
            place,
            QPointF(widget.mapToGlobal(place.toPoint())),
            Qt.MouseButton.NoButton,
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
        QApplication.sendEvent(widget, event)
    qtbot.mouseRelease(widget, Qt.MouseButton.LeftButton, pos=on_screen(viewer, *last))


def press(qtbot: Any, viewer: Any, key: str) -> None:
    """Press a key, as napari writes it, while the canvas has the keyboard."""
    modifiers = Qt.KeyboardModifier.NoModifier
    *before, last = key.split("-")
    for name in before:
        modifiers |= getattr(Qt.KeyboardModifier, f"{name}Modifier")
    code = Qt.Key(ord(last.upper())) if len(last) == 1 else getattr(Qt.Key, f"Key_{last}")
    qtbot.keyClick(native(viewer), code, modifiers)


def press_button(qtbot: Any, button: QWidget) -> None:
    """Click on a button that the user could see and use."""
    assert button.isVisible(), f"{button.objectName()} is not visible"
    assert button.isEnabled(), f"{button.objectName()} is not enabled"
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def our_widgets() -> list[QWidget]:
    """All widgets of the plugin that live now."""
    return [w for w in QApplication.allWidgets() if type(w).__module__.startswith("napari_sam2")]


def leaked() -> list[QWidget]:
    """Widgets of the plugin that outlive their window, after everything had its chance to go."""
    for _ in range(4):
        QCoreApplication.sendPostedEvents(None, int(QEvent.Type.DeferredDelete.value))
        QApplication.processEvents()
        gc.collect()
    return our_widgets()


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union."""
    return float((a & b).sum() / max((a | b).sum(), 1))


def trial_model() -> str:
    """The embedded network."""
    from napari_sam2.model.weights.checkpoints import NANO_FILE

    return "nano" if NANO_FILE.exists() else ""


def fail_on_leaks() -> Any:
    """Body of a fixture: nothing of the plugin may live on after its window."""
    yield
    sys.last_value = sys.last_traceback = None  # type: ignore[assignment]
    left = leaked()
    assert not left, f"widgets were left behind: {sorted({type(w).__name__ for w in left})}"


def folder_of(preferences: Any) -> Path:
    """The autosave folder of a test."""
    return Path(preferences.autosave_folder)

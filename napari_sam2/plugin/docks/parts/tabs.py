"""High docks share one place as tabs: side by side neither would have room enough on a small screen."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

_HIGH = "napari_sam2_high"


class Tabs(QObject):
    """Puts a dock, when it is shown for the first time, into one place with the others of its kind.

    Parameters
    ----------
    dock : QWidget
        What a plugin gives to napari, which puts it into a QDockWidget.
    """

    def __init__(self, dock: QWidget) -> None:
        super().__init__(dock)
        self._dock = dock
        self._placed = False
        dock.setProperty(_HIGH, True)
        dock.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Wait for the dock to be shown."""
        if event is not None and event.type() == QEvent.Type.Show and not self._placed:
            QTimer.singleShot(0, self._place)
        return False

    def _place(self) -> None:
        own, window = _frame_of(self._dock), self._dock.window()
        if self._placed or own is None or own.isFloating() or not isinstance(window, QMainWindow):
            return
        self._placed = True
        area = window.dockWidgetArea(own)
        for other in window.findChildren(QDockWidget):
            if other is own or other.isFloating() or window.dockWidgetArea(other) != area:
                continue
            if any(child.property(_HIGH) for child in other.findChildren(QWidget)):
                window.tabifyDockWidget(other, own)
                own.show()
                own.raise_()
                return


def _frame_of(dock: QWidget) -> QDockWidget | None:
    parent = dock.parentWidget()
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parentWidget()
    return parent

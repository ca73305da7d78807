"""Empties a controller's replies in Qt's thread, and shows its errors as napari notifications."""

from __future__ import annotations

from napari.utils.notifications import show_error
from qtpy.QtCore import QCoreApplication, QObject, Qt, QTimer, Signal  # type: ignore[attr-defined]

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.qt.undo_stack import UndoStack
from napari_sam2.plugin.state import ErrorReport

_TURN_SECONDS = 0.012  # of one turn of the event loop; what is left comes after Qt's own events


class QtBridge(QObject):
    """Connects a controller to the event loop; lives as long as the controller.

    Parameters
    ----------
    controller : Controller
        Owned by Qt's thread.

    Attributes
    ----------
    undo_stack : UndoStack
        What can be undone, for actions and lists of Qt.
    """

    _arrived = Signal()

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        self._busy = False
        # A timer and no event of ours: events that are posted go before everything that is drawn.
        self._turn = QTimer(self)
        self._turn.setSingleShot(True)
        self._turn.timeout.connect(self._process)
        # Queued: the worker's thread only leaves a note, the work is done in the window's thread.
        self._arrived.connect(self._wake, Qt.ConnectionType.QueuedConnection)
        controller.replies.wake = self._arrived.emit
        controller.events.error.connect(self._show_error)
        controller.events.closed.connect(self._release)
        self.undo_stack = UndoStack(controller, self)
        controller.lower_priority()
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self._close)
        if len(controller.replies):
            self._arrived.emit()

    def _wake(self) -> None:
        if not self._turn.isActive():
            self._turn.start(0)

    def _process(self) -> None:
        # Progress bars of napari run the event loop: an answer must not be taken over inside another one.
        if self._busy or self._controller.closed:
            return
        self._busy = True
        try:
            self._controller.process(_TURN_SECONDS)
        finally:
            self._busy = False
            if len(self._controller.replies) and not self._controller.closed:
                self._wake()

    def _close(self) -> None:
        self._controller.close()

    def _show_error(self, report: ErrorReport) -> None:
        show_error(f"{report.title}: {report.message}")

    def _release(self) -> None:
        self._controller.replies.wake = None
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.disconnect(self._close)
        self.deleteLater()

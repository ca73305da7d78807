"""One line that says what goes on and what to do next, with a button where something can be done about it."""

# PyQt says of every getter that it may return None.
# mypy: disable-error-code="union-attr"
from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QBoxLayout, QFrame, QLabel, QPushButton, QSizePolicy

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.docks.parts.controller_link import SignalConnections
from napari_sam2.plugin.docks.parts.theme import GAP, MARGIN
from napari_sam2.plugin.state import ProjectState, Status

_NO_IMAGE = "Drop a recording into the window, or begin with a sample."


class Banner(QFrame):
    """The status of a controller.

    Parameters
    ----------
    open_sample : callable
        Opens a recording to begin with, for those who have none at hand.
    hint : str
        What to do next in this dock; by default what the controller says.
    """

    def __init__(self, open_sample: Callable[[], None], hint: str = "") -> None:
        super().__init__()
        self.setObjectName("sam2Banner")
        self._open_sample = open_sample
        self._hint = hint
        self._controller: Controller | None = None
        self._listening = SignalConnections()
        self._greets = False  # until something new is done
        self._greeted = False
        self._interrupted: int | None = None
        self._act: Callable[[], None] = lambda: None
        self.text = QLabel(_NO_IMAGE)
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.PlainText)
        self.text.setMinimumWidth(40)
        self.text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.button = QPushButton()
        self.button.setProperty("primary", True)
        self.button.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.button.hide()
        self.button.clicked.connect(lambda: self._act())
        self._row = QBoxLayout(QBoxLayout.Direction.LeftToRight, self)
        self._row.setContentsMargins(MARGIN, 4, 4, 4)
        self._row.setSpacing(GAP)
        self._row.addWidget(self.text, 1)
        self._row.addWidget(self.button)
        self._fit()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Put the button below the text where both have no room side by side."""
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent | None) -> None:
        """Fit to other letters."""
        super().changeEvent(event)
        if event is not None and event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()

    def show_controller(self, controller: Controller | None) -> None:
        """Show another controller's status."""
        self._controller = controller
        self._greeted = False
        self._listening.to(controller, status=self._on_status, project=self._on_project)
        if controller is None:
            self._show(_NO_IMAGE, "", "Open sample", self._open_sample)
        else:
            self._on_project(controller.project)
            self._on_status(controller.status)

    def _fit(self) -> None:
        # Always as high as two lines: what is below must not jump when the text changes.
        self.setMinimumHeight(2 * self.text.fontMetrics().height() + 14)
        wide = self.button.sizeHint().width() > 0.4 * self.width()
        way = QBoxLayout.Direction.TopToBottom if wide else QBoxLayout.Direction.LeftToRight
        if way != self._row.direction():
            self._row.setDirection(way)

    def _on_project(self, project: ProjectState) -> None:
        self._interrupted = project.interrupted_at
        self._greets = project.resumed

    def _on_status(self, status: Status) -> None:
        controller = self._controller
        if controller is None:
            return
        if controller.propagation.phase != "idle":
            self._interrupted = None
        welcome = self._welcome(controller, status)
        if not status.plane_is_current:
            self._show(status.message, "warning", "Work here", controller.follow_plane)
        elif controller.model.phase == "failed":
            choice = controller.preferences.model
            again = lambda: controller.load_model(choice.name, choice.device, choice.precision)  # noqa: E731
            self._show(status.message, "warning", "Try again", again)
        elif controller.project.message and status.phase != "opening":
            self._show(controller.project.message, "warning")
        elif status.phase == "ready" and self._interrupted is not None:
            text = f"{welcome}Tracking was interrupted at frame {self._interrupted}."
            self._show(text, "", "Go on", self._go_on)
        elif welcome:
            self._show(welcome + "Go on where you were.", "", "Start over", self._start_over)
        elif self._hint and status.phase == "ready" and controller.propagation.phase == "idle":
            self._show(self._hint)
        else:
            self._show(status.message)

    def _welcome(self, controller: Controller, status: Status) -> str:
        """Say what is there from last time, until something new is done."""
        count = len(controller.objects)
        if self._greeted and status.phase == "working":
            self._greets = False
        if not self._greets or status.phase != "ready" or not count:
            return ""
        self._greeted = True
        return f"Welcome back: {count} object{'s are' if count != 1 else ' is'} here. "

    def _start_over(self) -> None:
        """Delete everything that was resumed; undo brings it back."""
        self._greets = False
        if self._controller is not None:
            self._controller.objects.delete(self._controller.objects.ids)

    def _go_on(self) -> None:
        """Track on from where it was interrupted."""
        self._interrupted, self._greets = None, False
        if self._controller is not None:
            self._controller.resume()

    def _show(
        self, text: str, tone: str = "", label: str = "", act: Callable[[], None] | None = None
    ) -> None:
        if self.text.text() != text:
            self.text.setText(text)
        if self.property("tone") != tone:
            self.setProperty("tone", tone)
            self.style().unpolish(self)
            self.style().polish(self)
        self.button.setText(label)
        self.button.setVisible(bool(label))
        self._fit()
        if act is not None:
            self._act = act

"""A line with the status and the next step, and a button for what can be done about it."""

# PyQt says of every getter that it may return None.
# mypy: disable-error-code="union-attr"
from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple
from typing import Any

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QBoxLayout, QFrame, QLabel, QPushButton, QSizePolicy

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.docks.parts.controller_link import events_of
from napari_sam2.plugin.docks.parts.layouts import GAP, MARGIN
from napari_sam2.plugin.layers.connections import Connections
from napari_sam2.plugin.state import ProjectState, Status

_NO_IMAGE = "Drop a recording into the window, or begin with a sample."


class Banner(QFrame):
    """The status of a controller.

    Parameters
    ----------
    viewer : Viewer
        Viewer in which a sample can be opened.
    hint : str
        The next step in this dock; by default what the controller says.
    """

    def __init__(self, viewer: Any, hint: str = "") -> None:
        super().__init__()
        self.setObjectName("sam2Banner")
        self._viewer = viewer
        self._hint = hint
        self._controller: Controller | None = None
        self._signals = Connections()
        # True until something new is done in a resumed project.
        self._can_welcome = False
        self._welcomed = False
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
        """Put the button below the text if there is no room beside it."""
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent | None) -> None:
        """Fit to another font size."""
        super().changeEvent(event)
        if event is not None and event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()

    def show_controller(self, controller: Controller | None) -> None:
        """Show another controller's status."""
        self._controller = controller
        self._welcomed = False
        self._signals.replace(events_of(controller), status=self._on_status, project=self._on_project)
        if controller is None:
            self._show(_NO_IMAGE, "", "Open sample", self._open_sample)
        else:
            self._on_project(controller.project)
            self._on_status(controller.status)

    def _fit(self) -> None:
        # Always two lines high: what is below must not move when the text changes.
        self.setMinimumHeight(2 * self.text.fontMetrics().height() + 14)
        is_wide = self.button.sizeHint().width() > 0.4 * self.width()
        direction = QBoxLayout.Direction.TopToBottom if is_wide else QBoxLayout.Direction.LeftToRight
        if direction != self._row.direction():
            self._row.setDirection(direction)

    def _on_project(self, project: ProjectState) -> None:
        self._interrupted = project.interrupted_at
        self._can_welcome = project.resumed

    def _on_status(self, status: Status) -> None:
        controller = self._controller
        if controller is None:
            return
        if controller.propagation.phase != "idle":
            self._interrupted = None
        welcome = self._welcome(controller, status)
        if not status.plane_is_current:
            self._show(status.message, "warning", "Work here", controller.follow_plane)
        elif controller.project.destroyed is not None and controller.model.phase != "loading":
            name = controller.project.destroyed.name
            text = (
                f"{name} is damaged. Its prompts and objects are still there; masks have to be tracked again."
            )
            self._show(text, "warning", "Start it again", controller.restore_project)
        elif controller.model.phase == "failed":
            choice = controller.preferences.model
            again = lambda: controller.load_model(*astuple(choice))  # noqa: E731
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
        """Return a greeting in a resumed project, until something new is done."""
        count = len(controller.objects)
        if self._welcomed and status.phase == "working":
            self._can_welcome = False
        if not self._can_welcome or status.phase != "ready" or not count:
            return ""
        self._welcomed = True
        return f"Welcome back: {count} object{'s are' if count != 1 else ' is'} here. "

    def _start_over(self) -> None:
        """Delete all objects of the resumed project; this can be undone."""
        self._can_welcome = False
        if self._controller is not None:
            self._controller.objects.delete(self._controller.objects.ids)

    def _go_on(self) -> None:
        """Resume the interrupted tracking."""
        self._interrupted, self._can_welcome = None, False
        if self._controller is not None:
            self._controller.resume()

    def _open_sample(self) -> None:
        """Open the sample time-lapse, as File > Open Sample does, and show its first frame."""
        # Imported on demand: the sample is rendered with torch.
        from napari_sam2.plugin.contributions.samples import timelapse

        viewer = self._viewer
        for data, meta, kind in timelapse():
            getattr(viewer, f"add_{kind}")(data, **meta)
        viewer.layers.selection.active = next(layer for layer in reversed(viewer.layers) if layer.visible)
        viewer.dims.set_point(0, 0)

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

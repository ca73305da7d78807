"""Tracking: direction, range, progress and stop."""

from __future__ import annotations

from typing import Any

from napari.utils import progress
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QLabel,
    QMenu,
    QProgressBar,
    QSizePolicy,
    QSpinBox,
    QStackedWidget,
    QToolButton,
    QWidget,
)

from napari_sam2.model.weights.registry import RELEASED
from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.docks.parts.actions import Actions
from napari_sam2.plugin.docks.parts.buttons import muted_label, title_label, tool_button
from napari_sam2.plugin.docks.parts.controller_link import events_of
from napari_sam2.plugin.docks.parts.layouts import column, row
from napari_sam2.plugin.docks.parts.shortcuts import tip
from napari_sam2.plugin.docks.parts.theme import Theme
from napari_sam2.plugin.layers.connections import Connections
from napari_sam2.plugin.state import Direction, ModelState, PropagationState, Status

_RANGES = ("to the end", "some frames", "a range")
_ACTIVITY_MS = 250
_FRAME_BY_FRAME = "Segment Anything 1 tracks frame by frame: the mask on one frame is the prompt on the next."
_OUTCOMES = {"finished": "Tracked", "stopped": "Stopped after", "failed": "Failed after"}


class PropagationSection(QWidget):
    """Buttons and progress of tracking."""

    def __init__(self, theme: Theme, actions: Actions) -> None:
        super().__init__()
        self._actions = actions
        self._controller: Controller | None = None
        self._signals = Connections()
        self._activity: Any = None
        # Updating napari's bar runs the event loop: done by a timer, never while a reply is handled.
        self._activity_timer = QTimer(self)
        self._activity_timer.setInterval(_ACTIVITY_MS)
        self._activity_timer.timeout.connect(self._show_activity)
        self.backward = tool_button(
            theme, "backward", "Back", tip("backward", "Track the objects backward in time")
        )
        self.both = tool_button(
            theme, "both", "Both", tip("both", "Track the objects forward, then backward")
        )
        self.forward = tool_button(
            theme, "forward", "Forward", tip("forward", "Track the objects forward in time"), primary=True
        )
        self.stop = tool_button(theme, "stop", "Stop", tip("stop"), compact=True)
        self.backward.clicked.connect(lambda: self.track("backward"))
        self.both.clicked.connect(lambda: self.track("both"))
        self.forward.clicked.connect(lambda: self.track("forward"))
        self.stop.clicked.connect(lambda: actions.stop())
        self.reach = QComboBox()
        self.reach.addItems(_RANGES)
        self.reach.setToolTip("How far the objects are tracked")
        self.count = _spin("Number of frames from the one that is shown", 10, 1)
        self.first = _spin("First frame of the range", 0, 0)
        self.last = _spin("Last frame of the range", 0, 0)
        self.selected = QCheckBox("selected only")
        self.selected.setToolTip("Track only the objects that are selected in the table")
        self.bar = QProgressBar()
        self.bar.setTextVisible(True)
        self.note = muted_label(wrap=False)
        self.note.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.strategy = muted_label(_FRAME_BY_FRAME)
        self.hand_over = tool_button(
            theme,
            "tracks",
            "Track with SAM 2",
            "Let SAM 2 follow the masks on the prompted frames: choose the model that remembers them",
        )
        self.hand_over.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.hand_over.setMenu(self._models())
        self._lay_out()
        self.reach.currentIndexChanged.connect(self._show_reach)
        self._show_reach()

    def show_controller(self, controller: Controller | None) -> None:
        """Track another controller's objects."""
        self._controller = controller
        self._signals.replace(
            events_of(controller),
            propagation=self._on_progress,
            status=self._on_status,
            model=self._on_model,
        )
        self._on_model(ModelState() if controller is None else controller.model)
        self._end_activity()
        if controller is not None:
            last = controller.n_frames - 1
            for spin, value in ((self.first, 0), (self.last, last)):
                spin.setMaximum(max(last, 0))
                spin.setValue(value)
            self.count.setMaximum(max(last, 1))
            self._on_progress(controller.propagation)
        self._show_enabled()

    def track(self, direction: Direction) -> None:
        """Track the chosen range, or stop if tracking is running."""
        self._actions.track(direction, **self._options())

    # -- inside ------------------------------------------------------------------------------------------

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.reach.currentIndex() == 1:
            options["count"] = self.count.value()
        elif self.reach.currentIndex() == 2:
            options["start"], options["stop"] = self.first.value(), self.last.value()
        if self.selected.isChecked() and self._controller is not None:
            options["objects"] = self._controller.objects.selected or None
        return options

    def _lay_out(self) -> None:
        self._range, idle, running = QWidget(), QWidget(), QWidget()
        self._range.setLayout(row(QLabel("frames"), self.first, QLabel("to"), self.last, None))
        idle.setLayout(row(self.backward, self.both, self.forward))
        running.setLayout(row(self.bar, self.stop, stretched=self.bar))
        self._stack = QStackedWidget()
        self._stack.addWidget(idle)
        self._stack.addWidget(running)
        self._stack.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        head = row(title_label("Track"), self.note, stretched=self.note)
        options = row(self.reach, self.count, self.selected, stretched=self.reach)
        self._memoryless = QWidget()
        self._memoryless.setLayout(column(self.strategy, self.hand_over))
        self.setLayout(column(head, self._stack, options, self._range, self._memoryless))

    def _models(self) -> QMenu:
        menu = QMenu(self)
        for name in ("nano", *RELEASED):
            menu.addAction(name, lambda name=name: self._actions.do(lambda c: c.hand_over(name)))
        return menu

    def _on_model(self, model: ModelState) -> None:
        self._memoryless.setVisible(model.phase == "ready" and model.frame_by_frame)

    def _show_reach(self, index: int = 0) -> None:
        chosen = self.reach.currentIndex()
        self.count.setVisible(chosen == 1)
        self._range.setVisible(chosen == 2)

    def _on_status(self, status: Status) -> None:
        self._show_enabled()

    def _show_enabled(self) -> None:
        controller = self._controller
        able = controller is not None and controller.n_frames > 1 and controller.status.phase != "opening"
        for widget in (self.backward, self.both, self.forward, self.reach, self.count, self.selected):
            widget.setEnabled(able)
        self.setVisible(controller is None or controller.n_frames > 1)

    def _on_progress(self, state: PropagationState) -> None:
        running = state.phase != "idle"
        self.selected.setVisible(not running)
        self._stack.setCurrentIndex(1 if running else 0)
        self.stop.setEnabled(state.phase in ("running", "paused"))
        if not running:
            self._end_activity()
            self.note.setText(self._outcome(state))
            return
        self.bar.setMaximum(max(state.total, state.done, 1))
        self.bar.setValue(state.done)
        self.bar.setFormat(
            f"{state.done} of {max(state.total, state.done)}" if state.total else "preparing …"
        )
        self.note.setText(_speed(state))
        if not self._activity_timer.isActive():
            self._activity_timer.start()

    def _outcome(self, state: PropagationState) -> str:
        text = _OUTCOMES.get(state.outcome, "")
        # Tracking both ways passes the first frame twice.
        done = state.done if self._controller is None else min(state.done, self._controller.n_frames)
        return f"{text} {done} frame{'s' * (done != 1)}" if text else ""

    def _show_activity(self) -> None:
        """Show the progress in napari's activity dock."""
        state = PropagationState() if self._controller is None else self._controller.propagation
        if state.phase == "idle":
            return
        if self._activity is None and state.total:
            self._activity = progress(total=state.total, desc="SAM 2 tracking")
        if self._activity is not None and state.done > self._activity.n:
            self._activity.update(state.done - self._activity.n)

    def _end_activity(self) -> None:
        self._activity_timer.stop()
        activity, self._activity = self._activity, None
        if activity is not None:
            activity.close()


def _speed(state: PropagationState) -> str:
    if state.phase == "paused":
        return "answering prompts …"
    if state.phase == "stopping":
        return "stopping …"
    if not state.fps:
        return ""
    speed = f"{state.fps:.1f} frames/s" if state.fps >= 0.1 else f"{_duration(1 / state.fps)} a frame"
    return f"{speed} · {_duration(state.eta)} left"


def _duration(seconds: float) -> str:
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _spin(tip_text: str, value: int, least: int) -> QSpinBox:
    spin = QSpinBox()
    spin.setRange(least, 10**6)
    spin.setValue(value)
    spin.setToolTip(tip_text)
    return spin

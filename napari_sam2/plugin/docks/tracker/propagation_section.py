"""Tracking: which way, how far, how it goes, and stop."""

from __future__ import annotations

from typing import Any

from napari.utils import progress
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QSizePolicy,
    QSpinBox,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.docks.parts.actions import Actions
from napari_sam2.plugin.docks.parts.controller_link import SignalConnections
from napari_sam2.plugin.docks.parts.shortcuts import tip
from napari_sam2.plugin.docks.parts.theme import GAP, Theme, title_label, tool_button
from napari_sam2.plugin.state import Direction, PropagationState, Status

_REACHES = ("to the end", "some frames", "a range")
_BEAT = 250  # ms
_OUTCOMES = {"finished": "Tracked", "stopped": "Stopped after", "failed": "Failed after"}


class PropagationSection(QWidget):
    """Buttons and progress of tracking.

    Parameters
    ----------
    look : Look
        Icons.
    verbs : Verbs
        What the buttons do.
    """

    def __init__(self, look: Theme, verbs: Actions) -> None:
        super().__init__()
        self._verbs = verbs
        self._controller: Controller | None = None
        self._listening = SignalConnections()
        self._activity: Any = None
        # Each step of napari's bar runs the event loop: a few times a second, and not while an answer is taken over.
        self._beat = QTimer(self)
        self._beat.setInterval(_BEAT)
        self._beat.timeout.connect(self._show_activity)
        self.backward = tool_button(
            look, "backward", "Back", tip("backward", "Track the objects backward in time")
        )
        self.both = tool_button(look, "both", "Both", tip("both", "Track the objects forward, then backward"))
        self.forward = tool_button(
            look, "forward", "Forward", tip("forward", "Track the objects forward in time")
        )
        self.forward.setProperty("primary", True)
        self.stop = tool_button(look, "stop", "Stop", tip("stop"))
        self.stop.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.backward.clicked.connect(lambda: self.track("backward"))
        self.both.clicked.connect(lambda: self.track("both"))
        self.forward.clicked.connect(lambda: self.track("forward"))
        self.stop.clicked.connect(lambda: verbs.stop())
        self.reach = QComboBox()
        self.reach.addItems(_REACHES)
        self.reach.setToolTip("How far the objects are tracked")
        self.count = _spin("frames from the one that is shown", 10, 1)
        self.first = _spin("First frame of the range", 0, 0)
        self.last = _spin("Last frame of the range", 0, 0)
        self.selected = QCheckBox("selected only")
        self.selected.setToolTip("Track only the objects that are selected in the table")
        self.bar = QProgressBar()
        self.bar.setTextVisible(True)
        self.note = QLabel()
        self.note.setObjectName("sam2Muted")
        self.note.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._lay_out()
        self.reach.currentIndexChanged.connect(self._show_reach)
        self._show_reach()

    def show_controller(self, controller: Controller | None) -> None:
        """Track another controller's objects."""
        self._controller = controller
        self._listening.to(controller, propagation=self._on_progress, status=self._on_status)
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
        """Track as far as is set; stop when tracking is under way."""
        self._verbs.track(direction, **self._chosen())

    # -- inside ------------------------------------------------------------------------------------------

    def _chosen(self) -> dict[str, Any]:
        chosen: dict[str, Any] = {}
        if self.reach.currentIndex() == 1:
            chosen["count"] = self.count.value()
        elif self.reach.currentIndex() == 2:
            chosen["start"], chosen["stop"] = self.first.value(), self.last.value()
        if self.selected.isChecked() and self._controller is not None:
            chosen["objects"] = self._controller.objects.selected or None
        return chosen

    def _lay_out(self) -> None:
        head, ways, how, range_, run = (QHBoxLayout() for _ in range(5))
        for row in (head, ways, how, range_, run):
            row.setSpacing(GAP - 2)
            row.setContentsMargins(0, 0, 0, 0)
        head.addWidget(title_label("Track"))
        head.addWidget(self.note, 1)
        for button in (self.backward, self.both, self.forward):
            ways.addWidget(button)
        how.addWidget(self.reach, 1)
        how.addWidget(self.count)
        how.addWidget(self.selected)
        self._range = QWidget()
        for widget in (QLabel("frames"), self.first, QLabel("to"), self.last):
            range_.addWidget(widget)
        range_.addStretch(1)
        self._range.setLayout(range_)
        run.addWidget(self.bar, 1)
        run.addWidget(self.stop)
        idle, running = QWidget(), QWidget()
        idle.setLayout(ways)
        running.setLayout(run)
        self._stack = QStackedWidget()
        self._stack.addWidget(idle)
        self._stack.addWidget(running)
        self._stack.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(4)
        box.addLayout(head)
        box.addWidget(self._stack)
        box.addLayout(how)
        box.addWidget(self._range)

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
        if not self._beat.isActive():
            self._beat.start()

    def _outcome(self, state: PropagationState) -> str:
        words = _OUTCOMES.get(state.outcome, "")
        # Both ways from one frame pass it twice; people count it once.
        done = state.done if self._controller is None else min(state.done, self._controller.n_frames)
        return f"{words} {done} frame{'s' * (done != 1)}" if words else ""

    def _show_activity(self) -> None:
        """Show the same in napari's activity dock."""
        state = PropagationState() if self._controller is None else self._controller.propagation
        if state.phase == "idle":
            return
        if self._activity is None and state.total:
            self._activity = progress(total=state.total, desc="SAM 2 tracking")
        if self._activity is not None and state.done > self._activity.n:
            self._activity.update(state.done - self._activity.n)

    def _end_activity(self) -> None:
        self._beat.stop()
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

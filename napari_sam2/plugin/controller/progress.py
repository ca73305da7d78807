"""How far a propagation is, how fast, and whether the viewer follows it."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace
from typing import Literal

from napari_sam2.plugin.controller.context import ControllerContext
from napari_sam2.plugin.state import Direction, PropagationState
from napari_sam2.plugin.worker.replies import FrameTracked, PropagationPhase
from napari_sam2.plugin.worker.requests import FrameRange

_MEASURED_STEPS = 16
_FOLLOW_SECONDS = 0.04
_FOLLOW_SHARE = 4  # following takes at most one part in so many of the window's time


class PropagationProgress:
    """The progress of propagations; a part of a controller."""

    def __init__(self, desk: ControllerContext) -> None:
        self._desk = desk
        self._times: deque[float] = deque(maxlen=_MEASURED_STEPS)
        self._following = False
        self._followed = -1
        self._next_follow = 0.0
        self.state = PropagationState()

    def begin(self, direction: Direction) -> None:
        """Say that a propagation was asked for."""
        self._times.clear()
        self._following, self._followed = self._desk.preferences.follow, -1
        self._tell(PropagationState("running", direction))

    def stopping(self) -> None:
        """Say that it was asked to stop."""
        if self.state.phase in ("running", "paused"):
            self._tell(replace(self.state, phase="stopping"))

    def stepped(self, step: FrameTracked) -> None:
        """Take over one frame."""
        self._times.append(time.monotonic())
        fps = 0.0
        if len(self._times) > 1:
            fps = (len(self._times) - 1) / max(self._times[-1] - self._times[0], 1e-6)
        left = max(step.total - step.done, 0)
        state = replace(
            self.state,
            frame=step.shown.frame,
            done=step.done,
            total=step.total,
            fps=fps,
            eta=left / fps if fps else 0.0,
        )
        self._tell(state)
        self._follow(step.shown.frame)

    def marched(self, told: PropagationPhase) -> None:
        """Take over that it started, paused, went on or ended."""
        if told.phase in ("running", "paused"):
            if told.phase == "running":
                self._times.clear()  # a pause is no measure of speed
            phase: Literal["running", "paused", "stopping"] = (
                "running" if told.phase == "running" else "paused"
            )
            if self.state.phase == "stopping":
                phase = "stopping"
            self._tell(replace(self.state, phase=phase, total=told.total))
            return
        if self._following and self.state.frame >= 0:
            self._show(self.state.frame)
        ended = replace(self.state, phase="idle", eta=0.0, done=told.done, total=max(told.total, told.done))
        self._tell(replace(ended, outcome=told.phase))  # type: ignore[arg-type]

    def failed(self) -> None:
        """Say that it could not even start."""
        if self.state.phase != "idle":
            self._tell(replace(self.state, phase="idle", outcome="failed"))

    def moved(self, frame: int) -> None:
        """Stop following when the user goes elsewhere."""
        if self._following and self._followed >= 0 and frame != self._followed:
            self._following = False

    def _follow(self, frame: int) -> None:
        begin = time.monotonic()
        if self._following and begin >= self._next_follow:
            self._show(frame)
            end = time.monotonic()
            self._next_follow = end + max(_FOLLOW_SECONDS, (_FOLLOW_SHARE - 1) * (end - begin))

    def _show(self, frame: int) -> None:
        self._followed = frame
        self._desk.show(frame)

    def _tell(self, state: PropagationState) -> None:
        if state != self.state:
            self.state = state
            self._desk.events.propagation.emit(state)


def label_of(direction: Direction) -> str:
    """Return what undo calls a propagation."""
    return "Track both ways" if direction == "both" else f"Track {direction}"


def legs_of(
    direction: str, start: int | None, stop: int | None, count: int | None, here: int, last: int
) -> tuple[FrameRange, ...]:
    """Return the ways to go; see :meth:`Controller.propagate`.

    Parameters
    ----------
    direction, start, stop, count
        As asked for.
    here, last : int
        The frame that is shown, and the last one.
    """
    if direction not in ("forward", "backward", "both"):
        raise ValueError(f"direction must be 'forward', 'backward' or 'both', not {direction!r}")
    if count is not None and count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if count is not None:
        forward, backward = (
            FrameRange(here, min(here + count, last), False),
            FrameRange(here, max(here - count, 0), True),
        )
    else:
        forward = FrameRange(start, stop, False)
        # Of a range the lower end is where going backward stops.
        backward = FrameRange(start, stop, True) if direction == "backward" else FrameRange(stop, start, True)
    chosen = {"forward": (forward,), "backward": (backward,), "both": (forward, backward)}
    return chosen[direction]

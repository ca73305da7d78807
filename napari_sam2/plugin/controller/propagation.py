"""Propagations: which frames they visit, how far they are, how fast, and whether the viewer follows."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace
from typing import Any

from napari_sam2.plugin.controller.context import ControllerContext
from napari_sam2.plugin.state import Direction, PropagationState
from napari_sam2.plugin.worker.replies import FrameTracked, PropagationPhase
from napari_sam2.plugin.worker.requests import FrameRange

_SPEED_FRAMES = 16  # over which the speed is measured
_FOLLOW_SECONDS = 0.04
_FOLLOW_SHARE = 4  # following takes at most one part in so many of the window's time


class PropagationProgress:
    """The progress of propagations; a part of a controller."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._times: deque[float] = deque(maxlen=_SPEED_FRAMES)
        self._following = False
        self._followed = -1
        self._next_follow = 0.0

    def begin(self, direction: Direction) -> None:
        """Show that a propagation was asked for."""
        self._times.clear()
        self._following, self._followed = self._context.preferences.follow, -1
        self._context.state.set_propagation(PropagationState("running", direction))

    def stop(self) -> None:
        """Show that it was asked to stop."""
        if self._context.state.propagation.phase != "idle":
            self._change(phase="stopping")

    def fail(self) -> None:
        """Show that it could not begin."""
        if self._context.state.propagation.phase != "idle":
            self._change(phase="idle", outcome="failed")

    def on_frame(self, tracked: FrameTracked) -> None:
        """Show that one more frame is done."""
        self._times.append(time.monotonic())
        fps = 0.0
        if len(self._times) > 1:
            fps = (len(self._times) - 1) / max(self._times[-1] - self._times[0], 1e-6)
        left = max(tracked.total - tracked.done, 0)
        frame, eta = tracked.shown.frame, left / fps if fps else 0.0
        self._change(frame=frame, done=tracked.done, total=tracked.total, fps=fps, eta=eta)
        self._follow(frame)

    def on_phase(self, phase: PropagationPhase) -> None:
        """Show that it began, paused, went on or ended."""
        state = self._context.state.propagation
        if phase.phase in ("running", "paused"):
            if phase.phase == "running":
                self._times.clear()  # a pause is no measure of speed
            shown = "stopping" if state.phase == "stopping" else phase.phase
            self._change(phase=shown, total=phase.total)
            return
        if state.phase == "idle" and phase.phase == "stopped":
            return  # it had ended when it was asked to stop
        if self._following and state.frame >= 0:
            self._show(state.frame)
        total = max(phase.total, phase.done)
        self._change(phase="idle", eta=0.0, done=phase.done, total=total, outcome=phase.phase)

    def on_moved(self, frame: int) -> None:
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
        self._context.view.show(frame)

    def _change(self, **changes: Any) -> None:
        state = self._context.state
        state.set_propagation(replace(state.propagation, **changes))


def label_of(direction: Direction) -> str:
    """Return the label of a propagation in the list of undo."""
    return "Track both ways" if direction == "both" else f"Track {direction}"


def frame_ranges(
    direction: str, start: int | None, stop: int | None, count: int | None, here: int, last: int
) -> tuple[FrameRange, ...]:
    """Return the frames to visit.

    Parameters
    ----------
    direction, start, stop, count
        As for :meth:`Controller.propagate`.
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

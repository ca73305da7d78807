"""One line about everything: what goes on, or what to do next."""

from __future__ import annotations

from dataclasses import replace

from napari_sam2.plugin.controller.context import ControllerContext
from napari_sam2.plugin.controller.progress import PropagationProgress
from napari_sam2.plugin.controller.prompts import Prompts
from napari_sam2.plugin.controller.reply_handler import ReplyHandler
from napari_sam2.plugin.layers.navigation import plane_shown
from napari_sam2.plugin.state import Status

# What to do next, by how the last tracking ended.
_NEXT = {
    "": "Does the mask fit? Track with “Forward”, or press “New” and click on the next object.",
    "finished": "Tracked. G goes to the next doubtful frame: correct it with a click, and track again.",
    "stopped": "Stopped; what is done stays. Correct a mask with a click, or track on with “Forward”.",
    "failed": "Tracking failed; what is done stays. Track again, or take other prompts.",
}


class StatusLine:
    """The status of a controller; told whenever it changed."""

    def __init__(
        self, desk: ControllerContext, replies: ReplyHandler, progress: PropagationProgress, prompts: Prompts
    ) -> None:
        self._desk = desk
        self._replies = replies
        self._progress = progress
        self._prompts = prompts
        self.state = Status(n_frames=desk.geometry.n_frames, frame=desk.frame)

    def tell(self) -> None:
        """Look at everything again."""
        desk = self._desk
        pending = desk.worker.pending
        current = plane_shown(desk.viewer, desk.image, desk.geometry)
        phase = "opening" if not desk.ready else "working" if pending else "ready"
        message = self._message(current)
        status = Status(phase, message, desk.frame, desk.geometry.n_frames, pending, current)  # type: ignore[arg-type]
        self._emit(status)

    def close(self) -> None:
        """Say that it is over."""
        self._emit(replace(self.state, phase="closed", message="The session is closed; everything is saved."))

    def _emit(self, status: Status) -> None:
        if status != self.state:
            self.state = status
            self._desk.events.status.emit(status)

    def _message(self, current: bool) -> str:
        model, progress = self._replies.model, self._progress.state
        if model.phase == "failed":
            return model.message
        if not self._desk.ready:
            return f"Loading {model.name} …"
        if not current:
            return "This session works on another plane: go back there, or follow to this one."
        if progress.phase != "idle":
            return f"Tracking: {progress.done} of {progress.total} frames"
        if not self._prompts.all:
            return "Take the Points tool and click on an object, or drag a Box around it."
        if self._desk.geometry.n_frames == 1:
            return "Add or correct prompts until the masks fit."
        return _NEXT[progress.outcome]

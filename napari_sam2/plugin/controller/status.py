"""One line about everything: what goes on, or what to do next."""

from __future__ import annotations

from typing import Literal

from napari_sam2.plugin.controller.context import ControllerContext
from napari_sam2.plugin.layers.navigation import plane_shown
from napari_sam2.plugin.state import Status

# What to do next, by how the last propagation ended.
_NEXT = {
    "": "Does the mask fit? Track with “Forward”, or press “New” and click on the next object.",
    "finished": "Tracked. G goes to the next uncertain frame: correct it with a click, and track again.",
    "stopped": "Stopped; what is done stays. Correct a mask with a click, or track on with “Forward”.",
    "failed": "Tracking failed; what is done stays. Track again, or take other prompts.",
}


def status_of(context: ControllerContext, has_prompts: bool) -> Status:
    """Return the status line for the state of a controller."""
    view, session = context.view, context.session
    pending = session.pending
    current = plane_shown(view.viewer, view.image, view.geometry)
    phase: Literal["opening", "working", "ready"] = "working" if pending else "ready"
    message = _message(context, current, has_prompts)
    return Status(
        phase if session.ready else "opening", message, view.frame, view.geometry.n_frames, pending, current
    )


def _message(context: ControllerContext, plane_is_current: bool, has_prompts: bool) -> str:
    model, propagation = context.state.model, context.state.propagation
    if model.phase == "failed":
        return model.message
    if not context.session.ready:
        return f"Loading {model.name} …"
    if not plane_is_current:
        return "This session works on another plane: go back there, or follow to this one."
    if propagation.phase != "idle":
        return f"Tracking: {propagation.done} of {propagation.total} frames"
    if not has_prompts:
        return "Take the Points tool and click on an object, or drag a Box around it."
    if context.view.geometry.n_frames == 1:
        return "Add or correct prompts until the masks fit."
    return _NEXT[propagation.outcome]

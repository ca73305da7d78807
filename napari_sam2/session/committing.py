"""Taking drafts into memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from napari_sam2.session.outcome import FORGOTTEN
from napari_sam2.session.tracked import TrackedObject

if TYPE_CHECKING:
    from napari_sam2.session.video import VideoSession


def commit_frame(session: VideoSession, objects: Mapping[int, TrackedObject], frame: int) -> None:
    """Encode, store and remember the drafts of all objects on one frame.

    Counterpart: ``propagate_in_video_preflight``.
    """
    outcomes = {}
    for object_id, tracked in objects.items():
        draft = tracked.drafts.get(frame)
        # The reference loses a correction of a conditioning frame that does not condition itself.
        if draft is not None and (draft.outcome.conditioning or not tracked.bank.is_conditioning(frame)):
            outcomes[object_id] = draft.outcome
    memories = session.encode(frame, list(outcomes.values())) if outcomes else []
    session.write(frame, outcomes)
    for (object_id, outcome), spatial in zip(outcomes.items(), memories):
        objects[object_id].commit(frame, outcome, spatial)
    for tracked in objects.values():
        if tracked.drafts.pop(frame, None) is not None and session.options.forget_around_prompts:
            forget_around(session, tracked, frame)


def forget_around(session: VideoSession, tracked: TrackedObject, frame: int) -> None:
    """Make tracked results within the memory window of a prompted frame unfit for recall."""
    reach = session.compute.model.config.num_maskmem * session.options.memory_stride
    for other in range(max(0, frame - reach), min(len(session.frames), frame + reach + 1)):
        outcome = None if tracked.bank.is_conditioning(other) else tracked.stored(other)
        if outcome is not None and outcome.basis != FORGOTTEN:
            session.write(other, {tracked.object_id: outcome.changed(basis=FORGOTTEN)})
            tracked.bank.forget(other)

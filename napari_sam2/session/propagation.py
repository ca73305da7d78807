"""Carrying objects through time, one frame after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_sam2.session.frame_output import STALE, ObjectOutput
from napari_sam2.session.tracked_object import TrackedObject

if TYPE_CHECKING:
    from napari_sam2.session.video import VideoSession


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """The results on one frame of a propagation, by object."""

    frame: int
    outputs: dict[int, ObjectOutput]
    masks: dict[int, NDArray[np.bool_]]


def visit(session: VideoSession, objects: Sequence[TrackedObject], frames: range) -> Iterator[TrackedFrame]:
    """Visit frames in order; each step is stored before it is yielded.

    Parameters
    ----------
    session : VideoSession
        Provides network, features, options and store.
    objects : sequence of TrackedObject
        All with at least one conditioning frame.
    frames : range
        Its step gives the direction of travel.
    """
    reverse = frames.step < 0
    for frame in frames:
        kept: dict[int, ObjectOutput] = {}
        waiting: list[TrackedObject] = []
        for tracked in session.still_tracked(objects):
            output = _kept(session, tracked, frame, reverse)
            if output is not None:
                kept[tracked.object_id] = output
            elif _is_looked_for(session, tracked, frame, reverse):
                waiting.append(tracked)
        fresh, masks = _track(session, waiting, frame, reverse)
        order = [o.object_id for o in objects if o.object_id in kept or o.object_id in fresh]
        yield TrackedFrame(frame, {i: kept.get(i) or fresh[i] for i in order}, masks)


def _is_looked_for(session: VideoSession, tracked: TrackedObject, frame: int, reverse: bool) -> bool:
    if not session.options.start_at_first_prompt:
        return True
    conditioning = tracked.bank.conditioning
    return frame <= conditioning[-1] if reverse else frame >= conditioning[0]


def _kept(session: VideoSession, tracked: TrackedObject, frame: int, reverse: bool) -> ObjectOutput | None:
    """Return the stored result of a frame when it is not to be computed (again)."""
    options = session.options
    if tracked.bank.is_conditioning(frame):
        output = tracked.stored(frame)
        if output is not None and options.refine == "previous":
            # The reference remembers that propagation has passed: the next click here recalls memories.
            output = output.changed(tracked=True, reverse=reverse)
            session.write(frame, {tracked.object_id: output})
        if options.forget_around_prompts:
            forget_around(session, tracked, frame)
        return output
    looked_for = _is_looked_for(session, tracked, frame, reverse)
    if looked_for and not options.reuse_tracked:
        return None
    output = tracked.stored(frame)
    if output is None or (looked_for and not tracked.is_current(frame, output)):
        return None
    return output


def _track(
    session: VideoSession, waiting: Sequence[TrackedObject], frame: int, reverse: bool
) -> tuple[dict[int, ObjectOutput], dict[int, NDArray[np.bool_]]]:
    """Track objects on one frame, store the results and then take them into memory."""
    if not waiting:
        return {}, {}
    readouts = []
    for tracked in waiting:
        readout = tracked.readout(frame, reverse)
        if readout is None:
            raise LookupError(f"object {tracked.object_id} has no memory to be tracked with on frame {frame}")
        readouts.append(readout)
    features = session.features.get(frame)
    fresh: dict[int, ObjectOutput] = {}
    for tracked, result in zip(waiting, session.runner.track(features, readouts)):
        output = ObjectOutput.of_result(result, session.options.store_dtype)
        fresh[tracked.object_id] = output.changed(reverse=reverse, prompt_hash=tracked.current_hash(frame))
    memories = session.encode(frame, list(fresh.values()))
    masks = session.write(frame, fresh)
    for tracked, spatial in zip(waiting, memories):
        tracked.add_tracked(frame, fresh[tracked.object_id], spatial)
    return fresh, masks


def commit_frame(session: VideoSession, objects: Mapping[int, TrackedObject], frame: int) -> None:
    """Encode, store and remember the drafts of all objects on one frame.

    Counterpart: ``propagate_in_video_preflight``.
    """
    outputs = {}
    for object_id, tracked in objects.items():
        draft = tracked.drafts.get(frame)
        # The reference loses a correction of a conditioning frame that does not condition itself.
        if draft is not None and (draft.output.conditioning or not tracked.bank.is_conditioning(frame)):
            outputs[object_id] = draft.output
    memories = session.encode(frame, list(outputs.values())) if outputs else []
    session.write(frame, outputs)
    for (object_id, output), spatial in zip(outputs.items(), memories):
        objects[object_id].commit(frame, output, spatial)
    for tracked in objects.values():
        if tracked.drafts.pop(frame, None) is not None and session.options.forget_around_prompts:
            forget_around(session, tracked, frame)


def forget_around(session: VideoSession, tracked: TrackedObject, frame: int) -> None:
    """Make tracked results within the memory window of a prompted frame unfit for recall."""
    reach = session.runner.model.config.num_maskmem * session.options.memory_stride
    for other in range(max(0, frame - reach), min(len(session.frames), frame + reach + 1)):
        output = None if tracked.bank.is_conditioning(other) else tracked.stored(other)
        if output is not None and output.prompt_hash != STALE:
            session.write(other, {tracked.object_id: output.changed(prompt_hash=STALE)})
            tracked.bank.forget(other)

"""Carrying objects through time: their drafts are committed, then one frame after the other is tracked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_sam2.frames.errors import FrameReadError, warn_of_unreadable
from napari_sam2.session.frame_output import ObjectOutput
from napari_sam2.session.frame_writer import FrameWriter
from napari_sam2.session.object_table import ObjectTable
from napari_sam2.session.options import SessionOptions
from napari_sam2.session.protocols import STALE
from napari_sam2.session.tracked_object import TrackedObject


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """The results on one frame of a propagation, by object; ``masks`` holds those that were tracked anew."""

    frame: int
    outputs: dict[int, ObjectOutput]
    masks: dict[int, NDArray[np.bool_]]


def commit_drafts(writer: FrameWriter, table: ObjectTable) -> None:
    """Encode, store and remember the drafts of all objects, frame by frame.

    Counterpart: ``propagate_in_video_preflight``.
    """
    for frame in sorted({frame for tracked in table.values() for frame in tracked.drafts}):
        outputs: dict[int, ObjectOutput] = {}
        for object_id, tracked in table.items():
            draft = tracked.drafts.get(frame)
            # The reference loses a correction of a conditioning frame that does not condition itself.
            if draft is not None and (draft.output.conditioning or not tracked.bank.is_conditioning(frame)):
                outputs[object_id] = draft.output
        memories = writer.encode(frame, list(outputs.values())) if outputs else []
        writer.write(frame, outputs)
        for (object_id, output), spatial in zip(outputs.items(), memories):
            table[object_id].commit(frame, output, spatial)
        for tracked in table.values():
            if tracked.drafts.pop(frame, None) is not None and writer.options.forget_around_prompts:
                _forget_around(writer, tracked, frame)


def propagate(
    writer: FrameWriter, table: ObjectTable, objects: Sequence[TrackedObject], frames: range
) -> Iterator[TrackedFrame]:
    """Visit frames in order; each one is stored before it is yielded.

    Frames that can't be read are passed over: nothing new is stored for them, the next ones are tracked from what was
    before, and a warning names them at the end.

    Parameters
    ----------
    writer : FrameWriter
        Network, features and store.
    table : ObjectTable
        Objects that leave it, or lose their last prompt, between two frames are no longer tracked.
    objects : sequence of TrackedObject
        All with at least one conditioning frame.
    frames : range
        Its step gives the direction.
    """
    reverse = frames.step < 0
    passed_over: list[int] = []
    try:
        for frame in frames:
            kept: dict[int, ObjectOutput] = {}
            waiting: list[TrackedObject] = []
            for tracked in table.still_tracked(objects):
                decided = writer.decided(tracked.object_id, frame)
                output = None if decided == "absent" else _kept(writer, tracked, frame, reverse)
                if output is not None:
                    kept[tracked.object_id] = output
                elif decided is None and _is_looked_for(writer.options, tracked, frame, reverse):
                    waiting.append(tracked)
            if waiting and not is_readable(writer, frame):
                passed_over.append(frame)
                waiting = []
            fresh, masks = _track(writer, waiting, frame, reverse)
            order = [o.object_id for o in objects if o.object_id in kept or o.object_id in fresh]
            yield TrackedFrame(frame, {i: kept.get(i) or fresh[i] for i in order}, masks)
    finally:
        if passed_over:
            warn_of_unreadable(passed_over, writer.unreadable[passed_over[0]])


def is_readable(writer: FrameWriter, frame: int) -> bool:
    """Read and encode a frame, and return whether that was possible; the reason is noted where it was not.

    Raises
    ------
    FrameReadError
        When the whole file has gone: this is no damaged frame, and later ones would be lost as well.
    """
    try:
        writer.features.get(frame)
    except FrameReadError as error:
        if error.file_is_gone:
            raise
        writer.unreadable[frame] = str(error)
        return False
    writer.unreadable.pop(frame, None)
    return True


def _is_looked_for(options: SessionOptions, tracked: TrackedObject, frame: int, reverse: bool) -> bool:
    if not options.start_at_first_prompt:
        return True
    conditioning = tracked.bank.conditioning
    return frame <= conditioning[-1] if reverse else frame >= conditioning[0]


def _kept(writer: FrameWriter, tracked: TrackedObject, frame: int, reverse: bool) -> ObjectOutput | None:
    """Return the stored result of a frame when it is not to be computed (again)."""
    options = writer.options
    if tracked.bank.is_conditioning(frame):
        output = tracked.stored(frame)
        if output is not None and options.refine == "previous":
            # The reference remembers that propagation has passed: the next click here recalls memories.
            output = output.changed(tracked=True, reverse=reverse)
            writer.write(frame, {tracked.object_id: output})
        if options.forget_around_prompts:
            _forget_around(writer, tracked, frame)
        return output
    accepted = writer.decided(tracked.object_id, frame) == "accepted"
    looked_for = not accepted and _is_looked_for(options, tracked, frame, reverse)
    if looked_for and not options.reuse_tracked:
        return None
    output = tracked.stored(frame)
    stale = output is not None and looked_for and not tracked.is_current(frame, output)
    return None if stale else output


def _track(
    writer: FrameWriter, waiting: Sequence[TrackedObject], frame: int, reverse: bool
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
    features = writer.features.get(frame)
    fresh: dict[int, ObjectOutput] = {}
    for tracked, result in zip(waiting, writer.runner.track(features, readouts)):
        output = ObjectOutput.of_result(result, writer.options.store_dtype)
        fresh[tracked.object_id] = output.changed(reverse=reverse, prompt_hash=tracked.current_hash(frame))
    memories = writer.encode(frame, list(fresh.values()))
    masks = writer.write(frame, fresh)
    for tracked, spatial in zip(waiting, memories):
        tracked.add_tracked(frame, fresh[tracked.object_id], spatial)
    return fresh, masks


def _forget_around(writer: FrameWriter, tracked: TrackedObject, frame: int) -> None:
    """Mark tracked results within the memory window of a prompted frame as stale, which are never recalled."""
    reach = writer.runner.model.config.num_maskmem * writer.options.memory_stride
    for other in range(max(0, frame - reach), min(tracked.bank.length, frame + reach + 1)):
        output = None if tracked.bank.is_conditioning(other) else tracked.stored(other)
        if output is not None and output.prompt_hash != STALE:
            writer.write(other, {tracked.object_id: output.changed(prompt_hash=STALE)})
            tracked.bank.forget(other)

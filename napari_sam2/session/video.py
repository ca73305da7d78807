"""Segmenting and following objects through a video, with prompts at any time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sam2.masks import FrameMasks
from napari_sam2.model.sam2 import Sam2
from napari_sam2.prompts import Prompt
from napari_sam2.session.array_frames import checked_frame
from napari_sam2.session.feature_cache import FeatureCache
from napari_sam2.session.frame_output import Alternatives, ObjectOutput, prompt_hash
from napari_sam2.session.interactive import alternatives_of, answer
from napari_sam2.session.memory_bank import MemoryBank, MemoryPolicy, RecencyPolicy
from napari_sam2.session.options import SessionOptions
from napari_sam2.session.propagation import TrackedFrame, commit_frame, visit
from napari_sam2.session.protocols import FrameSource, RecordStore
from napari_sam2.session.runner import ModelRunner
from napari_sam2.session.sqlite_store import TemporaryStore
from napari_sam2.session.tensors import fill_holes, frame_masks, non_overlapping
from napari_sam2.session.tensors import frame_logits as enlarged
from napari_sam2.session.tracked_object import TrackedObject
from napari_sam2.session.validation import checked_frame_index, checked_object_id, frame_range

MEBIBYTE = 2**20


class VideoSession:
    """Objects, their prompts and their masks through a video (reference: ``SAM2VideoPredictor``).

    Objects are independent: what is done to one changes nothing of the others. Memory does not grow with the
    length of the video: what is out of reach lives in the store and is rebuilt from there when it is needed.

    Parameters
    ----------
    model : Sam2
        The network; stays on its device.
    frames : FrameSource
        The video, read frame by frame.
    options : SessionOptions, optional
        How to compute and remember.
    store : RecordStore, optional
        Where results go; by default a temporary file. A session that is made with the store and prompts of an
        earlier one goes on where that one stopped.
    prompts : mapping of (frame, object_id) to Prompt, optional
        Prompts to begin with.
    policy : MemoryPolicy, optional
        What is recalled; by default what SAM 2 recalls.

    Notes
    -----
    A session belongs to one thread at a time. What it computes is a function of model, frames, options, prompts
    and the records in its store.
    """

    def __init__(
        self,
        model: Sam2,
        frames: FrameSource,
        options: SessionOptions | None = None,
        store: RecordStore | None = None,
        prompts: Mapping[tuple[int, int], Prompt] | None = None,
        policy: MemoryPolicy | None = None,
    ) -> None:
        if len(frames) == 0:
            raise ValueError("a video needs at least one frame, this one has none")
        self.options = options or SessionOptions()
        self.frames = frames
        self.size = (int(frames.size[0]), int(frames.size[1]))
        self.runner = ModelRunner(model, self.options)
        self.runner.oom_fallbacks += [self._offload_features, self._offload_memories]
        self.features = FeatureCache(
            lambda frame: self.runner.encode_image(checked_frame(frames.frame(frame), frame, self.size)),
            self.options.feature_cache_mb * MEBIBYTE,
            self.options.feature_spill_mb * MEBIBYTE,
        )
        self._own_store = TemporaryStore() if store is None else None
        self.store: RecordStore = store if self._own_store is None else self._own_store  # type: ignore[assignment]
        self.policy = policy or _recency(model, self.options)
        self._objects: dict[int, TrackedObject] = {}
        self._removed: set[int] = set()
        self._pending: dict[tuple[int, int], None] = {}
        self._resume(prompts or {})

    # -- prompts -----------------------------------------------------------------------------------------

    @property
    def object_ids(self) -> tuple[int, ...]:
        """All objects, in the order in which they were added."""
        return tuple(self._objects)

    @property
    def prompts(self) -> dict[tuple[int, int], Prompt]:
        """All prompts by (frame, object_id)."""
        return {(f, i): p for i, tracked in self._objects.items() for f, p in tracked.prompts.items()}

    def set_prompt(self, frame: int, object_id: int, prompt: Prompt) -> FrameMasks:
        """Say all there is to say about one object on one frame, in place of what was said before.

        The result is a draft: it is shown at once and taken into memory by :meth:`commit`.

        Parameters
        ----------
        frame : int
            Frame index.
        object_id : int
            A positive label value; a new one adds an object, at any time.
        prompt : Prompt
            Clicks, box and mask in pixels of the frame.

        Returns
        -------
        FrameMasks
            This object's mask on this frame.

        Raises
        ------
        ValueError
            Frame or points outside, an object that was removed, an empty or impossible prompt.
        """
        frame, object_id = self._checked_frame(frame), self._checked_id(object_id)
        if not isinstance(prompt, Prompt):
            raise TypeError(f"set_prompt takes a Prompt, not {type(prompt).__name__}: see prompts.merged()")
        prompt.check(self.size)
        tracked = self._objects.get(object_id) or self._new_object(object_id)
        draft = answer(self, tracked, frame, prompt)
        self._objects[object_id] = tracked
        self._pending.pop((frame, object_id), None)
        tracked.prompts[frame] = prompt
        tracked.drafts[frame] = draft
        return self._frame_masks(frame, {object_id: draft.output})

    def clear_prompt(self, frame: int, object_id: int) -> None:
        """Take back all that was said about one object on one frame, with its result there.

        Masks of the object's other frames stay until they are tracked again.

        Raises
        ------
        ValueError
            When nothing was said there.
        """
        frame, tracked = self._checked_frame(frame), self._known(object_id)
        if frame not in tracked.prompts:
            raise ValueError(f"object {object_id} has no prompt on frame {frame} that could be cleared")
        del tracked.prompts[frame]
        tracked.drafts.pop(frame, None)
        self._pending.pop((frame, object_id), None)
        stored = tracked.stored(frame)
        if stored is None or not stored.prompted:
            return
        if self.options.keep_cleared:
            self.write(frame, {object_id: stored.changed(conditioning=False, tracked=False)})
            tracked.release(frame)
        else:
            self.store.remove(object_id, frame)
            tracked.forget(frame)

    def remove_object(self, object_id: int) -> None:
        """Remove an object with its prompts and masks; the others are not touched."""
        self._known(object_id)
        self.store.remove_object(object_id)
        del self._objects[object_id]
        self._pending = {key: None for key in self._pending if key[1] != object_id}
        self._removed.add(object_id)

    def restore_object(self, object_id: int) -> None:
        """Allow the id of a removed object to be used again (its prompts and masks are gone)."""
        self._removed.discard(object_id)

    def alternatives(self, frame: int, object_id: int) -> Alternatives:
        """Return all masks that the network offered for a prompt (one or three)."""
        frame, tracked = self._checked_frame(frame), self._known(object_id)
        if frame not in tracked.prompts:
            raise ValueError(f"object {object_id} has no prompt on frame {frame}: alternatives need one")
        draft = tracked.drafts.get(frame)
        if draft is None or draft.decoded is None:
            draft = answer(self, tracked, frame, tracked.prompts[frame], redo=True)
        return alternatives_of(draft, self.size)

    # -- time --------------------------------------------------------------------------------------------

    def commit(self) -> None:
        """Take all drafts into memory and into the store."""
        self._answer_pending()
        frames = sorted({frame for tracked in self._objects.values() for frame in tracked.drafts})
        for frame in frames:
            commit_frame(self, self._objects, frame)

    def propagate(
        self,
        start: int | None = None,
        stop: int | None = None,
        reverse: bool = False,
        objects: Iterable[int] | None = None,
    ) -> Iterator[FrameMasks]:
        """Carry objects through time, one frame at a time; drafts are committed first.

        Every frame is in the store before it is yielded. To stop, close the generator between two frames: what
        was done is kept, and the next call passes quickly over what still answers the current prompts.

        Parameters
        ----------
        start : int, optional
            First frame to visit; by default the earliest prompted frame (in reverse: the latest).
        stop : int, optional
            Last frame to visit, included; by default the end of the video (in reverse: frame 0).
        reverse : bool
            Go backwards.
        objects : iterable of int, optional
            Only these objects; by default all that have prompts.

        Yields
        ------
        FrameMasks
            The masks of those objects on each visited frame, as far as there are any.

        Raises
        ------
        ValueError
            No prompts, an unknown object, a frame out of range, or ``stop`` on the wrong side of ``start``.
        """
        return (self._shown(step) for step in self.steps(start, stop, reverse, objects))

    def steps(
        self,
        start: int | None = None,
        stop: int | None = None,
        reverse: bool = False,
        objects: Iterable[int] | None = None,
    ) -> Iterator[TrackedFrame]:
        """Like :meth:`propagate`, yielding low-resolution results instead of masks."""
        wanted = None if objects is None else [self._known(i) for i in objects]
        self.commit()
        if wanted is None:
            wanted = [tracked for tracked in self._objects.values() if tracked.bank.conditioning]
        if not wanted:
            raise ValueError("there is nothing to propagate: set a prompt on some object first")
        for tracked in wanted:
            if not tracked.bank.conditioning:
                raise ValueError(f"object {tracked.object_id} has no prompt on any frame: set one first")
        prompted = [frame for tracked in wanted for frame in tracked.bank.conditioning]
        return visit(self, wanted, frame_range(prompted, len(self.frames), start, stop, reverse))

    # -- results -----------------------------------------------------------------------------------------

    def masks(self, frame: int) -> FrameMasks:
        """Return the newest masks of all objects on a frame (none where nothing was looked for yet)."""
        frame = self._checked_frame(frame)
        self._answer_pending()
        outputs = {i: tracked.output(frame) for i, tracked in self._objects.items()}
        return self._frame_masks(frame, {i: o for i, o in outputs.items() if o is not None})

    def scores(self, frame: int) -> dict[int, tuple[float, float]]:
        """Return (object score, predicted IoU) of every object that has a result on a frame."""
        frame = self._checked_frame(frame)
        self._answer_pending()
        outputs = ((i, tracked.output(frame)) for i, tracked in self._objects.items())
        return {i: (o.object_score, o.predicted_iou) for i, o in outputs if o is not None}

    def output(self, frame: int, object_id: int) -> ObjectOutput | None:
        """Return the newest low-resolution result of one object on one frame."""
        return self._known(object_id).output(self._checked_frame(frame))

    def conditioning_frames(self, object_id: int) -> list[int]:
        """Return the frames that condition an object, in order; drafts do so after :meth:`commit`."""
        return self._known(object_id).bank.conditioning

    def frame_logits(self, outputs: Sequence[ObjectOutput]) -> Tensor:
        """Return frame-size logits (N, H, W) of results of one frame, holes filled."""
        logits = torch.stack([o.logits.to(self.runner.device) for o in outputs])
        return enlarged(fill_holes(logits, self.options.fill_hole_area), self.size)

    def close(self) -> None:
        """Delete what the session keeps on disk, unless the store is yours."""
        if self._own_store is not None:
            self._own_store.close()
        self.features.clear()

    # -- for propagation and prompting -------------------------------------------------------------------

    def still_tracked(self, objects: Iterable[TrackedObject]) -> list[TrackedObject]:
        """Return those objects that have neither been removed nor lost their last prompt meanwhile."""
        return [t for t in objects if self._objects.get(t.object_id) is t and t.bank.conditioning]

    def encode(self, frame: int, outputs: Sequence[ObjectOutput]) -> list[Tensor]:
        """Make the spatial memories of results on one frame."""
        # The reference remembers prompted masks with their holes filled, tracked ones as they are.
        area = self.options.fill_hole_area
        logits = [fill_holes(o.logits, area) if o.prompted else o.logits for o in outputs]
        hard = [o.prompted and self.options.binarize_prompted for o in outputs]
        scores = [o.object_score for o in outputs]
        return self.runner.encode_memories(self.features.get(frame), logits, scores, hard)

    def write(self, frame: int, outputs: Mapping[int, ObjectOutput]) -> dict[int, NDArray[np.bool_]]:
        """Store results of one frame, all or none; returns their frame-size masks."""
        if not outputs:
            return {}
        rows = dict(zip(outputs, self._masks(list(outputs.values()))))
        dtype = self.options.store_dtype
        self.store.put_frame(frame, {i: (o.record(dtype), rows[i]) for i, o in outputs.items()})
        return rows

    # -- inside ------------------------------------------------------------------------------------------

    def _masks(self, outputs: Sequence[ObjectOutput]) -> NDArray[np.bool_]:
        logits = [o.logits.to(self.runner.device) for o in outputs]
        return frame_masks(logits, self.size, self.options.fill_hole_area)

    def _shown(self, step: TrackedFrame) -> FrameMasks:
        return self._frame_masks(step.frame, step.outputs, step.masks)

    def _frame_masks(
        self,
        frame: int,
        outputs: Mapping[int, ObjectOutput],
        known: Mapping[int, NDArray[np.bool_]] | None = None,
    ) -> FrameMasks:
        if not outputs:
            return FrameMasks.empty(frame, self.size)
        if self.options.non_overlap:
            masks = (non_overlapping(self.frame_logits(list(outputs.values()))) > 0).cpu().numpy()
        elif known is not None and set(known) == set(outputs):
            masks = np.stack([known[i] for i in outputs])
        else:
            masks = self._masks(list(outputs.values()))
        return FrameMasks(
            frame,
            tuple(outputs),
            masks,
            np.array([o.object_score for o in outputs.values()], np.float32),
            np.array([o.predicted_iou for o in outputs.values()], np.float32),
            np.array([o.prompted for o in outputs.values()], bool),
        )

    def _resume(self, prompts: Mapping[tuple[int, int], Prompt]) -> None:
        for (frame, object_id), prompt in prompts.items():
            frame, object_id = self._checked_frame(frame), self._checked_id(object_id)
            prompt.check(self.size)
            tracked = self._objects.setdefault(object_id, self._new_object(object_id))
            tracked.prompts[frame] = prompt
            record = self.store.get(object_id, frame)
            if record is not None and record.conditioning and record.prompt_hash == prompt_hash(prompt):
                tracked.restore_conditioning(frame)
            else:
                self._pending[(frame, object_id)] = None

    def _answer_pending(self) -> None:
        """Answer the prompts of an earlier session that it had not committed."""
        for frame, object_id in list(self._pending):
            tracked = self._objects[object_id]
            tracked.drafts[frame] = answer(self, tracked, frame, tracked.prompts[frame])
            del self._pending[(frame, object_id)]

    def _new_object(self, object_id: int) -> TrackedObject:
        return TrackedObject(
            object_id,
            MemoryBank(self.policy, len(self.frames)),
            self.store,
            lambda frame, output: self.encode(frame, [output])[0],
            self.options.remember_stale,
        )

    def _offload_features(self) -> None:
        self.features.offload()

    def _offload_memories(self) -> None:
        for tracked in self._objects.values():
            tracked.offload()

    def _known(self, object_id: int) -> TrackedObject:
        if object_id not in self._objects:
            state = "was removed from" if object_id in self._removed else "does not exist in"
            raise ValueError(f"object {object_id} {state} this session; it has {list(self._objects)}")
        return self._objects[object_id]

    def _checked_frame(self, frame: int) -> int:
        return checked_frame_index(frame, len(self.frames))

    def _checked_id(self, object_id: int) -> int:
        index = checked_object_id(object_id)
        if index in self._removed:
            raise ValueError(
                f"object {index} was removed from this session: use a new id, or restore_object({index}) first"
            )
        return index


def _recency(model: Sam2, options: SessionOptions) -> RecencyPolicy:
    trained = model.config.num_maskmem
    if options.max_memories > trained:
        raise ValueError(f"this network was trained with {trained} memories, not {options.max_memories}")
    memories = trained if options.max_memories == -1 else options.max_memories
    return RecencyPolicy(memories, model.config.max_pointers, options.max_conditioning, options.memory_stride)

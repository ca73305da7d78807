"""Segmenting and following objects through a video, with prompts at any time."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence

from torch import Tensor

from napari_sam2.frames.errors import UnreadableFramesWarning
from napari_sam2.masks import FrameMasks
from napari_sam2.model.sam1.sam import Sam
from napari_sam2.model.sam2 import Sam2
from napari_sam2.prompts import Prompt, PromptKey
from napari_sam2.session.array_frames import checked_frame
from napari_sam2.session.feature_cache import FeatureCache
from napari_sam2.session.frame_output import Alternatives, ObjectOutput
from napari_sam2.session.frame_writer import FrameWriter
from napari_sam2.session.interactive import alternatives_of, answer
from napari_sam2.session.memory_bank import LastFramePolicy, MemoryPolicy, RecencyPolicy
from napari_sam2.session.object_table import ObjectTable
from napari_sam2.session.options import SessionOptions
from napari_sam2.session.propagation import TrackedFrame, commit_drafts, is_readable, propagate
from napari_sam2.session.protocols import Decisions, FrameSource, RecordStore, prompt_hash
from napari_sam2.session.runner import ModelRunner
from napari_sam2.session.sqlite_store import TemporaryStore
from napari_sam2.session.tensors import InputGeometry
from napari_sam2.session.validation import checked_frame_index, frame_range

MEBIBYTE = 2**20
_FIXED_OPTIONS = (
    "precision",
    "memory_dtype",
    "store_dtype",
    "resize",
    "feature_cache_mb",
    "feature_spill_mb",
    "embedding_cache_mb",
)


class VideoSession:
    """Objects, their prompts and their masks through a video (reference: ``SAM2VideoPredictor``).

    Objects are independent: a change of one changes nothing of the others. Memory use does not grow with the length
    of the video: memories that are out of reach are rebuilt from the store when they are needed.

    Parameters
    ----------
    model : Sam2 or Sam
        The network; stays on its device. Segment Anything 1 has no memory: it answers prompts, and follows objects
        frame by frame, the mask of one being the prompt on the next (:mod:`~napari_sam2.model.sam1.frame_by_frame`).
    frames : FrameSource
        The video, read frame by frame.
    options : SessionOptions, optional
        How results are computed, remembered and stored.
    store : RecordStore, optional
        Where results are kept; by default a temporary file. A session that is made with the store and prompts of an
        earlier one continues where that one stopped.
    prompts : mapping of (frame, object_id) to Prompt, optional
        Prompts to begin with.
    policy : MemoryPolicy, optional
        Which memories are recalled; by default those that SAM 2 recalls.
    decided : callable, optional
        ``decided(object_id, frame)``: what the user decided there. An "absent" object is neither looked for nor
        recalled, an "accepted" result is not tracked again; None: nothing.

    Notes
    -----
    A session belongs to one thread at a time. What it computes is a function of model, frames, options, prompts
    and the records in its store.
    """

    def __init__(
        self,
        model: Sam2 | Sam,
        frames: FrameSource,
        options: SessionOptions | None = None,
        store: RecordStore | None = None,
        prompts: Mapping[PromptKey, Prompt] | None = None,
        policy: MemoryPolicy | None = None,
        decided: Decisions = lambda object_id, frame: None,
    ) -> None:
        if len(frames) == 0:
            raise ValueError("a video needs at least one frame, this one has none")
        self.options = options or SessionOptions()
        self.frames = frames
        self.size = (int(frames.size[0]), int(frames.size[1]))
        self.runner = ModelRunner(model, self.options)
        self.features = FeatureCache(
            lambda frame: self.runner.encode_image(checked_frame(frames.frame(frame), frame, self.size)),
            self.options.feature_cache_mb * MEBIBYTE,
            self.options.feature_spill_mb * MEBIBYTE,
        )
        self._own_store = TemporaryStore() if store is None else None
        self.store: RecordStore = store if self._own_store is None else self._own_store  # type: ignore[assignment]
        self._keeps_policy = policy is not None
        self.policy = policy or _policy(model, self.options)
        self.geometry = InputGeometry.of(self.size, self.runner.side, model.config.input_layout)
        self._writer = FrameWriter(self.runner, self.features, self.store, self.geometry, decided)
        self._pending: dict[PromptKey, None] = {}
        self.restart(prompts or {})

    # -- prompts -----------------------------------------------------------------------------------------

    @property
    def unreadable(self) -> dict[int, str]:
        """Frames that propagation passed over because they can't be read, with the reason."""
        return dict(self._writer.unreadable)

    @property
    def object_ids(self) -> tuple[int, ...]:
        """All objects, in the order in which they were added."""
        return tuple(self._objects)

    @property
    def prompts(self) -> dict[tuple[int, int], Prompt]:
        """All prompts by (frame, object_id)."""
        return {(f, i): p for i, tracked in self._objects.items() for f, p in tracked.prompts.items()}

    def set_prompt(self, frame: int, object_id: int, prompt: Prompt) -> FrameMasks:
        """Set the prompt of one object on one frame, in place of an earlier one, and return its mask there.

        The result is a draft: :meth:`commit` takes it into memory.

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
        frame, tracked = self._checked_frame(frame), self._objects.known_or_new(object_id)
        if not isinstance(prompt, Prompt):
            raise TypeError(f"set_prompt takes a Prompt, not {type(prompt).__name__}: see prompts.merged()")
        prompt.check(self.size)
        draft = answer(self._writer, tracked, frame, prompt)
        self._objects.add(tracked)
        self._pending.pop((frame, tracked.object_id), None)
        tracked.prompts[frame] = prompt
        tracked.drafts[frame] = draft
        return self._writer.frame_masks(frame, {tracked.object_id: draft.output})

    def clear_prompt(self, frame: int, object_id: int) -> None:
        """Clear the prompt of one object on one frame, and its result there.

        Masks of the object's other frames stay until they are tracked again.

        Raises
        ------
        ValueError
            When there is no prompt.
        """
        frame, tracked = self._checked_frame(frame), self._objects.known(object_id)
        if frame not in tracked.prompts:
            raise ValueError(f"object {object_id} has no prompt on frame {frame} that could be cleared")
        del tracked.prompts[frame]
        tracked.drafts.pop(frame, None)
        self._pending.pop((frame, object_id), None)
        stored = tracked.stored(frame)
        if stored is None or not stored.prompted:
            return
        if self.options.keep_cleared:
            self._writer.write(frame, {object_id: stored.changed(conditioning=False, tracked=False)})
            tracked.release(frame)
        else:
            self.store.remove(object_id, frame)
            tracked.forget(frame)

    def remove_object(self, object_id: int) -> None:
        """Remove an object with its prompts and masks; the others are not touched."""
        self._objects.remove(object_id)
        self._pending = {key: None for key in self._pending if key[1] != object_id}

    def restore_object(self, object_id: int) -> None:
        """Allow the id of a removed object to be used again (its prompts and masks are gone)."""
        self._objects.restore(object_id)

    def alternatives(self, frame: int, object_id: int) -> Alternatives:
        """Return all candidate masks of a prompt (one or three)."""
        frame, tracked = self._checked_frame(frame), self._objects.known(object_id)
        if frame not in tracked.prompts:
            raise ValueError(f"object {object_id} has no prompt on frame {frame}: alternatives need one")
        draft = tracked.drafts.get(frame)
        if draft is None or draft.decoded is None:
            draft = answer(self._writer, tracked, frame, tracked.prompts[frame], redo=True)
        return alternatives_of(draft, self.geometry)

    # -- time --------------------------------------------------------------------------------------------

    def commit(self) -> None:
        """Commit all drafts: store them and take them into memory."""
        self._answer_pending()
        commit_drafts(self._writer, self._objects)

    def propagate(
        self,
        start: int | None = None,
        stop: int | None = None,
        reverse: bool = False,
        objects: Iterable[int] | None = None,
    ) -> Iterator[FrameMasks]:
        """Carry objects through time, one frame at a time; drafts are committed first.

        Every frame is in the store before it is yielded. To stop, close the generator between two frames: results so
        far are kept, and the next call passes quickly over those that still answer the current prompts.

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
            The masks of those objects on each visited frame; objects without a mask there are left out.

        Raises
        ------
        ValueError
            No prompts, an unknown object, a frame out of range, or ``stop`` on the wrong side of ``start``.
        """
        steps = self.steps(start, stop, reverse, objects)
        return (self._writer.frame_masks(step.frame, step.outputs, step.masks) for step in steps)

    def steps(
        self,
        start: int | None = None,
        stop: int | None = None,
        reverse: bool = False,
        objects: Iterable[int] | None = None,
    ) -> Iterator[TrackedFrame]:
        """Like :meth:`propagate`, yielding low-resolution results instead of masks."""
        wanted = None if objects is None else [self._objects.known(i) for i in objects]
        self.commit()
        if wanted is None:
            wanted = [tracked for tracked in self._objects.values() if tracked.bank.conditioning]
        unused = {object_id: self._writer.unreadable[frame] for frame, object_id in self._pending}
        wanted = [t for t in wanted if t.bank.conditioning or t.object_id not in unused]
        if not wanted and unused:
            raise ValueError(
                f"no prompt can be used ({next(iter(unused.values()))}): set one on another frame"
            )
        if not wanted:
            raise ValueError("there is nothing to propagate: set a prompt on some object first")
        for tracked in wanted:
            if not tracked.bank.conditioning:
                raise ValueError(f"object {tracked.object_id} has no prompt on any frame: set one first")
        prompted = [frame for tracked in wanted for frame in tracked.bank.conditioning]
        frames = frame_range(prompted, len(self.frames), start, stop, reverse)
        return propagate(self._writer, self._objects, wanted, frames)

    # -- results -----------------------------------------------------------------------------------------

    def masks(self, frame: int) -> FrameMasks:
        """Return the newest masks of all objects on a frame; objects that were not tracked there are left out."""
        frame = self._checked_frame(frame)
        self._answer_pending()
        outputs = {i: tracked.output(frame) for i, tracked in self._objects.items()}
        return self._writer.frame_masks(frame, {i: o for i, o in outputs.items() if o is not None})

    def scores(self, frame: int) -> dict[int, tuple[float, float]]:
        """Return (object score, predicted IoU) of every object that has a result on a frame."""
        frame = self._checked_frame(frame)
        self._answer_pending()
        outputs = ((i, tracked.output(frame)) for i, tracked in self._objects.items())
        return {i: (o.object_score, o.predicted_iou) for i, o in outputs if o is not None}

    def output(self, frame: int, object_id: int) -> ObjectOutput | None:
        """Return the newest low-resolution result of one object on one frame."""
        return self._objects.known(object_id).output(self._checked_frame(frame))

    def conditioning_frames(self, object_id: int) -> list[int]:
        """Return the frames that condition an object, in order; drafts do so after :meth:`commit`."""
        return self._objects.known(object_id).bank.conditioning

    def frame_logits(self, outputs: Sequence[ObjectOutput]) -> Tensor:
        """Return frame-size logits (N, H, W) of results of one frame, holes filled."""
        return self._writer.frame_logits(outputs)

    def spatial_memory(self, frame: int, output: ObjectOutput) -> Tensor:
        """Return the spatial memory (C, h, w) that a result on a frame leaves."""
        return self._writer.encode(frame, [output])[0]

    def change_options(self, options: SessionOptions) -> None:
        """Set other options, for what is computed from now on; results in the store stay as they are.

        Raises
        ------
        ValueError
            An option that only a new session can have, such as ``precision``.
        """
        for name in _FIXED_OPTIONS:
            if getattr(options, name) != getattr(self.options, name):
                raise ValueError(
                    f"{name} can't be changed in a session: make a new one with its store and prompts"
                )
        if not self._keeps_policy:
            self.policy = _policy(self.runner.model, options)
            self._objects.change_policy(self.policy)
        self.options = self.runner.options = options

    def close(self) -> None:
        """Delete cached features and the temporary store; a store of your own is left as it is."""
        if self._own_store is not None:
            self._own_store.close()
        self.features.clear()

    def restart(self, prompts: Mapping[PromptKey, Prompt]) -> None:
        """Replace all prompts and continue from the records that are in the store now; cached features are kept.

        Raises
        ------
        ValueError
            A prompt outside the video, or impossible.
        """
        objects = ObjectTable(self._writer, self.policy, len(self.frames))
        pending: dict[PromptKey, None] = {}
        for (frame, object_id), prompt in prompts.items():
            frame, tracked = self._checked_frame(frame), objects.known_or_new(object_id)
            prompt.check(self.size)
            objects.add(tracked)
            tracked.prompts[frame] = prompt
            record = self.store.get(tracked.object_id, frame)
            if record is not None and record.conditioning and record.prompt_hash == prompt_hash(prompt):
                tracked.restore_conditioning(frame)
            else:
                pending[(frame, tracked.object_id)] = None
        self._objects = objects
        self._pending = pending
        self.runner.oom_fallbacks = [self.features.offload, objects.offload]

    def _answer_pending(self) -> None:
        """Answer the prompts of an earlier session that it had not committed, where their frames can be read."""
        for frame, object_id in list(self._pending):
            known = frame in self._writer.unreadable
            if not is_readable(self._writer, frame):
                if not known:
                    warnings.warn(
                        f"the prompt of object {object_id} is not used: {self._writer.unreadable[frame]}",
                        UnreadableFramesWarning,
                        stacklevel=3,
                    )
                continue
            tracked = self._objects[object_id]
            tracked.drafts[frame] = answer(self._writer, tracked, frame, tracked.prompts[frame])
            del self._pending[(frame, object_id)]

    def _checked_frame(self, frame: int) -> int:
        return checked_frame_index(frame, len(self.frames))


def _policy(model: Sam2 | Sam, options: SessionOptions) -> MemoryPolicy:
    if isinstance(model, Sam):
        return LastFramePolicy()
    trained = model.config.num_maskmem
    if options.max_memories > trained:
        raise ValueError(f"this network was trained with {trained} memories, not {options.max_memories}")
    memories = trained if options.max_memories == -1 else options.max_memories
    return RecencyPolicy(memories, model.config.max_pointers, options.max_conditioning, options.memory_stride)

"""One object of a session: its prompts, drafts, memory bank and stored results. It knows no other object."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_sam2.model.tensors import MemoryReadout
from napari_sam2.prompts import Prompt
from napari_sam2.session.frame_output import ObjectOutput, given_mask
from napari_sam2.session.frame_writer import FrameWriter
from napari_sam2.session.memory_bank import MemoryBank, Recall
from napari_sam2.session.prompt_decoding import DecodedPrompt
from napari_sam2.session.protocols import STALE, hash_between, prompt_hash


@dataclass(frozen=True, eq=False)
class FrameMemory:
    """Memory of one frame; ``spatial`` is None where only the pointer is within reach."""

    spatial: Tensor | None
    pointer: Tensor
    prompt_hash: int


@dataclass(frozen=True, eq=False)
class Draft:
    """A result on a prompted frame that is not yet in memory."""

    prompt: Prompt
    output: ObjectOutput
    decoded: DecodedPrompt | None


class TrackedObject:
    """One object.

    Parameters
    ----------
    object_id : int
        Its only identity.
    bank : MemoryBank
        Empty, or of a policy of your own.
    writer : FrameWriter
        Its store holds the object's results; it rebuilds memories that were evicted.

    Attributes
    ----------
    prompts : dict of int to Prompt
        Prompts by frame.
    drafts : dict of int to Draft
        Results on prompted frames that are not committed yet.
    """

    def __init__(self, object_id: int, bank: MemoryBank[FrameMemory], writer: FrameWriter) -> None:
        self.object_id = object_id
        self.bank = bank
        self.prompts: dict[int, Prompt] = {}
        self.drafts: dict[int, Draft] = {}
        self._committed: dict[int, int] = {}
        self._writer = writer

    # -- results ---------------------------------------------------------------------------------------

    def stored(self, frame: int) -> ObjectOutput | None:
        """Return the stored result of a frame."""
        record = self._writer.store.get(self.object_id, frame)
        if record is None:
            return None
        prompt = self.prompts.get(frame) if record.prompted else None
        output = ObjectOutput.of_record(record)
        return output if prompt is None else output.changed(given=given_mask(prompt))

    def output(self, frame: int) -> ObjectOutput | None:
        """Return the newest result of a frame: a draft when there is one, else what is stored."""
        draft = self.drafts.get(frame)
        return self.stored(frame) if draft is None else draft.output

    def is_current(self, frame: int, output: ObjectOutput) -> bool:
        """Return whether a stored result still answers the current prompts."""
        return output.prompt_hash == self.current_hash(frame)

    def current_hash(self, frame: int) -> int:
        """Return the hash of the prompts that a new result on this frame answers; see :class:`ObjectRecord`."""
        if self.bank.is_conditioning(frame):
            return self._committed.get(frame, 0)
        return hash_between(*self.bank.neighbours(frame), self._committed)

    # -- what conditions ---------------------------------------------------------------------------------

    def restore_conditioning(self, frame: int) -> None:
        """Make a frame condition whose result is in the store already (a resumed session)."""
        self._committed[frame] = prompt_hash(self.prompts[frame])
        self.bank.mark(frame, True)

    def is_committed(self, frame: int, prompt: Prompt) -> bool:
        """Return whether this very prompt conditions already."""
        return self.bank.is_conditioning(frame) and self._committed.get(frame) == prompt_hash(prompt)

    def commit(self, frame: int, output: ObjectOutput, spatial: Tensor) -> None:
        """Take the (stored) result of a prompted frame into memory."""
        if output.conditioning:
            self._committed[frame] = output.prompt_hash
        self.bank.add(frame, FrameMemory(spatial, output.pointer, output.prompt_hash), output.conditioning)

    def release(self, frame: int) -> None:
        """Make a frame condition no longer; its memory stays as that of a tracked frame."""
        self._committed.pop(frame, None)
        self.bank.mark(frame, False)

    def forget(self, frame: int) -> None:
        """Drop the memory of a frame, conditioning or not."""
        self._committed.pop(frame, None)
        self.bank.forget(frame)

    # -- memory ------------------------------------------------------------------------------------------

    def add_tracked(self, frame: int, output: ObjectOutput, spatial: Tensor) -> None:
        """Remember a frame that was tracked, and let go of what is now out of reach."""
        self.bank.add(frame, FrameMemory(spatial, output.pointer, output.prompt_hash))
        self.bank.evict(frame, output.reverse)
        reach = self.bank.policy.spatial_reach
        for other in self.bank.frames:
            memory = self.bank.get(other)
            out_of_reach = abs(other - frame) > reach and not self.bank.is_conditioning(other)
            if memory is not None and memory.spatial is not None and out_of_reach:
                self.bank.add(other, FrameMemory(None, memory.pointer, memory.prompt_hash))

    def recall(self, frame: int, reverse: bool, own: bool) -> Recall:
        """Choose what is recalled for a frame; see :meth:`MemoryBank.read`."""
        return self.bank.read(frame, reverse, self._usable, own)

    def readout(self, frame: int, reverse: bool, own: bool = True) -> MemoryReadout | None:
        """Collect what is recalled for a frame, rebuilding memories that were evicted.

        Returns
        -------
        MemoryReadout or None
            Batch 1; None when there is nothing to recall.
        """
        recall = self.recall(frame, reverse, own)
        if not recall.spatial:
            return None
        spatial = [self._spatial(f) for _, f in recall.spatial]
        pointers = [self._pointer(f) for _, f in recall.pointers]
        device = pointers[0].device if pointers else spatial[0].device
        width = self._pointer(recall.spatial[0][1]).shape[0]
        return MemoryReadout(
            torch.stack([m.to(spatial[0].device) for m in spatial])[None],
            torch.tensor([[age for age, _ in recall.spatial]]),
            torch.stack([p.to(device) for p in pointers])[None] if pointers else torch.zeros(1, 0, width),
            torch.tensor([[float(d) for d, _ in recall.pointers]]),
            recall.span,
        )

    def offload(self) -> None:
        """Move memories to main memory (used when the device runs out of it)."""
        for frame in self.bank.frames:
            memory = self.bank.get(frame)
            if memory is not None and memory.spatial is not None:
                moved = FrameMemory(memory.spatial.cpu(), memory.pointer.cpu(), memory.prompt_hash)
                self.bank.add(frame, moved, self.bank.is_conditioning(frame))

    def _usable(self, frame: int) -> bool:
        decided = self._writer.decided(self.object_id, frame)
        if decided == "absent":
            return False
        memory = self.bank.get(frame)
        if memory is not None:
            answered = memory.prompt_hash
        else:
            record = self._writer.store.get(self.object_id, frame)
            if record is None or record.conditioning:
                return False
            answered = record.prompt_hash
        return answered != STALE and (
            self._writer.options.remember_stale
            or decided == "accepted"
            or answered == self.current_hash(frame)
        )

    def _pointer(self, frame: int) -> Tensor:
        return self._memory(frame).pointer

    def _memory(self, frame: int) -> FrameMemory:
        memory = self.bank.get(frame)
        if memory is None:
            output = self._stored_or_fail(frame)
            memory = FrameMemory(None, output.pointer, output.prompt_hash)
            self.bank.add(frame, memory, self.bank.is_conditioning(frame))
        return memory

    def _spatial(self, frame: int) -> Tensor:
        memory = self._memory(frame)
        if memory.spatial is None:
            spatial = self._writer.encode(frame, [self._stored_or_fail(frame)])[0]
            memory = FrameMemory(spatial, memory.pointer, memory.prompt_hash)
            self.bank.add(frame, memory, self.bank.is_conditioning(frame))
        assert memory.spatial is not None
        return memory.spatial

    def _stored_or_fail(self, frame: int) -> ObjectOutput:
        output = self.stored(frame)
        if output is None:
            raise LookupError(
                f"the store lost the result of object {self.object_id} on frame {frame}: track it again"
            )
        return output

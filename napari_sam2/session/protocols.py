"""Interfaces of a session: the source of its frames, the store of its results, records and what they answer."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from napari_sam2.prompts import Prompt

# A record with this prompt_hash answers no prompt any more and is never recalled.
STALE = -1
Decisions = Callable[[int, int], Literal["accepted", "absent"] | None]  # of (object_id, frame)


@runtime_checkable
class FrameSource(Protocol):
    """A video, time-lapse or stack that is read frame by frame."""

    def __len__(self) -> int:
        """Return the number of frames."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame."""
        ...

    def frame(self, index: int, /) -> NDArray[np.uint8]:
        """Return one frame as uint8 RGB (H, W, 3)."""
        ...


@dataclass(frozen=True, eq=False)
class ObjectRecord:
    """Result of one object on one frame: enough to show its mask and to rebuild its memory.

    Parameters
    ----------
    logits : ndarray of float16 or float32, shape (h, w)
        Low-resolution mask logits exactly as later steps use them (rounded to the store's precision).
    pointer : ndarray of float32, shape (C,)
        The object pointer.
    object_score : float
        Above 0: the object is visible.
    predicted_iou : float
        The network's own estimate of the mask's quality.
    prompted : bool
        The mask was made from a prompt on this frame.
    conditioning : bool
        The frame conditions the object: its memory is recalled on every other frame.
    tracked : bool
        Propagation had reached this frame (before the prompt came, for a prompted frame).
    reverse : bool
        The direction in which propagation passed it last.
    prompt_hash : int
        Hash (63 bits) of the prompts that this result answers: of the frame's own prompt when it
        conditions, of the nearest prompts on both sides when it was tracked. A tracked record whose prompt_hash
        is no longer current is stale: it is shown, but not recalled, until it is tracked again.
    """

    logits: NDArray[Any]
    pointer: NDArray[np.float32]
    object_score: float
    predicted_iou: float
    prompted: bool
    conditioning: bool
    tracked: bool = True
    reverse: bool = False
    prompt_hash: int = 0


def plain_facts(record: Any) -> dict[str, Any]:
    """Return everything but the arrays of an :class:`ObjectRecord` (or of an output), by name."""
    return {
        f.name: getattr(record, f.name) for f in fields(ObjectRecord) if f.name not in ("logits", "pointer")
    }


def prompt_hash(*parts: object) -> int:
    """Return 63 bits that depend on the contents of prompts, frame numbers and other hashes."""
    plain = [part.to_json() if isinstance(part, Prompt) else part for part in parts]
    digest = hashlib.blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def hash_between(before: int | None, after: int | None, committed: Mapping[int, int]) -> int:
    """Return the hash of the nearest prompts on both sides, as a tracked record has it.

    Parameters
    ----------
    before, after : int or None
        Frames of these prompts.
    committed : mapping of int to int
        Hashes of prompts by frame.
    """
    hashes = [None if frame is None else committed.get(frame) for frame in (before, after)]
    return prompt_hash(before, hashes[0], after, hashes[1])


def tracked_hash(frame: int, committed: Mapping[int, int]) -> int:
    """Return the ``prompt_hash`` that a record tracked on a frame needs to answer these prompts (hashes by frame)."""
    frames = sorted(committed)
    before, after = bisect_left(frames, frame), bisect_right(frames, frame)
    return hash_between(
        frames[before - 1] if before else None, frames[after] if after < len(frames) else None, committed
    )


FrameResults = Mapping[int, tuple[ObjectRecord, NDArray[np.bool_]]]


@runtime_checkable
class RecordStore(Protocol):
    """Store of a session's results. Objects never share an entry."""

    def put(self, object_id: int, frame: int, record: ObjectRecord, mask: NDArray[np.bool_]) -> None:
        """Write (or replace) the record of one object on one frame, with its frame-size mask (H, W)."""
        ...

    def put_frame(self, frame: int, results: FrameResults) -> None:
        """Write the records of several objects on one frame, all or none of them."""
        ...

    def get(self, object_id: int, frame: int) -> ObjectRecord | None:
        """Return a record, or None when there is none."""
        ...

    def remove(self, object_id: int, frame: int) -> None:
        """Drop one record; nothing happens when there is none."""
        ...

    def remove_object(self, object_id: int) -> None:
        """Drop every record of an object."""
        ...

    def frames(self, object_id: int) -> list[int]:
        """Return the frames with a record of this object, in order."""
        ...

    def flush(self) -> None:
        """Make everything that was put durable."""
        ...

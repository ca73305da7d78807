"""Interfaces of a session: the source of its frames, the store of its results, and the records in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


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

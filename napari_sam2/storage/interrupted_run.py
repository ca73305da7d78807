"""A propagation that has not reached its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from napari_sam2.objects import checked_object_id
from napari_sam2.storage.schema import whole_number


@dataclass(frozen=True)
class PendingRun:
    """Arguments of a propagation that has not reached its end, and how far it came.

    Parameters
    ----------
    start, stop : int or None
        As given to ``propagate``.
    reverse : bool
        Backwards in time.
    objects : tuple of int, optional
        Only these objects; None for all.
    done : int or None
        The last frame that is on disk; None before the first one.
    """

    start: int | None = None
    stop: int | None = None
    reverse: bool = False
    objects: tuple[int, ...] | None = None
    done: int | None = None

    @property
    def next_frame(self) -> int | None:
        """Where to start to go on; None: where it was to start."""
        if self.done is None:
            return self.start
        return self.done - 1 if self.reverse else self.done + 1

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PendingRun:
        """Read the fields of a run; ValueError, KeyError or TypeError when they are something else."""
        frames = (
            None if data[k] is None else whole_number(data[k], "a frame") for k in ("start", "stop", "done")
        )
        start, stop, done = frames
        objects = None if data["objects"] is None else tuple(checked_object_id(i) for i in data["objects"])
        return cls(start, stop, bool(data["reverse"]), objects, done)

"""A propagation that has not reached its end: how it was asked for, and where it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from napari_sam2.objects import checked_object_id
from napari_sam2.storage.schema import whole_number


@dataclass(frozen=True)
class PendingRun:
    """What was asked for, and the frame that comes next.

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

    def to_json(self, step: int) -> dict[str, Any]:
        """Return a JSON-ready dict; ``step`` is the step of undo that does it."""
        return {"step": step, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> tuple[PendingRun, int]:
        """Read what :meth:`to_json` wrote; ValueError, KeyError or TypeError when it is something else."""
        frames = {
            k: None if data[k] is None else whole_number(data[k], "a frame")
            for k in ("start", "stop", "done")
        }
        objects = data["objects"]
        ids = None if objects is None else tuple(checked_object_id(i) for i in objects)
        return cls(**frames, reverse=bool(data["reverse"]), objects=ids), whole_number(data["step"], "a step")

"""A propagation that has not reached its end: how it was asked for, and where it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from napari_sam2.objects import checked_object_id
from napari_sam2.storage.errors import ProjectDamagedError
from napari_sam2.storage.schema import whole_number
from napari_sam2.storage.workspace import Workspace


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
    since : int
        Serial of its first result: the action may have begun with something else.
    """

    start: int | None = None
    stop: int | None = None
    reverse: bool = False
    objects: tuple[int, ...] | None = None
    done: int | None = None
    since: int = 0

    @property
    def next_frame(self) -> int | None:
        """Where to start to go on; None: where it was to start."""
        if self.done is None:
            return self.start
        return self.done - 1 if self.reverse else self.done + 1

    @classmethod
    def load(cls, workspace: Workspace) -> PendingRun | None:
        """Read a project's pending propagation; None when there is none or when it cannot be read."""
        try:
            found = workspace.documents.read("run", _parsed, workspace.report)
        except ProjectDamagedError as error:
            workspace.report(str(error))
            return None
        if found is None:
            return None
        run, first = found
        # Undone, or something else was done since: there is nothing to go on with.
        versions = workspace.versions
        action = versions.opened or (versions.actions[versions.applied - 1] if versions.applied else None)
        if action is not None and action.first == first:
            last = action.last
        elif versions.base == versions.head and first <= versions.base:
            last = versions.base  # it was too large to be undone
        else:
            return None
        frames = workspace.index.touched(max(first, run.since), last)
        done = None if not frames else (min(frames) if run.reverse else max(frames))
        return replace(run, done=done)

    def save(self, workspace: Workspace, first: int, since: int) -> None:
        """Keep what was asked for; ``first`` is the first serial of the action that does it, ``since`` its own."""
        workspace.documents.write(
            "run",
            {
                "serial": first,
                "since": since,
                "start": self.start,
                "stop": self.stop,
                "reverse": self.reverse,
                "objects": None if self.objects is None else list(self.objects),
            },
        )

    @staticmethod
    def clear(workspace: Workspace) -> None:
        """Say that nothing is pending."""
        workspace.documents.write("run", {})


def _parsed(data: Mapping[str, Any]) -> tuple[PendingRun, int] | None:
    if not data:
        return None
    start, stop, objects = data["start"], data["stop"], data["objects"]
    run = PendingRun(
        None if start is None else whole_number(start, "a frame"),
        None if stop is None else whole_number(stop, "a frame"),
        bool(data["reverse"]),
        None if objects is None else tuple(checked_object_id(i) for i in objects),
        since=whole_number(data.get("since", 0), "a serial"),
    )
    return run, whole_number(data["serial"], "a serial")

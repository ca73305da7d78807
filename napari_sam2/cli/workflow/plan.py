"""What `track` was asked to do, kept in the project so that `resume` does the rest of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from napari_sam2.cli.errors import CommandError, UsageError
from napari_sam2.storage.files.group_attributes import WRITER
from napari_sam2.storage.project import Project

Direction = Literal["forward", "backward"]
_FILE = "track.json"


@dataclass(frozen=True)
class Plan:
    """Passes through the frames.

    Parameters
    ----------
    passes : tuple of "forward" or "backward"
        What is to be done, in order.
    first, last : int, optional
        First and last frame (included); None: the ends of the source.
    objects : tuple of int, optional
        Only these objects.
    done : int
        How many passes have reached their end.
    """

    passes: tuple[Direction, ...] = ("forward",)
    first: int | None = None
    last: int | None = None
    objects: tuple[int, ...] | None = None
    done: int = 0

    @property
    def remaining(self) -> tuple[Direction, ...]:
        """Passes that have not reached their end."""
        return self.passes[self.done :]

    def advanced(self) -> Plan:
        """Return the plan with one more pass done."""
        return replace(self, done=self.done + 1)

    def frames(self, direction: Direction, project: Project) -> tuple[int, int]:
        """Return (start, stop), both included, of a pass: from the prompts to the end of the range."""
        wanted = [frame for frame, i in project.prompts if self.objects is None or i in self.objects]
        if not wanted:
            raise CommandError("there is nothing to track: none of the objects has a prompt")
        if direction == "forward":
            return min(wanted), project.frame_count - 1 if self.last is None else self.last
        return max(wanted), self.first or 0

    def save(self, project: Project) -> None:
        """Keep the plan in the project, in one step."""
        path = project.path / WRITER / _FILE
        part = path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    @classmethod
    def load(cls, project: Project) -> Plan | None:
        """Read the plan of a project; None when there is none, or it can't be read."""
        try:
            return cls._parsed(json.loads((project.path / WRITER / _FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None

    @classmethod
    def _parsed(cls, data: Mapping[str, Any]) -> Plan:
        passes = tuple(data["passes"])
        if not set(passes) <= {"forward", "backward"}:
            raise ValueError("unknown pass")
        objects = data["objects"]
        numbers = {k: None if data[k] is None else int(data[k]) for k in ("first", "last")}
        ids = None if objects is None else tuple(int(i) for i in objects)
        return cls(passes, **numbers, objects=ids, done=int(data["done"]))


def frame_limits(wanted: tuple[int | None, int | None], n_frames: int) -> tuple[int, int]:
    """Return first and last frame (included) of ``--range``."""
    first = wanted[0] or 0
    end = n_frames if wanted[1] is None else wanted[1]
    if first >= n_frames or end > n_frames:
        raise UsageError(f"--range {first}:{end} is outside the source, which has frames 0 to {n_frames - 1}")
    return first, end - 1

"""Objects as the user describes them: names, colours, locks, parents, and what was decided about their frames."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Color = tuple[int, int, int]
Stretches = tuple[
    tuple[int, int], ...
]  # (first, last) frames, both included; in order, apart from one another
MAX_OBJECT_ID = 65535  # labels are uint16


@dataclass(frozen=True)
class Parent:
    """The object that another one comes from, and the frame on which that one begins."""

    object_id: int
    frame: int


@dataclass(frozen=True)
class ObjectInfo:
    """One object as the user describes it.

    Parameters
    ----------
    object_id : int
        The label value.
    name : str
        Any text; empty: none.
    color : tuple of int, optional
        8-bit RGB; None: one that follows from the id.
    locked : bool
        Neither prompts nor propagation change the object.
    parent : Parent, optional
        The object that divided into this one and others.
    accepted : tuple of (int, int)
        Stretches of frames (both ends included) whose masks the user accepted: tracking leaves them as they are.
    absent : tuple of (int, int)
        Stretches on which the object is hidden or gone, as the user decided: it has no mask there.
    """

    object_id: int
    name: str = ""
    color: Color | None = None
    locked: bool = False
    parent: Parent | None = None
    accepted: Stretches = ()
    absent: Stretches = ()

    @property
    def title(self) -> str:
        """The name, or "object ID" without one."""
        return self.name or f"object {self.object_id}"

    @property
    def rgb(self) -> Color:
        """The colour, or one that follows from the id alone."""
        return self.color or object_color(self.object_id)

    def decided(self, frame: int) -> Literal["accepted", "absent"] | None:
        """Return what the user decided about a frame."""
        if covers(self.absent, frame):
            return "absent"
        return "accepted" if covers(self.accepted, frame) else None


def object_color(object_id: int) -> Color:
    """Return a bright colour (8-bit RGB) for an id; neighbouring ids get hues far apart."""
    # The golden angle never repeats a hue, whatever the number of objects.
    hue = (object_id * 0.61803398875) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def checked_object_id(value: Any) -> int:
    """Return an object id as int; ValueError when it cannot be a label value."""
    number = int(value) if hasattr(value, "__index__") else value
    if isinstance(value, bool) or not isinstance(number, int) or not 1 <= number <= MAX_OBJECT_ID:
        raise ValueError(f"an object id is a whole number from 1 to {MAX_OBJECT_ID}, not {value!r}")
    return number


def free_object_id(taken: Mapping[int, object]) -> int:
    """Return the id after the highest one that is taken; when there is none, the lowest that is free."""
    highest = max(taken, default=0)
    if highest < MAX_OBJECT_ID:
        return highest + 1
    return next(i for i in range(1, MAX_OBJECT_ID + 2) if i not in taken)


def covers(stretches: Stretches, frame: int) -> bool:
    """Return whether a frame lies in one of the stretches."""
    return any(first <= frame <= last for first, last in stretches)


def with_stretch(stretches: Stretches, first: int, last: int) -> Stretches:
    """Return stretches with the frames ``first`` to ``last`` added; those that touch become one."""
    apart = [s for s in stretches if s[1] < first - 1 or s[0] > last + 1]
    touching = [s for s in stretches if s not in apart]
    joined = (min([first, *(s[0] for s in touching)]), max([last, *(s[1] for s in touching)]))
    return tuple(sorted([*apart, joined]))


def without_stretch(stretches: Stretches, first: int, last: int) -> Stretches:
    """Return stretches without the frames ``first`` to ``last``."""
    cut = [part for a, b in stretches for part in ((a, min(b, first - 1)), (max(a, last + 1), b))]
    return tuple(sorted({(a, b) for a, b in cut if a <= b}))


def undecided(info: ObjectInfo, first: int, last: int) -> ObjectInfo:
    """Return an object about which nothing is decided on the frames ``first`` to ``last``."""
    accepted, absent = (without_stretch(s, first, last) for s in (info.accepted, info.absent))
    return replace(info, accepted=accepted, absent=absent)


def lineage_graph(objects: Iterable[ObjectInfo]) -> dict[int, list[int]]:
    """Return child id to list of parent ids, as ``viewer.add_tracks(graph=…)`` takes it; parents must be objects."""
    infos = {info.object_id: info for info in objects}
    return {
        i: [info.parent.object_id]
        for i, info in sorted(infos.items())
        if info.parent is not None and info.parent.object_id in infos
    }


def generations(objects: Iterable[ObjectInfo]) -> dict[int, int]:
    """Return the number of divisions before each object; 0 for those without a parent.

    Raises
    ------
    ValueError
        An object is its own ancestor.
    """
    infos = list(objects)
    parents = {child: found[0] for child, found in lineage_graph(infos).items()}
    return {info.object_id: len(ancestors(info.object_id, parents)) for info in infos}


def ancestors(object_id: int, parents: Mapping[int, int]) -> list[int]:
    """Return parent, grandparent and so on of an object; ValueError where it is its own ancestor."""
    found: list[int] = []
    while object_id in parents:
        object_id = parents[object_id]
        if object_id in found:
            raise ValueError(f"object {object_id} is its own ancestor: give it another parent")
        found.append(object_id)
    return found

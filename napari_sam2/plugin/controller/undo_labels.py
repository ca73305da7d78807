"""What the user did to prompts, in a few words: for the list of undo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from napari_sam2.plugin.layers.prompt_marks import PromptMarks
from napari_sam2.prompts import PromptKey

Mark = TypeVar("Mark")
_KINDS = {"box": "Box", "region": "Region", "line": "Stroke"}


def what_was_done(before: PromptMarks, after: PromptMarks) -> str:
    """Return one or two words for the way from what was said about an object on a frame to what is said now."""
    if not (after.points or after.shapes or after.painted or after.pinned):
        return "Clear"
    same = before.points == after.points and before.shapes == after.shapes
    if before.pinned != after.pinned and after.pinned is not None and same:
        return "Mask"
    if before.painted != after.painted:
        return "Paint"
    if before.shapes != after.shapes:
        shape = _newest(before.shapes, after.shapes)
        if shape is None:
            return "Delete a shape"
        if len(before.shapes) >= len(after.shapes):
            return f"Move {_KINDS[shape.kind].lower()}"
        return _KINDS[shape.kind] if shape.positive else "Cut"
    point = _newest(before.points, after.points)
    if point is None:
        return "Delete a point"
    if len(before.points) >= len(after.points):
        return "Move point"
    return "Point" if point.positive else "Point “not here”"


def summary(words: Mapping[PromptKey, str], title: Callable[[int], str]) -> str:
    """Return a label for changes of prompts that were made at once.

    Parameters
    ----------
    words : mapping of (frame, object id) to str
        What was done, as :func:`what_was_done` says it.
    title : callable
        Gives the name of an object.
    """
    kinds, objects = set(words.values()), {object_id for _, object_id in words}
    frames = {frame for frame, _ in words}
    what = kinds.pop() if len(kinds) == 1 else "Prompts"
    whom = title(next(iter(objects))) if len(objects) == 1 else f"{len(objects)} objects"
    where = f"frame {next(iter(frames))}" if len(frames) == 1 else f"{len(frames)} frames"
    return f"{what}{' ' if what == 'Clear' else ' on '}{whom}, {where}"


def _newest(before: tuple[Mark, ...], after: tuple[Mark, ...]) -> Mark | None:
    """Return what is in ``after`` and was not there before; None when something was only taken away."""
    return next((mark for mark in reversed(after) if mark not in before), None)

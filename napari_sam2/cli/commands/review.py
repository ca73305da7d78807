"""``napari-sam2 review``: what deserves a look in a project, and the verbs that decide it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from napari_sam2.cli.errors import UsageError
from napari_sam2.cli.terminal.console import Console
from napari_sam2.objects import MAX_OBJECT_ID
from napari_sam2.review.queue import ReviewItem
from napari_sam2.storage.project import Project
from napari_sam2.storage.review import Review

_TAKES = {
    "accept": "one object: accept 3 --range A:B",
    "absent": "one object and --range: absent 3 --range A:B",
    "reopen": "one object: reopen 3 --range A:B",
    "end": "one object and --frame: end 3 --frame N",
    "swap": "two objects and --frame: swap 3 5 --frame N",
    "divide": "the mother, its daughters and --frame: divide 3 9 10 --frame N",
    "parent": "the daughter and its mother: parent 9 3",
}


def run(args: Namespace, console: Console) -> None:
    """Run the command."""
    if args.verb == "list":
        with Project.open(args.project) as project:
            queue = Review(project).queue(args.order)
            titles = {i: info.title for i, info in project.objects.items()}
        items = [_data(item) for item in queue.items]
        text = "\n".join(_line(item, titles) for item in queue.items) or "nothing is open"
        console.result({"project": args.project.absolute(), "open": len(queue), "items": items}, text)
        return
    with Project.open(args.project, "a") as project:
        if args.verb == "undo":
            label = f"undone: {project.history.undo()}"
        else:
            _decide(Review(project), project, args)
            label = project.history.undo_label or ""
        console.result({"project": args.project.absolute(), "done": label}, label)


def _decide(review: Review, project: Project, args: Namespace) -> None:
    _check(args)
    first, end = args.range
    first, last = first or 0, project.frame_count - 1 if end is None else end - 1
    one, *others = args.objects
    match args.verb:
        case "accept":
            review.accept(one, first, last)
        case "absent":
            review.mark_absent(one, first, last)
        case "reopen":
            review.reopen(one, first, last)
        case "end":
            review.end(one, args.frame)
        case "swap":
            review.swap(one, others[0], args.frame)
        case "divide":
            review.divide(one, args.frame, others)
        case "parent":
            review.set_parent(one, others[0] if others else None, args.frame)


def _check(args: Namespace) -> None:
    least, most = {"swap": (2, 2), "divide": (3, MAX_OBJECT_ID), "parent": (1, 2)}.get(args.verb, (1, 1))
    lacks_frame = args.verb in ("end", "swap", "divide") and args.frame is None
    lacks_range = args.verb == "absent" and args.range == (None, None)
    if not least <= len(args.objects) <= most or lacks_frame or lacks_range:
        raise UsageError(f"{args.verb} takes {_TAKES[args.verb]}")


def _data(item: ReviewItem) -> dict[str, Any]:
    return asdict(item) | {"weight": round(item.weight, 3)}


def _line(item: ReviewItem, titles: Mapping[int, str]) -> str:
    frames = f"frame {item.first}" if item.first == item.last else f"frames {item.first} to {item.last}"
    others = f" with {', '.join(titles[i] for i in item.others)}" if item.others else ""
    title = titles[item.object_id]
    name = title if title == f"object {item.object_id}" else f"object {item.object_id} {title}"
    reason = f" ({item.reason})" if item.reason else ""
    return f"{item.weight:4.0%}  {item.kind:10}  {name}, {frames}{others}: look at frame {item.frame}{reason}"

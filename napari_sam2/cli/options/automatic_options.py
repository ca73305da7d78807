"""Flags of ``napari-sam2 auto``: one for each field of AutomaticOptions; imports nothing that takes time."""

from __future__ import annotations

import inspect
import json
import re
from argparse import Namespace
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from napari_sam2.automatic.options import PRESETS, AutomaticOptions
from napari_sam2.cli.errors import UsageError
from napari_sam2.cli.options.dataclass_options import field_types, options_from, read_value

AUTO_EXAMPLES = """\
examples:
  napari-sam2 auto nuclei.png --preset cells
  napari-sam2 auto movie.mp4 --frame 10 --points-per-side 16 --min-area 50 --out masks.json
  napari-sam2 auto cells.tif --frames 0:50:10 --out labels.tif
  everything on frame 0 and new objects on frames 10, 20, ..., tracked into a project, with a table:
    napari-sam2 auto cells.tif --preset cells --frames ::10 --track --export csv,mp4
"""
_GRIDS = "point_grids"


def add_auto_flags(parser: Any) -> None:
    """Add the flags of source, frames, output and search."""
    parser.add_argument("source", help="video, TIFF, zarr, npy, image, image folder or pattern")
    frames = parser.add_mutually_exclusive_group()
    frames.add_argument("--frame", type=int, default=0, metavar="N", help="frame to search (%(default)s)")
    frames.add_argument(
        "--frames", metavar="A:B|N,N", help="several frames: A:B (B not included), A:B:STEP or N,N"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="NAME.tif|.json|.sam2",
        help="label image or COCO JSON (the source's name .labels.tif, in the current folder); with --track "
        "the project folder, or a file besides it",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.add_argument(
        "--find-with",
        metavar="MODEL",
        help="model that finds objects (that of --model); may be a Segment Anything 1, such as vit_b or a file",
    )
    parser.add_argument(
        "--instances",
        action="store_true",
        help="find all cells at once with the decoder of a micro-sam model, instead of asking at points",
    )
    _add_option_flags(parser)


def add_track_flags(group: Any) -> None:
    """Add the flags of tracking."""
    group.add_argument(
        "--track",
        action="store_true",
        help="track what is found on the first of the frames into a project; new objects of the others are added",
    )
    group.add_argument(
        "--direction",
        choices=("forward", "backward", "both"),
        default="forward",
        help="in time from the frame on which an object was found (%(default)s)",
    )
    add_frame_by_frame(group)


def add_frame_by_frame(group: Any) -> None:
    """Add the flag that lets a network without memory follow objects."""
    group.add_argument(
        "--frame-by-frame",
        action="store_true",
        help="--model is a Segment Anything 1, which has no memory: the mask on one frame is the prompt on the next",
    )


def _add_option_flags(parser: Any) -> None:
    # Values stay text until automatic_options() reads them: its errors are one sentence, argparse's a page.
    group = parser.add_argument_group("search and filters (defaults are those of --preset default)")
    group.add_argument(
        "--preset",
        choices=[preset_flag(name) for name in PRESETS],
        default="default",
        help="start from these options (%(default)s)",
    )
    group.add_argument(
        "--region", type=Path, metavar="PATH", help="mask image: search only where it is not 0"
    )
    group.add_argument("--existing", type=Path, metavar="PATH", help="labels of objects that exist already")
    described = _descriptions()
    for field in fields(AutomaticOptions):
        plain = str(field.type).removesuffix(" | None")
        metavar = {"int": "N", "float": "X", "bool": "yes|no"}.get(plain, "NAME")
        text = f"{described[field.name].rstrip('.')} ({_shown(field.default)})"
        if field.name == _GRIDS:
            metavar = "FILE.json"
            text = (
                "your own points instead of the grid: a list of [x, y] from 0 to 1, or a list of such lists, "
                "one for the frame and one for each layer of crops"
            )
        group.add_argument(flag(field.name), metavar=metavar, help=text.replace("%", "%%"))


def flag(name: str) -> str:
    """Return how a field is written on the command line."""
    return "--" + name.replace("_", "-")


def preset_flag(name: str) -> str:
    """Return a preset's name without spaces, as it is typed on the command line."""
    return name.replace(" ", "-")


def automatic_options(args: Namespace) -> AutomaticOptions:
    """Return the options of preset, then flags, then ``--set``.

    Raises
    ------
    UsageError
        A value that can't be read, is out of range, or contradicts another.
    """
    values = asdict(AutomaticOptions.preset(next(n for n in PRESETS if preset_flag(n) == args.preset)))
    for name, annotation in field_types(AutomaticOptions).items():
        text = getattr(args, name)
        if text is not None and name != _GRIDS:
            values[name] = read_value(annotation, text, f"{flag(name)} {text!r}")
    if args.point_grids is not None:
        values[_GRIDS] = _grids(args.point_grids)
        if args.points_per_side is None:
            values["points_per_side"] = None
    return options_from(AutomaticOptions, args.set, **values)


def chosen_frames(args: Namespace, count: int) -> list[int]:
    """Return the frames of ``--frame`` or ``--frames``, in order and once each.

    Raises
    ------
    UsageError
        When it is no list of frames, or names one that the source does not have.
    """
    text = str(args.frame) if args.frames is None else args.frames
    name = "--frame" if args.frames is None else "--frames"
    chosen: set[int] = set()
    for part in text.split(","):
        try:
            numbers = [int(number) if number.strip() else None for number in part.split(":")]
            if len(numbers) > 3 or (len(numbers) == 1 and numbers[0] is None):
                raise ValueError
        except ValueError:
            raise UsageError(
                f"{name} {text!r}: write frames as N, N,N or A:B (B not included) or A:B:STEP"
            ) from None
        if len(numbers) == 1:
            chosen.add(numbers[0] or 0)
            continue
        first, end, step = (*numbers, None)[:3]
        if step is not None and step < 1:
            raise UsageError(f"{name} {text!r}: the step must be at least 1")
        part_frames = range(first or 0, count if end is None else end, step or 1)
        # One frame too many is enough to refuse the rest, however many billions were typed.
        chosen.update(part_frames if not part_frames or part_frames[-1] < count else part_frames[-1:])
    if not chosen:
        raise UsageError(f"{name} {text!r} names no frame: B in A:B is not included")
    wrong = [n for n in (min(chosen), max(chosen)) if not 0 <= n < count]
    if wrong:
        raise UsageError(f"{name} {text}: there is no frame {wrong[0]}, the frames go from 0 to {count - 1}")
    return sorted(chosen)


def _grids(text: str) -> Any:
    path = Path(text)
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
        # A list of points is the grid of the whole frame.
        grids = [data] if isinstance(data[0][0], (int, float)) else data
        return [[(float(x), float(y)) for x, y in grid] for grid in grids]
    except OSError as error:
        raise UsageError(
            f"--point-grids {text}: the file can't be read: {error.strerror or error}"
        ) from error
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise UsageError(
            f"--point-grids {text}: write a JSON list of points, [[x, y], ...] with x and y from 0 to 1"
        ) from error


def _descriptions() -> dict[str, str]:
    """Return the description of each option from the docstring."""
    text = inspect.getdoc(AutomaticOptions) or ""
    body = text.partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    described: dict[str, str] = {f.name: "" for f in fields(AutomaticOptions)}
    for names, description in re.findall(r"^(\w[\w, ]*) : .*\n((?: +.*(?:\n|$))+)", body, re.M):
        for name in names.split(", "):
            words = re.sub(r" \(:meth:`\w+`\)", "", " ".join(description.split()))  # roles are for mkdocs
            described[name] = words.replace("``", "")
    return described


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    return f"{default:.3g}" if isinstance(default, float) else str(default)

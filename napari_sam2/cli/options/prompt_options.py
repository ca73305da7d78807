"""Prompts from the command line: --point, --box, --mask and prompt files."""

from __future__ import annotations

import json
import math
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_sam2.cli.errors import CommandError, UsageError
from napari_sam2.objects import MAX_OBJECT_ID, ObjectInfo, checked_object_id
from napari_sam2.prompts import BoxPrompt, PointPrompt, Prompt, PromptPart, merged
from napari_sam2.storage.schema import objects_from_json, whole_number

Prompts = dict[tuple[int, int], Prompt]  # (frame, object id)
_MAX_FILE_BYTES = 2**30
_POINT = "write FRAME:OBJ:X,Y or FRAME:OBJ:X,Y:-, for example 0:1:320,240"
_BOX = "write FRAME:OBJ:X0,Y0,X1,Y1, for example 0:1:40,50,120,160"


class PromptFileError(CommandError):
    """A prompts file can't be read; the message names the file and the entry."""


def collect_prompts(
    args: Namespace,
    n_frames: int,
    size: tuple[int, int],
    first_frame: int = 0,
    frame_names: Sequence[str] = (),
) -> Prompts:
    """Gather everything that the command line says about objects, checked against the frames.

    Parts about the same object and frame are joined: file first, then mask, boxes, and points in the order typed.

    Parameters
    ----------
    args : Namespace
        With ``point``, ``box``, ``mask``, ``mask_on``, ``mask_series`` and ``prompts``.
    n_frames, size : int, (int, int)
        Number of frames and their (height, width).
    first_frame : int
        Where a mask of a single frame belongs.
    frame_names : sequence of str
        File names of the frames, where the source is a sequence of images: masks are matched by them.
    """
    parts: list[tuple[tuple[int, int], PromptPart]] = []
    if args.prompts is not None:
        parts += read_prompts_file(args.prompts, n_frames, size).items()
    if args.mask is not None:
        parts += _masks(args, n_frames, size, first_frame, frame_names).items()
    parts += [box_flag(text) for text in args.box]
    parts += [point_flag(text) for text in args.point]
    if not parts:
        raise UsageError(
            "say what to track: --point, --box, --mask or --prompts (see napari-sam2 track --help)"
        )
    prompts: Prompts = {}
    for key, part in parts:
        prompts[key] = merged(prompts[key], part) if key in prompts else merged(part)
    for (frame, object_id), prompt in prompts.items():
        _check(prompt, frame, object_id, n_frames, size)
    return dict(sorted(prompts.items()))


def point_flag(text: str) -> tuple[tuple[int, int], PointPrompt]:
    """Read ``FRAME:OBJ:X,Y[:+|-]``."""
    fields = text.split(":")
    sign = fields[3] if len(fields) == 4 else "+"
    if len(fields) not in (3, 4) or sign not in ("+", "-"):
        raise UsageError(f"--point {text!r}: {_POINT}")
    x, y = _numbers(fields[2], 2, f"--point {text!r}: {_POINT}")
    return _key(fields, f"--point {text!r}: {_POINT}"), PointPrompt(x, y, sign == "+")


def box_flag(text: str) -> tuple[tuple[int, int], BoxPrompt]:
    """Read ``FRAME:OBJ:X0,Y0,X1,Y1``."""
    fields = text.split(":")
    if len(fields) != 3:
        raise UsageError(f"--box {text!r}: {_BOX}")
    corners = _numbers(fields[2], 4, f"--box {text!r}: {_BOX}")
    return _key(fields, f"--box {text!r}: {_BOX}"), BoxPrompt(*corners)


def read_prompts_file(path: Path, n_frames: int, size: tuple[int, int]) -> Prompts:
    """Read a prompts file: a list of entries, or an object with the list under "prompts".

    An entry is ``{"frame": 0, "object_id": 1, "points": [[x, y], ...], "labels": [1, 0, ...], "box": [x0, y0, x1, y1],
    "mask": {"size": [height, width], "counts": run lengths}}``; what a project stores, with these under "prompt", is
    read as well. Entries about the same object and frame are joined.

    Raises
    ------
    PromptFileError
        When the file can't be read, or an entry is wrong; nothing of it is used then.
    """
    entries = _list_of(read_json_file(path), path)
    prompts: Prompts = {}
    for number, entry in enumerate(entries, 1):
        try:
            key, prompt = _entry(entry, n_frames, size)
            prompts[key] = merged(prompts[key], prompt) if key in prompts else prompt
        except (ValueError, TypeError, OverflowError) as error:
            raise PromptFileError(f"{path}, entry {number}: {error}") from error
    return prompts


def read_objects(path: Path) -> dict[int, ObjectInfo]:
    """Read names and colours from the "objects" of a prompts file, where it has some."""
    data = read_json_file(path)
    listed = data.get("objects", []) if isinstance(data, dict) else []
    try:
        return objects_from_json(listed)
    except (ValueError, TypeError, OverflowError) as error:
        raise PromptFileError(f"{path}, objects: {error}") from error


def read_json_file(path: Path) -> Any:
    """Read a JSON file for people; PromptFileError says what is wrong with it and where."""
    try:
        if path.exists() and not path.is_file():
            raise PromptFileError(f"{path} is no file")
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise PromptFileError(f"{path} is larger than a prompts file can be: is it the right file?")
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise PromptFileError(f"{path} can't be read: {error.strerror or error}") from error
    except RecursionError as error:
        raise PromptFileError(f"{path} is nested too deeply to be a prompts file") from error
    except ValueError as error:  # JSON and text encoding
        raise PromptFileError(f"{path} is not JSON: {error}") from error


def _list_of(data: Any, path: Path) -> list[Any]:
    found = data.get("prompts") if isinstance(data, dict) else data
    if not isinstance(found, list):
        raise PromptFileError(f'{path} has no list of prompts: write {{"prompts": [{{"frame": 0, ...}}]}}')
    return found


def _entry(entry: Any, n_frames: int, size: tuple[int, int]) -> tuple[tuple[int, int], Prompt]:
    if not isinstance(entry, dict):
        raise ValueError(f"an entry is an object with 'frame' and 'object_id', not {type(entry).__name__}")
    frame = whole_number(entry.get("frame"), "a prompt's frame")
    object_id = checked_object_id(entry.get("object_id"))
    said = entry["prompt"] if "prompt" in entry else _without(entry, ("frame", "object_id"))
    _check_mask_size(said, size)
    prompt = Prompt.from_json(said)
    _check(prompt, frame, object_id, n_frames, size)
    return (frame, object_id), prompt


def _without(entry: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {k: v for k, v in entry.items() if k not in names}


def _check_mask_size(said: Any, size: tuple[int, int]) -> None:
    # Before anything is decoded: a damaged size must not make us allocate gigabytes.
    mask = said.get("mask") if isinstance(said, dict) else None
    if isinstance(mask, dict) and mask.get("size") != list(size):
        raise ValueError(f"the mask has size {str(mask.get('size'))[:40]} but the frames are {list(size)}")


def _check(prompt: Prompt, frame: int, object_id: int, n_frames: int, size: tuple[int, int]) -> None:
    if not 0 <= frame < n_frames:
        raise UsageError(f"a prompt is on frame {frame}, but the frames go from 0 to {n_frames - 1}")
    checked_object_id(object_id)
    try:
        prompt.check(size)
    except ValueError as error:
        raise UsageError(f"object {object_id} on frame {frame}: {error}") from error


def _masks(
    args: Namespace, n_frames: int, size: tuple[int, int], first_frame: int, frame_names: Sequence[str]
) -> Prompts:
    from napari_sam2.formats.detect_format import read_masks

    path: Path = args.mask
    found = read_masks(path, frame_names, getattr(args, "mask_series", None))
    if found.size != size:
        raise CommandError(
            f"the masks in {path} are {found.size[0]} × {found.size[1]} pixels (height × width) and the frames "
            f"{size[0]} × {size[1]}: resize the masks"
        )
    if not found.masklets and not found.boxes:
        raise CommandError(f"{path} is black: it has no object to track")
    if found.n_frames > n_frames:
        raise CommandError(f"{path} has {found.n_frames} frames, but the source has only {n_frames}")
    shift = first_frame if found.n_frames == 1 else 0
    return found.prompts("first" if args.mask_on == "first" else "all", shift)


def _key(fields: list[str], complaint: str) -> tuple[int, int]:
    try:
        frame, object_id = int(fields[0]), int(fields[1])
    except ValueError:
        raise UsageError(complaint) from None
    if frame < 0 or not 1 <= object_id <= MAX_OBJECT_ID:
        raise UsageError(f"{complaint}; frames count from 0, object ids from 1 to {MAX_OBJECT_ID}")
    return frame, object_id


def _numbers(text: str, count: int, complaint: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(math.isfinite(n) for n in numbers):
        raise UsageError(complaint)
    return numbers

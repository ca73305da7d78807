"""What flags take besides words and numbers: ranges, lists, positions, sizes."""

from __future__ import annotations

from argparse import ArgumentTypeError

from napari_sam2.formats.registry import FORMATS


def first_and_last(text: str) -> tuple[int | None, int | None]:
    """Read "A:B" (B not included, either may be missing) as two numbers."""
    first, colon, last = text.partition(":")
    try:
        begin, end = (int(part) if part else None for part in (first, last))
    except ValueError:
        begin, end, colon = None, None, ""
    if not colon or (begin is not None and begin < 0) or (end is not None and end <= (begin or 0)):
        raise ArgumentTypeError(f"{text!r} is not a range of frames: write A:B, for example 0:100 or 50:")
    return begin, end


def id_list(text: str) -> tuple[int, ...]:
    """Read "1,2,5" as object ids."""
    try:
        ids = tuple(int(part) for part in text.split(","))
    except ValueError:
        ids = ()
    if not ids or not all(1 <= i <= 65535 for i in ids):
        raise ArgumentTypeError(
            f"{text!r} is not a list of object ids: write numbers from 1 to 65535, like 1,2,5"
        )
    return ids


def channel_list(text: str) -> tuple[int, ...]:
    """Read "0,2" as numbers of channels."""
    try:
        channels = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        channels = ()
    if not channels or min(channels) < 0:
        raise ArgumentTypeError(f"{text!r} is not a list of channels: write numbers from 0 on, like 0,2")
    return channels


def format_list(text: str) -> tuple[str, ...]:
    """Read "tiff,coco" as names of export formats; "all" is all of them."""
    if text == "all":
        return tuple(FORMATS)
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [n for n in names if n not in FORMATS]
    if unknown or not names:
        what = repr(unknown[0]) if unknown else "nothing"
        raise ArgumentTypeError(f"{what} is not an export format: use {', '.join(FORMATS)} or all")
    return names


def axis_position(text: str) -> tuple[str, int]:
    """Read "AXIS=NUMBER"."""
    axis, equals, number = text.partition("=")
    try:
        return axis.strip().lower() if equals and axis.strip() else _fail(), int(number)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a position: write AXIS=NUMBER, for example t=3") from None


def image_side(text: str) -> int:
    """Read the side of a network's input, a positive multiple of 32."""
    side = int(text) if text.isdecimal() else 0
    if not side or side % 32:
        raise ArgumentTypeError(f"{text} is no input size: it must be a positive multiple of 32, like 512")
    return side


def positive(text: str) -> int:
    """Read a number of things, at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def _fail() -> str:
    raise ValueError

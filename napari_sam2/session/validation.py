"""Checks of frame indices, object ids and ranges; each says what to do about it."""

from __future__ import annotations

import operator
from collections.abc import Sequence


def checked_integer(value: int, what: str) -> int:
    """Return a Python or numpy integer as int; TypeError for anything else."""
    if isinstance(value, bool):
        raise TypeError(f"{what} must be an integer, not {value!r}")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{what} must be an integer, not {value!r}") from None


def checked_frame_index(frame: int, length: int) -> int:
    """Return a frame index; ValueError when the video has no such frame."""
    index = checked_integer(frame, "a frame")
    if not 0 <= index < length:
        raise ValueError(f"frame {index} is out of range: this video has frames 0 to {length - 1}")
    return index


def positive_object_id(object_id: int) -> int:
    """Return an object id; ValueError when it is not positive."""
    index = checked_integer(object_id, "an object id")
    if index < 1:
        raise ValueError(f"an object id must be positive (0 is the background), got {index}")
    return index


def frame_range(
    prompted: Sequence[int], length: int, start: int | None, stop: int | None, reverse: bool
) -> range:
    """Return the frames that a propagation visits, in order.

    Parameters
    ----------
    prompted : sequence of int
        Frames that condition some object: where to start by default.
    length : int
        Number of frames.
    start, stop : int or None
        First and last frame to visit, both included.
    reverse : bool
        Go backwards.
    """
    if start is None:
        start = max(prompted) if reverse else min(prompted)
    if stop is None:
        stop = 0 if reverse else length - 1
    start, stop = checked_frame_index(start, length), checked_frame_index(stop, length)
    if (stop > start) if reverse else (stop < start):
        raise ValueError(
            f"cannot go {'backwards' if reverse else 'forwards'} from frame {start} to frame {stop}: "
            "swap them or change the direction"
        )
    return range(start, stop - 1, -1) if reverse else range(start, stop + 1)

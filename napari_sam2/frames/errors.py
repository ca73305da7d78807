"""Errors and warnings between a file and a frame."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from itertools import pairwise

_MOST_CHARACTERS = 1000


def one_line(message: str) -> str:
    """Return a message without line ends, cut where it quotes a damaged file at length."""
    text = " ".join(message.split())
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 200]} … {text[-200:]}"


class SourceError(ValueError):
    """A path can't be opened as frames; the message says why and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class FrameReadError(ValueError):
    """One frame can't be read; the others still can.

    Attributes
    ----------
    frame : int
        The frame that can't be read, counted from 0.
    path : str
        The file that it should have come from.
    """

    def __init__(self, message: str, frame: int, path: str) -> None:
        super().__init__(one_line(message))
        self.frame = frame
        self.path = path

    @property
    def file_is_gone(self) -> bool:
        """True where not the frame is damaged but the whole file has gone, as on a drive that was disconnected."""
        return bool(self.path) and "://" not in self.path and not os.path.exists(self.path)

    def __reduce__(self) -> tuple[type[FrameReadError], tuple[str, int, str]]:
        # An exception with own arguments needs this to be sent between processes (dask.distributed).
        return type(self), (str(self), self.frame, self.path)


class DamagedSourceWarning(UserWarning):
    """A file opened although it is truncated or damaged; the message says how much of it is readable."""


class PartialSourceWarning(UserWarning):
    """Not everything in a file is shown; the message names what is left out and how to get it."""


class UnreadableFramesWarning(UserWarning):
    """Frames that can't be read were passed over; the message names them."""


def frames_text(frames: Iterable[int]) -> str:
    """Return frames as text, neighbours joined: ``frame 5``, ``frames 3, 5 to 9``."""
    ordered = sorted(set(frames))
    breaks = [i for i, (a, b) in enumerate(pairwise(ordered), 1) if b != a + 1]
    runs = [ordered[a:b] for a, b in pairwise([0, *breaks, len(ordered)])]
    shown = ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs[:20])
    return f"frame{'s' if len(ordered) > 1 else ''} {shown}{', …' if len(runs) > 20 else ''}"


def warn_of_unreadable(frames: Sequence[int], reason: str) -> None:
    """Warn of frames that were passed over because they can't be read."""
    warnings.warn(
        f"{frames_text(frames)} can't be read and {'were' if len(frames) > 1 else 'was'} passed over ({reason})",
        UnreadableFramesWarning,
        stacklevel=3,
    )

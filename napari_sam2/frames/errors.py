"""Errors and warnings between a file and a frame."""

from __future__ import annotations


class SourceError(ValueError):
    """A path can't be opened as frames; the message says why and what to do."""


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
        super().__init__(message)
        self.frame = frame
        self.path = path

    def __reduce__(self) -> tuple[type[FrameReadError], tuple[str, int, str]]:
        # An exception with own arguments needs this to be sent between processes (dask.distributed).
        return type(self), (str(self), self.frame, self.path)


class DamagedSourceWarning(UserWarning):
    """A file opened although it is truncated or damaged; the message says how much of it is readable."""


class PartialSourceWarning(UserWarning):
    """Not everything in a file is shown; the message names what is left out and how to get it."""

"""Exceptions that end a command with a sentence and an exit code."""

from __future__ import annotations


class UsageError(ValueError):
    """Arguments that make no sense; ends with exit code 2."""


class CommandError(RuntimeError):
    """The command failed for a reason that the message names; exit code 1."""


class CommandInterrupted(Exception):
    """The user stopped the command; the message says what is saved and how to go on. Exit code 128 + signal.

    Parameters
    ----------
    message : str
        For the user.
    signal_number : int
        Of the signal that stopped it: 2 for Ctrl-C.
    """

    def __init__(self, message: str, signal_number: int = 2) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number

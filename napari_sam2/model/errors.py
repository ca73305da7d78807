"""Errors of weights, as one class to catch."""

from __future__ import annotations


class CheckpointError(ValueError):
    """Weights cannot be had or do not fit; the message names the file and says what to do."""

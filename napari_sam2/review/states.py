"""State of an object on each frame: what was asked for, found, decided, and what is open (numpy only)."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from napari_sam2.objects import Stretches

Flags = NDArray[np.bool_]
STOP_AT = 0.5  # uncertainty from which on a frame is uncertain


class FrameState(IntEnum):
    """State of one object on one frame; a higher one hides a lower one that is true as well."""

    NOT_REACHED = 0
    TRACKED = 1
    UNCERTAIN = 2
    MISSING = 3
    STALE = 4
    ACCEPTED = 5
    PROMPTED = 6
    ABSENT = 7

    @property
    def title(self) -> str:
        """The name as it is shown, "not reached" for example."""
        return self.name.replace("_", " ").lower()


def frame_states(
    known: Flags,
    seen: Flags,
    prompted: Flags,
    stale: Flags,
    uncertainty: NDArray[np.floating],
    accepted: Stretches = (),
    absent: Stretches = (),
    threshold: float = STOP_AT,
) -> NDArray[np.uint8]:
    """Return the :class:`FrameState` of one object on each frame.

    ABSENT: the user decided that it is hidden or gone. PROMPTED: it has a prompt. ACCEPTED: the user accepted its
    result. STALE (outdated): its result answers prompts that have changed since. MISSING: it was looked for and not
    seen. UNCERTAIN: its mask deserves a look. TRACKED: it does not. NOT_REACHED: there is no result.

    Parameters
    ----------
    known, seen : ndarray of bool, shape (T,)
        Frames with a result, and with a mask that is not empty.
    prompted : ndarray of bool, shape (T,)
        Frames with a prompt.
    stale : ndarray of bool, shape (T,)
        Frames whose result no longer answers the prompts.
    uncertainty : ndarray of float, shape (T,)
        0 (certain) to 1; see :func:`~napari_sam2.review.uncertainty.frame_uncertainty`.
    accepted, absent : tuple of (int, int)
        What the user decided; see :class:`~napari_sam2.objects.ObjectInfo`.
    threshold : float
        Uncertainty from which on a frame is UNCERTAIN.

    Returns
    -------
    ndarray of uint8, shape (T,)
    """
    count = len(known)
    if any(a.shape != (count,) for a in (seen, prompted, stale, uncertainty)):
        raise ValueError(f"{count} frames need as many flags and uncertainties")
    states = np.where(known, FrameState.TRACKED, FrameState.NOT_REACHED).astype(np.uint8)
    states[known & (uncertainty >= threshold)] = FrameState.UNCERTAIN
    states[known & ~seen] = FrameState.MISSING
    states[known & stale] = FrameState.STALE
    states[known & flags_of(accepted, count)] = FrameState.ACCEPTED
    states[prompted] = FrameState.PROMPTED
    states[flags_of(absent, count)] = FrameState.ABSENT
    return states


def flags_of(stretches: Stretches, count: int) -> Flags:
    """Return bool (T,), True on the frames of the stretches; frames beyond the last are passed over."""
    flags = np.zeros(count, bool)
    for first, last in stretches:
        flags[first : last + 1] = True
    return flags


def stretches_of(flags: Flags) -> Stretches:
    """Return the runs of True as (first, last) frames, both included."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return tuple((int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2]))


def state_counts(states: NDArray[np.uint8]) -> dict[str, int]:
    """Return the number of frames in each state by its title, states without a frame left out."""
    numbers = np.bincount(states, minlength=len(FrameState))
    return {state.title: int(numbers[state]) for state in FrameState if numbers[state]}

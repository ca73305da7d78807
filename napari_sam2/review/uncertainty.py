"""Uncertainty of a tracked object on each frame, from scores and from jumps in area and position (numpy only)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_sam2.review.facts import ObjectFacts

Floats = NDArray[np.float64]
_SCORE_SCALE = 2.0  # logits of this size are a clear yes or no
_SURE_IOU, _POOR_IOU = 0.725, 0.275
_SCATTERED, _OVERLAPPED = 0.4, 0.8  # so much more of the area than usual counts fully
_USUAL = 4.0  # a jump of so many times the object's usual change is noticed


def frame_uncertainty(facts: ObjectFacts) -> Floats:
    """Return the uncertainty of one object on each frame (T,), 0 (sure) to 1.

    The largest of six: the object score is near 0 (visible or not?), the predicted IoU is low, the area
    jumps, the position jumps, more than usual of the area lies in far pieces, or belongs to other objects as well. A
    jump is judged against the object's own usual change from frame to frame, belongs to the later frame, and counts
    half where the object touches the border of the frame, as one that leaves does. Prompted frames have an uncertainty
    of 0.

    The numbers were chosen on synthetic videos that ``nano`` had tracked; see ``tests/benchmarks/bench_review.py``.
    """
    unsure = 1.0 - np.tanh(np.abs(np.nan_to_num(facts.object_scores, nan=np.inf)) / _SCORE_SCALE)
    poor = (_SURE_IOU - np.nan_to_num(facts.predicted_ious, nan=1.0)) / (_SURE_IOU - _POOR_IOU)
    poor = np.where(facts.seen, np.clip(poor, 0, 1), 0.0)
    border = np.clip(np.nan_to_num(facts.borders), 0, 1)
    border[1:] = np.maximum(border[1:], border[:-1])
    jumps = np.maximum(area_jumps(facts.areas), position_jumps(facts.centers, facts.areas))
    scattered = _excess(facts.scattered) / _SCATTERED
    overlapped = _excess(facts.overlaps) / _OVERLAPPED
    parts = [unsure, poor, jumps * (1 - border / 2), np.minimum(scattered, 1), np.minimum(overlapped, 1)]
    total: Floats = np.where(facts.known & ~facts.prompted, np.maximum.reduce(parts), 0.0)
    return total


def _excess(values: NDArray[np.floating]) -> Floats:
    """Return how far numbers are above their usual value; 0 where they are unknown."""
    known = np.isfinite(values)
    usual = float(np.median(values[known])) if known.any() else 0.0
    return np.asarray(np.where(known, np.maximum(values - usual, 0.0), 0.0), float)


def area_jumps(areas: NDArray[np.floating]) -> Floats:
    """Return how much the area jumps into each frame, 0 to 1; appearing and vanishing count fully."""
    out = np.zeros(len(areas))
    known = np.flatnonzero(np.isfinite(areas))
    if len(known) < 2:
        return out
    now = np.asarray(areas, float)[known]
    follows = np.diff(known) == 1
    both = follows & (now[1:] > 0) & (now[:-1] > 0)
    changes = np.zeros(len(now) - 1)
    changes[both] = np.abs(np.log(now[1:][both] / now[:-1][both]))
    jumps = np.where(both, _beyond_usual(changes, both, 0.05, np.log(2.0)), 0.0)
    jumps[follows & ((now[1:] > 0) != (now[:-1] > 0))] = 1.0
    out[known[1:]] = jumps
    return out


def position_jumps(centers: NDArray[np.floating], areas: NDArray[np.floating]) -> Floats:
    """Return how much the position jumps into each frame, 0 to 1, in diameters of the object."""
    out = np.zeros(len(areas))
    if len(areas) < 2:
        return out
    steps = np.hypot(*np.diff(np.asarray(centers, float), axis=0).T)
    diameters = 2 * np.sqrt(np.maximum(np.nan_to_num(areas[:-1]), 1.0) / np.pi)
    known = np.isfinite(steps)
    relative = np.where(known, steps / diameters, 0.0)
    out[1:] = np.where(known, _beyond_usual(relative, known, 0.05, 1.0), 0.0)
    return out


def _beyond_usual(changes: Floats, counted: NDArray[np.bool_], least: float, full: float) -> Floats:
    """Return 0 up to some times the median change, rising to 1 at ``full`` beyond it."""
    usual = max(float(np.median(changes[counted])) if counted.any() else 0.0, least)
    return np.asarray(np.clip((changes - _USUAL * usual) / full, 0.0, 1.0), float)


def next_uncertain(
    uncertainty: NDArray[np.floating], frame: int, step: int = 1, threshold: float = 0.5
) -> int | None:
    """Return the next frame after ``frame`` (``step`` 1) or before it (-1) at which a run of uncertain frames peaks.

    Of a run of uncertain frames the most uncertain one is returned; None when there is no further one.
    """
    for peak in uncertain_peaks(uncertainty, threshold)[:: 1 if step > 0 else -1]:
        if (peak - frame) * step > 0:
            return peak
    return None


def uncertain_peaks(uncertainty: NDArray[np.floating], threshold: float = 0.5) -> list[int]:
    """Return the most uncertain frame of each run of frames with an uncertainty of at least ``threshold``, in order."""
    over = np.flatnonzero(np.asarray(uncertainty) >= threshold)
    if not len(over):
        return []
    runs = np.split(over, np.flatnonzero(np.diff(over) > 1) + 1)
    return [int(run[np.argmax(np.asarray(uncertainty)[run])]) for run in runs]

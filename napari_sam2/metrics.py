"""How good are masks: region and boundary as DAVIS defines them, identity switches, visibility, instance precision.

Labels are integer images, 0 for ground; the same value is the same object on all frames.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, optimize

Mask = NDArray[np.bool_]
Labels = NDArray[np.integer]
BOUNDARY_TOLERANCE = 0.008


@dataclass(frozen=True)
class ObjectScore:
    """One object over time.

    Attributes
    ----------
    object_id : int
        Its id in the ground truth.
    matched_id : int or None
        Its id in the prediction; None when nothing was matched.
    frames : tuple of int
        The frames that count.
    regions, boundaries : tuple of float
        J and F on each of these frames.
    """

    object_id: int
    matched_id: int | None
    frames: tuple[int, ...]
    regions: tuple[float, ...]
    boundaries: tuple[float, ...]

    @property
    def j(self) -> float:
        """Mean region similarity."""
        return _mean(self.regions)

    @property
    def f(self) -> float:
        """Mean boundary accuracy."""
        return _mean(self.boundaries)

    @property
    def j_and_f(self) -> float:
        """Mean of J and F."""
        return (self.j + self.f) / 2

    @property
    def j_recall(self) -> float:
        """Share of the frames with J above 0.5."""
        return _mean([j > 0.5 for j in self.regions])

    @property
    def j_decay(self) -> float:
        """Mean J of the first quarter of the frames minus that of the last quarter."""
        quarter = max(1, round(len(self.regions) / 4))
        return _mean(self.regions[:quarter]) - _mean(self.regions[-quarter:])


@dataclass(frozen=True)
class SequenceScore:
    """All objects of a sequence.

    Attributes
    ----------
    objects : tuple of ObjectScore
        In the order of the ids in the ground truth.
    identity_switches : int
        How often a true object is covered (IoU above 0.5) by another predicted object than the last time.
    visibility_accuracy : float
        Share of (object, frame) pairs where the prediction is right about whether the object is visible.
    absence_recall : float
        The same over the pairs where the object is hidden or gone; NaN when there are none.
    """

    objects: tuple[ObjectScore, ...]
    identity_switches: int
    visibility_accuracy: float
    absence_recall: float

    @property
    def j(self) -> float:
        """Mean J over objects."""
        return _mean([one.j for one in self.objects])

    @property
    def f(self) -> float:
        """Mean F over objects."""
        return _mean([one.f for one in self.objects])

    @property
    def j_and_f(self) -> float:
        """Mean of J and F."""
        return (self.j + self.f) / 2

    def table(self) -> str:
        """Write a Markdown table: a row per object, the mean, and a line on identity and visibility."""
        rows = [
            "| object | frames | J | F | J&F | J recall | J decay |",
            "|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for one in self.objects:
            numbers = (one.j, one.f, one.j_and_f, one.j_recall, one.j_decay)
            cells = " | ".join(f"{number:.3f}" for number in numbers)
            rows.append(f"| {one.object_id} | {len(one.frames)} | {cells} |")
        means = (
            self.j,
            self.f,
            self.j_and_f,
            _mean([one.j_recall for one in self.objects]),
            _mean([one.j_decay for one in self.objects]),
        )
        frames = sum(len(one.frames) for one in self.objects)
        rows.append(f"| mean of {len(self.objects)} | {frames} | {' | '.join(f'{m:.3f}' for m in means)} |")
        never = math.isnan(self.absence_recall)
        absent = "no object is ever absent" if never else f"of the absences {self.absence_recall:.3f} seen"
        right = f"visible or not: {self.visibility_accuracy:.3f} right ({absent})"
        rows += ["", f"identity switches: {self.identity_switches}; {right}"]
        return "\n".join(rows)


@dataclass(frozen=True)
class InstanceScore:
    """One image of objects, matched one to one.

    Attributes
    ----------
    true_positives, false_positives, false_negatives : int
        Matched objects, predicted objects without a match, true objects without a match.
    matched_iou : float
        Mean IoU of the matched pairs; NaN when there are none.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    matched_iou: float

    @property
    def average_precision(self) -> float:
        """TP / (TP + FP + FN), as cell segmentation challenges use it; 1 for two empty images."""
        total = self.true_positives + self.false_positives + self.false_negatives
        return self.true_positives / total if total else 1.0


def _mean(values: Collection[float]) -> float:
    return float(np.mean(list(values))) if values else math.nan


def _same_shape(predicted: NDArray[np.generic], true: NDArray[np.generic]) -> None:
    if predicted.shape != true.shape:
        raise ValueError(
            f"prediction {predicted.shape} and ground truth {true.shape} differ in shape: "
            "compare frames of the same video at the same size"
        )


def region_similarity(predicted: ArrayLike, true: ArrayLike) -> float:
    """J: intersection over union of two masks (H, W); 1 when both are empty (DAVIS `db_eval_iou`)."""
    a, b = np.asarray(predicted, bool), np.asarray(true, bool)
    _same_shape(a, b)
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def mask_boundary(mask: Mask) -> Mask:
    """Pixels that differ from their right, lower or lower right neighbour (DAVIS `_seg2bmap`)."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    here = padded[:-1, :-1]
    different: Mask = (here != padded[:-1, 1:]) | (here != padded[1:, :-1]) | (here != padded[1:, 1:])
    return different


def boundary_accuracy(predicted: ArrayLike, true: ArrayLike, tolerance: float = BOUNDARY_TOLERANCE) -> float:
    """F: harmonic mean of boundary precision and recall (DAVIS `f_measure`).

    Parameters
    ----------
    predicted, true : (H, W) bool
        Masks.
    tolerance : float
        How far apart boundaries may lie: below 1 a fraction of the image diagonal (rounded up to pixels),
        else pixels.

    Returns
    -------
    float
        1 when neither mask has a boundary, 0 when only one has.
    """
    a, b = np.asarray(predicted, bool), np.asarray(true, bool)
    _same_shape(a, b)
    if a.ndim != 2:
        raise ValueError(f"a boundary is that of a mask (H, W), got {a.ndim} dimensions")
    radius = tolerance if tolerance >= 1 else math.ceil(tolerance * math.hypot(*a.shape))
    rows, columns = np.nonzero((a | b).any(1))[0], np.nonzero((a | b).any(0))[0]
    if len(rows) == 0:
        return 1.0
    # one row and column of ground more than the masks need, where the image has it
    window = (
        slice(max(0, int(rows[0]) - 1), int(rows[-1]) + 2),
        slice(max(0, int(columns[0]) - 1), int(columns[-1]) + 2),
    )
    edge_a, edge_b = mask_boundary(a[window]), mask_boundary(b[window])
    if not edge_a.any() or not edge_b.any():
        return float(edge_a.any() == edge_b.any())
    precision = float((ndimage.distance_transform_edt(~edge_b)[edge_a] <= radius).mean())
    recall = float((ndimage.distance_transform_edt(~edge_a)[edge_b] <= radius).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def overlaps(
    predicted: Labels, true: Labels
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Ids of both label images (of any shape) and the IoU of every pair.

    Returns
    -------
    predicted_ids : (P,) int
    true_ids : (Q,) int
    ious : (P, Q) float
    """
    _same_shape(predicted, true)
    ids_a, a = np.unique(predicted, return_inverse=True)
    ids_b, b = np.unique(true, return_inverse=True)
    shared = np.bincount(a.ravel() * len(ids_b) + b.ravel(), minlength=len(ids_a) * len(ids_b))
    shared = shared.reshape(len(ids_a), len(ids_b))
    union = shared.sum(1, keepdims=True) + shared.sum(0, keepdims=True) - shared
    ious = shared / union
    objects_a, objects_b = ids_a != 0, ids_b != 0
    return ids_a[objects_a].astype(np.int64), ids_b[objects_b].astype(np.int64), ious[objects_a][:, objects_b]


def instance_score(predicted: ArrayLike, true: ArrayLike, threshold: float = 0.5) -> InstanceScore:
    """Match the objects of two label images (H, W) one to one; pairs with IoU of at least `threshold` count."""
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be an IoU above 0 and up to 1, got {threshold}")
    predicted_ids, true_ids, ious = overlaps(_labels(predicted, 2), _labels(true, 2))
    enough = ious >= threshold
    # as many pairs as possible first, then the best of those
    rows, columns = optimize.linear_sum_assignment(
        enough + ious / (2 * max(1, min(ious.shape))), maximize=True
    )
    matched = enough[rows, columns]
    hits = int(matched.sum())
    mean = float(ious[rows, columns][matched].mean()) if hits else math.nan
    return InstanceScore(hits, len(predicted_ids) - hits, len(true_ids) - hits, mean)


def _labels(values: ArrayLike, dimensions: int) -> Labels:
    labels = np.asarray(values)
    if labels.ndim != dimensions or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels must be whole numbers with {dimensions} axes, got {labels.dtype} with {labels.ndim} axes"
        )
    return labels


def match_by_overlap(predicted: ArrayLike, true: ArrayLike) -> dict[int, int]:
    """Pair the ids of two label videos (T, H, W) so that the sum of their IoUs over the video is largest.

    Returns
    -------
    dict
        True id to predicted id; true objects that overlap no predicted one are missing.
    """
    predicted_ids, true_ids, ious = overlaps(_labels(predicted, 3), _labels(true, 3))
    rows, columns = optimize.linear_sum_assignment(ious, maximize=True)
    pairs = zip(rows, columns, strict=True)
    return {int(true_ids[q]): int(predicted_ids[p]) for p, q in pairs if ious[p, q] > 0}


def identity_switches(predicted: ArrayLike, true: ArrayLike) -> int:
    """Count how often a true object is covered by another predicted object than the last time it was covered.

    Covered means an IoU above 0.5, which at most one predicted object can have. Frames where nothing covers the
    object neither count nor reset (as in the CLEAR MOT metrics).
    """
    a, b = _labels(predicted, 3), _labels(true, 3)
    _same_shape(a, b)
    last: dict[int, int] = {}
    switches = 0
    for frame_a, frame_b in zip(a, b, strict=True):
        predicted_ids, true_ids, ious = overlaps(frame_a, frame_b)
        for p, q in zip(*np.nonzero(ious > 0.5), strict=True):
            now, truth = int(predicted_ids[p]), int(true_ids[q])
            switches += last.get(truth, now) != now
            last[truth] = now
    return switches


def evaluate_object(
    predicted: Labels,
    true: Labels,
    object_id: int,
    matched_id: int | None,
    excluded: Collection[int] = (),
    tolerance: float = BOUNDARY_TOLERANCE,
) -> ObjectScore:
    """J and F of one object on every frame from its first true appearance on, `excluded` frames left out."""
    seen = np.nonzero((true == object_id).any((1, 2)))[0]
    if len(seen) == 0:
        raise ValueError(f"the ground truth has no object {object_id}")
    frames = tuple(t for t in range(int(seen[0]), len(true)) if t not in excluded)
    regions, boundaries = [], []
    for t in frames:
        truth = true[t] == object_id
        guess = predicted[t] == matched_id if matched_id is not None else np.zeros_like(truth)
        regions.append(region_similarity(guess, truth))
        boundaries.append(boundary_accuracy(guess, truth, tolerance))
    return ObjectScore(object_id, matched_id, frames, tuple(regions), tuple(boundaries))


def _visibility(
    predicted: Labels, true: Labels, objects: Collection[ObjectScore], visible: Mask | None
) -> tuple[float, float]:
    """Share of right answers, over all counted frames and over those where the object is absent."""
    right: list[bool] = []
    absent: list[bool] = []
    for k, one in enumerate(objects):
        for t in one.frames:
            if visible is not None:
                guess = bool(visible[t, k])
            else:
                guess = one.matched_id is not None and bool((predicted[t] == one.matched_id).any())
            truth = bool((true[t] == one.object_id).any())
            right.append(guess == truth)
            if not truth:
                absent.append(not guess)
    return _mean(right), _mean(absent)


def evaluate_sequences(
    predicted: ArrayLike,
    true: ArrayLike,
    excluded_frames: Collection[int] = (),
    matching: Literal["ids", "overlap"] = "ids",
    visible: ArrayLike | None = None,
    tolerance: float = BOUNDARY_TOLERANCE,
) -> SequenceScore:
    """Compare a label video with the ground truth.

    Parameters
    ----------
    predicted, true : (T, H, W) int
        Labels.
    excluded_frames : collection of int
        Frames that do not count, such as those with prompts. Identity switches are counted on all frames.
    matching : {"ids", "overlap"}
        The same object has the same id in both; or pair ids by overlap over the whole video.
    visible : (T, K) bool, optional
        Predicted visibility (object score above 0) of each true object in the order of its id. Without it an
        object is predicted visible where it has a pixel.
    tolerance : float
        See `boundary_accuracy`.

    Returns
    -------
    SequenceScore

    Notes
    -----
    An object counts from the first frame on which the ground truth shows it. Where it is absent later, J and F
    are 1 for an empty prediction, else 0. Objects that are only predicted do not count.

    Raises
    ------
    ValueError
        When shapes differ, nothing is labelled in the ground truth, or no frame of any object is left.
    """
    a, b = _labels(predicted, 3), _labels(true, 3)
    _same_shape(a, b)
    if matching not in ("ids", "overlap"):
        raise ValueError(f"matching must be 'ids' or 'overlap', got {matching!r}")
    ids = [int(i) for i in np.unique(b) if i != 0]
    if not ids:
        raise ValueError("the ground truth has no objects: nothing to compare with")
    flags = None if visible is None else np.asarray(visible, bool)
    if flags is not None and flags.shape != (len(b), len(ids)):
        raise ValueError(f"visible must be (frames, objects) = {(len(b), len(ids))}, got {flags.shape}")
    known = {int(i) for i in np.unique(a)}
    pairs = match_by_overlap(a, b) if matching == "overlap" else {i: i for i in ids if i in known}
    objects = [evaluate_object(a, b, i, pairs.get(i), excluded_frames, tolerance) for i in ids]
    right, absent = _visibility(a, b, objects, flags)
    counted = tuple(one for one in objects if one.frames)
    if not counted:
        raise ValueError("no frame is left to compare: exclude fewer frames")
    return SequenceScore(counted, identity_switches(a, b), right, absent)

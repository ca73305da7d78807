"""Facts about every object on every frame, cheap enough to be measured while frames are tracked (numpy, scipy)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label

from napari_sam2.masks import BoolArray, FrameMasks, mask_box

_FAR = 0.5  # gap between two pieces, in diameters of the larger one, from which on they lie far apart


@dataclass(frozen=True)
class FrameFact:
    """Facts about one object on one frame.

    Parameters
    ----------
    object_id, frame : int
        Of what.
    prompted : bool
        It has a prompt there.
    object_score : float
        Above 0: the model sees the object.
    predicted_iou : float
        The model's own estimate of the quality of the mask.
    area : int
        Pixels.
    center : tuple of float or None
        (x, y) of the centroid; None when the mask is empty.
    scattered : float
        Part of the area in pieces that lie far from the largest one.
    split : float
        Area of the second largest piece over that of the largest; 0: one piece.
    overlap : float
        Part of the area that other objects have as well.
    border : float
        Pixels on the border of the frame, over the diameter of a disc of this area.
    """

    object_id: int
    frame: int
    prompted: bool
    object_score: float
    predicted_iou: float
    area: int
    center: tuple[float, float] | None
    scattered: float = 0.0
    split: float = 0.0
    overlap: float = 0.0
    border: float = 0.0


class ObjectFacts:
    """Facts about one object over all frames, growing in place.

    Parameters
    ----------
    count : int
        Number of frames, T.

    Attributes
    ----------
    prompted : ndarray of bool, shape (T,)
        Frames with a prompt.
    object_scores, predicted_ious, areas, scattered, splits, overlaps, borders : ndarray of float32, shape (T,)
        As in :class:`FrameFact`; NaN where there is no result.
    centers : ndarray of float32, shape (T, 2)
        Centroids (x, y); NaN also where the mask is empty.
    """

    def __init__(self, count: int) -> None:
        self.prompted = np.zeros(count, bool)
        self.numbers = np.full((9, count), np.nan, np.float32)
        self.object_scores, self.predicted_ious, self.areas = self.numbers[:3]
        self.centers = self.numbers[3:5].T
        self.scattered, self.splits, self.overlaps, self.borders = self.numbers[5:]

    def put(self, fact: FrameFact) -> None:
        """Set what is known of one frame; ``prompted`` is set apart."""
        x, y = fact.center or (np.nan, np.nan)
        shape = (fact.scattered, fact.split, fact.overlap, fact.border)
        self.numbers[:, fact.frame] = (fact.object_score, fact.predicted_iou, fact.area, x, y, *shape)

    def clear(self, frame: int) -> bool:
        """Drop a frame; return whether something was known of it."""
        known = bool(np.isfinite(self.areas[frame]))
        self.numbers[:, frame] = np.nan
        return known

    @property
    def known(self) -> NDArray[np.bool_]:
        """Frames with a result, bool (T,)."""
        return np.asarray(np.isfinite(self.areas))

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Frames with a mask that is not empty, bool (T,)."""
        return np.asarray(np.nan_to_num(self.areas) > 0)


def facts_of(found: FrameMasks) -> tuple[FrameFact, ...]:
    """Measure every mask of a frame."""
    owners = np.zeros(found.size, np.uint8)
    boxes = [mask_box(mask) for mask in found.masks]
    for mask, box in zip(found.masks, boxes):
        if box is not None:
            here = np.s_[box[1] : box[3], box[0] : box[2]]
            owners[here] += mask[here] & (owners[here] < 2)
    facts = []
    for row, (object_id, box) in enumerate(zip(found.object_ids, boxes)):
        scores = (
            bool(found.prompted[row]),
            float(found.object_scores[row]),
            float(found.predicted_ious[row]),
        )
        if box is None:
            facts.append(FrameFact(object_id, found.frame, *scores, 0, None))
            continue
        here = np.s_[box[1] : box[3], box[0] : box[2]]
        area, center = _area_and_center(found.masks[row][here], box)
        shared = np.count_nonzero(owners[here][found.masks[row][here]] > 1) / area
        pieces = _pieces(found.masks[row][here])
        border = _border_pixels(found.masks[row]) / (2 * np.sqrt(area / np.pi))
        facts.append(FrameFact(object_id, found.frame, *scores, area, center, *pieces, shared, float(border)))
    return tuple(facts)


def _area_and_center(crop: BoolArray, box: tuple[int, int, int, int]) -> tuple[int, tuple[float, float]]:
    columns, rows = crop.sum(0), crop.sum(1)
    area = int(columns.sum())
    x = float((columns * np.arange(len(columns))).sum() / area) + box[0]
    y = float((rows * np.arange(len(rows))).sum() / area) + box[1]
    return area, (x, y)


def _pieces(crop: BoolArray) -> tuple[float, float]:
    """Return the part of the area that lies far from the largest piece, and the second largest over the largest."""
    labels, count = label(crop, np.ones((3, 3), int))
    if count < 2:
        return 0.0, 0.0
    areas = np.bincount(labels.ravel())[1:]
    order = np.argsort(-areas)
    boxes = [
        (np.array([s.start for s in box]), np.array([s.stop - 1 for s in box]))
        for box in find_objects(labels)
    ]
    low, high = boxes[order[0]]
    reach = _FAR * 2 * np.sqrt(areas[order[0]] / np.pi)
    far = 0
    for piece in order[1:20]:  # smaller ones hardly count
        first, last = boxes[piece]
        gap = np.maximum(np.maximum(low - last, first - high), 0)
        far += int(areas[piece]) if np.hypot(*gap) > reach else 0
    return far / int(areas.sum()), float(areas[order[1]] / areas[order[0]])


def _border_pixels(mask: BoolArray) -> int:
    return int(mask[0].sum() + mask[-1].sum() + mask[1:-1, 0].sum() + mask[1:-1, -1].sum())

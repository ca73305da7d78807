"""Greedy suppression on boxes."""

import numpy as np
import pytest

from napari_sam2.automatic.nms import suppress


def iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union else 0.0


def one_by_one(boxes, scores, threshold):
    kept = []
    for row in sorted(range(len(boxes)), key=lambda r: (-scores[r], r)):
        if all(iou(boxes[row], boxes[k]) <= threshold for k in kept):
            kept.append(row)
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
def test_same_as_one_by_one(threshold):
    rng = np.random.default_rng(5)
    corner, size = rng.integers(0, 40, (120, 2)), rng.integers(1, 30, (120, 2))
    boxes = np.concatenate([corner, corner + size], 1).astype(np.float32)
    scores = rng.integers(0, 12, 120).astype(np.float32)  # with many equals
    kept = suppress(boxes, scores, threshold)
    assert kept.tolist() == one_by_one(boxes, scores, threshold)
    assert threshold == 1.0 or len(kept) < 120


def test_a_suppressed_box_suppresses_nothing():
    #  a ----------
    #       b ----------      b overlaps both; a and c do not overlap enough
    #            c ----------
    boxes = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], np.float32)
    assert suppress(boxes, np.array([0.9, 0.8, 0.7], np.float32), 0.3).tolist() == [0, 2]


def test_boxes_without_area_and_no_boxes():
    boxes = np.zeros((3, 4), np.float32)
    assert suppress(boxes, np.array([1, 3, 2], np.float32), 0.5).tolist() == [1, 2, 0]
    assert suppress(np.empty((0, 4), np.float32), np.empty(0, np.float32), 0.5).tolist() == []
    with pytest.raises(ValueError, match="3 boxes need as many scores, got 2"):
        suppress(boxes, np.zeros(2, np.float32), 0.5)

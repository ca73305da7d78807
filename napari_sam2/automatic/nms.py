"""Of several masks of the same thing, keep one: greedy non-maximum suppression on boxes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def suppress(boxes: NDArray[np.float32], scores: NDArray[np.float32], threshold: float) -> NDArray[np.int64]:
    """Keep the best boxes and drop those that overlap a better one too much.

    Parameters
    ----------
    boxes : ndarray of float32, shape (N, 4)
        (x0, y0, x1, y1).
    scores : ndarray of float32, shape (N,)
        Higher is better; of equals the first is better.
    threshold : float
        Largest intersection over union that two kept boxes may have.

    Returns
    -------
    ndarray of int64
        Rows that are kept, best first (the order of the reference, which uses ``torchvision.ops.nms``).
    """
    if len(boxes) != len(scores):
        raise ValueError(f"{len(boxes)} boxes need as many scores, got {len(scores)}")
    order = np.argsort(-scores, kind="stable")
    x0, y0, x1, y1 = np.ascontiguousarray(boxes[order].T)  # (4, N), contiguous rows
    areas = (x1 - x0) * (y1 - y0)
    kept = []
    left = np.arange(len(order))
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        if not len(left):
            break
        width = np.minimum(x1[best], x1[left]) - np.maximum(x0[best], x0[left])
        height = np.minimum(y1[best], y1[left]) - np.maximum(y0[best], y0[left])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        # Multiplied out, so that boxes without area (0 / 0) suppress nothing.
        left = left[shared <= np.float32(threshold) * (areas[best] + areas[left] - shared)]
    out: NDArray[np.int64] = order[np.array(kept, np.int64)]
    return out

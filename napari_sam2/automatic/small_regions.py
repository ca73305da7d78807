"""Clean masks: fill small holes, remove small islands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_EIGHT = np.ones((3, 3), int)
BoolArray = NDArray[np.bool_]


def without_small_regions(mask: BoolArray, area: int) -> tuple[BoolArray, bool]:
    """Fill holes and remove islands smaller than ``area`` pixels; the largest island always stays.

    Counterpart: ``remove_small_regions``, for holes, then for islands, as the reference documents it for
    ``min_mask_region_area`` (and, on a CPU, never does it).

    Parameters
    ----------
    mask : ndarray of bool, shape (H, W)
        A mask, or the part of it inside its box.
    area : int
        Smallest region that stays as it is.

    Returns
    -------
    ndarray of bool
        The cleaned mask.
    bool
        True when anything changed.
    """
    # Background outside the array is large: a frame of one pixel joins it to the background inside.
    framed = np.pad(mask, 1)
    holes = _small(~framed, area)
    framed = framed | holes
    islands = _small(framed, area)
    if (islands == framed).all() and framed.any():
        labels, count = ndimage.label(framed, _EIGHT)
        largest = np.bincount(labels.ravel(), minlength=count + 1)[1:].argmax() + 1
        islands &= labels != largest
    changed = bool(holes.any() or islands.any())
    return (framed & ~islands)[1:-1, 1:-1], changed


def _small(mask: BoolArray, area: int) -> BoolArray:
    labels, count = ndimage.label(mask, _EIGHT)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    areas[0] = area
    small: BoolArray = (areas < area)[labels]
    return small

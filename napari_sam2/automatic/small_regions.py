"""Clean masks: fill small holes, remove small islands."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_EIGHT = np.ones((3, 3), int)
BoolArray = NDArray[np.bool_]


def without_small_regions(
    mask: BoolArray, area: int, size: tuple[int, int] | None = None, corner: tuple[int, int] = (0, 0)
) -> tuple[BoolArray, bool]:
    """Fill holes and remove islands smaller than ``area`` pixels; the largest island always stays.

    Counterpart: ``remove_small_regions``, for holes, then for islands. Background at the edge of the image that a mask
    cuts off from the rest is a hole like any other.

    Parameters
    ----------
    mask : ndarray of bool, shape (h, w)
        A mask, or the part of it inside its box.
    area : int
        Smallest region that stays as it is.
    size : tuple of int, optional
        (height, width) of the whole image; default: that of ``mask``.
    corner : tuple of int
        (x, y) of the upper left corner of ``mask`` on the image.

    Returns
    -------
    ndarray of bool, shape (h, w)
        The cleaned mask.
    bool
        True when there was a small region, as the reference counts: also one that stays because it is the largest.
    """
    holes = _small_holes(mask, area, size or (mask.shape[0], mask.shape[1]), corner)
    filled = mask | holes
    labels, areas = _regions(filled)
    small = areas < area
    changed = bool(holes.any() or small[1:].any())
    if small[1:].all() and len(areas) > 1:
        small[areas[1:].argmax() + 1] = False
    small[0] = False
    out: BoolArray = filled & ~small[labels]
    return out, changed


def _small_holes(mask: BoolArray, area: int, size: tuple[int, int], corner: tuple[int, int]) -> BoolArray:
    """Return the regions of background (h, w) that have fewer than ``area`` pixels on the whole image."""
    (height, width), (x0, y0) = mask.shape, corner
    left, top = int(x0 > 0), int(y0 > 0)
    right, bottom = int(x0 + width < size[1]), int(y0 + height < size[0])
    # One more pixel on each side that is not the image's edge: there the background goes on.
    framed = np.pad(mask, ((top, bottom), (left, right)))
    labels, areas = _regions(~framed)
    before, after = (x0 - left) * size[0], (size[1] - x0 - width - right) * size[0]
    above, below = (y0 - top) * size[1], (size[0] - y0 - height - bottom) * size[1]
    if left and right and not (top or bottom):  # two sides that the mask separates
        sides = [(labels[0, 0], before), (labels[0, -1], after)]
    elif top and bottom and not (left or right):
        sides = [(labels[0, 0], above), (labels[-1, 0], below)]
    else:  # the added pixels are connected, and all that lies beyond them with them
        one = labels[0, 0] if left or top else labels[-1, -1]
        sides = [(one, size[0] * size[1] - framed.size)]
    for label, beyond in sides:
        areas[label] += beyond
    small = areas < area
    small[0] = False
    holes: BoolArray = small[labels][top : top + height, left : left + width]
    return holes


def _regions(mask: BoolArray) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return labels (H, W) of 8-connected regions, and the area of each; 0 is what is outside."""
    labels, count = ndimage.label(mask, _EIGHT)
    return labels, np.bincount(labels.ravel(), minlength=count + 1)

"""Low-resolution logits at the size of the frame, in pieces that fit a fixed amount of memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

# 32 MiB of float32: larger arrays are mapped and unmapped by the C library on every call.
PIXELS_AT_ONCE = 1 << 23
FloatArray = NDArray[np.float32]


def enlarged_bands(logits: Tensor, size: tuple[int, int]) -> Iterator[tuple[Tensor, int]]:
    """Enlarge one mask's logits (h, w) to the frame in bands of rows; yields (band (rows, W), first row).

    Bilinear like the reference's ``postprocess_masks``; what fits at once is done at once.
    """
    height, width = size
    if height * width <= PIXELS_AT_ONCE:
        whole = functional.interpolate(logits[None, None], size=size, mode="bilinear", align_corners=False)
        yield whole[0, 0], 0
        return
    rows = max(1, PIXELS_AT_ONCE // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        low, high, part = _sources(top, bottom, height, logits.shape[0])
        weight = torch.from_numpy(part)[:, None].to(logits.device)
        strip = logits[low] * (1 - weight) + logits[high] * weight  # (rows, w)
        yield _widened(strip, width), top


def _widened(strip: Tensor, width: int) -> Tensor:
    wide = functional.interpolate(
        strip[None, None], size=(len(strip), width), mode="bilinear", align_corners=False
    )
    return wide[0, 0]


def enlarged_part(
    values: FloatArray,
    grid: tuple[int, int],
    origin: tuple[int, int],
    size: tuple[int, int],
    part: tuple[int, int, int, int],
) -> FloatArray:
    """Enlarge a window of a low-resolution grid, bilinear, to some pixels of the frame.

    Parameters
    ----------
    values : ndarray of float32, shape (a, b)
        The window.
    grid : tuple of int
        (h, w) of the whole grid.
    origin : tuple of int
        Row and column of the grid where the window starts.
    size : tuple of int
        (H, W) of the frame that the grid covers.
    part : tuple of int
        (x0, y0, x1, y1), pixels of the frame; their sources must lie in the window.
    """
    x0, y0, x1, y1 = part
    low, high, weight = _sources(y0, y1, size[0], grid[0])
    # Clipped, because a source with weight 0 may lie one cell beyond the window.
    inside = np.clip([low - origin[0], high - origin[0]], 0, values.shape[0] - 1)
    top = values[inside[0]]
    rows = top + (values[inside[1]] - top) * weight[:, None]
    low, high, weight = _sources(x0, x1, size[1], grid[1])
    inside = np.clip([low - origin[1], high - origin[1]], 0, values.shape[1] - 1)
    left = rows[:, inside[0]]
    out: FloatArray = left + (rows[:, inside[1]] - left) * weight
    return out


def _sources(
    start: int, stop: int, length: int, cells: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """For pixels start…stop of ``length``: the two cells (of ``cells``) each lies between, and the second's weight."""
    position = (np.arange(start, stop, dtype=np.float64) + 0.5) * cells / length - 0.5
    position = np.clip(position, 0, cells - 1)
    low = position.astype(np.int64)
    return low, np.minimum(low + 1, cells - 1), (position - low).astype(np.float32)

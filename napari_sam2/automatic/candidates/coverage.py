"""A part of the frame that masks are compared with, at the frame's size and at that of the network's output."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_sam2.automatic.sampling.crops import Crop


class CoverageMask:
    """Some pixels of a frame.

    Parameters
    ----------
    name : str
        Name of these pixels, for messages.
    values : array_like, shape (H, W)
        Everything that is not zero belongs to it.
    """

    def __init__(self, name: str, values: ArrayLike) -> None:
        array: NDArray[Any] = np.asarray(values)
        if array.ndim != 2:
            raise ValueError(f"the {name} must have two axes (H, W), got {array.shape}")
        self.name = name
        self.mask: NDArray[np.bool_] = array if array.dtype == bool else array != 0
        self._cells: dict[tuple[Crop, tuple[int, int]], NDArray[np.float32]] = {}

    def check(self, size: tuple[int, int]) -> None:
        """Raise ValueError when it is not as large as the frame."""
        if self.mask.shape != tuple(size):
            raise ValueError(
                f"the {self.name} has the shape {self.mask.shape}, the image {tuple(size)}: they must be the same"
            )

    def cells(self, crop: Crop, grid: tuple[int, int]) -> NDArray[np.float32]:
        """Return how much of each cell of a grid over the crop belongs to it, 0 to 1, float32 (h, w)."""
        if (crop, grid) not in self._cells:
            part = self.mask[crop.y0 : crop.y1, crop.x0 : crop.x1]
            self._cells[crop, grid] = _averaged(_averaged(part, grid[0], 0), grid[1], 1)
        return self._cells[crop, grid]


def _averaged(values: NDArray[Any], cells: int, axis: int) -> NDArray[np.float32]:
    length = values.shape[axis]
    if length < cells:
        nearest = ((np.arange(cells) + 0.5) * length / cells).astype(int)
        return np.asarray(np.take(values, nearest, axis), np.float32)
    edges = np.arange(cells) * length // cells
    sums = np.add.reduceat(values, edges, axis=axis, dtype=np.float32)
    shape = [1, 1]
    shape[axis] = cells
    return np.asarray(sums / np.diff(edges, append=length).reshape(shape), np.float32)

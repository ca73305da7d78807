"""Labels of all frames as an array that napari reads, composed from the masks when a frame is looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint16]


class LabelStack:
    """Labels of all frames, uint16 (frames, H, W); can be the data of a napari layer. Nothing is kept on disk.

    Parameters
    ----------
    shape : tuple of int
        (number of frames, height, width).
    compose : callable
        Makes the labels of a frame from its masks.
    """

    dtype = np.dtype(np.uint16)
    ndim = 3

    def __init__(self, shape: tuple[int, int, int], compose: Callable[[int], Labels]) -> None:
        self.shape = shape
        self.frame = compose

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        key = key if isinstance(key, tuple) else (key,)
        first, rest = (key[0], key[1:]) if key and key[0] is not Ellipsis else (slice(None), key)
        if isinstance(first, (int, np.integer)):
            picked: NDArray[Any] = self.frame(range(len(self))[first])[rest]
            return picked
        chosen = range(len(self))[first] if isinstance(first, slice) else np.arange(len(self))[first]
        stack = np.zeros((len(chosen), *self.shape[1:]), self.dtype)
        for row, frame in enumerate(chosen):
            stack[row] = self.frame(int(frame))
        picked = stack[rest] if rest and rest[0] is Ellipsis else stack[(slice(None), *rest)]
        return picked

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)

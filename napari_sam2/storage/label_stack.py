"""Labels of all frames as an array that napari reads, composed from the masks when a frame is looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint16]


class LabelStack:
    """Labels of all frames, uint16 (frames, H, W), that can be the data of a napari layer; ``frame(t)`` returns one."""

    dtype = np.dtype(np.uint16)
    ndim = 3

    def __init__(self, shape: tuple[int, int, int], frame: Callable[[int], Labels]) -> None:
        self.shape = shape
        self.frame = frame

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        first, *rest = (key if isinstance(key, tuple) else (key,)) or (Ellipsis,)
        if first is Ellipsis:
            first, rest = slice(None), [first, *rest]
        frames = range(len(self))  # however many a damaged project says that there are
        if isinstance(first, (int, np.integer)):
            picked: NDArray[Any] = self.frame(frames[first])[tuple(rest)]
            return picked
        chosen = frames[first] if isinstance(first, slice) else np.arange(len(self))[first]
        stack = np.zeros((len(chosen), *self.shape[1:]), self.dtype)
        for row, frame in enumerate(chosen):
            stack[row] = self.frame(int(frame))
        picked = stack[tuple(rest) if rest and rest[0] is Ellipsis else (slice(None), *rest)]
        return picked

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)

"""An array of label frames that napari can show and paint without loading all of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint16]
_CACHE_BYTES = 256 * 2**20
_LARGEST_COPY = 4 * 2**30  # bytes


class FrameArray:
    """Labels of all frames, read and written one by one; the latest are cached.

    Parameters
    ----------
    shape : tuple of int
        Shape of the layer: the last two axes are y and x, all others but the frame axis have length 1.
    frame_axis : int or None
        Axis that counts frames.
    read : callable
        ``read(frame)`` returns uint16 (H, W).
    write : callable, optional
        ``write(frame, labels)`` is called after a change.
    """

    dtype = np.dtype(np.uint16)

    def __init__(
        self,
        shape: tuple[int, ...],
        frame_axis: int | None,
        read: Callable[[int], Frame],
        write: Callable[[int, Frame], None] | None = None,
    ) -> None:
        self.shape = shape
        self.ndim = len(shape)
        self._axis = frame_axis
        self._read = read
        self._write = write
        self._cache: OrderedDict[int, Frame] = OrderedDict()
        self._capacity = max(2, _CACHE_BYTES // max(1, 2 * shape[-1] * shape[-2]))

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array, were it in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def frame(self, frame: int) -> Frame:
        """Return the labels of a frame (H, W); do not change them in place."""
        if frame not in self._cache:
            self.put(frame, self._read(frame))
        self._cache.move_to_end(frame)
        return self._cache[frame]

    def put(self, frame: int, labels: Frame) -> None:
        """Replace the labels (H, W) of a frame without writing them anywhere."""
        self._cache[frame] = labels
        self._cache.move_to_end(frame)
        while len(self._cache) > self._capacity:
            self._cache.popitem(last=False)

    def set_source(
        self, read: Callable[[int], Frame], write: Callable[[int, Frame], None] | None = None
    ) -> None:
        """Replace the callables that read and write frames."""
        self._read, self._write = read, write
        self.forget()

    def __deepcopy__(self, memo: object) -> NDArray[np.uint16]:
        """Return a plain array: a layer that napari duplicates is independent of the tracker."""
        if self.nbytes > _LARGEST_COPY:
            raise ValueError(
                f"a copy of these labels would take {self.nbytes / 2**30:.1f} GiB of memory: "
                "write them into a file instead (Export)"
            )
        return np.array(self[...])

    def forget(self) -> None:
        """Empty the cache, so that frames are read again."""
        self._cache.clear()

    def __getitem__(self, key: Any) -> NDArray[Any]:
        frames, index = self._resolve(key)
        part: NDArray[Any] = self._gather(frames)[index]
        return part

    def __setitem__(self, key: Any, value: Any) -> None:
        frames, index = self._resolve(key)
        block = self._gather(frames)
        block[index] = value
        for row, frame in enumerate(frames):
            changed = block if self._axis is None else np.take(block, row, axis=self._axis)
            labels = np.array(changed.reshape(self.shape[-2:]))
            self.put(frame, labels)
            if self._write is not None:
                self._write(frame, labels)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype)

    def _gather(self, frames: list[int]) -> NDArray[Any]:
        """Return some frames as an array with the axes of the whole."""
        shape = list(self.shape)
        if self._axis is None:
            return np.array(self.frame(0)).reshape(shape)
        shape[self._axis] = len(frames)
        block = np.empty(shape, self.dtype)
        view = np.moveaxis(block, self._axis, 0)
        for row, frame in enumerate(frames):
            view[row] = self.frame(frame).reshape(view.shape[1:])
        return block

    def _resolve(self, key: Any) -> tuple[list[int], tuple[Any, ...]]:
        """Return the frames that an index touches, and the same index into those frames alone."""
        index = _full_index(key, self.ndim)
        if self._axis is None:
            return [0], index
        length = self.shape[self._axis]
        along = index[self._axis]
        if isinstance(along, slice):
            frames = list(range(*along.indices(length)))
            return frames, (*index[: self._axis], slice(None), *index[self._axis + 1 :])
        wanted = np.asarray(along)
        wanted = np.flatnonzero(wanted) if wanted.dtype == bool else wanted
        if wanted.size and (wanted.min() < -length or wanted.max() >= length):
            raise IndexError(f"frame {wanted.max()} is out of range: there are {length} frames")
        unique, rows = np.unique(wanted % length, return_inverse=True)
        rows = rows.reshape(wanted.shape)
        along = int(rows) if rows.ndim == 0 else rows
        return [int(f) for f in unique], (*index[: self._axis], along, *index[self._axis + 1 :])


def _full_index(key: Any, ndim: int) -> tuple[Any, ...]:
    index = key if isinstance(key, tuple) else (key,)
    dots = [i for i, part in enumerate(index) if part is Ellipsis]
    if dots:
        fill = (slice(None),) * (ndim - len(index) + 1)
        index = (*index[: dots[0]], *fill, *index[dots[0] + 1 :])
    if len(index) > ndim:
        raise IndexError(f"this array has {ndim} axes, the index has {len(index)}")
    return (*index, *(slice(None),) * (ndim - len(index)))

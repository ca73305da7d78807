"""An array of label frames that napari can show and paint, without ever being whole in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint16]
_KEPT_BYTES = 256 * 2**20
_COPIED_BYTES = 4 * 2**30


class FrameArray:
    """Labels of all frames, read and written frame by frame.

    Parameters
    ----------
    shape : tuple of int
        As the layer shows it; the last two axes are y and x, all others but the travelled one have length 1.
    frame_axis : int or None
        Which axis counts frames.
    read : callable
        ``read(frame)`` gives uint16 (H, W).
    write : callable, optional
        ``write(frame, labels)`` is called after somebody painted.
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
        self._kept: OrderedDict[int, Frame] = OrderedDict()
        self._room = max(2, _KEPT_BYTES // max(1, 2 * shape[-1] * shape[-2]))

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes that a whole copy would take."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def frame(self, frame: int) -> Frame:
        """Return the labels of a frame (H, W); do not change them in place."""
        kept = self._kept.get(frame)
        if kept is None:
            kept = self._read(frame)
            self.put(frame, kept)
        else:
            self._kept.move_to_end(frame)
        return kept

    def put(self, frame: int, labels: Frame) -> None:
        """Show these labels (H, W) on a frame from now on, without writing them anywhere."""
        self._kept[frame] = labels
        self._kept.move_to_end(frame)
        while len(self._kept) > self._room:
            self._kept.popitem(last=False)

    def serve(self, read: Callable[[int], Frame], write: Callable[[int, Frame], None] | None = None) -> None:
        """Take the labels from elsewhere from now on, and tell somebody else what is painted."""
        self._read, self._write = read, write
        self.forget()

    def __deepcopy__(self, memo: object) -> NDArray[np.uint16]:
        """Return the labels as they are now: what napari duplicates is no longer ours."""
        if self.nbytes > _COPIED_BYTES:
            raise ValueError(
                f"a copy of these labels would take {self.nbytes / 2**30:.1f} GiB of memory: "
                "write them into a file instead (Export)"
            )
        return np.array(self[...])

    def forget(self) -> None:
        """Read every frame anew when it is looked at."""
        self._kept.clear()

    def __getitem__(self, key: Any) -> NDArray[Any]:
        frames, index = self._located(key)
        part: NDArray[Any] = self._gathered(frames)[index]
        return part

    def __setitem__(self, key: Any, value: Any) -> None:
        frames, index = self._located(key)
        block = self._gathered(frames)
        block[index] = value
        for row, frame in enumerate(frames):
            changed = block if self._axis is None else np.take(block, row, axis=self._axis)
            labels = np.array(changed.reshape(self.shape[-2:]))
            self.put(frame, labels)
            if self._write is not None:
                self._write(frame, labels)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype)

    def _gathered(self, frames: list[int]) -> NDArray[Any]:
        """Put some frames together, in the layout of the array with only these frames."""
        shape = list(self.shape)
        if self._axis is None:
            return np.array(self.frame(0)).reshape(shape)
        shape[self._axis] = len(frames)
        block = np.empty(shape, self.dtype)
        view = np.moveaxis(block, self._axis, 0)
        for row, frame in enumerate(frames):
            view[row] = self.frame(frame).reshape(view.shape[1:])
        return block

    def _located(self, key: Any) -> tuple[list[int], tuple[Any, ...]]:
        """Find which frames an index touches, and the same index into these frames alone."""
        index = _whole_index(key, self.ndim)
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
        place = int(rows) if rows.ndim == 0 else rows
        return [int(f) for f in unique], (*index[: self._axis], place, *index[self._axis + 1 :])


def _whole_index(key: Any, ndim: int) -> tuple[Any, ...]:
    index = key if isinstance(key, tuple) else (key,)
    dots = [i for i, part in enumerate(index) if part is Ellipsis]
    if dots:
        fill = (slice(None),) * (ndim - len(index) + 1)
        index = (*index[: dots[0]], *fill, *index[dots[0] + 1 :])
    if len(index) > ndim:
        raise IndexError(f"this array has {ndim} axes, the index has {len(index)}")
    return (*index, *(slice(None),) * (ndim - len(index)))

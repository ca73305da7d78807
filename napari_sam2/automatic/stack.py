"""Automatic masks of several frames, one after the other or lazily; nothing is linked here."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_sam2.automatic.mask_generator import generate_masks
from napari_sam2.automatic.options import AutomaticOptions
from napari_sam2.automatic.result import AutomaticResult, Order
from napari_sam2.model.sam2 import Sam2
from napari_sam2.session.image import ImageSession
from napari_sam2.session.protocols import FrameSource


def generate_stack(
    model: Sam2,
    frames: FrameSource,
    options: AutomaticOptions | None = None,
    indices: Iterable[int] | None = None,
) -> Iterator[tuple[int, AutomaticResult]]:
    """Yield (frame, masks) for some frames of a video (default: all), one at a time."""
    session = ImageSession(model)
    for index in range(len(frames)) if indices is None else indices:
        yield index, generate_masks(session, frames.frame(checked_index(index, len(frames))), options)


def checked_index(index: int, count: int) -> int:
    """Return a frame index, or raise ValueError when there is no such frame."""
    if not 0 <= index < count:
        raise ValueError(f"there is no frame {index}: the video has frames 0 to {count - 1}")
    return index


def lazy_labels(
    model: Sam2,
    frames: FrameSource,
    options: AutomaticOptions | None = None,
    order: Order = "area",
    dtype: DTypeLike = np.uint16,
) -> da.Array:
    """Return a dask array (T, H, W) of labels; a frame's masks are found when the frame is looked at.

    Labels of neighbouring frames are not linked: object 1 of frame 0 is not object 1 of frame 1. Tracking links.
    """
    height, width = frames.size
    find = _FrameLabels(model, frames, options or AutomaticOptions(), order, np.dtype(dtype))
    labels: da.Array = da.map_blocks(  # type: ignore[no-untyped-call]
        find,
        chunks=((1,) * len(frames), (height,), (width,)),
        dtype=dtype,
        meta=np.empty((0, 0, 0), dtype),
    )
    return labels


class _FrameLabels:
    """Computes one block of the lazy array; one at a time, because the network has one image at a time."""

    def __init__(
        self, model: Sam2, frames: FrameSource, options: AutomaticOptions, order: Order, dtype: np.dtype[Any]
    ) -> None:
        self._session = ImageSession(model)
        self._frames, self._options, self._order, self._dtype = frames, options, order, dtype
        self._lock = threading.Lock()

    def __call__(self, block_id: tuple[int, ...] | None = None) -> NDArray[Any]:
        assert block_id is not None  # dask fills it in
        with self._lock:
            result = generate_masks(self._session, self._frames.frame(block_id[0]), self._options)
        return result.labels(self._order, self._dtype)[None]

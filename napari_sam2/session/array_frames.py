"""Frames that are already an array of RGB or grey bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ArrayFrames:
    """A video that is already there as 8-bit pixels.

    For 16-bit, float, multi-channel or lazily computed data use ``napari_sam2.frames.FrameStack``, which
    also decides how intensities are stretched.

    Parameters
    ----------
    frames : ndarray or sequence of ndarray, dtype uint8
        (T, H, W) grey, (T, H, W, 1) grey or (T, H, W, 3) RGB.
    """

    def __init__(self, frames: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> None:
        if len(frames) == 0:
            raise ValueError("a video needs at least one frame, this one has none")
        first = rgb_frame(frames[0])
        self._frames = frames
        self._size = (first.shape[0], first.shape[1])

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame."""
        return self._size

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Return one frame as uint8 RGB (H, W, 3)."""
        return rgb_frame(self._frames[index])


def rgb_frame(pixels: Any) -> NDArray[np.uint8]:
    """Return pixels as uint8 RGB (H, W, 3).

    Parameters
    ----------
    pixels : ndarray of uint8
        (H, W), (H, W, 1) or (H, W, 3).

    Raises
    ------
    TypeError
        Pixels that are not bytes: how they are stretched is not ours to guess.
    ValueError
        Another shape, or no pixels.
    """
    array = np.asarray(pixels)
    if array.dtype != np.uint8:
        hint = "" if array.dtype.kind != "f" or np.isfinite(array).all() else " (and some are not finite)"
        raise TypeError(
            f"frames must be uint8, these are {array.dtype}{hint}: convert them, "
            "or wrap them in napari_sam2.frames.FrameStack, which stretches the contrast"
        )
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3):
        raise ValueError(f"a frame must be (H, W), (H, W, 1) or (H, W, 3), not {array.shape}")
    if array.size == 0:
        raise ValueError(f"a frame needs at least one pixel, this one has shape {array.shape}")
    return np.broadcast_to(array, (*array.shape[:2], 3))


def checked_frame(pixels: Any, frame: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return what a frame source gave, after making sure it is uint8 RGB of the promised size."""
    array = rgb_frame(pixels)
    if array.shape[:2] != tuple(size):
        raise ValueError(
            f"frame {frame} is {array.shape[0]} × {array.shape[1]} (height × width) but the video is "
            f"{size[0]} × {size[1]}: all frames must have one size"
        )
    return array

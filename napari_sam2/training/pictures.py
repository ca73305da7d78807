"""Pictures for the model card: what the network said against what is true, successes and failures alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.segmentation import find_boundaries

__all__ = ["outlined", "picture_strip"]

Mask = NDArray[np.bool_]
COLOURS = np.array(
    [(255, 80, 60), (70, 170, 255), (90, 220, 90), (255, 190, 40), (220, 110, 255), (60, 230, 220)],
    np.float32,
)
TRUTH = np.array((255, 255, 255), np.float32)


def outlined(frame: NDArray[np.uint8], predicted: Mask, true: Mask, height: int = 200) -> NDArray[np.uint8]:
    """Draw masks over a frame: predictions tinted in one colour per object, true outlines in white.

    Parameters
    ----------
    frame : ndarray, (H, W, 3) uint8
        Is scaled to `height` pixels first.
    predicted, true : ndarray, (N, H, W) bool
        The same objects in the same order.
    height : int
        Of the picture.

    Returns
    -------
    ndarray, (height, width, 3) uint8
    """
    width = max(1, round(height * frame.shape[1] / frame.shape[0]))
    scaled = Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR)
    picture = np.asarray(scaled).astype(np.float32)
    edges = np.zeros((height, width), bool)
    for index, (said, truth) in enumerate(zip(predicted, true, strict=True)):
        inside = _enlarged(said, (height, width))
        picture[inside] = 0.55 * picture[inside] + 0.45 * COLOURS[index % len(COLOURS)]
        edges |= find_boundaries(_enlarged(truth, (height, width)), mode="inner")  # type: ignore[no-untyped-call]
    picture[edges] = TRUTH
    return picture.round().astype(np.uint8)


def picture_strip(
    frames: NDArray[np.uint8], predicted: Mask, true: Mask, times: Sequence[int], height: int = 200
) -> NDArray[np.uint8]:
    """Put the frames of `times` side by side, each as `outlined` draws it.

    Parameters
    ----------
    frames : ndarray, (T, H, W, 3) uint8
    predicted, true : ndarray, (T, N, H, W) bool
    times : sequence of int
        Frames to show.
    height : int
        Of the picture.
    """
    gap = np.full((height, 4, 3), 255, np.uint8)
    parts = []
    for t in times:
        parts += [outlined(frames[t], predicted[t], true[t], height), gap]
    return np.concatenate(parts[:-1], axis=1)


def _enlarged(mask: Mask, size: tuple[int, int]) -> Mask:
    image = Image.fromarray(mask.astype(np.uint8) * 255).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image) > 127

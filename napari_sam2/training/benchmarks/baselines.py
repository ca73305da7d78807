"""Baselines: copying the first mask, warping it with optical flow, thresholding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.registration import optical_flow_ilk
from skimage.segmentation import watershed

__all__ = ["copied", "flow_warped", "grey", "threshold_watershed"]

Mask = NDArray[np.bool_]
FLOW_RADIUS = 9


def grey(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the mean of the channels of a frame (H, W, 3) in 0..1."""
    mean: NDArray[np.float32] = (frame.astype(np.float32) / 255).mean(-1)
    return mean


def copied(first: Mask, frames: NDArray[np.uint8]) -> Mask:
    """Leave the masks (N, H, W) of frame 0 where they are: (T, N, H, W)."""
    return np.broadcast_to(first, (len(frames), *first.shape))


def flow_warped(first: Mask, frames: NDArray[np.uint8]) -> Mask:
    """Carry the masks (N, H, W) of frame 0 through (T, H, W, 3) with dense optical flow, frame by frame.

    The flow is scikit-image's `optical_flow_ilk` of radius 9; masks are warped with soft edges and
    thresholded at the end only, so that they do not erode.
    """
    height, width = frames.shape[1:3]
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    soft = first.astype(np.float32)
    out = [first]
    before = grey(frames[0])
    for frame in frames[1:]:
        now = grey(frame)
        down, right = optical_flow_ilk(now, before, radius=FLOW_RADIUS)  # type: ignore[no-untyped-call]
        source = np.stack([rows + down, columns + right])
        soft = np.stack([map_coordinates(mask, source, order=1, mode="nearest") for mask in soft])
        out.append(soft > 0.5)
        before = now
    return np.stack(out)


def threshold_watershed(frame: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Label objects classically: Otsu's threshold of the blurred grey image, split by watershed.

    The rarer of the two classes is taken for the objects.

    Parameters
    ----------
    frame : ndarray, (H, W, 3) uint8

    Returns
    -------
    ndarray, (H, W) int32
        0 = background.
    """
    image = gaussian_filter(grey(frame), 1.0)
    if image.max() == image.min():
        return np.zeros(image.shape, np.int32)
    bright = image > threshold_otsu(image)  # type: ignore[no-untyped-call]
    objects = bright if bright.mean() <= 0.5 else ~bright
    depth = gaussian_filter(distance_transform_edt(objects), 1.0)
    regions = objects.astype(np.int32)
    peaks = peak_local_max(depth, min_distance=5, labels=regions)  # type: ignore[no-untyped-call]
    seeds = np.zeros(image.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels = watershed(-depth, seeds, mask=objects)  # type: ignore[no-untyped-call]
    return np.asarray(labels, np.int32)

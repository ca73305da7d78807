"""Division of an image layer into frames; the only conversion between (t, y, x) and (x, y)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
MOST_PIXELS = 24 * 2**20  # of a frame
TIME_NAMES = ("t", "time", "frame", "frames")


@dataclass(frozen=True)
class Reduction:
    """Subsampling of a huge image: a frame is a level of its pyramid, or every n-th pixel of one.

    No detail is lost: the network sees 1024 × 1024 pixels and predicts 256 × 256.

    Parameters
    ----------
    level : int
        Level of a multiscale image.
    stride : int
        Step between the rows and columns of the level that are used.
    steps : tuple of float
        Size (y, x) of a frame's pixel, in pixels at full resolution.
    offsets : tuple of float
        Position (y, x) of a frame's first pixel, in pixels at full resolution.
    """

    level: int = 0
    stride: int = 1
    steps: tuple[float, float] = (1.0, 1.0)
    offsets: tuple[float, float] = (0.0, 0.0)

    def cut(self) -> slice:
        """Return the rows or columns of the level that are used: the middle of each group of ``stride``."""
        return slice(self.stride // 2, None, self.stride)


def reduction_of(levels: Sequence[tuple[int, int]], most: int = MOST_PIXELS) -> Reduction:
    """Return the subsampling that yields frames of about ``most`` pixels at most.

    Parameters
    ----------
    levels : sequence of (height, width)
        Full resolution first, then the coarser levels of a pyramid.
    most : int
        Largest number of pixels in a frame.
    """
    height, width = levels[0]
    needed = math.ceil(math.sqrt(height * width / most))
    if needed <= 1:
        return Reduction()
    # A level much coarser than needed would lose detail: a finer one is strided instead.
    usable = [i for i, (h, w) in enumerate(levels) if max(height / h, width / w) <= 2 * needed]
    level = usable[-1]
    h, w = levels[level]
    stride = max(1, math.ceil(math.sqrt(h * w / most)))
    factors = (height / h, width / w)
    middle = stride // 2
    return Reduction(
        level,
        stride,
        (stride * factors[0], stride * factors[1]),
        (middle * factors[0] + (factors[0] - 1) / 2, middle * factors[1] + (factors[1] - 1) / 2),
    )


@dataclass(frozen=True)
class Geometry:
    """Division of an image layer into frames.

    Parameters
    ----------
    shape : tuple of int
        Shape of the layer at full resolution, without the RGB axis; the last two axes are y and x.
    frame_axis : int or None
        Axis that counts frames (time, z …); None for a single image.
    fixed : tuple of int
        Position on every axis; only used for axes other than the frame axis, y and x.
    size : tuple of int, optional
        (height, width) of a frame; by default that of the layer.
    reduction : Reduction
        Subsampling of the layer's pixels.

    Raises
    ------
    ValueError
        If shape, frame axis and positions do not fit together.
    """

    shape: tuple[int, ...]
    frame_axis: int | None
    fixed: tuple[int, ...]
    size: tuple[int, int] = (0, 0)
    reduction: Reduction = Reduction()

    def __post_init__(self) -> None:
        if len(self.shape) < 2 or min(self.shape) < 1:
            raise ValueError(f"frames need at least two axes with pixels, this image has shape {self.shape}")
        if self.frame_axis is not None and not 0 <= self.frame_axis < len(self.shape) - 2:
            raise ValueError(
                f"axis {self.frame_axis} cannot count frames in an image with {len(self.shape)} axes: "
                "choose one before the last two, which are y and x"
            )
        if len(self.fixed) != len(self.shape):
            raise ValueError(
                f"{len(self.shape)} axes need {len(self.shape)} positions, not {len(self.fixed)}"
            )
        if self.size == (0, 0):
            object.__setattr__(self, "size", self.shape[-2:])

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return 1 if self.frame_axis is None else self.shape[self.frame_axis]

    @property
    def fixed_axes(self) -> tuple[tuple[int, int], ...]:
        """(axis, position) of all axes other than the frame axis, y and x."""
        return tuple((a, self.fixed[a]) for a in range(self.ndim - 2) if a != self.frame_axis)

    @property
    def result_shape(self) -> tuple[int, ...]:
        """Shape of a results layer: fixed axes have length 1, the last two are those of a frame."""
        fixed = {axis for axis, _ in self.fixed_axes}
        return (*(1 if axis in fixed else n for axis, n in enumerate(self.shape[:-2])), *self.size)

    @property
    def reduced(self) -> bool:
        """True if a frame has fewer pixels than the layer."""
        return self.reduction != Reduction()

    @property
    def pixel(self) -> float:
        """Side of a frame's pixel, in pixels at full resolution."""
        return math.sqrt(self.reduction.steps[0] * self.reduction.steps[1])

    @property
    def result_grid(self) -> tuple[FloatArray, FloatArray]:
        """Pixel size and first pixel, each (ndim,), of a results layer in data coordinates of the image."""
        steps, corner = np.ones(self.ndim), np.zeros(self.ndim)
        for axis, position in self.fixed_axes:
            corner[axis] = position
        steps[-2:], corner[-2:] = self.reduction.steps, self.reduction.offsets
        return steps, corner

    def frames_of(self, coordinates: ArrayLike) -> NDArray[np.int64]:
        """Return the frame (N,) of points (N, ndim) in data coordinates; -1 outside the frames."""
        points = np.asarray(coordinates, float).reshape(-1, self.ndim)
        here = np.isfinite(points).all(axis=1)
        whole = np.where(here[:, None], np.round(points), -1).astype(np.int64)
        for axis, position in self.fixed_axes:
            here &= whole[:, axis] == position
        if self.frame_axis is None:
            return np.where(here, 0, -1)
        frames = whole[:, self.frame_axis]
        return np.where(here & (frames >= 0) & (frames < self.n_frames), frames, -1)

    def to_xy(self, coordinates: ArrayLike) -> FloatArray:
        """Convert points (N, ndim) in data coordinates to pixels (x, y) of a frame, (N, 2)."""
        points = np.asarray(coordinates, float).reshape(-1, self.ndim)
        steps, corner = self.result_grid
        return ((points - corner) / steps)[:, [-1, -2]]

    def to_data(self, frame: int, xy: ArrayLike) -> FloatArray:
        """Convert pixels (x, y) of a frame, (N, 2), to data coordinates (N, ndim)."""
        points = np.asarray(xy, float).reshape(-1, 2)
        out = np.tile(np.asarray(self.fixed, float), (len(points), 1))
        if self.frame_axis is not None:
            out[:, self.frame_axis] = frame
        steps, corner = self.result_grid
        out[:, -2:] = points[:, ::-1] * steps[-2:] + corner[-2:]
        return out


def default_frame_axis(shape: Sequence[int], axis_labels: Sequence[str] = ()) -> int | None:
    """Return the most likely frame axis: one named as time, else the first that is longer than 1."""
    leading = len(shape) - 2
    for axis in range(leading):
        if axis < len(axis_labels) and axis_labels[axis].strip().lower() in TIME_NAMES:
            return axis
    for axis in range(leading):
        if shape[axis] > 1:
            return axis
    return 0 if leading else None

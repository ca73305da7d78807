"""Where frames lie in a layer: the only (t, y, x) <-> (x, y) flip, and the way from layer to layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


MOST_PIXELS = 24 * 2**20


@dataclass(frozen=True)
class Reduction:
    """Which pixels of a huge image make a frame: those of a level of its pyramid, or every n-th one.

    The network looks at 1024 pixels each way and answers with a quarter of them, so that nothing is lost.

    Parameters
    ----------
    level : int
        Of a multiscale image.
    stride : int
        Every n-th row and column of the level is taken.
    steps : tuple of float
        Pixels at full resolution from one pixel of a frame to the next, along y and x.
    offsets : tuple of float
        Where the first pixel of a frame lies, in pixels at full resolution along y and x.
    """

    level: int = 0
    stride: int = 1
    steps: tuple[float, float] = (1.0, 1.0)
    offsets: tuple[float, float] = (0.0, 0.0)

    def cut(self) -> slice:
        """Rows or columns of the level that are taken: each the middle of those it stands for."""
        return slice(self.stride // 2, None, self.stride)


def reduction_of(levels: Sequence[tuple[int, int]], most: int = MOST_PIXELS) -> Reduction:
    """Find out which pixels make a frame of at most about ``most`` pixels.

    Parameters
    ----------
    levels : sequence of (height, width)
        At full resolution, and of the further levels of a pyramid.
    most : int
        Pixels of a frame that there is memory and time for.
    """
    height, width = levels[0]
    needed = math.ceil(math.sqrt(height * width / most))
    if needed <= 1:
        return Reduction()
    # A level that is much coarser than needed would cost detail; below it every n-th pixel is taken.
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
    """How an image layer is seen as frames.

    Parameters
    ----------
    shape : tuple of int
        Of the layer at full resolution, without the axis of RGB samples; the last two axes are y and x.
    frame_axis : int or None
        The axis that is travelled (time, z …); None for a single image.
    fixed : tuple of int
        Position on every axis; counts only for axes that are neither travelled nor shown.
    size : tuple of int, optional
        (height, width) of a frame; by default as the layer has them.
    reduction : Reduction
        Which of the layer's pixels make a frame.
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
                f"axis {self.frame_axis} cannot be travelled in an image with {len(self.shape)} axes: "
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
        """(axis, position) of the axes that are neither travelled nor shown."""
        return tuple((a, self.fixed[a]) for a in range(self.ndim - 2) if a != self.frame_axis)

    @property
    def result_shape(self) -> tuple[int, ...]:
        """Shape of a layer of results: fixed axes have length 1, the last two are those of a frame."""
        fixed = {axis for axis, _ in self.fixed_axes}
        return (*(1 if axis in fixed else n for axis, n in enumerate(self.shape[:-2])), *self.size)

    @property
    def reduced(self) -> bool:
        """Whether a frame has fewer pixels than the layer."""
        return self.reduction != Reduction()

    @property
    def pixel(self) -> float:
        """Length of a frame's pixel in pixels at full resolution."""
        return math.sqrt(self.reduction.steps[0] * self.reduction.steps[1])

    @property
    def result_place(self) -> tuple[FloatArray, FloatArray]:
        """Steps and corner (ndim,) of a layer of results, in data coordinates of the image."""
        steps, corner = np.ones(self.ndim), np.zeros(self.ndim)
        for axis, position in self.fixed_axes:
            corner[axis] = position
        steps[-2:], corner[-2:] = self.reduction.steps, self.reduction.offsets
        return steps, corner

    def frames_of(self, coordinates: ArrayLike) -> NDArray[np.int64]:
        """Return the frame of each point (N, ndim) in data coordinates; -1 where it lies elsewhere."""
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
        """Return (x, y) of points (N, ndim) in data coordinates."""
        points = np.asarray(coordinates, float).reshape(-1, self.ndim)
        steps, corner = self.result_place
        return ((points - corner) / steps)[:, [-1, -2]]

    def to_data(self, frame: int, xy: ArrayLike) -> FloatArray:
        """Return data coordinates (N, ndim) of points (N, 2) given as (x, y) on a frame."""
        points = np.asarray(xy, float).reshape(-1, 2)
        out = np.tile(np.asarray(self.fixed, float), (len(points), 1))
        if self.frame_axis is not None:
            out[:, self.frame_axis] = frame
        steps, corner = self.result_place
        out[:, -2:] = points[:, ::-1] * steps[-2:] + corner[-2:]
        return out


def default_frame_axis(shape: Sequence[int], axis_labels: Sequence[str] = ()) -> int | None:
    """Return the axis that users most likely want to travel: time by name, else the first with a length."""
    leading = len(shape) - 2
    for axis in range(leading):
        if axis < len(axis_labels) and axis_labels[axis].strip().lower() in ("t", "time", "frame", "frames"):
            return axis
    for axis in range(leading):
        if shape[axis] > 1:
            return axis
    return 0 if leading else None


@dataclass(frozen=True, eq=False)
class LayerTransform:
    """The affine way from the data coordinates of one layer to those of another, through the world."""

    matrix: FloatArray
    offset: FloatArray

    def __call__(self, coordinates: ArrayLike) -> FloatArray:
        """Carry points (N, ndim of the source) over to (N, ndim of the target)."""
        points = np.asarray(coordinates, float).reshape(-1, self.matrix.shape[1])
        carried: FloatArray = points @ self.matrix.T + self.offset
        return carried


def transform_between(source: Any, target: Any) -> LayerTransform:
    """Find the way between two napari layers from public methods alone, by probing with unit vectors."""
    origin = _carried(source, target, np.zeros(source.ndim))
    columns = [_carried(source, target, unit) - origin for unit in np.eye(source.ndim)]
    return LayerTransform(np.stack(columns, axis=1), origin)


def _carried(source: Any, target: Any, point: FloatArray) -> FloatArray:
    return np.asarray(target.world_to_data(source.data_to_world(point)), float)

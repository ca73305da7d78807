"""Image layers as a stack of frames for the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.calibration import Calibration
from napari_sam2.frames.options import ChannelOptions, FrameStackOptions, color_stops
from napari_sam2.frames.stack import FrameStack
from napari_sam2.plugin.layers.geometry import TIME_NAMES, Geometry, Reduction
from napari_sam2.plugin.layers.image_layer import axis_labels_of


def frames_of(images: Sequence[Any], geometry: Geometry) -> FrameStack:
    """Return the frames that the model sees, with the contrast that the viewer shows now; each is read on demand."""
    first = images[0]
    lead = 0 if len(images) == 1 else 1  # several layers get a leading channel axis
    limits = [tuple(float(v) for v in image.contrast_limits) for image in images]
    rgb = bool(first.rgb)
    channels = tuple(
        ChannelOptions(
            index=i,
            contrast_limits=None if rgb else (limits[i][0], limits[i][1]),
            gamma=float(image.gamma),
            color=color_stops("gray" if rgb else image.colormap.map(np.linspace(0, 1, 256))),
        )
        for i, image in enumerate(images)
    )
    axis = geometry.frame_axis
    options = FrameStackOptions(
        axis=None if axis is None else axis + lead,
        plane=(geometry.ndim - 2 + lead, geometry.ndim - 1 + lead),
        fixed=tuple((axis + lead, position) for axis, position in geometry.fixed_axes),
        channel_axis=geometry.ndim if rgb else (0 if lead else None),
        rgb=rgb,
        channels=channels,
    )
    arrays = [_array_of(image, geometry.reduction) for image in images]
    return FrameStack(Channels(arrays) if lead else arrays[0], options)


class Uncached:
    """A dask array that any thread may read at the same time as napari.

    napari registers a cache for all dask computations that is not thread-safe; computations here bypass it.
    """

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape, self.dtype, self.ndim = tuple(array.shape), array.dtype, array.ndim

    def __getitem__(self, key: Any) -> NDArray[Any]:
        part = self._array[key]
        return np.asarray(part.compute(scheduler="threads", callbacks=()))


class Strided:
    """Every n-th row and column of an array that is read image by image, such as a zarr array."""

    def __init__(self, array: Any, cut: slice, rgb: bool) -> None:
        self._array = array
        self._cut = (..., cut, cut, slice(None)) if rgb else (..., cut, cut)
        self._inner = 3 if rgb else 2
        rows, columns = (len(range(array.shape[axis - self._inner])[cut]) for axis in (0, 1))
        self.shape = (
            *array.shape[: -self._inner],
            rows,
            columns,
            *array.shape[array.ndim - self._inner + 2 :],
        )
        self.dtype, self.ndim = array.dtype, array.ndim

    def __getitem__(self, key: Any) -> NDArray[Any]:
        key = key if isinstance(key, tuple) else (key,)
        leading = key[: self.ndim - self._inner]
        part: NDArray[Any] = np.asarray(self._array[leading])[self._cut]
        inside = key[self.ndim - self._inner :]
        return part[(..., *inside, *(slice(None),) * (self._inner - len(inside)))]


class Channels:
    """Arrays of one shape behind a leading channel axis; nothing is copied."""

    def __init__(self, arrays: Sequence[Any]) -> None:
        self.arrays = list(arrays)
        self.shape = (len(self.arrays), *self.arrays[0].shape)
        self.ndim = len(self.shape)
        self.dtype = np.result_type(*(a.dtype for a in self.arrays))

    def __getitem__(self, key: Any) -> NDArray[Any]:
        key = key if isinstance(key, tuple) else (key,)
        chosen, rest = key[0], key[1:]
        if isinstance(chosen, (int, np.integer)):
            part: NDArray[Any] = np.asarray(self.arrays[int(chosen)][rest], self.dtype)
            return part
        return np.stack([np.asarray(a[rest], self.dtype) for a in self.arrays[chosen]])


def calibration_of(image: Any, geometry: Geometry) -> Calibration:
    """Return scale and units of the frames, as far as the layer has them."""
    units = [_unit(u) for u in getattr(image, "units", ()) or ()]
    units = units if len(units) == geometry.ndim else [None] * geometry.ndim
    scale = [abs(float(s)) or 1.0 for s in image.scale]
    axis = geometry.frame_axis
    labels = axis_labels_of(image)
    name = labels[axis].strip().lower() if axis is not None and axis < len(labels) else ""
    is_letter = name[:1].isalpha() and name[:1] not in "yx"
    label = name[0] if is_letter and name not in TIME_NAMES else "t"
    step = (1.0, None) if axis is None else (scale[axis], units[axis])
    height, width = (s * n for s, n in zip(scale[-2:], geometry.reduction.steps))
    return Calibration(label, (step[0], height, width), (step[1], units[-2], units[-1]))


def _array_of(image: Any, reduction: Reduction) -> Any:
    """Return the array of an image layer that frames are read from, subsampled."""
    data: Any = image.data[reduction.level] if image.multiscale else image.data
    lazy = hasattr(data, "__dask_graph__")
    if reduction.stride > 1:
        cut = reduction.cut()
        if lazy or isinstance(data, np.ndarray):  # slicing these reads nothing
            data = data[(..., cut, cut, slice(None)) if image.rgb else (..., cut, cut)]
        else:
            data = Strided(data, cut, image.rgb)
    return Uncached(data) if lazy else data


def _unit(unit: Any) -> str | None:
    text = str(unit)
    return None if text in ("", "pixel", "None", "dimensionless") else text

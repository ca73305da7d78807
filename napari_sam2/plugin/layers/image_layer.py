"""Image layers as sources of frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_sam2.frames.stack import full_resolution
from napari_sam2.plugin.layers.geometry import FloatArray, Geometry, default_frame_axis, reduction_of


def unwrapped(wrapped: Any) -> Any:
    """Return the viewer or layer behind the proxy that napari hands to plugins.

    Every access through a proxy makes new proxies, so that the same layer would not be the same object twice.
    """
    return getattr(wrapped, "__wrapped__", wrapped)


def is_image(layer: Any) -> bool:
    """Return True for an Image layer; a Labels layer is none."""
    return any(c.__name__ == "Image" for c in type(unwrapped(layer)).__mro__)


def shape_of(image: Any) -> tuple[int, ...]:
    """Return the shape of an image at full resolution, without the RGB axis."""
    levels = list(image.data) if image.multiscale else image.data
    shape = tuple(int(n) for n in full_resolution(levels).shape)
    return shape[:-1] if image.rgb else shape


def axis_labels_of(layer: Any) -> tuple[str, ...]:
    """Return the names of a layer's axes; empty if the napari release has none."""
    return tuple(str(name) for name in getattr(layer, "axis_labels", ()) or ())


def geometry_of(images: Sequence[Any], point: Sequence[float], frame_axis: int | None = None) -> Geometry:
    """Return the division of image layers into frames.

    Parameters
    ----------
    images : sequence of Image layers
        Channels of one image: same shape, same place in the world.
    point : sequence of float
        Position of the viewer in world coordinates; it fixes the axes other than the frame axis, y and x.
    frame_axis : int, optional
        Axis of the layer that counts frames; by default time, else the first one.

    Raises
    ------
    ValueError
        If the layers do not fit together or have no such axis.
    TypeError
        If one of them is not an Image layer.
    """
    if not images:
        raise ValueError("choose an Image layer first")
    for image in images:
        if not is_image(image):
            raise TypeError(f"{image.name!r} is a {image.__class__.__name__} layer: choose an Image layer")
    first = images[0]
    shape = shape_of(first)
    for image in images[1:]:
        _check_channel(image, first, shape)
    if frame_axis is None:
        frame_axis = default_frame_axis(shape, axis_labels_of(first))
    elif frame_axis < 0:
        frame_axis += len(shape)
    here = np.round(np.asarray(first.world_to_data(np.asarray(point, float)), float))
    position = np.clip(np.nan_to_num(here), 0, np.asarray(shape) - 1).astype(int)
    moving = {frame_axis, len(shape) - 2, len(shape) - 1}
    fixed = tuple(0 if axis in moving else int(i) for axis, i in enumerate(position))
    sizes = _level_sizes(first)
    reduction = reduction_of(sizes)
    height, width = (len(range(n)[reduction.cut()]) for n in sizes[reduction.level])
    return Geometry(shape, frame_axis, fixed, (height, width), reduction)


def _check_channel(image: Any, first: Any, shape: tuple[int, ...]) -> None:
    if shape_of(image) != shape or image.rgb or first.rgb:
        raise ValueError(
            f"{first.name!r} {shape} and {image.name!r} {shape_of(image)} cannot be channels of one "
            "image: choose grey layers of the same shape"
        )
    if not np.allclose(_corners(image), _corners(first)):
        raise ValueError(f"{first.name!r} and {image.name!r} lie in different places: align them first")


def _level_sizes(image: Any) -> list[tuple[int, int]]:
    """Return (height, width) of the levels that are not reduced along the other axes."""
    levels = [tuple(level.shape) for level in (image.data if image.multiscale else [image.data])]
    inner = 3 if image.rgb else 2
    return [(int(s[-inner]), int(s[1 - inner])) for s in levels if s[:-inner] == levels[0][:-inner]]


def _corners(layer: Any) -> FloatArray:
    return np.array([layer.data_to_world(p) for p in (np.zeros(layer.ndim), np.ones(layer.ndim))], float)

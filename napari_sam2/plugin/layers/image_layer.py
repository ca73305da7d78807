"""Reading and making napari layers; with the other ``layers_*`` files the only code that touches them.

A napari release that changes an event or a payload is handled in these files and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.frames.stack import full_resolution
from napari_sam2.plugin.layers.geometry import Geometry, default_frame_axis, reduction_of


def unwrapped(thing: Any) -> Any:
    """Return the viewer or layer behind the proxy that napari hands to docks of plugins.

    Each access through a proxy makes new proxies, so that two of the same layer are not the same object.
    """
    return getattr(thing, "__wrapped__", thing)


def is_image(layer: Any) -> bool:
    """Whether a layer is an Image layer (a Labels layer is not)."""
    return any(c.__name__ == "Image" for c in type(unwrapped(layer)).__mro__)


def shape_of(image: Any) -> tuple[int, ...]:
    """Return the shape of an image at full resolution, without the axis of RGB samples."""
    shape = tuple(int(n) for n in full_resolution(_levels(image)).shape)
    return shape[:-1] if image.rgb else shape


def axis_labels_of(layer: Any) -> tuple[str, ...]:
    """Return the names of a layer's axes; numbers where they have none."""
    return tuple(str(name) for name in getattr(layer, "axis_labels", ()) or ())


def geometry_of(images: Sequence[Any], point: Sequence[float], frame_axis: int | None = None) -> Geometry:
    """Find out how image layers are seen as frames.

    Parameters
    ----------
    images : sequence of Image layers
        Channels of one picture: same shape, same place in the world.
    point : sequence of float
        Where the viewer is, in world coordinates; other axes than the travelled one are held there.
    frame_axis : int, optional
        Which axis of the layer is travelled; None chooses time, else the first one.

    Raises
    ------
    ValueError
        When the layers do not fit together, or there is no such axis.
    TypeError
        When one of them is no Image layer.
    """
    if not images:
        raise ValueError("choose an Image layer first")
    for image in images:
        if not is_image(image):
            raise TypeError(f"{image.name!r} is a {image.__class__.__name__} layer: choose an Image layer")
    first = images[0]
    shape = shape_of(first)
    for image in images[1:]:
        if shape_of(image) != shape or image.rgb or first.rgb:
            raise ValueError(
                f"{first.name!r} {shape} and {image.name!r} {shape_of(image)} cannot be channels of one "
                "picture: choose grey layers of the same shape"
            )
        if not np.allclose(_corner(image), _corner(first)):
            raise ValueError(f"{first.name!r} and {image.name!r} lie in different places: align them first")
    if frame_axis is None:
        frame_axis = default_frame_axis(shape, axis_labels_of(first))
    elif frame_axis < 0:
        frame_axis += len(shape)
    here = np.round(np.asarray(first.world_to_data(np.asarray(point, float)), float))
    fixed = np.clip(np.nan_to_num(here), 0, np.asarray(shape) - 1).astype(int)
    moving = {frame_axis, len(shape) - 2, len(shape) - 1}
    held = tuple(0 if axis in moving else int(i) for axis, i in enumerate(fixed))
    reduction = reduction_of(_level_sizes(first))
    size = tuple(len(range(n)[reduction.cut()]) for n in _level_sizes(first)[reduction.level])
    return Geometry(shape, frame_axis, held, (size[0], size[1]), reduction)


def placement_of(layer: Any) -> dict[str, Any]:
    """Return the arguments that put a new layer of as many axes where ``layer`` is."""
    names = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
    return {name: getattr(layer, name) for name in names if getattr(layer, name, None) is not None}


def _levels(image: Any) -> Any:
    data = image.data
    return list(data) if image.multiscale else data


def _level_sizes(image: Any) -> list[tuple[int, int]]:
    """Return (height, width) of the levels that have all frames of the image."""
    data = image.data
    levels = [tuple(level.shape) for level in data] if image.multiscale else [tuple(data.shape)]
    inner = 3 if image.rgb else 2
    same = (shape for shape in levels if shape[:-inner] == levels[0][:-inner])
    return [(int(s[-inner]), int(s[1 - inner])) for s in same]


def _corner(layer: Any) -> NDArray[np.float64]:
    return np.array([layer.data_to_world(p) for p in (np.zeros(layer.ndim), np.ones(layer.ndim))], float)

"""Reading and making napari layers; with the other ``layers_*`` files the only code that touches them.

A napari release that changes an event or a payload is handled in these files and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.frames.colors import color_stops
from napari_sam2.frames.options import ChannelOptions, FrameStackOptions
from napari_sam2.frames.stack import FrameStack, full_resolution
from napari_sam2.storage.exports.calibration import Calibration
from napari_sam2.widgets.layers_geometry import Geometry, Reduction, default_travel_axis, reduction_of

OBJECT_COLUMN = "object_id"
SIGN_COLUMN = "positive"
PROJECT_KEY = "napari_sam2_project"  # in the metadata of layers that belong to a project
_PROMPTS_KEY = "napari_sam2_prompts"  # in the metadata of layers of prompts
_TIME_NAMES = ("t", "time", "frame", "frames")


class Connections:
    """Connections to events that can be taken back together; events that a release does not have are passed over."""

    def __init__(self) -> None:
        self._made: list[tuple[Any, Callable[..., None]]] = []

    def add(self, events: Any, name: str, callback: Callable[..., None]) -> None:
        """Connect to ``events.name``."""
        emitter = getattr(events, name, None)
        if emitter is not None:
            emitter.connect(callback)
            self._made.append((emitter, callback))

    def close(self) -> None:
        """Disconnect everything."""
        made, self._made = self._made, []
        for emitter, callback in made:
            try:
                emitter.disconnect(callback)
            except (ValueError, RuntimeError):  # the layer was taken apart before
                continue


def itself(thing: Any) -> Any:
    """Return the viewer or layer behind the proxy that napari hands to docks of plugins.

    Each access through a proxy makes new proxies, so that two of the same layer are not the same object.
    """
    return getattr(thing, "__wrapped__", thing)


def is_image(layer: Any) -> bool:
    """Whether a layer is an Image layer (a Labels layer is not)."""
    return any(c.__name__ == "Image" for c in type(itself(layer)).__mro__)


def shape_of(image: Any) -> tuple[int, ...]:
    """Return the shape of an image at full resolution, without the axis of RGB samples."""
    shape = tuple(int(n) for n in full_resolution(_levels(image)).shape)
    return shape[:-1] if image.rgb else shape


def axis_labels_of(layer: Any) -> tuple[str, ...]:
    """Return the names of a layer's axes; numbers where they have none."""
    return tuple(str(name) for name in getattr(layer, "axis_labels", ()) or ())


def geometry_of(images: Sequence[Any], point: Sequence[float], travel_axis: int | None = None) -> Geometry:
    """Find out how image layers are seen as frames.

    Parameters
    ----------
    images : sequence of Image layers
        Channels of one picture: same shape, same place in the world.
    point : sequence of float
        Where the viewer is, in world coordinates; other axes than the travelled one are held there.
    travel_axis : int, optional
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
    if travel_axis is None:
        travel_axis = default_travel_axis(shape, axis_labels_of(first))
    elif travel_axis < 0:
        travel_axis += len(shape)
    here = np.round(np.asarray(first.world_to_data(np.asarray(point, float)), float))
    fixed = np.clip(np.nan_to_num(here), 0, np.asarray(shape) - 1).astype(int)
    moving = {travel_axis, len(shape) - 2, len(shape) - 1}
    held = tuple(0 if axis in moving else int(i) for axis, i in enumerate(fixed))
    reduction = reduction_of(_level_sizes(first))
    size = tuple(len(range(n)[reduction.cut()]) for n in _level_sizes(first)[reduction.level])
    return Geometry(shape, travel_axis, held, (size[0], size[1]), reduction)


def frames_of(images: Sequence[Any], geometry: Geometry) -> FrameStack:
    """Make the frames that the model sees: what the user sees now, computed one by one when they are needed."""
    first = images[0]
    lead = 0 if len(images) == 1 else 1  # several layers are put behind one axis of channels
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
    travel = geometry.travel_axis
    options = FrameStackOptions(
        axis=None if travel is None else travel + lead,
        plane=(geometry.ndim - 2 + lead, geometry.ndim - 1 + lead),
        fixed=tuple((axis + lead, position) for axis, position in geometry.held),
        channel_axis=geometry.ndim if rgb else (0 if lead else None),
        rgb=rgb,
        channels=channels,
    )
    planes = [_pixels(image, geometry.reduction) for image in images]
    array = Channels(planes) if lead else planes[0]
    return FrameStack(array, options)


class Uncached:
    """A dask array that any thread may read while napari reads it, too.

    napari registers a cache with all dask computations, and dask does not guard it against two threads; here
    every computation is told to use no cache.
    """

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape, self.dtype, self.ndim = tuple(array.shape), array.dtype, array.ndim

    def __getitem__(self, key: Any) -> NDArray[Any]:
        part = self._array[key]
        return np.asarray(part.compute(scheduler="threads", callbacks=()))


class Strided:
    """Every n-th row and column of an array that is read plane by plane, such as a zarr array."""

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
    """Several arrays of one shape behind one axis of channels; nothing is copied."""

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
    """Return scale and units of the frames, as far as the layer knows them."""
    units = [_unit(u) for u in getattr(image, "units", ()) or ()]
    units = units if len(units) == geometry.ndim else [None] * geometry.ndim
    scale = [abs(float(s)) or 1.0 for s in image.scale]
    travel = geometry.travel_axis
    labels = axis_labels_of(image)
    label = labels[travel].strip().lower()[:1] if travel is not None and travel < len(labels) else ""
    if not label.isalpha() or label in "yx" or (travel is not None and labels[travel].lower() in _TIME_NAMES):
        label = "t"
    step = (1.0, None) if travel is None else (scale[travel], units[travel])
    height, width = (s * n for s, n in zip(scale[-2:], geometry.reduction.steps))
    return Calibration(label, (step[0], height, width), (step[1], units[-2], units[-1]))


def placed_like(layer: Any) -> dict[str, Any]:
    """Return the arguments that put a new layer of as many axes where ``layer`` is."""
    names = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
    return {name: getattr(layer, name) for name in names if getattr(layer, name, None) is not None}


def projects_of(layer: Any) -> tuple[str, ...]:
    """Return the projects in which a layer of prompts was used; a copy of such a layer was used in none."""
    ident, projects = layer.metadata.get(_PROMPTS_KEY, (0, ()))
    return tuple(projects) if ident == id(layer) else ()


def note_project(layer: Any, project: str) -> None:
    """Remember that a layer of prompts is used in a project."""
    layer.metadata[_PROMPTS_KEY] = (id(layer), tuple(dict.fromkeys((*projects_of(layer), project))))


def frame_shown(viewer: Any, image: Any, geometry: Geometry) -> int:
    """Return which frame the viewer shows (the nearest one)."""
    if geometry.travel_axis is None:
        return 0
    here = image.world_to_data(np.asarray(viewer.dims.point, float))[geometry.travel_axis]
    return int(np.clip(np.round(np.nan_to_num(here)), 0, geometry.n_frames - 1))


def plane_shown(viewer: Any, image: Any, geometry: Geometry) -> bool:
    """Whether the viewer shows the positions on the other axes at which the frames lie."""
    here = np.asarray(image.world_to_data(np.asarray(viewer.dims.point, float)), float)
    displayed = {axis - viewer.dims.ndim + geometry.ndim for axis in viewer.dims.displayed}
    return all(round(float(here[a])) == p for a, p in geometry.held if a not in displayed)


def show_frame(viewer: Any, image: Any, geometry: Geometry, frame: int) -> None:
    """Move the viewer to a frame, and to nowhere else on the other axes."""
    if geometry.travel_axis is None:
        return
    place = np.asarray(image.world_to_data(np.asarray(viewer.dims.point, float)), float)
    place[geometry.travel_axis] = frame
    world = np.asarray(image.data_to_world(place), float)
    axis = geometry.travel_axis - geometry.ndim  # counted from the end: other layers may have more axes
    viewer.dims.set_point(viewer.dims.ndim + axis, float(world[axis]))


def feature_column(layer: Any, name: str) -> NDArray[Any] | None:
    """Return a column of a layer's features; None when it is not there."""
    features = layer.features
    if name not in features:
        return None
    return np.asarray(features[name])


def whole_numbers(values: NDArray[Any] | None, count: int, default: int) -> NDArray[np.int64]:
    """Return object ids of a column that a user may have edited; what is no whole number is 0."""
    if values is None or len(values) != count:
        return np.full(count, default, np.int64)
    out = np.zeros(count, np.int64)
    for row, value in enumerate(values):
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if np.isfinite(number) and 1 <= number <= 65535 and number == round(number):
            out[row] = int(number)
    return out


def truths(values: NDArray[Any] | None, count: int) -> NDArray[np.bool_]:
    """Return signs of a column that a user may have edited; what is unclear is positive."""
    if values is None or len(values) != count:
        return np.ones(count, bool)
    negative = {"false", "0", "0.0", "-", "-1", "-1.0", "no", "negative"}
    return np.array([str(value).strip().lower() not in negative for value in values], bool)


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


def _pixels(image: Any, reduction: Reduction) -> Any:
    """Return the array that frames are read from."""
    data: Any = image.data[reduction.level] if image.multiscale else image.data
    lazy = hasattr(data, "__dask_graph__")
    if reduction.stride > 1:
        cut = reduction.cut()
        if lazy or isinstance(data, np.ndarray):  # they are cut without being read
            data = data[(..., cut, cut, slice(None)) if image.rgb else (..., cut, cut)]
        else:
            data = Strided(data, cut, image.rgb)
    return Uncached(data) if lazy else data


def _corner(layer: Any) -> NDArray[np.float64]:
    return np.array([layer.data_to_world(p) for p in (np.zeros(layer.ndim), np.ones(layer.ndim))], float)


def _unit(unit: Any) -> str | None:
    text = str(unit)
    return None if text in ("", "pixel", "None", "dimensionless") else text

"""The frame and the plane that the viewer shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_sam2.plugin.layers.geometry import Geometry


def frame_shown(viewer: Any, image: Any, geometry: Geometry) -> int:
    """Return which frame the viewer shows (the nearest one)."""
    if geometry.frame_axis is None:
        return 0
    here = image.world_to_data(np.asarray(viewer.dims.point, float))[geometry.frame_axis]
    return int(np.clip(np.round(np.nan_to_num(here)), 0, geometry.n_frames - 1))


def plane_shown(viewer: Any, image: Any, geometry: Geometry) -> bool:
    """Whether the viewer shows the positions on the other axes at which the frames lie."""
    here = np.asarray(image.world_to_data(np.asarray(viewer.dims.point, float)), float)
    displayed = {axis - viewer.dims.ndim + geometry.ndim for axis in viewer.dims.displayed}
    return all(round(float(here[a])) == p for a, p in geometry.fixed_axes if a not in displayed)


def show_frame(viewer: Any, image: Any, geometry: Geometry, frame: int) -> None:
    """Move the viewer to a frame, and to nowhere else on the other axes."""
    if geometry.frame_axis is None:
        return
    place = np.asarray(image.world_to_data(np.asarray(viewer.dims.point, float)), float)
    place[geometry.frame_axis] = frame
    world = np.asarray(image.data_to_world(place), float)
    axis = geometry.frame_axis - geometry.ndim  # counted from the end: other layers may have more axes
    viewer.dims.set_point(viewer.dims.ndim + axis, float(world[axis]))

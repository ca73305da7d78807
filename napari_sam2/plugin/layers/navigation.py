"""The frame that the viewer shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_sam2.plugin.layers.geometry import FloatArray, Geometry


def frame_shown(viewer: Any, image: Any, geometry: Geometry) -> int:
    """Return the frame nearest to where the viewer is."""
    if geometry.frame_axis is None:
        return 0
    position = np.nan_to_num(_position(viewer, image)[geometry.frame_axis])
    return int(np.clip(np.round(position), 0, geometry.n_frames - 1))


def plane_shown(viewer: Any, image: Any, geometry: Geometry) -> bool:
    """Return True if the viewer shows the position of the frames on all fixed axes."""
    here = _position(viewer, image)
    displayed = {axis - viewer.dims.ndim + geometry.ndim for axis in viewer.dims.displayed}
    return all(round(float(here[a])) == p for a, p in geometry.fixed_axes if a not in displayed)


def show_frame(viewer: Any, image: Any, geometry: Geometry, frame: int) -> None:
    """Move the viewer to a frame without changing its position on the other axes."""
    if geometry.frame_axis is None:
        return
    position = _position(viewer, image)
    position[geometry.frame_axis] = frame
    world = np.asarray(image.data_to_world(position), float)
    axis = geometry.frame_axis - geometry.ndim  # counted from the end: other layers may have more axes
    viewer.dims.set_point(viewer.dims.ndim + axis, float(world[axis]))


def _position(viewer: Any, image: Any) -> FloatArray:
    """Return where the viewer is, in data coordinates of the image."""
    return np.array(image.world_to_data(np.asarray(viewer.dims.point, float)), float)

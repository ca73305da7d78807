"""Placement of layers in the world: transforms between layers, and arguments that put a layer where an image is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napari_sam2.plugin.layers.geometry import FloatArray, Geometry

_PLACEMENT = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


@dataclass(frozen=True, eq=False)
class LayerTransform:
    """Affine transform from the data coordinates of one layer to those of another."""

    matrix: FloatArray
    offset: FloatArray

    def __call__(self, coordinates: ArrayLike) -> FloatArray:
        """Transform points (N, ndim of the source) to (N, ndim of the target)."""
        points = np.asarray(coordinates, float).reshape(-1, self.matrix.shape[1])
        transformed: FloatArray = points @ self.matrix.T + self.offset
        return transformed


def transform_between(source: Any, target: Any) -> LayerTransform:
    """Return the transform between two napari layers, probed with unit vectors: napari has no public method for it."""
    probes = np.vstack([np.zeros(source.ndim), np.eye(source.ndim)])
    images = np.array([target.world_to_data(source.data_to_world(probe)) for probe in probes], float)
    return LayerTransform((images[1:] - images[0]).T, images[0])


def placement_of(layer: Any) -> dict[str, Any]:
    """Return the arguments that place a new layer with the same number of axes where ``layer`` is."""
    return {name: getattr(layer, name) for name in _PLACEMENT if getattr(layer, name, None) is not None}


def results_placement(image: Any, geometry: Geometry) -> dict[str, Any]:
    """Return the arguments that place a results layer on the pixels of its frames."""
    placement = placement_of(image)
    steps, corner = geometry.result_grid
    shift = np.asarray(image.data_to_world(corner), float) - image.data_to_world(np.zeros(geometry.ndim))
    # The affine transform follows the translation, so the shift in the world is taken back through it.
    linear = np.asarray(image.affine.linear_matrix, float)
    placement["translate"] = np.asarray(image.translate, float) + np.linalg.solve(linear, shift)
    placement["scale"] = np.asarray(image.scale, float) * steps
    return placement


def is_results_placement(layer: Any, image: Any, geometry: Geometry) -> bool:
    """Return True if a layer with the shape of the results lies on the pixels of the frames."""
    if layer.ndim != geometry.ndim:
        return False
    steps, corner = geometry.result_grid
    found = transform_between(layer, image)
    return np.allclose(found.matrix, np.diag(steps), atol=1e-6) and np.allclose(
        found.offset, corner, atol=0.01
    )

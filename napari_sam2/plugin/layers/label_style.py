"""Colours and placement of Labels layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

from napari_sam2.objects import Color
from napari_sam2.plugin.layers.connections import Connections
from napari_sam2.plugin.layers.geometry import Geometry, transform_between
from napari_sam2.plugin.layers.image_layer import placement_of


class PaintEvents:
    """Tells when a stroke, a fill or its undo is complete.

    napari says ``paint`` after the last touch of a stroke, but before it writes what a fill or a call changes;
    then ``labels_update`` follows. Undo and redo say nothing but ``set_data``, which scrubbing says as well.

    Parameters
    ----------
    layer : Labels
        What is painted on.
    on_done : callable
        Called when something may have changed; may be called when nothing did.
    """

    def __init__(self, layer: Any, on_done: Callable[[], None]) -> None:
        self._on_done = on_done
        self._told = False
        self._connections = Connections()
        self._connections.add(layer.events, "paint", self._on_paint)
        self._connections.add(layer.events, "labels_update", self._on_update)
        self._connections.add(layer.events, "set_data", self._on_refresh)

    def close(self) -> None:
        """Stop listening."""
        self._connections.close()

    def _on_paint(self, event: Any = None) -> None:
        self._told = True
        self._on_done()

    def _on_update(self, event: Any = None) -> None:
        # While a stroke goes on this comes as well, but no ``paint`` came before.
        if self._told:
            self._on_refresh()

    def _on_refresh(self, event: Any = None) -> None:
        self._told = False
        self._on_done()


def label_colors(colors: Mapping[int, Color], hidden: Iterable[int]) -> DirectLabelColormap:
    """Return a colour map that gives every object its own colour."""
    gone = set(hidden)
    table: dict[int | None, Any] = {None: (0.5, 0.5, 0.5, 1.0), 0: (0.0, 0.0, 0.0, 0.0)}
    for object_id, (r, g, b) in colors.items():
        table[object_id] = (r / 255, g / 255, b / 255, 0.0 if object_id in gone else 1.0)
    return DirectLabelColormap(color_dict=table)


def results_placement(image: Any, geometry: Geometry) -> dict[str, Any]:
    """Return the arguments that put a layer of results where its plane of the image is."""
    place = placement_of(image)
    steps, corner = geometry.result_place
    shift = np.asarray(image.data_to_world(corner), float) - image.data_to_world(np.zeros(geometry.ndim))
    # The world's shift is seen through the affine transform, which comes after the translation.
    linear = np.asarray(image.affine.linear_matrix, float)
    place["translate"] = np.asarray(image.translate, float) + np.linalg.solve(linear, shift)
    place["scale"] = np.asarray(image.scale, float) * steps
    return place


def is_placed(layer: Any, image: Any, geometry: Geometry) -> bool:
    """Whether a layer of the shape of the results lies where they do."""
    if layer.ndim != geometry.ndim:
        return False
    steps, corner = geometry.result_place
    way = transform_between(layer, image)
    return np.allclose(way.matrix, np.diag(steps), atol=1e-6) and np.allclose(way.offset, corner, atol=0.01)

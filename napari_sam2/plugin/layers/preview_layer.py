"""Layers of automatic masks: a preview that can be clicked, and a region that limits the search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.objects import MAX_OBJECT_ID, Color
from napari_sam2.plugin.layers.connections import Connections
from napari_sam2.plugin.layers.frame_array import FrameArray
from napari_sam2.plugin.layers.geometry import Geometry
from napari_sam2.plugin.layers.labels_layer import label_colors
from napari_sam2.plugin.layers.placement import results_placement
from napari_sam2.plugin.layers.prompt_marks import Outline
from napari_sam2.plugin.layers.shapes_layer import ShapesLink

DROPPED = MAX_OBJECT_ID  # label of masks that the user dropped
_GREY = (128, 128, 128)
Labels = NDArray[np.uint16]
OnPixel = Callable[[float, float], None]


class PreviewLayer:
    """A Labels layer that shows masks on one frame and reports clicks and mouse moves.

    Parameters
    ----------
    viewer : Viewer
        Viewer to which the layer is added.
    image : Image
        Layer that is segmented.
    geometry : Geometry
        Division of the image into frames.
    on_click, on_move : callable
        Called with (x, y) in pixels of the frame.
    """

    def __init__(
        self, viewer: Any, image: Any, geometry: Geometry, on_click: OnPixel, on_move: OnPixel
    ) -> None:
        self._viewer = viewer
        self._geometry = geometry
        self._on_click = on_click
        self._on_move = on_move
        self._frame = -1
        self._blank = np.zeros(geometry.size, np.uint16)
        self._labels = self._blank
        self._array = FrameArray(geometry.result_shape, geometry.frame_axis, self._read)
        name = f"SAM 2 candidates – {image.name}"
        self.layer = viewer.add_labels(
            self._array, name=name, opacity=0.6, **results_placement(image, geometry)
        )
        self.layer.editable = False
        self.layer.mouse_drag_callbacks.append(self._pressed)
        self.layer.mouse_move_callbacks.append(self._moved)

    def show(self, frame: int, labels: Labels, colors: Mapping[int, Color]) -> None:
        """Show masks on a frame; the other frames stay empty."""
        self._frame, self._labels = frame, labels
        self._array.forget()
        self.layer.colormap = label_colors({**colors, DROPPED: _GREY}, ())
        self.layer.refresh()

    def close(self) -> None:
        """Remove the layer from the viewer."""
        for callbacks, callback in (
            (self.layer.mouse_drag_callbacks, self._pressed),
            (self.layer.mouse_move_callbacks, self._moved),
        ):
            if callback in callbacks:
                callbacks.remove(callback)
        if self.layer in self._viewer.layers:
            self._viewer.layers.remove(self.layer)

    def _read(self, frame: int) -> Labels:
        return self._labels if frame == self._frame else self._blank

    def _pressed(self, layer: Any, event: Any) -> Iterator[None]:
        """Report a press as a click if the mouse does not move before its release."""
        moved = False
        yield
        while event.type == "mouse_move":
            moved = True
            yield
        if not moved and event.button == 1:
            self._report(event, self._on_click)

    def _moved(self, layer: Any, event: Any) -> None:
        self._report(event, self._on_move)

    def _report(self, event: Any, callback: OnPixel) -> None:
        y, x = self.layer.world_to_data(event.position)[-2:]  # the layer has the pixels of a frame
        callback(float(x), float(y))


class RegionLayer:
    """A Shapes layer on which the user draws the region to search.

    Parameters
    ----------
    viewer, image, geometry
        As for :class:`PreviewLayer`.
    on_change : callable
        Called after something was drawn, moved or deleted, and after the layer was deleted.
    """

    def __init__(self, viewer: Any, image: Any, geometry: Geometry, on_change: Callable[[], None]) -> None:
        self._viewer = viewer
        self._geometry = geometry
        self._on_change = on_change
        self._link = ShapesLink.make(viewer, image, geometry, on_change, f"SAM 2 region – {image.name}")
        self.layer = self._link.layer
        self.layer.mode = "add_polygon_lasso"
        self._connections = Connections()
        self._connections.add(viewer.layers.events, "removed", self._on_removed)

    def mask(self, frame: int) -> NDArray[np.bool_] | None:
        """Return the region that is drawn on a frame, bool (H, W); None if there is none."""
        outlines = [m.element for m in self._link.read() if m.frame == frame]
        regions = [o.region(self._geometry.size) for o in outlines if isinstance(o, Outline)]
        return np.logical_or.reduce(regions) if regions else None

    def close(self) -> None:
        """Remove the layer from the viewer."""
        self._connections.close()
        self._link.close()
        if self.layer in self._viewer.layers:
            self._viewer.layers.remove(self.layer)

    def _on_removed(self, event: Any) -> None:
        if event.value is self.layer:
            self.close()
            self._on_change()

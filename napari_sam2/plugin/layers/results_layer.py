"""The Labels layer of the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from napari_sam2.objects import Color
from napari_sam2.plugin.layers.frame_array import FrameArray
from napari_sam2.plugin.layers.geometry import Geometry
from napari_sam2.plugin.layers.labels_layer import PaintEvents, label_colors
from napari_sam2.plugin.layers.metadata import PROJECT_KEY
from napari_sam2.plugin.layers.paint_layer import Labels
from napari_sam2.plugin.layers.placement import is_results_placement, results_placement


class ResultsLink:
    """Shows results on a Labels layer, and reports what the user paints on it.

    Parameters
    ----------
    viewer : Viewer or ViewerModel
        Viewer to which the layer is added.
    image : Image
        Layer that is tracked.
    geometry : Geometry
        Division of the image into frames.
    read : callable
        ``read(frame)`` returns the labels of the project, uint16 (H, W).
    on_edit : callable
        ``on_edit(frame, labels)`` is called after the user painted, erased or filled.
    name : str
        Name of the layer.
    layer : Labels, optional
        Layer of an earlier session that is used again.
    """

    def __init__(
        self,
        viewer: Any,
        image: Any,
        geometry: Geometry,
        read: Callable[[int], Labels],
        on_edit: Callable[[int, Labels], None],
        name: str,
        layer: Any = None,
    ) -> None:
        self._on_edit = on_edit
        self._edited: dict[int, Labels] = {}
        self._writing = False
        self.layer = layer
        if layer is None:
            array = FrameArray(geometry.result_shape, geometry.frame_axis, read)
            active = viewer.layers.selection.active
            self.layer = viewer.add_labels(
                array, name=name, opacity=0.5, **results_placement(image, geometry)
            )
            if active is not None:  # the user goes on with the layer and the tool at hand
                viewer.layers.selection.active = active
        self.array: FrameArray = self.layer.data
        self.array.set_source(read, self._edited.__setitem__)
        self.layer.editable = True
        self._paint_events = PaintEvents(self.layer, self._on_painted)

    def set_project(self, project: Path | None) -> None:
        """Note in the layer which project it shows, so that File > Save writes all that it holds."""
        self.layer.metadata.pop(PROJECT_KEY, None)
        if project is not None:
            self.layer.metadata[PROJECT_KEY] = str(project)

    def show(self, frame: int, labels: Labels, visible: bool) -> None:
        """Replace the labels of a frame, and redraw if the frame is visible."""
        self.array.put(frame, labels)
        if visible:
            self.refresh()

    def forget(self) -> None:
        """Read all frames again."""
        self.array.forget()
        self.refresh()

    def refresh(self) -> None:
        """Redraw the layer."""
        self._writing = True
        try:
            # The layer did not move: without this the viewer computes the extent of all layers.
            self.layer.refresh(extent=False, highlight=False)
        finally:
            self._writing = False

    def select(self, object_id: int) -> None:
        """Set the object that is painted."""
        if self.layer.selected_label != object_id:
            self.layer.selected_label = object_id

    def restyle(self, colors: Mapping[int, Color], hidden: Iterable[int]) -> None:
        """Show the colour of each object; hidden objects are transparent."""
        self.layer.colormap = label_colors(colors, hidden)

    def close(self, read: Callable[[int], Labels] | None) -> None:
        """Make the layer read-only; from now on it shows what ``read`` returns (None: what it showed)."""
        self._paint_events.close()
        self.layer.editable = False
        if read is not None:
            self.array.set_source(read)

    def _on_painted(self) -> None:
        if self._writing or not self._edited:
            return
        edited = dict(self._edited)
        self._edited.clear()
        for frame, labels in edited.items():
            self._on_edit(frame, labels)


def results_layer_of(viewer: Any, image: Any, geometry: Geometry, project: Path) -> Any:
    """Return the layer on which an earlier session showed this project; None if there is none."""
    for layer in viewer.layers:
        same = layer.metadata.get(PROJECT_KEY) == str(project) and isinstance(layer.data, FrameArray)
        if (
            same
            and layer.data.shape == geometry.result_shape
            and is_results_placement(layer, image, geometry)
        ):
            return layer
    return None

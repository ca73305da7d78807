"""The Labels layer that shows what was tracked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from napari_sam2.objects import Color
from napari_sam2.plugin.layers.frame_array import FrameArray
from napari_sam2.plugin.layers.geometry import Geometry
from napari_sam2.plugin.layers.label_style import PaintEvents, is_placed, label_colors, results_placement
from napari_sam2.plugin.layers.metadata import PROJECT_KEY
from napari_sam2.plugin.layers.paint_layer import Labels


class ResultsLink:
    """The Labels layer that shows the results; what is painted there is reported as an edit.

    Parameters
    ----------
    viewer : Viewer or ViewerModel
        Where the layer is added.
    image : Image
        Where the results lie.
    geometry : Geometry
        How the image is seen as frames.
    read : callable
        ``read(frame)`` gives uint16 (H, W), from the project.
    on_edit : callable
        ``on_edit(frame, labels)`` after the user painted, erased or filled there.
    name : str
        Of the layer.
    layer : Labels, optional
        One of an earlier session, to be gone on with.
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
            if active is not None:  # the tool in the user's hand stays there: the next click is a prompt, too
                viewer.layers.selection.active = active
        self.array: FrameArray = self.layer.data
        self.array.serve(read, self._edited.__setitem__)
        self.layer.editable = True
        self._watch = PaintEvents(self.layer, self._on_painted)

    def belongs_to(self, project: Path | None) -> None:
        """Note in the layer which project it shows, so that saving it saves all that is known."""
        self.layer.metadata.pop(PROJECT_KEY, None)
        if project is not None:
            self.layer.metadata[PROJECT_KEY] = str(project)

    def show(self, frame: int, labels: Labels, visible: bool) -> None:
        """Take over new labels of a frame, and draw them when the frame is the one that is shown."""
        self.array.put(frame, labels)
        if visible:
            self.refresh()

    def forget(self) -> None:
        """Read everything anew."""
        self.array.forget()
        self.refresh()

    def refresh(self) -> None:
        """Draw what is there."""
        self._writing = True
        try:
            # The layer lies where it was: the viewer need not look at all layers for how far they reach.
            self.layer.refresh(extent=False, highlight=False)
        finally:
            self._writing = False

    def select(self, object_id: int) -> None:
        """Say which object is painted from now on."""
        if self.layer.selected_label != object_id:
            self.layer.selected_label = object_id

    def restyle(self, colors: Mapping[int, Color], hidden: Iterable[int]) -> None:
        """Give every object its colour; hidden ones are transparent."""
        self.layer.colormap = label_colors(colors, hidden)

    def close(self, read: Callable[[int], Labels] | None) -> None:
        """Let the layer show what ``read`` gives, for good; nobody would notice what is painted on it now."""
        self._watch.close()
        self.layer.editable = False
        if read is not None:
            self.array.serve(read)

    def _on_painted(self) -> None:
        if self._writing or not self._edited:
            return
        edited = dict(self._edited)
        self._edited.clear()
        for frame, labels in edited.items():
            self._on_edit(frame, labels)


def results_layer_of(viewer: Any, image: Any, geometry: Geometry, project: Path) -> Any:
    """Return the layer in which an earlier session showed this project here; None when there is none."""
    for layer in viewer.layers:
        mine = layer.metadata.get(PROJECT_KEY) == str(project) and isinstance(layer.data, FrameArray)
        if mine and layer.data.shape == geometry.result_shape and is_placed(layer, image, geometry):
            return layer
    return None

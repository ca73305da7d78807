"""Labels layers: a painted one as prompts, and one that shows (and takes edits of) the results."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray

from napari_sam2.prompts import MaskPrompt
from napari_sam2.storage.exports.results import Color
from napari_sam2.widgets.layers import PROJECT_KEY, Connections, placed_like
from napari_sam2.widgets.layers_array import FrameArray
from napari_sam2.widgets.layers_geometry import Geometry, way_between
from napari_sam2.widgets.layers_marks import PromptKey

_SCANNED_BYTES = 2**28  # a Labels layer of the user's own is read whole only up to this size
Labels = NDArray[np.uint16]


class PaintWatch:
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


class PaintLink:
    """A Labels layer whose painted ids are mask prompts.

    Parameters
    ----------
    layer : Labels
        Of the shape of the image, where the image is.
    image : Image
        What is painted on.
    geometry : Geometry
        How the image is seen as frames.
    on_change : callable
        Called with nothing after the user painted, erased, filled or took one of these back.
    shown : callable
        Tells which frame is shown.

    Raises
    ------
    ValueError
        When the layer lies elsewhere or has another shape.
    """

    def __init__(
        self,
        layer: Any,
        image: Any,
        geometry: Geometry,
        on_change: Callable[[], None],
        shown: Callable[[], int],
        sparse: FrameArray | None = None,
    ) -> None:
        _check_place(layer, image, geometry)
        self.layer = layer
        self.painted: dict[PromptKey, MaskPrompt] = {}
        self._geometry = geometry
        self._on_change = on_change
        self._shown = shown
        self._array = _adapted(layer, geometry) if sparse is None else sparse
        self._dirty: set[int] = set()
        self._checksums: dict[int, int] = {}
        self._writing = False
        self._connections = Connections()
        self._connections.add(layer.events, "data", self._on_replaced)
        self._watch = PaintWatch(layer, self._on_painted)
        if sparse is None and layer.data.size * layer.data.dtype.itemsize <= _SCANNED_BYTES:
            for frame in range(geometry.n_frames):
                self._read(frame)

    @classmethod
    def make(
        cls,
        viewer: Any,
        image: Any,
        geometry: Geometry,
        on_change: Callable[[], None],
        shown: Callable[[], int],
        name: str,
    ) -> PaintLink:
        """Add an empty layer for painting, where the image is; only painted frames take memory."""
        painted: dict[int, Labels] = {}
        blank = np.zeros(geometry.size, np.uint16)
        dirty: set[int] = set()

        def write(frame: int, labels: Labels) -> None:
            painted[frame] = labels
            dirty.add(frame)

        array = FrameArray(
            geometry.result_shape, geometry.travel_axis, lambda frame: painted.get(frame, blank), write
        )
        layer = viewer.add_labels(array, name=name, opacity=0.6, **placed_on_plane(image, geometry))
        link = cls(layer, image, geometry, on_change, shown, array)
        link._dirty = dirty
        return link

    def write(self, replaced: set[PromptKey], masks: Mapping[PromptKey, MaskPrompt]) -> None:
        """Erase the painted pixels of some frames and objects, and paint masks."""
        frames = {f for f, _ in replaced if any(k[0] == f for k in self.painted)} | {f for f, _ in masks}
        if not frames:
            return
        self._writing = True
        try:
            for frame in frames:
                labels = np.array(self._array.frame(frame))
                gone = [i for f, i in replaced if f == frame]
                labels[np.isin(labels, gone)] = 0
                for (f, object_id), mask in masks.items():
                    if f == frame:
                        labels[mask.array()] = object_id
                self._put(frame, labels)
                self._read(frame)
            self._dirty.clear()
            self.layer.refresh()
        finally:
            self._writing = False

    def set_defaults(self, object_id: int) -> None:
        """Say which object is painted from now on."""
        if self.layer.selected_label != object_id:
            self.layer.selected_label = object_id

    def restyle(self, colors: Mapping[int, Color]) -> None:
        """Give every object its colour."""
        self.layer.colormap = label_colors(colors, ())

    def close(self) -> None:
        """Stop listening; the layer stays."""
        self._connections.close()
        self._watch.close()

    def _put(self, frame: int, labels: Labels) -> None:
        where: list[Any] = list(self._geometry.fixed)
        where[-2:] = [slice(None), slice(None)]
        if self._geometry.travel_axis is not None:
            where[self._geometry.travel_axis] = frame
        if self._array is self.layer.data:
            where = [
                0 if n == 1 and not isinstance(w, slice) else w for w, n in zip(where, self._array.shape)
            ]
        self.layer.data[tuple(where)] = labels.astype(self.layer.data.dtype)
        if self._array is not self.layer.data:
            self._array.forget()

    def _read(self, frame: int) -> bool:
        """Read what is painted on a frame; whether anything changed."""
        labels = self._array.frame(frame)
        checksum = zlib.crc32(labels.tobytes())
        if self._checksums.get(frame) == checksum:
            return False
        self._checksums[frame] = checksum
        before = {key: mask for key, mask in self.painted.items() if key[0] == frame}
        counts = np.bincount(labels.ravel())
        now = {(frame, int(i)): MaskPrompt.from_array(labels == i) for i in np.flatnonzero(counts) if i > 0}
        for key in before:
            del self.painted[key]
        self.painted.update(now)
        return now != before

    def _on_painted(self) -> None:
        if self._writing:
            return
        frames, self_read = set(self._dirty), self._array is not self.layer.data
        self._dirty.clear()
        if self_read:
            self._array.forget()
            frames.add(self._shown())
        changed = [self._read(frame) for frame in sorted(frames)]
        if any(changed):
            self._on_change()

    def _on_replaced(self, event: Any = None) -> None:
        if self._writing or self._array is self.layer.data:
            return
        self._array = _adapted(self.layer, self._geometry)
        self.painted.clear()
        self._checksums.clear()
        self._read(self._shown())
        self._on_change()


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
            array = FrameArray(geometry.result_shape, geometry.travel_axis, read)
            active = viewer.layers.selection.active
            self.layer = viewer.add_labels(array, name=name, opacity=0.5, **placed_on_plane(image, geometry))
            if active is not None:  # the tool in the user's hand stays there: the next click is a prompt, too
                viewer.layers.selection.active = active
        self.array: FrameArray = self.layer.data
        self.array.serve(read, self._edited.__setitem__)
        self.layer.editable = True
        self._watch = PaintWatch(self.layer, self._on_painted)

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
        if mine and layer.data.shape == geometry.result_shape and _is_placed(layer, image, geometry):
            return layer
    return None


def label_colors(colors: Mapping[int, Color], hidden: Iterable[int]) -> DirectLabelColormap:
    """Return a colour map that gives every object its own colour."""
    gone = set(hidden)
    table: dict[int | None, Any] = {None: (0.5, 0.5, 0.5, 1.0), 0: (0.0, 0.0, 0.0, 0.0)}
    for object_id, (r, g, b) in colors.items():
        table[object_id] = (r / 255, g / 255, b / 255, 0.0 if object_id in gone else 1.0)
    return DirectLabelColormap(color_dict=table)


def placed_on_plane(image: Any, geometry: Geometry) -> dict[str, Any]:
    """Return the arguments that put a layer of results where its plane of the image is."""
    place = placed_like(image)
    steps, corner = geometry.result_place
    shift = np.asarray(image.data_to_world(corner), float) - image.data_to_world(np.zeros(geometry.ndim))
    # The world's shift is seen through the affine transform, which comes after the translation.
    linear = np.asarray(image.affine.linear_matrix, float)
    place["translate"] = np.asarray(image.translate, float) + np.linalg.solve(linear, shift)
    place["scale"] = np.asarray(image.scale, float) * steps
    return place


def _check_place(layer: Any, image: Any, geometry: Geometry) -> None:
    shape = tuple(int(n) for n in layer.data.shape)
    if shape != geometry.result_shape and (shape != geometry.shape or geometry.size != geometry.shape[-2:]):
        raise ValueError(
            f"{layer.name!r} has the shape {shape}, the image is seen as {geometry.result_shape}: "
            "paint on a layer of that shape"
        )
    steps, corner = geometry.result_place
    way = way_between(layer, image)
    if not np.allclose(way.matrix, np.diag(steps), atol=1e-6):
        raise ValueError(f"{layer.name!r} has another scale than the image: give it the scale of the image")
    for axis, position in geometry.held:
        corner[axis] = position if shape[axis] == 1 else 0
    if not np.allclose(way.offset, corner, atol=0.01):
        raise ValueError(
            f"{layer.name!r} lies elsewhere than the image: give it the translation of the image"
        )


def _is_placed(layer: Any, image: Any, geometry: Geometry) -> bool:
    """Whether a layer of the shape of the results lies where they do."""
    if layer.ndim != geometry.ndim:
        return False
    steps, corner = geometry.result_place
    way = way_between(layer, image)
    return np.allclose(way.matrix, np.diag(steps), atol=1e-6) and np.allclose(way.offset, corner, atol=0.01)


def _adapted(layer: Any, geometry: Geometry) -> FrameArray:
    """See a Labels layer of the user's own, of any integer type, as frames."""

    def read(frame: int) -> Labels:
        index: list[Any] = [p if n > 1 else 0 for p, n in zip(geometry.fixed, layer.data.shape)]
        index[-2:] = [slice(None), slice(None)]
        if geometry.travel_axis is not None:
            index[geometry.travel_axis] = frame
        labels = np.asarray(layer.data[tuple(index)])
        return np.where((labels > 0) & (labels <= 65535), labels, 0).astype(np.uint16)

    return FrameArray(geometry.result_shape, geometry.travel_axis, read)

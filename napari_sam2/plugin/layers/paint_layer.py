"""Prompts on a Labels layer: what is painted is the mask of an object."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.objects import MAX_OBJECT_ID, Color
from napari_sam2.plugin.layers.connections import Connections
from napari_sam2.plugin.layers.frame_array import FrameArray
from napari_sam2.plugin.layers.geometry import Geometry
from napari_sam2.plugin.layers.labels_layer import PaintEvents, label_colors
from napari_sam2.plugin.layers.placement import results_placement, transform_between
from napari_sam2.plugin.layers.prompt_marks import Mark
from napari_sam2.prompts import MaskPrompt, PromptKey

_SCANNED_BYTES = 2**28  # larger layers of the user's own are read frame by frame as they are shown
Labels = NDArray[np.uint16]


class PaintLink:
    """Reads and writes the prompts of one Labels layer.

    Parameters
    ----------
    layer : Labels
        Has the shape and the placement of the image.
    image : Image
        Layer that is prompted.
    geometry : Geometry
        Division of the image into frames.
    on_change : callable
        Called after the user painted, erased or filled, and after the undo of these.
    shown : callable
        Returns the frame that is shown.
    sparse : FrameArray, optional
        Data of the layer if the plugin made it.

    Raises
    ------
    ValueError
        If the layer has another shape or placement.
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
        _check_placement(layer, image, geometry)
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
        self._paint_events = PaintEvents(layer, self._on_painted)
        if sparse is None and layer.data.size * layer.data.dtype.itemsize <= _SCANNED_BYTES:
            for frame in range(geometry.n_frames):
                self._read_frame(frame)

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
        """Add an empty Labels layer where the image is; only painted frames take memory."""
        painted: dict[int, Labels] = {}
        blank = np.zeros(geometry.size, np.uint16)
        dirty: set[int] = set()

        def write(frame: int, labels: Labels) -> None:
            painted[frame] = labels
            dirty.add(frame)

        array = FrameArray(
            geometry.result_shape, geometry.frame_axis, lambda frame: painted.get(frame, blank), write
        )
        layer = viewer.add_labels(array, name=name, opacity=0.6, **results_placement(image, geometry))
        link = cls(layer, image, geometry, on_change, shown, array)
        link._dirty = dirty
        return link

    def read(self) -> list[Mark]:
        """Return no marks: see ``painted`` for the masks."""
        return []

    def write(
        self, replaced: set[PromptKey], marks: Sequence[Mark], painted: Mapping[PromptKey, MaskPrompt]
    ) -> None:
        """Erase some objects on some frames, then paint masks; marks are not shown here."""
        frames = {f for f, _ in replaced if any(k[0] == f for k in self.painted)} | {f for f, _ in painted}
        if not frames:
            return
        self._writing = True
        try:
            for frame in frames:
                labels = np.array(self._array.frame(frame))
                labels[np.isin(labels, [i for f, i in replaced if f == frame])] = 0
                for (f, object_id), mask in painted.items():
                    if f == frame:
                        labels[mask.array()] = object_id
                self._write_frame(frame, labels)
                self._read_frame(frame)
            self._dirty.clear()
            self.layer.refresh()
        finally:
            self._writing = False

    def set_defaults(self, object_id: int, positive: bool) -> None:
        """Set the object that is painted; the sign is the mode of the layer (paint or erase)."""
        if self.layer.selected_label != object_id:
            self.layer.selected_label = object_id

    def restyle(self, colors: Mapping[int, Color]) -> None:
        """Show the colour of each object."""
        self.layer.colormap = label_colors(colors, ())

    def close(self) -> None:
        """Disconnect from the layer, which stays in the viewer."""
        self._connections.close()
        self._paint_events.close()

    @property
    def _is_own(self) -> bool:
        """True if the plugin made the layer: its array knows which frames were painted."""
        return self._array is self.layer.data

    def _write_frame(self, frame: int, labels: Labels) -> None:
        index = _frame_index(self._geometry, self.layer.data.shape, frame)
        self.layer.data[index] = labels.astype(self.layer.data.dtype)
        if not self._is_own:
            self._array.forget()

    def _read_frame(self, frame: int) -> bool:
        """Read the painted masks of a frame; return True if any of them changed."""
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
        frames = set(self._dirty)
        self._dirty.clear()
        if not self._is_own:
            self._array.forget()
            frames.add(self._shown())
        changed = [self._read_frame(frame) for frame in sorted(frames)]
        if any(changed):
            self._on_change()

    def _on_replaced(self, event: Any = None) -> None:
        if self._writing or self._is_own:
            return
        self._array = _adapted(self.layer, self._geometry)
        self.painted.clear()
        self._checksums.clear()
        self._read_frame(self._shown())
        self._on_change()


def _check_placement(layer: Any, image: Any, geometry: Geometry) -> None:
    shape = tuple(int(n) for n in layer.data.shape)
    if shape != geometry.result_shape and (shape != geometry.shape or geometry.size != geometry.shape[-2:]):
        raise ValueError(
            f"{layer.name!r} has the shape {shape}, the image is seen as {geometry.result_shape}: "
            "paint on a layer of that shape"
        )
    steps, corner = geometry.result_grid
    found = transform_between(layer, image)
    if not np.allclose(found.matrix, np.diag(steps), atol=1e-6):
        raise ValueError(f"{layer.name!r} has another scale than the image: give it the scale of the image")
    for axis, position in geometry.fixed_axes:
        corner[axis] = position if shape[axis] == 1 else 0
    if not np.allclose(found.offset, corner, atol=0.01):
        raise ValueError(
            f"{layer.name!r} lies elsewhere than the image: give it the translation of the image"
        )


def _adapted(layer: Any, geometry: Geometry) -> FrameArray:
    """Return the data of a user's Labels layer, of any integer type, as frames."""

    def read(frame: int) -> Labels:
        labels = np.asarray(layer.data[_frame_index(geometry, layer.data.shape, frame)])
        return np.where((labels > 0) & (labels <= MAX_OBJECT_ID), labels, 0).astype(np.uint16)

    return FrameArray(geometry.result_shape, geometry.frame_axis, read)


def _frame_index(geometry: Geometry, shape: tuple[int, ...], frame: int) -> tuple[Any, ...]:
    """Return the index of a frame in an array of the image's or the results' shape."""
    index: list[Any] = [p if n > 1 else 0 for p, n in zip(geometry.fixed, shape)]
    index[-2:] = [slice(None), slice(None)]
    if geometry.frame_axis is not None:
        index[geometry.frame_axis] = frame
    return tuple(index)

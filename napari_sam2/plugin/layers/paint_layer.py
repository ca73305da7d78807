"""Prompts on a Labels layer: what is painted is the mask of an object."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.formats.imported_masks import new_ids, renumbering
from napari_sam2.objects import MAX_OBJECT_ID, Color
from napari_sam2.plugin.layers.connections import Connections, Guard
from napari_sam2.plugin.layers.frame_array import FrameArray
from napari_sam2.plugin.layers.geometry import Geometry
from napari_sam2.plugin.layers.labels_layer import PaintEvents, label_colors
from napari_sam2.plugin.layers.metadata import ids_of_labels
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
    guard : callable, optional
        As for :class:`MarkLink`.
    on_notice : callable, optional
        Called with a sentence when labels are not object ids as they are: those above ``MAX_OBJECT_ID`` get the
        lowest unused ids, negative ones are background. The layer keeps its labels.
    taken : callable, optional
        Returns the ids of all objects.

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
        guard: Guard = nullcontext,
        on_notice: Callable[[str], None] = lambda message: None,
        taken: Callable[[], Collection[int]] = tuple,
    ) -> None:
        _check_placement(layer, image, geometry)
        self.layer = layer
        self.painted: dict[PromptKey, MaskPrompt] = {}
        self._geometry = geometry
        self._on_change = on_change
        self._guard = guard
        self._shown = shown
        self._on_notice = on_notice
        self._taken = taken
        self._numbers = ids_of_labels(layer)
        self._array = self._adapted() if sparse is None else sparse
        self._dirty: set[int] = set()
        self._checksums: dict[int, int] = {}
        self._writing = False
        if sparse is None and self._is_small:
            self._number_labels()
            for frame in range(geometry.n_frames):
                self._read_frame(frame)
        self._connections = Connections()
        self._connections.add(layer.events, "data", self._on_replaced)
        self._paint_events = PaintEvents(layer, self._on_painted)

    @classmethod
    def make(
        cls,
        viewer: Any,
        image: Any,
        geometry: Geometry,
        on_change: Callable[[], None],
        shown: Callable[[], int],
        name: str,
        **settings: Any,
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
        link = cls(layer, image, geometry, on_change, shown, array, **settings)
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
        label = self._labels_of_ids.get(object_id, object_id)
        if self.layer.selected_label != label:
            self.layer.selected_label = label

    def restyle(self, colors: Mapping[int, Color]) -> None:
        """Show the colour of each object; a layer with labels that are no object ids keeps its own colours."""
        if not self._numbers:  # napari has no colour tables for labels above 65536
            self.layer.colormap = label_colors(colors, ())

    def close(self) -> None:
        """Disconnect from the layer, which stays in the viewer."""
        self._connections.close()
        self._paint_events.close()

    @property
    def _is_own(self) -> bool:
        """True if the plugin made the layer: its array knows which frames were painted."""
        return self._array is self.layer.data

    @property
    def _is_small(self) -> bool:
        data = self.layer.data
        return bool(data.size * data.dtype.itemsize <= _SCANNED_BYTES)

    @property
    def _labels_of_ids(self) -> dict[int, int]:
        return {object_id: label for label, object_id in self._numbers.items()}

    def _adapted(self) -> FrameArray:
        """Return the data of a user's Labels layer, of any integer type, as frames of object ids."""
        return FrameArray(self._geometry.result_shape, self._geometry.frame_axis, self._ids_of_frame)

    def _ids_of_frame(self, frame: int) -> Labels:
        data = self.layer.data
        labels = np.asarray(data[_frame_index(self._geometry, data.shape, frame)])
        labels = np.where(labels > 0, labels, 0)
        if labels.max(initial=0) > MAX_OBJECT_ID:
            found, inverse = np.unique(labels, return_inverse=True)
            labels = np.array([self._id_of(int(label)) for label in found])[inverse].reshape(labels.shape)
        return labels.astype(np.uint16)

    def _id_of(self, label: int) -> int:
        if label <= MAX_OBJECT_ID:
            return label
        if label not in self._numbers:
            if not self._is_small:
                raise ValueError(
                    f"it has the label {label}, object ids are 1 to {MAX_OBJECT_ID}: number its labels anew, as "
                    "skimage.segmentation.relabel_sequential does, then attach it again"
                )
            self._number([label])
        return self._numbers[label]

    def _number(self, labels: Sequence[int], notices: Sequence[str] = ()) -> None:
        """Give object ids to labels that are none, by the rule of imported files."""
        taken = {*self._taken(), *self._numbers.values(), *(i for _, i in self.painted)}
        ids = new_ids([i for i in labels if i not in self._numbers], repr(self.layer.name), taken)
        new = {label: i for label, i in ids.items() if label != i}
        self._numbers.update(new)
        notices = [*notices, renumbering(new)] if new else notices
        if notices:
            self._on_notice(f"{self.layer.name!r}: {'; '.join(notices)}")

    def _number_labels(self) -> None:
        """Give object ids to all labels of the layer that are none."""
        data, labels = self.layer.data, {0}
        if data.dtype.kind != "i" and data.dtype.itemsize <= 2:
            return
        for frame in range(self._geometry.n_frames):
            labels |= set(np.unique(data[_frame_index(self._geometry, data.shape, frame)]).tolist())
        notices = ["negative labels are background"] if min(labels) < 0 else []
        self._number(sorted(label for label in labels if label > 0), notices)

    def _write_frame(self, frame: int, labels: Labels) -> None:
        index = _frame_index(self._geometry, self.layer.data.shape, frame)
        if self._is_own:
            self.layer.data[index] = labels
            return
        # Only what changes, so that labels that are no object ids stay.
        data, changed = np.array(self.layer.data[index]), labels != self._array.frame(frame)
        new = labels[changed].astype(np.int64)
        for object_id, label in self._labels_of_ids.items():
            new[labels[changed] == object_id] = label
        data[changed] = new
        self.layer.data[index] = data
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
        with self._guard(self):
            if not self._is_own:
                self._array.forget()
                frames.add(self._shown())
            changed = [self._read_frame(frame) for frame in sorted(frames)]
            if any(changed):
                with self._guard(None):
                    self._on_change()

    def _on_replaced(self, event: Any = None) -> None:
        if self._writing or self._is_own:
            return
        with self._guard(self):
            self._array = self._adapted()
            self.painted.clear()
            self._checksums.clear()
            if self._is_small:
                self._number_labels()
            self._read_frame(self._shown())
            with self._guard(None):
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


def _frame_index(geometry: Geometry, shape: tuple[int, ...], frame: int) -> tuple[Any, ...]:
    """Return the index of a frame in an array of the image's or the results' shape."""
    index: list[Any] = [p if n > 1 else 0 for p, n in zip(geometry.fixed, shape)]
    index[-2:] = [slice(None), slice(None)]
    if geometry.frame_axis is not None:
        index[geometry.frame_axis] = frame
    return tuple(index)

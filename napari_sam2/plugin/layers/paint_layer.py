"""Labels layers: a painted one as prompts, and one that shows (and takes edits of) the results."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.objects import Color
from napari_sam2.plugin.layers.connections import Connections
from napari_sam2.plugin.layers.frame_array import FrameArray
from napari_sam2.plugin.layers.geometry import Geometry, transform_between
from napari_sam2.plugin.layers.label_style import PaintEvents, label_colors, results_placement
from napari_sam2.prompts import MaskPrompt, PromptKey

_SCANNED_BYTES = 2**28  # a Labels layer of the user's own is read whole only up to this size


Labels = NDArray[np.uint16]


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
        self._watch = PaintEvents(layer, self._on_painted)
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
            geometry.result_shape, geometry.frame_axis, lambda frame: painted.get(frame, blank), write
        )
        layer = viewer.add_labels(array, name=name, opacity=0.6, **results_placement(image, geometry))
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
        if self._geometry.frame_axis is not None:
            where[self._geometry.frame_axis] = frame
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


def _check_place(layer: Any, image: Any, geometry: Geometry) -> None:
    shape = tuple(int(n) for n in layer.data.shape)
    if shape != geometry.result_shape and (shape != geometry.shape or geometry.size != geometry.shape[-2:]):
        raise ValueError(
            f"{layer.name!r} has the shape {shape}, the image is seen as {geometry.result_shape}: "
            "paint on a layer of that shape"
        )
    steps, corner = geometry.result_place
    way = transform_between(layer, image)
    if not np.allclose(way.matrix, np.diag(steps), atol=1e-6):
        raise ValueError(f"{layer.name!r} has another scale than the image: give it the scale of the image")
    for axis, position in geometry.fixed_axes:
        corner[axis] = position if shape[axis] == 1 else 0
    if not np.allclose(way.offset, corner, atol=0.01):
        raise ValueError(
            f"{layer.name!r} lies elsewhere than the image: give it the translation of the image"
        )


def _adapted(layer: Any, geometry: Geometry) -> FrameArray:
    """See a Labels layer of the user's own, of any integer type, as frames."""

    def read(frame: int) -> Labels:
        index: list[Any] = [p if n > 1 else 0 for p, n in zip(geometry.fixed, layer.data.shape)]
        index[-2:] = [slice(None), slice(None)]
        if geometry.frame_axis is not None:
            index[geometry.frame_axis] = frame
        labels = np.asarray(layer.data[tuple(index)])
        return np.where((labels > 0) & (labels <= 65535), labels, 0).astype(np.uint16)

    return FrameArray(geometry.result_shape, geometry.frame_axis, read)

"""A Shapes layer as prompts: rectangles are boxes, everything else is a region."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from napari_sam2.objects import Color
from napari_sam2.plugin.layers.geometry import Geometry, transform_between
from napari_sam2.plugin.layers.image_layer import placement_of
from napari_sam2.plugin.layers.mark_features import MarkFeatures
from napari_sam2.plugin.layers.prompt_marks import Mark, Outline, ShapeKind
from napari_sam2.prompts import PromptKey

_KINDS: dict[str, ShapeKind] = {"rectangle": "box", "line": "line"}
# Positive shapes are veils of their object's colour, negative ones are dark with a thick rim.
_VEIL, _SHADE = 0.15, (0.0, 0.0, 0.0, 0.45)


class ShapesLink:
    """Reads and writes the prompts of one Shapes layer; parameters as for :class:`PointsLink`."""

    def __init__(self, layer: Any, image: Any, geometry: Geometry, on_change: Callable[[], None]) -> None:
        self.layer = layer
        self._image = image
        self._geometry = geometry
        self._on_change = on_change
        self._colors: Mapping[int, Color] = {}
        self._width = max(1.0, min(geometry.shape[-2:]) / 250)
        # While a shape is drawn it is in the data already: the rest of the drawing comes as a data event.
        self._features = MarkFeatures(layer, geometry, self._changed, drawn_in_steps=True)
        self.set_defaults = self._features.set_defaults
        self.close = self._features.close

    @classmethod
    def make(
        cls, viewer: Any, image: Any, geometry: Geometry, on_change: Callable[[], None], name: str
    ) -> ShapesLink:
        """Add an empty layer for shapes, where the image is."""
        layer = viewer.add_shapes(
            ndim=geometry.ndim,
            name=name,
            edge_width=max(1.0, min(geometry.shape[-2:]) / 250),
            **MarkFeatures.of_no_marks(),
            **placement_of(image),
        )
        return cls(layer, image, geometry, on_change)

    def read(self) -> list[Mark]:
        """Return all shapes that lie on one frame as marks, in the order of the layer."""
        layer = self.layer
        if not len(layer.data):
            return []
        way = transform_between(layer, self._image)
        ids, signs = self._features.ids, self._features.signs
        marks = []
        for row, (vertices, source, width) in enumerate(
            zip(layer.data, layer.shape_type, np.atleast_1d(layer.edge_width))
        ):
            places = way(vertices)
            frames = set(self._geometry.frames_of(places).tolist())
            if len(frames) != 1 or -1 in frames or ids[row] == 0 or len(places) < 2:
                continue
            xy = tuple((float(x), float(y)) for x, y in self._geometry.to_xy(places))
            kind = "line" if len(xy) == 2 else _KINDS.get(str(source), "region")
            outline = Outline(kind, xy, bool(signs[row]), float(width) / self._geometry.pixel, str(source))
            marks.append(Mark(frames.pop(), int(ids[row]), outline))
        return marks

    def write(self, replaced: set[PromptKey], marks: list[Mark]) -> None:
        """Take away the shapes of some frames and objects, and add marks (those that are shapes)."""
        layer = self.layer
        new = [m for m in marks if isinstance(m.element, Outline)]
        gone = {i for i, key in enumerate(self._keys()) if key in replaced}
        if not gone and not new:
            return
        back = transform_between(self._image, layer)

        def change() -> None:
            if gone:
                layer.selected_data = gone
                layer.remove_selected()
            layer.selected_data = set()
            for mark in new:
                assert isinstance(mark.element, Outline)
                places = back(self._geometry.to_data(mark.frame, mark.element.vertices))
                width = mark.element.width * self._geometry.pixel
                layer.add([places], shape_type=mark.element.source, edge_width=width)

        self._features.replace([i for i in range(len(layer.data)) if i not in gone], change, new)
        self.restyle(self._colors)

    def restyle(self, colors: Mapping[int, Color]) -> None:
        """Give every shape its object's colour; negative ones are dark inside and have a thicker rim."""
        self._colors = colors
        layer = self.layer
        if not len(layer.data):
            return
        ids, signs = self._features.ids, self._features.signs
        rgb = [[c / 255 for c in colors.get(int(i), (128, 128, 128))] for i in ids]
        strokes = [str(kind) == "line" for kind in layer.shape_type]
        widths = np.atleast_1d(layer.edge_width)
        with self._features.writing():
            layer.edge_color = np.array([[*c, 1.0] for c in rgb])
            layer.face_color = np.array([[*c, _VEIL] if s else _SHADE for c, s in zip(rgb, signs)])
            layer.edge_width = [  # the width of a stroke is what it says, not how it looks
                float(width) if stroke else self._width * (1 if sign else 2)
                for width, stroke, sign in zip(widths, strokes, signs)
            ]

    def _keys(self) -> list[PromptKey]:
        layer = self.layer
        way = transform_between(layer, self._image)
        keys = []
        for vertices, object_id in zip(layer.data, self._features.ids):
            frames = set(self._geometry.frames_of(way(vertices)).tolist())
            keys.append((frames.pop() if len(frames) == 1 else -1, int(object_id)))
        return keys

    def _changed(self) -> None:
        self.restyle(self._colors)
        self._on_change()

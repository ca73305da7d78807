"""Prompts on a Shapes layer: rectangles are boxes, everything else is a region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.plugin.layers.geometry import FloatArray, Geometry
from napari_sam2.plugin.layers.mark_layer import MarkLink
from napari_sam2.plugin.layers.prompt_marks import Mark, Outline, ShapeKind

_KINDS: dict[str, ShapeKind] = {"rectangle": "box", "line": "line"}
# Positive shapes are filled with a little of their object's colour, negative ones are dark with a thick edge.
_POSITIVE_OPACITY, _NEGATIVE_FILL = 0.15, (0.0, 0.0, 0.0, 0.45)


class ShapesLink(MarkLink):
    """Reads and writes the prompts of a Shapes layer; parameters as for :class:`MarkLink`."""

    mark_type = Outline
    drawn_in_steps = True

    @staticmethod
    def _add_layer(viewer: Any, geometry: Geometry, settings: dict[str, Any]) -> Any:
        return viewer.add_shapes(edge_width=_edge_width(geometry), **settings)

    def read(self) -> list[Mark]:
        """Return the shapes that lie on one frame and have an object, in the order of the layer."""
        layer, geometry = self.layer, self._geometry
        ids, signs, frames = self.ids, self.signs, self._frames()
        widths, to_image = np.atleast_1d(layer.edge_width), self._to_image()
        marks = []
        for row in np.flatnonzero((ids > 0) & (np.array(frames, int) >= 0)):
            vertices, source = to_image(layer.data[row]), str(layer.shape_type[row])
            if len(vertices) < 2:
                continue
            xy = tuple((float(x), float(y)) for x, y in geometry.to_xy(vertices))
            kind = "line" if len(xy) == 2 else _KINDS.get(source, "region")
            outline = Outline(kind, xy, bool(signs[row]), float(widths[row]) / geometry.pixel, source)
            marks.append(Mark(frames[row], int(ids[row]), outline))
        return marks

    def _append(self, marks: Sequence[Mark]) -> None:
        from_image = self._from_image()
        for mark in marks:
            if isinstance(mark.element, Outline):
                vertices = from_image(self._geometry.to_data(mark.frame, mark.element.vertices))
                width = mark.element.width * self._geometry.pixel
                self.layer.add([vertices], shape_type=mark.element.source, edge_width=width)

    def _show_style(self, colors: FloatArray, positive: NDArray[np.bool_]) -> None:
        layer = self.layer
        width = _edge_width(self._geometry)
        layer.edge_color = np.column_stack([colors, np.ones(len(colors))])
        layer.face_color = np.array(
            [[*c, _POSITIVE_OPACITY] if sign else _NEGATIVE_FILL for c, sign in zip(colors, positive)]
        )
        layer.edge_width = [  # that of a line is part of the prompt
            float(own) if str(kind) == "line" else width * (1 if sign else 2)
            for own, kind, sign in zip(np.atleast_1d(layer.edge_width), layer.shape_type, positive)
        ]

    def _frames(self) -> list[int]:
        to_image = self._to_image()
        found = [set(self._geometry.frames_of(to_image(v)).tolist()) for v in self.layer.data]
        return [frames.pop() if len(frames) == 1 else -1 for frames in found]


def _edge_width(geometry: Geometry) -> float:
    return max(1.0, min(geometry.shape[-2:]) / 250)

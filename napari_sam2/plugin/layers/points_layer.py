"""Prompts on a Points layer: the colour shows the object, the symbol the sign."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.plugin.layers.geometry import FloatArray, Geometry
from napari_sam2.plugin.layers.mark_layer import MarkLink
from napari_sam2.plugin.layers.prompt_marks import Mark
from napari_sam2.prompts import PointPrompt

# Negative and positive points differ in shape and brightness, never in hue alone.
_SYMBOLS = ("x", "disc")
_BORDERS = ("black", "white")


class PointsLink(MarkLink):
    """Reads and writes the prompts of a Points layer; parameters as for :class:`MarkLink`."""

    mark_type = PointPrompt
    drawn_in_steps = False

    @staticmethod
    def _add_layer(viewer: Any, geometry: Geometry, settings: dict[str, Any]) -> Any:
        return viewer.add_points(
            size=max(3.0, round(min(geometry.shape[-2:]) / 50)),
            symbol=_SYMBOLS[1],
            border_color=_BORDERS[1],
            border_width=0.15,
            **settings,
        )

    def read(self) -> list[Mark]:
        """Return the points that lie on a frame and have an object, in the order of the layer."""
        places = self._to_image()(self.layer.data)
        frames, xy = self._geometry.frames_of(places), self._geometry.to_xy(places)
        ids, signs = self.ids, self.signs
        return [
            Mark(int(frames[i]), int(ids[i]), PointPrompt(float(xy[i, 0]), float(xy[i, 1]), bool(signs[i])))
            for i in np.flatnonzero((frames >= 0) & (ids > 0))
        ]

    def _append(self, marks: Sequence[Mark]) -> None:
        points = [(m.frame, m.element) for m in marks if isinstance(m.element, PointPrompt)]
        places = np.concatenate([self._geometry.to_data(frame, [(p.x, p.y)]) for frame, p in points])
        self.layer.add(self._from_image()(places))

    def _show_style(self, colors: FloatArray, positive: NDArray[np.bool_]) -> None:
        self.layer.face_color = np.column_stack([colors, np.ones(len(colors))])
        self.layer.border_color = [_BORDERS[int(sign)] for sign in positive]
        self.layer.symbol = [_SYMBOLS[int(sign)] for sign in positive]

    def _frames(self) -> list[int]:
        frames: list[int] = self._geometry.frames_of(self._to_image()(self.layer.data)).tolist()
        return frames

"""A Points layer as prompts: object and sign are features, colour and symbol show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from napari_sam2.objects import Color
from napari_sam2.plugin.layers.geometry import Geometry, transform_between
from napari_sam2.plugin.layers.image_layer import placement_of
from napari_sam2.plugin.layers.mark_features import MarkFeatures
from napari_sam2.plugin.layers.prompt_marks import Mark
from napari_sam2.prompts import PointPrompt, PromptKey

# A shape for the sign and a rim that shows on dark and on light: no meaning hangs on a hue.
_SYMBOLS = ("x", "disc")
_RIMS = ("black", "white")


class PointsLink:
    """Reads and writes the prompts of one Points layer.

    Parameters
    ----------
    layer : Points
        With as many axes as the image.
    image : Image
        What the points are about.
    geometry : Geometry
        How the image is seen as frames.
    on_change : callable
        Called after the user changed anything that matters.

    Raises
    ------
    ValueError
        When the layer has not as many axes as the image.
    """

    def __init__(self, layer: Any, image: Any, geometry: Geometry, on_change: Callable[[], None]) -> None:
        self.layer = layer
        self._image = image
        self._geometry = geometry
        self._on_change = on_change
        self._colors: Mapping[int, Color] = {}
        self._features = MarkFeatures(layer, geometry, self._changed, drawn_in_steps=False)
        self.set_defaults = self._features.set_defaults
        self.close = self._features.close

    @classmethod
    def make(
        cls, viewer: Any, image: Any, geometry: Geometry, on_change: Callable[[], None], name: str
    ) -> PointsLink:
        """Add an empty layer for points, where the image is."""
        layer = viewer.add_points(
            ndim=geometry.ndim,
            name=name,
            size=max(3.0, round(min(geometry.shape[-2:]) / 50)),
            symbol=_SYMBOLS[1],
            border_color=_RIMS[1],
            border_width=0.15,
            **MarkFeatures.of_no_marks(),
            **placement_of(image),
        )
        return cls(layer, image, geometry, on_change)

    def read(self) -> list[Mark]:
        """Return all points on the frames as marks, in the order of the layer."""
        layer = self.layer
        if not len(layer.data):
            return []
        places = transform_between(layer, self._image)(layer.data)
        frames = self._geometry.frames_of(places)
        xy = self._geometry.to_xy(places)
        ids, signs = self._features.ids, self._features.signs
        return [
            Mark(int(frames[i]), int(ids[i]), PointPrompt(float(xy[i, 0]), float(xy[i, 1]), bool(signs[i])))
            for i in np.flatnonzero((frames >= 0) & (ids > 0))
        ]

    def write(self, replaced: set[PromptKey], marks: list[Mark]) -> None:
        """Take away the points of some frames and objects, and add marks (those that are points)."""
        layer = self.layer
        new = [m for m in marks if isinstance(m.element, PointPrompt)]
        keep = np.array([key not in replaced for key in self._keys()], bool)
        if keep.all() and not new:
            return
        back = transform_between(self._image, layer)
        added = [back(self._geometry.to_data(m.frame, [(m.element.x, m.element.y)]))[0] for m in new]  # type: ignore[union-attr]
        data = np.concatenate([np.asarray(layer.data)[keep], np.array(added).reshape(-1, layer.ndim)])
        self._features.replace(np.flatnonzero(keep).tolist(), lambda: setattr(layer, "data", data), new)
        self.restyle(self._colors)

    def restyle(self, colors: Mapping[int, Color]) -> None:
        """Give every point its object's colour and its sign's symbol."""
        self._colors = colors
        layer = self.layer
        if not len(layer.data):
            return
        ids, signs = self._features.ids, self._features.signs
        palette = {i: [*(c / 255 for c in colors.get(i, (128, 128, 128))), 1.0] for i in set(ids.tolist())}
        with self._features.writing():
            layer.face_color = np.array([palette[i] for i in ids.tolist()])
            layer.border_color = [_RIMS[int(s)] for s in signs]
            layer.symbol = [_SYMBOLS[int(s)] for s in signs]

    def _keys(self) -> list[PromptKey]:
        layer = self.layer
        if not len(layer.data):
            return []
        frames = self._geometry.frames_of(transform_between(layer, self._image)(layer.data))
        return [(int(f), int(i)) for f, i in zip(frames, self._features.ids)]

    def _changed(self) -> None:
        self.restyle(self._colors)
        self._on_change()

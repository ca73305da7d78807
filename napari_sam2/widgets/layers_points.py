"""A Points layer as prompts: object and sign are features, colour and symbol show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from napari_sam2.prompts import PointPrompt
from napari_sam2.storage.exports.results import Color
from napari_sam2.widgets.layers import (
    OBJECT_COLUMN,
    SIGN_COLUMN,
    Connections,
    feature_column,
    placed_like,
    truths,
    whole_numbers,
)
from napari_sam2.widgets.layers_geometry import Geometry, way_between
from napari_sam2.widgets.layers_marks import Mark, PromptKey

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
        check_axes(layer, geometry)
        self.layer = layer
        self._image = image
        self._geometry = geometry
        self._on_change = on_change
        self._defaults = (1, True)
        self._colors: Mapping[int, Color] = {}
        self._writing = False
        self._count = len(layer.data)
        self._connections = Connections()
        self._connections.add(layer.events, "data", self._on_data)
        self._connections.add(layer.events, "features", self._on_features)
        # Pasting points emits no data event, only a refresh.
        self._connections.add(layer.events, "set_data", self._on_refresh)

    @classmethod
    def make(
        cls, viewer: Any, image: Any, geometry: Geometry, on_change: Callable[[], None], name: str
    ) -> PointsLink:
        """Add an empty layer for points, where the image is."""
        layer = viewer.add_points(
            ndim=geometry.ndim,
            name=name,
            features=empty_features(),
            feature_defaults={OBJECT_COLUMN: 1, SIGN_COLUMN: True},
            size=max(3.0, round(min(geometry.shape[-2:]) / 50)),
            symbol=_SYMBOLS[1],
            border_color=_RIMS[1],
            border_width=0.15,
            **placed_like(image),
        )
        return cls(layer, image, geometry, on_change)

    def read(self) -> list[Mark]:
        """Return all points on the frames as marks, in the order of the layer."""
        layer = self.layer
        count = len(layer.data)
        if not count:
            return []
        places = way_between(layer, self._image)(layer.data)
        frames = self._geometry.frames_of(places)
        xy = self._geometry.to_xy(places)
        ids = whole_numbers(feature_column(layer, OBJECT_COLUMN), count, self._defaults[0])
        signs = truths(feature_column(layer, SIGN_COLUMN), count)
        return [
            Mark(int(frames[i]), int(ids[i]), PointPrompt(float(xy[i, 0]), float(xy[i, 1]), bool(signs[i])))
            for i in np.flatnonzero((frames >= 0) & (ids > 0))
        ]

    def write(self, replaced: set[PromptKey], marks: list[Mark]) -> None:
        """Take away the points of some frames and objects, and add marks (those that are points)."""
        layer = self.layer
        new = [m for m in marks if isinstance(m.what, PointPrompt)]
        keep = np.array([key not in replaced for key in self._keys()], bool)
        if keep.all() and not new:
            return
        ids = whole_numbers(feature_column(layer, OBJECT_COLUMN), len(layer.data), self._defaults[0])
        signs = truths(feature_column(layer, SIGN_COLUMN), len(layer.data))
        back = way_between(self._image, layer)
        added = [back(self._geometry.to_data(m.frame, [(m.what.x, m.what.y)]))[0] for m in new]  # type: ignore[union-attr]
        data = np.concatenate([np.asarray(layer.data)[keep], np.array(added).reshape(-1, layer.ndim)])
        self._writing = True
        try:
            layer.selected_data = set()
            layer.data = data
            layer.features = {
                OBJECT_COLUMN: np.concatenate([ids[keep], np.array([m.object_id for m in new], int)]),
                SIGN_COLUMN: np.concatenate([signs[keep], np.array([m.what.positive for m in new], bool)]),
            }
        finally:
            self._writing = False
        self._count = len(layer.data)
        self.set_defaults(*self._defaults)
        self.restyle(self._colors)

    def set_defaults(self, object_id: int, positive: bool) -> None:
        """Say which object and sign new points get."""
        self._defaults = (object_id, positive)
        self._writing = True
        try:
            self.layer.feature_defaults = {OBJECT_COLUMN: object_id, SIGN_COLUMN: positive}
        finally:
            self._writing = False

    def restyle(self, colors: Mapping[int, Color]) -> None:
        """Give every point its object's colour and its sign's symbol."""
        self._colors = colors
        layer = self.layer
        count = len(layer.data)
        if not count:
            return
        ids = whole_numbers(feature_column(layer, OBJECT_COLUMN), count, self._defaults[0])
        signs = truths(feature_column(layer, SIGN_COLUMN), count)
        palette = {i: [*(c / 255 for c in colors.get(i, (128, 128, 128))), 1.0] for i in set(ids.tolist())}
        self._writing = True
        try:
            layer.face_color = np.array([palette[i] for i in ids.tolist()])
            layer.border_color = [_RIMS[int(s)] for s in signs]
            layer.symbol = [_SYMBOLS[int(s)] for s in signs]
        finally:
            self._writing = False

    def close(self) -> None:
        """Stop listening; the layer stays."""
        self._connections.close()

    def _keys(self) -> list[PromptKey]:
        layer = self.layer
        if not len(layer.data):
            return []
        frames = self._geometry.frames_of(way_between(layer, self._image)(layer.data))
        ids = whole_numbers(feature_column(layer, OBJECT_COLUMN), len(layer.data), self._defaults[0])
        return [(int(f), int(i)) for f, i in zip(frames, ids)]

    def _on_data(self, event: Any) -> None:
        if self._writing:
            return
        action = str(getattr(event, "action", "changed")).rsplit(".", 1)[-1].lower()
        if action == "adding":
            # Selecting points makes their features the defaults; a new point is about the active object.
            self.set_defaults(*self._defaults)
        if action.endswith("ing"):
            return
        self._changed()

    def _on_features(self, event: Any = None) -> None:
        if not self._writing and len(self.layer.data) == self._count:
            self._changed()

    def _on_refresh(self, event: Any = None) -> None:
        if not self._writing and len(self.layer.data) != self._count:
            self._changed()

    def _changed(self) -> None:
        self._count = len(self.layer.data)
        self.restyle(self._colors)
        self._on_change()


def empty_features() -> dict[str, Any]:
    """Return the columns of a layer without marks."""
    return {OBJECT_COLUMN: np.zeros(0, np.int64), SIGN_COLUMN: np.zeros(0, bool)}


def check_axes(layer: Any, geometry: Geometry) -> None:
    """Raise ValueError when a layer of prompts has not as many axes as the image."""
    if layer.ndim != geometry.ndim:
        raise ValueError(
            f"{layer.name!r} has {layer.ndim} axes, the image has {geometry.ndim}: "
            "make the layer while the image is selected, so that its marks lie on frames"
        )

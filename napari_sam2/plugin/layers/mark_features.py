"""What Points and Shapes layers of prompts have in common: object and sign as features, and when they changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.plugin.layers.connections import Connections
from napari_sam2.plugin.layers.geometry import Geometry
from napari_sam2.plugin.layers.prompt_marks import Mark

OBJECT_COLUMN = "object_id"


SIGN_COLUMN = "positive"


def feature_column(layer: Any, name: str) -> NDArray[Any] | None:
    """Return a column of a layer's features; None when it is not there."""
    features = layer.features
    if name not in features:
        return None
    return np.asarray(features[name])


def whole_numbers(values: NDArray[Any] | None, count: int, default: int) -> NDArray[np.int64]:
    """Return object ids of a column that a user may have edited; what is no whole number is 0."""
    if values is None or len(values) != count:
        return np.full(count, default, np.int64)
    out = np.zeros(count, np.int64)
    for row, value in enumerate(values):
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if np.isfinite(number) and 1 <= number <= 65535 and number == round(number):
            out[row] = int(number)
    return out


def truths(values: NDArray[Any] | None, count: int) -> NDArray[np.bool_]:
    """Return signs of a column that a user may have edited; what is unclear is positive."""
    if values is None or len(values) != count:
        return np.ones(count, bool)
    negative = {"false", "0", "0.0", "-", "-1", "-1.0", "no", "negative"}
    return np.array([str(value).strip().lower() not in negative for value in values], bool)


class MarkFeatures:
    """Object and sign of each mark of a layer, and what new marks get.

    Parameters
    ----------
    layer : Points or Shapes
        With as many axes as the image.
    geometry : Geometry
        How the image is seen as frames.
    on_change : callable
        Called after the user changed anything that matters.
    drawn_in_steps : bool
        Whether a mark is in the data already while it is drawn, so that more marks mean nothing yet.

    Raises
    ------
    ValueError
        When the layer has not as many axes as the image.
    """

    def __init__(
        self, layer: Any, geometry: Geometry, on_change: Callable[[], None], drawn_in_steps: bool
    ) -> None:
        if layer.ndim != geometry.ndim:
            raise ValueError(
                f"{layer.name!r} has {layer.ndim} axes, the image has {geometry.ndim}: "
                "make the layer while the image is selected, so that its marks lie on frames"
            )
        self._layer = layer
        self._on_change = on_change
        self._drawn_in_steps = drawn_in_steps
        self._defaults = (1, True)
        self._writing = False
        self._count = len(layer.data)
        self._connections = Connections()
        self._connections.add(layer.events, "data", self._on_data)
        self._connections.add(layer.events, "features", self._on_features)
        # Pasting emits no data event, only a refresh.
        self._connections.add(layer.events, "set_data", self._on_refresh)

    @staticmethod
    def of_no_marks() -> dict[str, Any]:
        """Return the arguments that give a new layer the columns."""
        columns = {OBJECT_COLUMN: np.zeros(0, np.int64), SIGN_COLUMN: np.zeros(0, bool)}
        return {"features": columns, "feature_defaults": {OBJECT_COLUMN: 1, SIGN_COLUMN: True}}

    @property
    def ids(self) -> NDArray[np.int64]:
        """Object of each mark; 0: none that can be."""
        layer = self._layer
        return whole_numbers(feature_column(layer, OBJECT_COLUMN), len(layer.data), self._defaults[0])

    @property
    def signs(self) -> NDArray[np.bool_]:
        """Whether each mark says "here"."""
        return truths(feature_column(self._layer, SIGN_COLUMN), len(self._layer.data))

    def replace(self, kept: Collection[int], change: Callable[[], None], new: Sequence[Mark]) -> None:
        """Change the data of the layer so that it has the kept marks (by row) and then new ones.

        Parameters
        ----------
        kept : collection of int
            Rows that stay, in order.
        change : callable
            Changes the data.
        new : sequence of Mark
            What comes after them.
        """
        rows = list(kept)
        ids, signs = self.ids[rows], self.signs[rows]
        with self.writing():
            self._layer.selected_data = set()
            change()
            self._layer.selected_data = set()
            self._layer.features = {
                OBJECT_COLUMN: np.concatenate([ids, np.array([m.object_id for m in new], int)]),
                SIGN_COLUMN: np.concatenate([signs, np.array([m.element.positive for m in new], bool)]),
            }
        self._count = len(self._layer.data)
        self.set_defaults(*self._defaults)

    def set_defaults(self, object_id: int, positive: bool) -> None:
        """Say which object and sign new marks get."""
        self._defaults = (object_id, positive)
        with self.writing():
            self._layer.feature_defaults = {OBJECT_COLUMN: object_id, SIGN_COLUMN: positive}

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Take what the layer tells meanwhile for our own doing."""
        before, self._writing = self._writing, True
        try:
            yield
        finally:
            self._writing = before

    def close(self) -> None:
        """Stop listening; the layer stays."""
        self._connections.close()

    def _on_data(self, event: Any) -> None:
        if self._writing:
            return
        action = str(getattr(event, "action", "changed")).rsplit(".", 1)[-1].lower()
        if action == "adding":
            # Selecting marks makes their features the defaults; a new one is about the active object.
            self.set_defaults(*self._defaults)
        if not action.endswith("ing"):
            self._changed()

    def _on_features(self, event: Any = None) -> None:
        if not self._writing and len(self._layer.data) == self._count:
            self._changed()

    def _on_refresh(self, event: Any = None) -> None:
        count = len(self._layer.data)
        if not self._writing and (count < self._count or (count > self._count and not self._drawn_in_steps)):
            self._changed()

    def _changed(self) -> None:
        self._count = len(self._layer.data)
        self._on_change()

"""Prompts on Points and Shapes layers: what both kinds of marks have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_sam2.objects import MAX_OBJECT_ID, Color
from napari_sam2.plugin.layers.connections import Connections, Guard
from napari_sam2.plugin.layers.geometry import FloatArray, Geometry
from napari_sam2.plugin.layers.placement import LayerTransform, placement_of, transform_between
from napari_sam2.plugin.layers.prompt_marks import Mark, Outline
from napari_sam2.prompts import MaskPrompt, PointPrompt, PromptKey

OBJECT_COLUMN, SIGN_COLUMN = "object_id", "positive"
# Features of a new layer.
MARK_COLUMNS: dict[str, Any] = {
    "features": {OBJECT_COLUMN: np.zeros(0, np.int64), SIGN_COLUMN: np.zeros(0, bool)},
    "feature_defaults": {OBJECT_COLUMN: 1, SIGN_COLUMN: True},
}
_NEGATIVE = {"false", "0", "0.0", "-", "-1", "-1.0", "no", "negative"}
_UNKNOWN_COLOR = (128, 128, 128)
Self = TypeVar("Self", bound="MarkLink")


class MarkLink(ABC):
    """Reads and writes the prompts of one layer; object and sign of each mark are columns of its features.

    A layer of the user's own gets these columns beside its others; marks without an object are about the active one.

    Parameters
    ----------
    layer : Points or Shapes
        Has as many axes as the image.
    image : Image
        Layer that is prompted.
    geometry : Geometry
        Division of the image into frames.
    on_change : callable
        Called after the user changed marks.
    guard : callable, optional
        ``guard(link)`` returns the context in which the link handles events of the layer, ``guard(None)`` the one
        in which it calls ``on_change``: both may handle errors.

    Raises
    ------
    ValueError
        If the layer does not have as many axes as the image.
    """

    mark_type: ClassVar[type[PointPrompt] | type[Outline]]
    # True: napari inserts a mark into the data before its drawing is finished.
    drawn_in_steps: ClassVar[bool]

    def __init__(
        self,
        layer: Any,
        image: Any,
        geometry: Geometry,
        on_change: Callable[[], None],
        guard: Guard = nullcontext,
    ) -> None:
        if layer.ndim != geometry.ndim:
            raise ValueError(
                f"{layer.name!r} has {layer.ndim} axes, the image has {geometry.ndim}: "
                "make the layer while the image is selected, so that its marks lie on frames"
            )
        self.layer = layer
        self.painted: dict[PromptKey, MaskPrompt] = {}
        self._image = image
        self._geometry = geometry
        self._on_change = on_change
        self._guard = guard
        self._colors: Mapping[int, Color] = {}
        self._defaults = (1, True)
        self._writing = False
        self._count = len(layer.data)
        self._connections = Connections()
        # Pasting emits no data event, only a refresh.
        self._connections.replace(
            layer.events, data=self._on_event, features=self._on_event, set_data=self._on_event
        )
        self.close = self._connections.close

    @classmethod
    def make(
        cls: type[Self],
        viewer: Any,
        image: Any,
        geometry: Geometry,
        on_change: Callable[[], None],
        name: str,
        guard: Guard = nullcontext,
    ) -> Self:
        """Add an empty layer where the image is."""
        settings = {"ndim": geometry.ndim, "name": name, **MARK_COLUMNS, **placement_of(image)}
        return cls(cls._add_layer(viewer, geometry, settings), image, geometry, on_change, guard)

    @staticmethod
    @abstractmethod
    def _add_layer(viewer: Any, geometry: Geometry, settings: dict[str, Any]) -> Any:
        """Add an empty layer with these settings and its own to a viewer."""

    @abstractmethod
    def read(self) -> list[Mark]:
        """Return all marks that lie on a frame and have an object, in the order of the layer."""

    @abstractmethod
    def _append(self, marks: Sequence[Mark]) -> None:
        """Add marks of the right type to the end of the layer's data."""

    @abstractmethod
    def _show_style(self, colors: FloatArray, positive: NDArray[np.bool_]) -> None:
        """Show the colour (RGB, 0 to 1) and the sign of each mark."""

    @abstractmethod
    def _frames(self) -> list[int]:
        """Return the frame of each mark; -1 if it lies on none."""

    @property
    def ids(self) -> NDArray[np.int64]:
        """Object of each mark; 0 where the column holds no valid id."""
        return object_ids(self._column(OBJECT_COLUMN), len(self.layer.data), self._defaults[0])

    @property
    def signs(self) -> NDArray[np.bool_]:
        """True for each positive mark; anything unclear counts as positive."""
        values = self._column(SIGN_COLUMN)
        if values is None or len(values) != len(self.layer.data):
            return np.ones(len(self.layer.data), bool)
        return np.array([str(value).strip().lower() not in _NEGATIVE for value in values], bool)

    def write(
        self, replaced: set[PromptKey], marks: Sequence[Mark], painted: Mapping[PromptKey, MaskPrompt]
    ) -> None:
        """Remove the marks of some frames and objects, then add the ones that this kind of layer can show."""
        layer = self.layer
        new = [m for m in marks if isinstance(m.element, self.mark_type)]
        keys = zip(self._frames(), self.ids.tolist())
        removed = {row for row, key in enumerate(keys) if key in replaced}
        if not removed and not new:
            return
        with self.writing():
            if removed:
                layer.selected_data = removed
                layer.remove_selected()
            layer.selected_data = set()
            if new:
                self._complete_features()
                first = len(layer.data)
                self._append(new)
                layer.selected_data = set()
                features = layer.features.copy()
                features.loc[first:, OBJECT_COLUMN] = [m.object_id for m in new]
                features.loc[first:, SIGN_COLUMN] = [m.element.positive for m in new]
                layer.features = features
        self._count = len(layer.data)
        self.set_defaults(*self._defaults)
        self.restyle(self._colors)

    def set_defaults(self, object_id: int, positive: bool) -> None:
        """Set the object and the sign of new marks."""
        self._defaults = (object_id, positive)
        with self.writing():
            self._complete_features()
            defaults = self.layer.feature_defaults.copy()
            defaults[OBJECT_COLUMN], defaults[SIGN_COLUMN] = object_id, positive
            self.layer.feature_defaults = defaults

    def restyle(self, colors: Mapping[int, Color]) -> None:
        """Show the colour of each mark's object, and its sign."""
        self._colors = colors
        if len(self.layer.data):
            rgb = np.array([colors.get(i, _UNKNOWN_COLOR) for i in self.ids.tolist()], float) / 255
            with self.writing():
                self._show_style(rgb, self.signs)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Ignore the events of the layer inside a ``with`` block."""
        before, self._writing = self._writing, True
        try:
            yield
        finally:
            self._writing = before

    def _to_image(self) -> LayerTransform:
        return transform_between(self.layer, self._image)

    def _from_image(self) -> LayerTransform:
        return transform_between(self._image, self.layer)

    def _column(self, name: str) -> NDArray[Any] | None:
        features = self.layer.features
        return np.asarray(features[name]) if name in features else None

    def _complete_features(self) -> None:
        """Add or convert the two columns; values that a conversion would lose stay in a column of their own."""
        features = self.layer.features.copy()
        complete = True
        for name, values in ((OBJECT_COLUMN, self.ids), (SIGN_COLUMN, self.signs)):
            if name in features and features[name].dtype == values.dtype:
                continue
            if name in features and [str(v) for v in features[name]] != [str(v) for v in values]:
                features[f"{name} (original)"] = features[name]
            features[name], complete = values, False
        if not complete:
            self.layer.features = features

    def _on_event(self, event: Any) -> None:
        """Report a change of the layer once it is complete."""
        if self._writing:
            return
        action = str(getattr(event, "action", "changed")).rsplit(".", 1)[-1].lower()
        with self._guard(self):
            if action == "adding":
                # Selecting marks makes their features the defaults; a new mark belongs to the active object.
                self.set_defaults(*self._defaults)
            more = len(self.layer.data) - self._count
            complete = {
                "data": not action.endswith("ing"),
                "features": more == 0,
                "set_data": more < 0 or (more > 0 and not self.drawn_in_steps),
            }
            if complete[event.type]:
                self._count = len(self.layer.data)
                self.restyle(self._colors)
                with self._guard(None):
                    self._on_change()


def object_ids(values: NDArray[Any] | None, count: int, default: int) -> NDArray[np.int64]:
    """Return the object ids of a column that a user may have edited.

    Parameters
    ----------
    values : ndarray or None
        Of any type; None if there is no such column.
    count : int
        Number of marks; a column of another length is ignored.
    default : int
        Id of marks that have none (no column, NaN, None, an empty text).

    Returns
    -------
    ndarray of int64, shape (count,)
        0 where a value is not a whole number from 1 to ``MAX_OBJECT_ID``.
    """
    if values is None or len(values) != count:
        return np.full(count, default, np.int64)
    out = np.zeros(count, np.int64)
    for row, value in enumerate(values):
        if _is_missing(value):
            out[row] = default
            continue
        try:
            number = 0.0 if isinstance(value, (bool, np.bool_)) else float(value)
        except (TypeError, ValueError):
            continue
        if 1 <= number <= MAX_OBJECT_ID and number == round(number):
            out[row] = int(number)
    return out


def _is_missing(value: Any) -> bool:
    try:
        return value is None or bool(value != value) or (isinstance(value, str) and not value.strip())
    except (TypeError, ValueError):  # pandas' NA cannot be compared
        return True

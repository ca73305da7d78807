"""The objects as a Qt model, one row each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, QTimer
from qtpy.QtGui import QColor, QFont

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.docks.parts.controller_link import events_of
from napari_sam2.plugin.layers.connections import Connections
from napari_sam2.plugin.state import ObjectState

STATE_ROLE = int(Qt.ItemDataRole.UserRole) + 1
_REFRESH_MS = 300


class Column(IntEnum):
    """Columns of the table."""

    OBJECT = 0
    PROMPTS = 1
    PRESENT = 2
    UNCERTAINTY = 3
    LOCK = 4


_HEADERS = {
    Column.OBJECT: ("Object", "Colour, id and name. Double-click to rename."),
    Column.PROMPTS: ("Prompts", "Number of frames on which the object has prompts"),
    Column.PRESENT: ("Frames", "First and last frame on which the object is seen"),
    Column.UNCERTAINTY: (
        "Uncertainty",
        "Highest uncertainty over all frames: the longer the bar, the less certain",
    ),
    Column.LOCK: ("", "Neither prompts nor tracking change locked objects"),
}


class ObjectsModel(QAbstractTableModel):
    """Rows are objects in the order of their ids; names can be edited.

    While results come in, only visible rows are updated.
    """

    def __init__(self) -> None:
        super().__init__()
        self._controller: Controller | None = None
        self._states: tuple[ObjectState, ...] = ()
        self._signals = Connections()
        self.visible_rows: Callable[[], Iterable[int]] = lambda: range(0)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_REFRESH_MS)
        self._soon.timeout.connect(self.refresh)

    @property
    def states(self) -> tuple[ObjectState, ...]:
        """State of the object of each row."""
        return self._states

    def show_controller(self, controller: Controller | None) -> None:
        """Show another controller's objects."""
        self._controller = controller
        self._soon.stop()
        self._signals.replace(events_of(controller), objects=self._on_objects, timeline=self.refresh_soon)
        self.beginResetModel()
        self._states = () if controller is None else controller.objects.states
        self.endResetModel()

    def _on_objects(self, states: tuple[ObjectState, ...]) -> None:
        old, ids = self._states, [s.object_id for s in states]
        if [s.object_id for s in old] != ids:
            self.beginResetModel()
            self._states = tuple(states)
            self.endResetModel()
            return
        self._states = tuple(states)
        changed = [row for row, (a, b) in enumerate(zip(old, states)) if a != b]
        if changed:
            self.dataChanged.emit(self.index(changed[0], 0), self.index(changed[-1], len(Column) - 1))

    def refresh(self) -> None:
        """Update the visible rows."""
        controller = self._controller
        if controller is None or controller.closed:
            return
        states = list(self._states)
        rows = [
            r for r in self.visible_rows() if r < len(states) and states[r].object_id in controller.objects
        ]
        for row in rows:
            states[row] = controller.objects.state(states[row].object_id)
        if rows and tuple(states) != self._states:
            self._states = tuple(states)
            self.dataChanged.emit(self.index(rows[0], 0), self.index(rows[-1], len(Column) - 1))

    def refresh_soon(self, *_: object) -> None:
        """Update the visible rows a little later."""
        if not self._soon.isActive():
            self._soon.start()

    # -- Qt's interface ----------------------------------------------------------------------------------

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        """Return the number of objects."""
        return 0 if parent.isValid() else len(self._states)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        """Return the number of columns."""
        return 0 if parent.isValid() else len(Column)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        """Return titles and tooltips of the columns."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        title, tip = _HEADERS[Column(section)]
        if role == Qt.ItemDataRole.DisplayRole:
            return title
        return tip if role == Qt.ItemDataRole.ToolTipRole else None

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Return the flags of a cell: only names can be edited."""
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        return flags | Qt.ItemFlag.ItemIsEditable if index.column() == Column.OBJECT else flags

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """Return text, tooltip, colour or font of a cell."""
        if not index.isValid() or index.row() >= len(self._states):
            return None
        state, column = self._states[index.row()], Column(index.column())
        if role == STATE_ROLE:
            return state
        if role == Qt.ItemDataRole.DisplayRole:
            return _text(state, column)
        if role == Qt.ItemDataRole.EditRole:
            return state.name
        if role == Qt.ItemDataRole.DecorationRole and column == Column.OBJECT:
            return QColor(*state.color)
        if role == Qt.ItemDataRole.FontRole and state.active:
            font = QFont()
            font.setBold(True)
            return font
        return _tip(state) if role == Qt.ItemDataRole.ToolTipRole else None

    def setData(self, index: QModelIndex, value: Any, role: int = 2) -> bool:
        """Rename an object."""
        if self._controller is None or role != Qt.ItemDataRole.EditRole or index.row() >= len(self._states):
            return False
        self._controller.objects.rename(self._states[index.row()].object_id, str(value).strip())
        return True


def _text(state: ObjectState, column: Column) -> str:
    if column == Column.OBJECT:
        return f"{state.object_id}  {state.name}" if state.name else str(state.object_id)
    if column == Column.PROMPTS:
        return str(len(state.prompted_frames) or "–")
    if column == Column.PRESENT:
        if state.first is None:
            return "–"
        return f"{state.first}–{state.last}" if state.first != state.last else f"{state.first}"
    return ""


def _tip(state: ObjectState) -> str:
    seen = "not tracked yet"
    if state.present:
        seen = f"seen on {state.present} frames ({state.first} to {state.last})"
    frames = ", ".join(str(f) for f in state.prompted_frames[:12])
    more = "…" if len(state.prompted_frames) > 12 else ""
    prompts = f"prompts on frames {frames}{more}" if frames else "no prompts yet"
    notes = ", ".join(["locked"] * state.locked + ["hidden"] * (not state.visible))
    title = state.title + (f" ({notes})" if notes else "")
    return "\n".join([title, prompts, seen, f"uncertainty {state.uncertainty:.0%}"])

"""The active object in one line, for docks without the table."""

from __future__ import annotations

from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QComboBox, QWidget

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.docks.parts.actions import Actions
from napari_sam2.plugin.docks.parts.buttons import shrinking, tool_button
from napari_sam2.plugin.docks.parts.controller_link import events_of
from napari_sam2.plugin.docks.parts.layouts import GAP, row
from napari_sam2.plugin.docks.parts.shortcuts import tip
from napari_sam2.plugin.docks.parts.theme import ICON, Theme
from napari_sam2.plugin.layers.connections import Connections
from napari_sam2.plugin.state import ObjectState

_NONE = "the first click makes object 1"


class ObjectBar(QWidget):
    """A list to choose the active object, and a button to add one."""

    def __init__(self, theme: Theme, actions: Actions) -> None:
        super().__init__()
        self._controller: Controller | None = None
        self._signals = Connections()
        self._shown: tuple[tuple[int, str, tuple[int, int, int]], ...] = ()
        self.combo = shrinking(QComboBox(), 10, "The object to which new prompts belong")
        self.new = tool_button(theme, "plus", "New", tip("new_object"), compact=True)
        self.new.clicked.connect(lambda: actions.new_object())
        self.combo.activated.connect(self._on_combo)
        self.setLayout(row(self.combo, self.new, spacing=GAP, stretched=self.combo))
        self._show(())

    def show_controller(self, controller: Controller | None) -> None:
        """Show another controller's objects."""
        self._controller = controller
        self._signals.replace(events_of(controller), objects=self._show)
        self.setEnabled(controller is not None)
        self._show(() if controller is None else controller.objects.states)

    def _show(self, states: tuple[ObjectState, ...]) -> None:
        shown = tuple((s.object_id, s.title, s.color) for s in states)
        if shown != self._shown or not states:
            self._shown = shown
            self.combo.clear()
            for object_id, title, color in shown:
                self.combo.addItem(_chip(color), title, object_id)
            if not shown:
                self.combo.addItem(_NONE, 0)
        active = next((s.object_id for s in states if s.active), 0)
        self.combo.setCurrentIndex(max(self.combo.findData(active), 0))

    def _on_combo(self, index: int) -> None:
        object_id = int(self.combo.itemData(index))
        if self._controller is not None and object_id:
            self._controller.objects.select([object_id])


def _chip(color: tuple[int, int, int]) -> QIcon:
    chip = QPixmap(ICON, ICON)
    chip.fill(QColor(*color))
    return QIcon(chip)

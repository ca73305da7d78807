"""Which object prompts go to, in one line, for docks without the table."""

from __future__ import annotations

from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QSizePolicy, QWidget

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.docks.parts.actions import Actions
from napari_sam2.plugin.docks.parts.controller_link import SignalConnections
from napari_sam2.plugin.docks.parts.shortcuts import tip
from napari_sam2.plugin.docks.parts.theme import GAP, ICON, Theme, tool_button
from napari_sam2.plugin.state import ObjectState

_NONE = "the first click makes object 1"


class ObjectBar(QWidget):
    """Choose the active object, or add one.

    Parameters
    ----------
    look : Look
        Icons.
    verbs : Verbs
        What the buttons do.
    """

    def __init__(self, look: Theme, verbs: Actions) -> None:
        super().__init__()
        self._controller: Controller | None = None
        self._listening = SignalConnections()
        self._shown: tuple[tuple[int, str, tuple[int, int, int]], ...] = ()
        self.combo = QComboBox()
        self.combo.setToolTip("The object that new prompts are about")
        self.combo.setMinimumContentsLength(10)
        self.combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.new = tool_button(look, "plus", "New", tip("new_object"))
        self.new.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.new.clicked.connect(lambda: verbs.new_object())
        self.combo.activated.connect(self._on_combo)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(GAP)
        row.addWidget(self.combo, 1)
        row.addWidget(self.new)
        self._show(())

    def show_controller(self, controller: Controller | None) -> None:
        """Show another controller's objects."""
        self._controller = controller
        self._listening.to(controller, objects=self._show)
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

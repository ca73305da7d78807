"""Undo, redo and help."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_sam2.widgets.controller import Controller
from napari_sam2.widgets.dock_session import Listening
from napari_sam2.widgets.shortcuts import tip
from napari_sam2.widgets.states import HistoryState
from napari_sam2.widgets.style import Look, tool_button
from napari_sam2.widgets.verbs import Verbs


class HistoryButtons(QWidget):
    """Say what undo and redo would do, and do it.

    Parameters
    ----------
    look : Look
        Icons.
    verbs : Verbs
        What the buttons do.
    show_help : callable
        Shows all keys.
    """

    def __init__(self, look: Look, verbs: Verbs, show_help: Callable[[], None]) -> None:
        super().__init__()
        self._listening = Listening()
        self.undo = tool_button(look, "undo", tip=tip("undo"))
        self.redo = tool_button(look, "redo", tip=tip("redo"))
        self.help = tool_button(look, "keyboard", tip=tip("help", "All keys on one page"))
        self.undo.clicked.connect(lambda: verbs.undo())
        self.redo.clicked.connect(lambda: verbs.redo())
        self.help.clicked.connect(lambda: show_help())
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(2)
        for button in (self.undo, self.redo, self.help):
            row.addWidget(button)

    def show_controller(self, controller: Controller | None) -> None:
        """Show another controller's history."""
        self._listening.to(controller, history=self._on_history)
        self._on_history(HistoryState() if controller is None else controller.history)

    def _on_history(self, history: HistoryState) -> None:
        self.undo.setEnabled(history.can_undo)
        self.redo.setEnabled(history.can_redo)
        self.undo.setToolTip(
            tip("undo", f"Undo: {history.undo_label}" if history.can_undo else "Nothing to undo")
        )
        self.redo.setToolTip(
            tip("redo", f"Redo: {history.redo_label}" if history.can_redo else "Nothing to redo")
        )

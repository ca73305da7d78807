"""Undo, redo, the list of all steps, and help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QAction, QKeySequence, QUndoGroup  # type: ignore[attr-defined]
from qtpy.QtWidgets import QHBoxLayout, QMenu, QToolButton, QUndoView, QVBoxLayout, QWidget, QWidgetAction

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.docks.parts.actions import Actions
from napari_sam2.plugin.docks.parts.shortcuts import tip
from napari_sam2.plugin.docks.parts.theme import Theme, muted_label, tool_button
from napari_sam2.plugin.qt.undo_stack import stack_of

_LIST_ROWS, _LIST_COLUMNS = 12, 40


class HistoryButtons(QWidget):
    """Say what undo and redo would do, do it, and list all steps to go back (or forward) to.

    Parameters
    ----------
    look : Look
        Icons.
    verbs : Verbs
        What the buttons do.
    show_help : callable
        Shows all keys.
    """

    def __init__(self, look: Theme, verbs: Actions, show_help: Callable[[], None]) -> None:
        super().__init__()
        self._group = QUndoGroup(self)
        self.undo = tool_button(look, "undo", tip=tip("undo"))
        self.redo = tool_button(look, "redo", tip=tip("redo"))
        self.help = tool_button(look, "keyboard", tip=tip("help", "All keys on one page"))
        self.steps = QUndoView(self._group)
        self.help.clicked.connect(lambda: show_help())
        # Qt's own actions: they know the text and whether there is something to do.
        self._undoing: Any = self._group.createUndoAction(self, "Undo:")
        self._redoing: Any = self._group.createRedoAction(self, "Redo:")
        self.keys = [
            self._key(QKeySequence.StandardKey.Undo, verbs.undo),
            self._key(QKeySequence.StandardKey.Redo, verbs.redo),
        ]
        rows: list[tuple[QToolButton, Any, str, Callable[[], None]]] = [
            (self.undo, self._undoing, "undo", verbs.undo),
            (self.redo, self._redoing, "redo", verbs.redo),
        ]
        for button, action, name, act in rows:
            button.clicked.connect(lambda _=False, act=act: act())
            action.changed.connect(lambda b=button, a=action, n=name: _show_action(b, a, n))
            _show_action(button, action, name)
        self._lay_out()

    def show_controller(self, controller: Controller | None) -> None:
        """Show another controller's history."""
        stack = stack_of(controller)
        if stack is not None and stack not in self._group.stacks():
            self._group.addStack(stack)
        self._group.setActiveStack(stack)

    def _key(self, sequence: QKeySequence.StandardKey, act: Callable[[], None]) -> QAction:
        """Return an action that a dock adds to itself, so that the usual key works while the dock has the keyboard."""
        action = QAction(self)
        action.setShortcuts(sequence)
        action.setShortcutContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        action.triggered.connect(lambda: act())
        return action

    def _lay_out(self) -> None:
        self.steps.setEmptyLabel("Where you began")
        letter = self.steps.fontMetrics()
        self.steps.setMinimumSize(
            QSize(_LIST_COLUMNS * letter.averageCharWidth(), _LIST_ROWS * (letter.height() + 2))
        )
        inside = QWidget()
        box = QVBoxLayout(inside)
        box.setContentsMargins(4, 4, 4, 4)
        box.addWidget(muted_label("All steps; click on one to go back or forward to it."))
        box.addWidget(self.steps)
        menu, holder = QMenu(self.undo), QWidgetAction(self.undo)
        holder.setDefaultWidget(inside)
        menu.addAction(holder)
        self.undo.setMenu(menu)
        self.undo.setPopupMode(QToolButton.ToolButtonPopupMode.MenuButtonPopup)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(2)
        for button in (self.undo, self.redo, self.help):
            row.addWidget(button)
        row.addStretch(1)


def _show_action(button: QToolButton, action: QAction, name: str) -> None:
    button.setEnabled(action.isEnabled())
    button.setToolTip(tip(name, action.text() if action.isEnabled() else f"Nothing to {name}"))

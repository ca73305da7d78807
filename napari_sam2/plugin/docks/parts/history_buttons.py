"""Undo, redo, the list of all steps, and help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QAction, QKeySequence, QUndoGroup  # type: ignore[attr-defined]
from qtpy.QtWidgets import QMenu, QToolButton, QUndoView, QWidget, QWidgetAction

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.docks.parts.actions import Actions
from napari_sam2.plugin.docks.parts.buttons import muted_label, tool_button
from napari_sam2.plugin.docks.parts.layouts import column, row
from napari_sam2.plugin.docks.parts.shortcuts import tip
from napari_sam2.plugin.docks.parts.theme import Theme
from napari_sam2.plugin.qt.undo_stack import stack_of

_LIST_ROWS, _LIST_COLUMNS = 12, 40


class HistoryButtons(QWidget):
    """Buttons for undo and redo that name the next step, and a list of all steps.

    Attributes
    ----------
    keys : list of QAction
        For the dock to add to itself: the usual keys of undo and redo while the dock has the keyboard.
    """

    def __init__(self, theme: Theme, actions: Actions, show_help: Callable[[], None]) -> None:
        super().__init__()
        self._group = QUndoGroup(self)
        self.undo = tool_button(theme, "undo", tip=tip("undo"))
        self.redo = tool_button(theme, "redo", tip=tip("redo"))
        self.help = tool_button(theme, "keyboard", tip=tip("help"))
        self.help.clicked.connect(lambda: show_help())
        self.steps = QUndoView(self._group)
        self.keys = [
            self._key(QKeySequence.StandardKey.Undo, actions.undo),
            self._key(QKeySequence.StandardKey.Redo, actions.redo),
        ]
        # Qt's own actions have the text, and are disabled when there is nothing to do. Python owns them.
        self._undo_action = self._group.createUndoAction(self, "Undo:")
        self._redo_action = self._group.createRedoAction(self, "Redo:")
        self._follow(self.undo, self._undo_action, "undo", actions.undo)
        self._follow(self.redo, self._redo_action, "redo", actions.redo)
        self._add_list()
        self.setLayout(row(self.undo, self.redo, self.help, None, spacing=2))

    def show_controller(self, controller: Controller | None) -> None:
        """Show another controller's history."""
        stack = stack_of(controller)
        if stack is not None and stack not in self._group.stacks():
            self._group.addStack(stack)
        self._group.setActiveStack(stack)

    def _key(self, sequence: QKeySequence.StandardKey, act: Callable[[], None]) -> QAction:
        action = QAction(self)
        action.setShortcuts(sequence)
        action.setShortcutContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        action.triggered.connect(lambda: act())
        return action

    def _follow(self, button: QToolButton, action: Any, name: str, act: Callable[[], None]) -> None:
        def show() -> None:
            button.setEnabled(action.isEnabled())
            button.setToolTip(tip(name, action.text() if action.isEnabled() else f"Nothing to {name}"))

        button.clicked.connect(lambda: act())
        action.changed.connect(show)
        show()

    def _add_list(self) -> None:
        self.steps.setEmptyLabel("Where you began")
        letter = self.steps.fontMetrics()
        self.steps.setMinimumSize(
            QSize(_LIST_COLUMNS * letter.averageCharWidth(), _LIST_ROWS * (letter.height() + 2))
        )
        inside = QWidget()
        box = column(muted_label("All steps; click on one to go back or forward to it."), self.steps)
        box.setContentsMargins(4, 4, 4, 4)
        inside.setLayout(box)
        menu, holder = QMenu(self.undo), QWidgetAction(self.undo)
        holder.setDefaultWidget(inside)
        menu.addAction(holder)
        self.undo.setMenu(menu)
        self.undo.setPopupMode(QToolButton.ToolButtonPopupMode.MenuButtonPopup)

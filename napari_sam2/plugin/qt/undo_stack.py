"""The steps of a controller's project as a QUndoStack: Qt's actions, lists and keys for what the project keeps."""

from __future__ import annotations

from napari.utils.notifications import show_warning
from qtpy.QtCore import QObject
from qtpy.QtGui import QUndoCommand, QUndoStack  # type: ignore[attr-defined]

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.state import HistoryState, UndoStep


class UndoStack(QUndoStack):
    """Shows the steps of undo of a project, and forwards what Qt undoes and redoes to the controller.

    The project is the truth: it outlives the window, and scripts and other docks change it, too. A change in it
    becomes a new command; undoing a command asks the controller, which replies a moment later. While replies are
    outstanding the stack is ahead of the project, afterwards it shows the steps of the project.

    Parameters
    ----------
    controller : Controller
        Whose steps.
    parent : QObject
        Who owns it.
    """

    def __init__(self, controller: Controller, parent: QObject) -> None:
        super().__init__(parent)
        self._controller = controller
        self._steps: tuple[UndoStep, ...] = ()
        # Their owner is the stack; without this some bindings forget what the commands do.
        self._commands: list[StepCommand] = []
        self._following = False
        self._moved = 0
        self.indexChanged.connect(self._ask)
        controller.events.history.connect(self._follow)
        controller.events.closed.connect(self._close)
        self._follow(controller.history)

    def moved(self, step: int) -> None:
        """Note that a command was undone (-1) or redone (1)."""
        if not self._following:
            self._moved += step

    def _ask(self, index: int) -> None:
        steps, self._moved = self._moved, 0
        if not steps or self._following:
            return
        try:
            self._controller.redo(steps) if steps > 0 else self._controller.undo(-steps)
        except RuntimeError as error:  # a model is being loaded
            show_warning(str(error))
            self._follow(self._controller.history)

    def _follow(self, history: HistoryState) -> None:
        """Show the steps of the project."""
        self._following = True
        try:
            if history.steps != self._steps:
                self._replace(history.steps)
            self.setIndex(history.applied)
        finally:
            self._following = False

    def _replace(self, steps: tuple[UndoStep, ...]) -> None:
        same = 0
        while same < min(len(steps), len(self._steps)) and steps[same] == self._steps[same]:
            same += 1
        if same == len(steps) < len(self._steps):
            same = 0  # Qt drops what can be redone only when something is pushed in its place
        if same:
            self.setIndex(same)
        else:
            self.clear()
        del self._commands[same:]
        for step in steps[same:]:
            self._commands.append(StepCommand(self, step))
            self.push(self._commands[-1])
        self._steps = steps

    def _close(self) -> None:
        self._controller.events.history.disconnect(self._follow, missing_ok=True)


class StepCommand(QUndoCommand):  # type: ignore[misc]
    """One step of undo; the project does the work."""

    def __init__(self, stack: UndoStack, step: UndoStep) -> None:
        label = step.label
        # What stands in a list, and what stands behind "Undo:".
        super().__init__(f"{label}\n{label[:1].lower()}{label[1:]}")
        self._stack = stack

    def undo(self) -> None:
        """Ask for it to be undone."""
        self._stack.moved(-1)

    def redo(self) -> None:
        """Ask for it to be done again; when it is pushed it is done already."""
        self._stack.moved(1)


def stack_of(controller: Controller | None) -> UndoStack | None:
    """Return the undo stack of a controller that a window drives; None when there is none."""
    found = getattr(None if controller is None else controller.bridge, "undo_stack", None)
    return found if isinstance(found, UndoStack) else None

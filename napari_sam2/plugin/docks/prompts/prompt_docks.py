"""Docks with tools for prompts: a small one for each kind of layer, and the base of all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import napari.viewer
from qtpy.QtCore import QEvent

from napari_sam2.plugin.docks.parts.buttons import muted_label
from napari_sam2.plugin.docks.parts.cheat_sheet import CheatSheet
from napari_sam2.plugin.docks.parts.dock import Dock
from napari_sam2.plugin.docks.parts.history_buttons import HistoryButtons
from napari_sam2.plugin.docks.parts.object_bar import ObjectBar
from napari_sam2.plugin.docks.parts.shortcuts import KeyBindings
from napari_sam2.plugin.docks.prompts.tools_section import TOOLS, ToolsSection


class PromptDock(Dock):
    """A dock with tools for prompts, undo, and keys."""

    tool_names: ClassVar[tuple[str, ...]] = tuple(TOOLS)

    def __init__(self, viewer: Any, hint: str = "") -> None:
        super().__init__(viewer, hint)
        self.history = HistoryButtons(self.theme, self.user_actions, self.show_help)
        self.tools = ToolsSection(self.viewer, self.theme, self.user_actions, self.tool_names)
        self.sheet: CheatSheet | None = None
        self._keys = KeyBindings(self.viewer, self._key_actions())
        self.addActions(self.history.keys)
        self.session.on_close(self.tools.close_section, self._keys.release)

    def show_help(self) -> None:
        """Show all keys."""
        if self.sheet is None:
            self.sheet = CheatSheet(self, self.theme)
            self.sheet.destroyed.connect(self._forget_sheet)
        self.sheet.show()
        self.sheet.raise_()

    def event(self, event: QEvent | None) -> bool:
        """Bind the keys when the dock is used."""
        if event is not None and event.type() in (QEvent.Type.Show, QEvent.Type.Enter):
            self._keys.bind()
        return bool(super().event(event))

    def _key_actions(self) -> dict[str, Callable[[], object]]:
        """Return the actions of the keys by the names of their shortcuts."""
        actions, tools = self.user_actions, self.tools
        return {
            **{name: partial(tools.choose, name) for name in tools.buttons},
            "sign": tools.switch_sign,
            "cycle": actions.cycle,
            "clear": actions.clear,
            "new_object": actions.new_object,
            "next_object": partial(actions.step_object, 1),
            "previous_object": partial(actions.step_object, -1),
            "undo": actions.undo,
            "redo": actions.redo,
            "help": self.show_help,
        }

    def _forget_sheet(self) -> None:
        self.sheet = None


class SmallDock(PromptDock):
    """A dock for one kind of prompts; it shares the controller with the other docks of the image."""

    explanation: ClassVar[str]

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer, "Mark the object; “New” starts another one.")
        self.object = ObjectBar(self.theme, self.user_actions)
        explanation = muted_label(self.explanation)
        self._set_up(
            [self.image, self.banner, self.object, self.tools, explanation, self.history],
            [self.history, self.object, self.tools],
        )


class PointsDock(SmallDock):
    """Prompt objects with a Points layer."""

    tool_names = ("points",)
    explanation = (
        "Click on an object: its mask appears at once. Wrong somewhere? Choose “not here” and click "
        "there. Points stay ordinary napari points: move or delete them, and the mask follows."
    )


class ShapesDock(SmallDock):
    """Prompt objects with a Shapes layer."""

    tool_names = ("box", "region")
    explanation = (
        "Drag a box around an object, or draw around it. With “not here” a region is cut out of the "
        "mask. Shapes stay ordinary napari shapes: move, edit or delete them, and the mask follows."
    )


class LabelsDock(SmallDock):
    """Prompt objects with a Labels layer."""

    tool_names = ("paint",)
    explanation = (
        "Paint an object with brush or fill: what you paint is its mask on this frame, and tracking "
        "starts from it. The eraser removes pixels."
    )

"""The tools that make prompts: they choose a native layer and its mode, and say what a mark means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import (
    QButtonGroup,
    QHBoxLayout,
    QMenu,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.controller.prompt_layers import LayerKind
from napari_sam2.plugin.docks.parts.actions import Actions
from napari_sam2.plugin.docks.parts.controller_link import SignalConnections
from napari_sam2.plugin.docks.parts.shortcuts import tip
from napari_sam2.plugin.docks.parts.theme import GAP, Theme, title_label, tool_button
from napari_sam2.plugin.layers.connections import Connections


@dataclass(frozen=True)
class Tool:
    """One tool: a kind of layer with the mode it is used in; for "not here" there may be another mode."""

    name: str
    title: str
    kind: LayerKind
    mode: str
    negative_mode: str
    says: str

    def mode_for(self, positive: bool) -> str:
        """Return the mode of the layer."""
        return self.mode if positive else self.negative_mode


TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            "points",
            "Points",
            "points",
            "add",
            "add",
            "Click on the object; click where it is not with “not here”.",
        ),
        Tool("box", "Box", "shapes", "add_rectangle", "add_rectangle", "Drag a rectangle around the object."),
        Tool(
            "region",
            "Region",
            "shapes",
            "add_polygon_lasso",
            "add_polygon_lasso",
            "Draw around the object; with “not here” the region is cut out of it.",
        ),
        Tool("paint", "Paint", "labels", "paint", "erase", "Paint the object; “not here” erases."),
    )
}
_OUTLINES = {
    "Lasso": "add_polygon_lasso",
    "Polygon": "add_polygon",
    "Ellipse": "add_ellipse",
    "Path (closed)": "add_path",
}


class ToolsSection(QWidget):
    """Buttons for tools, the sign of marks, other masks of an ambiguous click, and clearing.

    Parameters
    ----------
    viewer : Viewer
        Whose layers are made active.
    look : Look
        Icons.
    verbs : Verbs
        What the buttons do.
    names : sequence of str
        Which tools; "select" is always there.
    """

    def __init__(self, viewer: Any, look: Theme, verbs: Actions, names: Sequence[str] = tuple(TOOLS)) -> None:
        super().__init__()
        self._viewer = viewer
        self._verbs = verbs
        self._controller: Controller | None = None
        self._listening = SignalConnections()
        self._tool: Tool | None = None
        self._outline = _OUTLINES["Lasso"]
        self._connections = Connections()
        self._modes = Connections()
        self._connections.add(viewer.layers.selection.events, "active", self._show_tool)
        self.buttons = {name: self._button(look, TOOLS[name]) for name in names}
        self.here = tool_button(
            look, "positive", "Here", tip("sign", "New marks say: this is part of the object"), True
        )
        self.not_here = tool_button(
            look, "negative", "Not here", tip("sign", "New marks say: this is not part of the object"), True
        )
        self.cycle = tool_button(look, "cycle", tip=tip("cycle"))
        self.clear = tool_button(look, "clear", tip=tip("clear"))
        self._signs = QButtonGroup(self)
        self._signs.addButton(self.here)
        self._signs.addButton(self.not_here)
        self.here.setChecked(True)
        self.here.clicked.connect(lambda: self._say(True))
        self.not_here.clicked.connect(lambda: self._say(False))
        self.cycle.clicked.connect(lambda: verbs.cycle())
        self.clear.clicked.connect(lambda: verbs.clear())
        self._lay_out()

    def show_controller(self, controller: Controller | None) -> None:
        """Prompt another controller's objects."""
        self._controller = controller
        self._listening.to(controller, objects=self._on_objects, prompts=self._on_prompts)
        self.setEnabled(controller is not None)
        self._show_tool()
        self._on_prompts()

    def close_section(self) -> None:
        """Stop listening."""
        self._connections.close()
        self._modes.close()

    def choose(self, name: str) -> None:
        """Take a tool: its layer is made when there is none, and is active."""
        self._verbs.do(lambda c: self._take(c, TOOLS[name]))
        self._show_tool()

    def switch_sign(self) -> None:
        """Switch between "here" and "not here"."""
        self._verbs.do(lambda c: self._say(not c.prompts.positive))

    # -- inside ------------------------------------------------------------------------------------------

    def _button(self, look: Theme, tool: Tool) -> QToolButton:
        button = tool_button(look, tool.name, tool.title, tip(tool.name, tool.says), checkable=True)
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        button.setIconSize(QSize(20, 20))
        button.clicked.connect(lambda: self.choose(tool.name))
        if tool.name == "region":
            menu = QMenu(button)
            for title, mode in _OUTLINES.items():
                menu.addAction(title, lambda mode=mode: self._draw(mode))
            button.setMenu(menu)
            button.setPopupMode(QToolButton.ToolButtonPopupMode.DelayedPopup)
            button.setToolTip(button.toolTip() + "\nHold the button for polygon, ellipse and path.")
        return button

    def _lay_out(self) -> None:
        tools, said = QHBoxLayout(), QHBoxLayout()
        tools.setSpacing(GAP - 2)
        for button in self.buttons.values():
            tools.addWidget(button)
        said.setSpacing(GAP - 2)
        for button in (self.here, self.not_here, self.cycle, self.clear):
            said.addWidget(button)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(4)
        box.addWidget(title_label("Prompts"))
        box.addLayout(tools)
        box.addLayout(said)

    def _take(self, controller: Controller, tool: Tool) -> None:
        layer = controller.prompts.ensure_layer(tool.kind)
        layer.visible = True
        self._viewer.layers.selection.active = layer
        if hasattr(layer, "selected_data"):
            layer.selected_data = set()
        layer.mode = self._mode_of(tool, controller.prompts.positive)
        self._tool = tool

    def _mode_of(self, tool: Tool, positive: bool) -> str:
        return self._outline if tool.name == "region" else tool.mode_for(positive)

    def _draw(self, mode: str) -> None:
        self._outline = mode
        self.choose("region")

    def _say(self, positive: bool) -> None:
        controller = self._controller
        if controller is None:
            return
        controller.prompts.positive = positive
        self._show_sign()
        tool = self._current()
        if tool is not None and tool.kind == "labels":
            self._verbs.do(lambda c: self._take(c, tool))

    def _on_objects(self, states: object) -> None:
        self._show_sign()
        self._on_prompts()

    def _show_sign(self) -> None:
        if self._controller is not None:
            positive = self._controller.prompts.positive
            self.here.setChecked(positive)
            self.not_here.setChecked(not positive)

    def _on_prompts(self, keys: object = None) -> None:
        controller = self._controller
        said = False
        if controller is not None and not controller.closed:
            said = controller.objects.active in controller.prompts.on_frame(controller.frame)
        self.cycle.setEnabled(said)
        self.clear.setEnabled(said)

    def on_frame(self) -> None:
        """Look again what is said on the frame that is shown."""
        self._on_prompts()

    def _current(self) -> Tool | None:
        """The tool that is in the user's hand: an active layer in its mode."""
        controller = self._controller
        active = self._viewer.layers.selection.active
        if controller is None or controller.closed or active is None:
            return None
        for tool in TOOLS.values():
            if active is controller.prompts.layer(tool.kind) and self._fits(tool, str(active.mode)):
                return tool
        return None

    def _fits(self, tool: Tool, mode: str) -> bool:
        if tool.name == "region":
            return mode in _OUTLINES.values()
        return mode in (tool.mode, tool.negative_mode)

    def _show_tool(self, event: Any = None) -> None:
        self._modes.close()
        active = self._viewer.layers.selection.active
        if active is not None:
            self._modes.add(active.events, "mode", self._show_marked)
        self._show_marked()

    def _show_marked(self, event: Any = None) -> None:
        tool = self._current()
        for name, button in self.buttons.items():
            button.setChecked(tool is not None and tool.name == name)
        self._show_sign()

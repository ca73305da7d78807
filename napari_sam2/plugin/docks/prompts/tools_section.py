"""Tools for prompts: each selects a layer of napari and its mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QButtonGroup, QMenu, QToolButton, QWidget

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.controller.prompt_layers import LayerKind
from napari_sam2.plugin.docks.parts.actions import Actions
from napari_sam2.plugin.docks.parts.buttons import title_label, tool_button
from napari_sam2.plugin.docks.parts.controller_link import events_of
from napari_sam2.plugin.docks.parts.layouts import column, row
from napari_sam2.plugin.docks.parts.shortcuts import tip
from napari_sam2.plugin.docks.parts.theme import Theme
from napari_sam2.plugin.layers.connections import Connections


@dataclass(frozen=True)
class Tool:
    """One tool: a kind of layer and its modes for positive and negative prompts."""

    name: str
    title: str
    kind: LayerKind
    modes: tuple[str, str]
    tip: str


TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            "points",
            "Points",
            "points",
            ("add", "add"),
            "Click on the object; with “not here”, click where it is not.",
        ),
        Tool(
            "box",
            "Box",
            "shapes",
            ("add_rectangle", "add_rectangle"),
            "Drag a rectangle around the object.",
        ),
        Tool(
            "region",
            "Region",
            "shapes",
            ("add_polygon_lasso", "add_polygon_lasso"),
            "Draw around the object; with “not here” the region is cut out of it.",
        ),
        Tool("paint", "Paint", "labels", ("paint", "erase"), "Paint the object; “not here” erases."),
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
        Viewer whose layers are selected.
    theme : Theme
        Colours of the icons.
    actions : Actions
        Actions of the buttons.
    names : sequence of str
        Tools of the dock, keys of ``TOOLS``.
    """

    def __init__(self, viewer: Any, theme: Theme, actions: Actions, names: Sequence[str]) -> None:
        super().__init__()
        self._viewer = viewer
        self._actions = actions
        self._controller: Controller | None = None
        self._signals = Connections()
        self._tool: Tool | None = None
        self._outline = _OUTLINES["Lasso"]
        self._connections = Connections()
        self._mode_connections = Connections()
        self._connections.add(viewer.layers.selection.events, "active", self._on_active)
        self._connections.add(viewer.dims.events, "point", self._show_prompts)
        self.buttons = {name: self._button(theme, TOOLS[name]) for name in names}
        self.here = tool_button(
            theme, "positive", "Here", tip("sign", "New prompts mark what belongs to the object"), True
        )
        self.not_here = tool_button(
            theme, "negative", "Not here", tip("sign", "New prompts mark what does not belong to it"), True
        )
        self.cycle = tool_button(theme, "cycle", tip=tip("cycle"))
        self.clear = tool_button(theme, "clear", tip=tip("clear"))
        self._signs = QButtonGroup(self)
        self._signs.addButton(self.here)
        self._signs.addButton(self.not_here)
        self.here.setChecked(True)
        self.here.clicked.connect(lambda: self._set_sign(True))
        self.not_here.clicked.connect(lambda: self._set_sign(False))
        self.cycle.clicked.connect(lambda: actions.cycle())
        self.clear.clicked.connect(lambda: actions.clear())
        self._lay_out()

    def show_controller(self, controller: Controller | None) -> None:
        """Prompt another controller's objects."""
        self._controller = controller
        self._signals.replace(events_of(controller), objects=self._on_objects, prompts=self._show_prompts)
        self.setEnabled(controller is not None)
        self._on_active()
        self._show_prompts()

    def close_section(self) -> None:
        """Disconnect from the viewer."""
        self._connections.close()
        self._mode_connections.close()

    def choose(self, name: str) -> None:
        """Select the layer of a tool, adding it if there is none, and set its mode."""
        self._actions.do(lambda c: self._select(c, TOOLS[name]))
        self._on_active()

    def switch_sign(self) -> None:
        """Switch between "here" and "not here"."""
        self._actions.do(lambda c: self._set_sign(not c.prompts.positive))

    # -- inside ------------------------------------------------------------------------------------------

    def _button(self, theme: Theme, tool: Tool) -> QToolButton:
        button = tool_button(theme, tool.name, tool.title, tip(tool.name, tool.tip), checkable=True)
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
        signs = row(self.here, self.not_here, self.cycle, self.clear)
        self.setLayout(column(title_label("Prompts"), row(*self.buttons.values()), signs))

    def _select(self, controller: Controller, tool: Tool) -> None:
        layer = controller.prompts.ensure_layer(tool.kind)
        layer.visible = True
        self._viewer.layers.selection.active = layer
        if hasattr(layer, "selected_data"):
            layer.selected_data = set()
        layer.mode = self._mode_of(tool, controller.prompts.positive)
        self._tool = tool

    def _mode_of(self, tool: Tool, positive: bool) -> str:
        return self._outline if tool.name == "region" else tool.modes[0 if positive else 1]

    def _draw(self, mode: str) -> None:
        self._outline = mode
        self.choose("region")

    def _set_sign(self, positive: bool) -> None:
        controller = self._controller
        if controller is None:
            return
        controller.prompts.positive = positive
        self._show_sign()
        tool = self._current()
        if tool is not None and tool.kind == "labels":
            self._actions.do(lambda c: self._select(c, tool))

    def _on_objects(self, states: object) -> None:
        self._show_sign()
        self._show_prompts()

    def _show_sign(self) -> None:
        if self._controller is not None:
            positive = self._controller.prompts.positive
            self.here.setChecked(positive)
            self.not_here.setChecked(not positive)

    def _show_prompts(self, event: object = None) -> None:
        """Enable the buttons that need a prompt of the active object on this frame."""
        controller = self._controller
        prompted = False
        if controller is not None and not controller.closed:
            prompted = controller.objects.active in controller.prompts.on_frame(controller.frame)
        self.cycle.setEnabled(prompted)
        self.clear.setEnabled(prompted)

    def _current(self) -> Tool | None:
        """Return the tool whose layer is active in one of its modes; None if there is none."""
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
        return mode in tool.modes

    def _on_active(self, event: Any = None) -> None:
        self._mode_connections.close()
        active = self._viewer.layers.selection.active
        if active is not None:
            self._mode_connections.add(active.events, "mode", self._show_tool)
        self._show_tool()

    def _show_tool(self, event: Any = None) -> None:
        tool = self._current()
        for name, button in self.buttons.items():
            button.setChecked(tool is not None and tool.name == name)
        self._show_sign()

"""A small dock for one kind of prompts; it shares its session with every other dock of the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import napari.viewer
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QWidget

from napari_sam2.plugin.docks.objects.object_bar import ObjectBar
from napari_sam2.plugin.docks.parts.actions import Actions
from napari_sam2.plugin.docks.parts.banner import Banner
from napari_sam2.plugin.docks.parts.cheat_sheet import CheatSheet
from napari_sam2.plugin.docks.parts.controller_link import ControllerLink
from napari_sam2.plugin.docks.parts.first_sample import open_first_sample
from napari_sam2.plugin.docks.parts.history_buttons import HistoryButtons
from napari_sam2.plugin.docks.parts.image_section import ImageSection
from napari_sam2.plugin.docks.parts.scroll_area import VerticalScrollArea, fill
from napari_sam2.plugin.docks.parts.shortcuts import KeyBindings
from napari_sam2.plugin.docks.parts.theme import muted_label
from napari_sam2.plugin.docks.prompts.tools_section import ToolsSection
from napari_sam2.plugin.layers.image_layer import unwrapped

_HINT = "Say where the object is; “New” starts another one."


def acts_of_prompts(
    verbs: Actions, tools: ToolsSection, show_help: Callable[[], object]
) -> dict[str, Callable[[], object]]:
    """Return what the keys of every dock with tools do, by name of the shortcut."""
    return {
        **{name: partial(tools.choose, name) for name in tools.buttons},
        "sign": tools.switch_sign,
        "cycle": verbs.cycle,
        "clear": verbs.clear,
        "new_object": verbs.new_object,
        "next_object": lambda: verbs.step_object(1),
        "previous_object": lambda: verbs.step_object(-1),
        "undo": verbs.undo,
        "redo": verbs.redo,
        "help": show_help,
    }


class PromptParts(QObject):
    """The parts of a small dock, put into it.

    Parameters
    ----------
    dock : QWidget
        The dock.
    viewer : Viewer
        Where it is.
    names : sequence of str
        Which tools it has.
    hint : str
        What to do with them.
    """

    def __init__(self, dock: QWidget, viewer: Any, names: Sequence[str], hint: str) -> None:
        super().__init__(dock)
        viewer = unwrapped(viewer)
        self._dock = dock
        self._viewer = viewer
        self.session = session = ControllerLink(dock, viewer)
        self.verbs = verbs = Actions(lambda: session.controller)
        look = session.look
        self.image = ImageSection(viewer, look)
        self.history = HistoryButtons(look, verbs, self.show_help)
        self.banner = Banner(partial(open_first_sample, viewer), _HINT)
        self.object = ObjectBar(look, verbs)
        self.tools = ToolsSection(viewer, look, verbs, names)
        self._keys = KeyBindings(viewer, acts_of_prompts(verbs, self.tools, self.show_help))
        sections = (self.image, self.history, self.banner, self.object, self.tools)
        fill(
            dock,
            VerticalScrollArea(
                [self.image, self.banner, self.object, self.tools, muted_label(hint), self.history]
            ),
        )
        session.add(*sections)
        dock.addActions(self.history.keys)
        for closer in (self.image.close_section, self.tools.close_section, self._keys.release, self._leave):
            session.on_close(closer)
        viewer.dims.events.point.connect(self._on_moved)
        self.image.chosen.connect(session.choose)
        dock.installEventFilter(self)
        self.image.start()

    def show_help(self) -> None:
        """Show all keys."""
        CheatSheet(self._dock, self.session.look).show()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Take the keys when the dock is used."""
        if event is not None and event.type() in (QEvent.Type.Show, QEvent.Type.Enter):
            self._keys.take()
        return False

    # -- inside ------------------------------------------------------------------------------------------

    def _on_moved(self, event: Any = None) -> None:
        self.tools.on_frame()

    def _leave(self) -> None:
        self._viewer.dims.events.point.disconnect(self._on_moved)


_POINTS_HINT = (
    "Click on an object: its mask appears at once. Wrong somewhere? Choose “not here” and click "
    "there. Points stay ordinary napari points: move or delete them, and the mask follows."
)


class PointsDock(QWidget):
    """Prompt objects with a Points layer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the dock is.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.parts = PromptParts(self, viewer, ("points",), _POINTS_HINT)


_SHAPES_HINT = (
    "Drag a box around an object, or draw around it. With “not here” a region is cut out of the "
    "mask. Shapes stay ordinary napari shapes: move, edit or delete them, and the mask follows."
)


class ShapesDock(QWidget):
    """Prompt objects with a Shapes layer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the dock is.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.parts = PromptParts(self, viewer, ("box", "region"), _SHAPES_HINT)


_LABELS_HINT = (
    "Paint an object with brush or fill; what you paint is its mask on this frame, and tracking "
    "starts from it. The eraser takes away."
)


class LabelsDock(QWidget):
    """Prompt objects with a Labels layer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the dock is.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.parts = PromptParts(self, viewer, ("paint",), _LABELS_HINT)

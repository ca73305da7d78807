"""A small dock for one kind of prompts; it shares its session with every other dock of the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QWidget

from napari_sam2.widgets.banner import Banner
from napari_sam2.widgets.cheat_sheet import CheatSheet
from napari_sam2.widgets.dock_session import DockSession
from napari_sam2.widgets.first_sample import open_first_sample
from napari_sam2.widgets.history_buttons import HistoryButtons
from napari_sam2.widgets.image_section import ImageSection
from napari_sam2.widgets.layers import itself
from napari_sam2.widgets.object_bar import ObjectBar
from napari_sam2.widgets.shortcuts import Keys
from napari_sam2.widgets.style import muted_label
from napari_sam2.widgets.tools_section import ToolsSection
from napari_sam2.widgets.verbs import Verbs
from napari_sam2.widgets.vertical_area import VerticalArea, fill

_HINT = "Say where the object is; “New” starts another one."


def acts_of_prompts(
    verbs: Verbs, tools: ToolsSection, show_help: Callable[[], object]
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
        viewer = itself(viewer)
        self._dock = dock
        self._viewer = viewer
        self.session = session = DockSession(dock, viewer)
        self.verbs = verbs = Verbs(lambda: session.controller)
        look = session.look
        self.image = ImageSection(viewer, look)
        self.history = HistoryButtons(look, verbs, self.show_help)
        self.banner = Banner(partial(open_first_sample, viewer), _HINT)
        self.object = ObjectBar(look, verbs)
        self.tools = ToolsSection(viewer, look, verbs, names)
        self._keys = Keys(viewer, acts_of_prompts(verbs, self.tools, self.show_help))
        sections = (self.image, self.history, self.banner, self.object, self.tools)
        fill(
            dock,
            VerticalArea([self.image, self.banner, self.object, self.tools, muted_label(hint), self.history]),
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

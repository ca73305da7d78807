"""SAM2 Tracker: the whole workflow in one dock, with a timeline under the canvas."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

import napari.viewer
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import QHBoxLayout, QMainWindow, QWidget

from napari_sam2.plugin.docks.objects.objects_section import ObjectsSection
from napari_sam2.plugin.docks.parts.actions import Actions
from napari_sam2.plugin.docks.parts.banner import Banner
from napari_sam2.plugin.docks.parts.cheat_sheet import CheatSheet
from napari_sam2.plugin.docks.parts.controller_link import ControllerLink
from napari_sam2.plugin.docks.parts.first_sample import open_first_sample
from napari_sam2.plugin.docks.parts.history_buttons import HistoryButtons
from napari_sam2.plugin.docks.parts.image_section import ImageSection
from napari_sam2.plugin.docks.parts.model_section import ModelSection
from napari_sam2.plugin.docks.parts.scroll_area import VerticalScrollArea, fill
from napari_sam2.plugin.docks.parts.shortcuts import KeyBindings
from napari_sam2.plugin.docks.parts.tabs import Tabs
from napari_sam2.plugin.docks.parts.theme import GAP
from napari_sam2.plugin.docks.prompts.prompt_docks import acts_of_prompts
from napari_sam2.plugin.docks.prompts.tools_section import ToolsSection
from napari_sam2.plugin.docks.timeline.panel import TimelinePanel
from napari_sam2.plugin.docks.tracker.export_section import ExportSection
from napari_sam2.plugin.docks.tracker.propagation_section import PropagationSection
from napari_sam2.plugin.layers.image_layer import unwrapped

TIMELINE_NAME = "SAM2 timeline"


class TrackerDock(QWidget):
    """Choose an image, click on objects, track them through time, look where the model doubts, correct, export.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the dock is.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        viewer = unwrapped(viewer)
        self._viewer = viewer
        self.session = session = ControllerLink(self, viewer)
        self.verbs = verbs = Actions(lambda: session.controller)
        look = session.look
        self.image = ImageSection(viewer, look)
        self.model = ModelSection(look)
        self.history = HistoryButtons(look, verbs, self.show_help)
        self.banner = Banner(partial(open_first_sample, viewer))
        self.objects = ObjectsSection(look)
        self.tools = ToolsSection(viewer, look, verbs)
        self.tracking = PropagationSection(look, verbs)
        self.results = ExportSection(look, verbs)
        self.timeline = TimelinePanel(look, verbs)
        self.timeline.setParent(
            self
        )  # until it has a dock of its own: a window that is never shown takes it along
        self.timeline.hide()
        look.style(self.timeline)
        self._timeline_dock: Any = None
        self.sheet: CheatSheet | None = None
        self._keys = KeyBindings(viewer, self._acts())
        self._lay_out()
        self.addActions(self.history.keys)
        session.add(
            self.image, self.model, self.history, self.banner, self.objects, self.tools, self.tracking,
            self.results, self.timeline,
        )  # fmt: skip
        for closer in (
            self.image.close_section,
            self.tools.close_section,
            self._keys.release,
            self._drop_timeline,
        ):
            session.on_close(closer)
        self.image.chosen.connect(session.choose)
        self._moves = viewer.dims.events.point
        self._moves.connect(self._on_moved)
        session.on_close(lambda: self._moves.disconnect(self._on_moved))
        self.image.start()
        Tabs(self)

    @property
    def controller(self) -> Any:
        """What this dock works with; None without an image."""
        return self.session.controller

    def show_help(self) -> None:
        """Show all keys."""
        if self.sheet is None:
            self.sheet = CheatSheet(self, self.session.look)
            self.sheet.destroyed.connect(self._forget_sheet)
        self.sheet.show()
        self.sheet.raise_()

    def event(self, event: QEvent | None) -> bool:
        """Take the keys when the dock is used, and bring the timeline when it is shown for the first time."""
        if event is not None and event.type() in (QEvent.Type.Show, QEvent.Type.Enter):
            self._keys.take()
            if self._timeline_dock is None and event.type() == QEvent.Type.Show:
                QTimer.singleShot(0, self._add_timeline)
        return bool(super().event(event))

    # -- inside ------------------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        head = QWidget()
        row = QHBoxLayout(head)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(GAP)
        row.addWidget(self.image, 1)
        row.addWidget(self.history)
        rest = (self.tools, None, self.tracking, None, self.results)
        fill(
            self, VerticalScrollArea([head, self.model, self.banner, self.objects, None, *rest], self.objects)
        )

    def _acts(self) -> dict[str, Any]:
        verbs, tools, track = self.verbs, self.tools, self.tracking.track
        return {
            **acts_of_prompts(verbs, tools, self.show_help),
            "solo": verbs.solo,
            "forward": lambda: track("forward"),
            "backward": lambda: track("backward"),
            "both": lambda: track("both"),
            "stop": verbs.stop,
            "next_doubt": lambda: verbs.go_to_doubt(1),
            "previous_doubt": lambda: verbs.go_to_doubt(-1),
        }

    def _on_moved(self, event: Any = None) -> None:
        self.tools.on_frame()

    def _add_timeline(self) -> None:
        if self._timeline_dock is not None or self.parent() is None:
            return
        window = self.window()
        if isinstance(window, QMainWindow):  # under the slider, not under the docks at the sides
            window.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)
            window.setCorner(Qt.Corner.BottomLeftCorner, Qt.DockWidgetArea.LeftDockWidgetArea)
        self._timeline_dock = self._viewer.window.add_dock_widget(
            self.timeline, name=TIMELINE_NAME, area="bottom", add_vertical_stretch=False
        )
        self.timeline.show()
        self.timeline.fit()

    def _drop_timeline(self) -> None:
        dock, self._timeline_dock = self._timeline_dock, None
        if dock is not None:
            # The window may be gone already, and the timeline's dock with it.
            with suppress(RuntimeError, AttributeError, LookupError):
                self._viewer.window.remove_dock_widget(dock)
        with suppress(RuntimeError):
            self.timeline.deleteLater()

    def _forget_sheet(self) -> None:
        self.sheet = None

"""SAM2 Tracker: the whole workflow in one dock, with a timeline below the canvas."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import napari.viewer
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QMainWindow, QWidget

from napari_sam2.plugin.docks.objects.objects_section import ObjectsSection
from napari_sam2.plugin.docks.parts.layouts import GAP, line, row
from napari_sam2.plugin.docks.parts.model_section import ModelSection
from napari_sam2.plugin.docks.prompts.prompt_docks import PromptDock
from napari_sam2.plugin.docks.timeline.panel import TimelinePanel
from napari_sam2.plugin.docks.tracker.export_section import ExportSection
from napari_sam2.plugin.docks.tracker.propagation_section import PropagationSection

TIMELINE_NAME = "SAM2 timeline"


class TrackerDock(PromptDock):
    """Choose an image, prompt objects, track them, check uncertain frames, correct, export."""

    is_tall = True

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        theme, actions = self.theme, self.user_actions
        self.model = ModelSection(theme)
        self.objects = ObjectsSection(theme, actions)
        self.tracking = PropagationSection(theme, actions)
        self.results = ExportSection(theme, actions)
        self.timeline = TimelinePanel(theme, actions)
        # A child until it has a dock of its own: deleted with a window that is never shown.
        self.timeline.setParent(self)
        self.timeline.hide()
        theme.style(self.timeline)
        self._timeline_dock: Any = None
        self.session.on_close(self._remove_timeline)
        head = QWidget()
        head.setLayout(row(self.image, self.history, spacing=GAP, stretched=self.image))
        self._set_up(
            [
                head,
                self.model,
                self.banner,
                self.objects,
                line(),
                self.tools,
                line(),
                self.tracking,
                line(),
                self.results,
            ],
            [
                self.model,
                self.history,
                self.objects,
                self.tools,
                self.tracking,
                self.results,
                self.timeline,
            ],
            stretched=self.objects,
        )

    def showEvent(self, event: QShowEvent | None) -> None:
        """Add the timeline when the dock is shown for the first time."""
        super().showEvent(event)
        if self._timeline_dock is None:
            QTimer.singleShot(0, self._add_timeline)

    def _key_actions(self) -> dict[str, Callable[[], object]]:
        actions = self.user_actions
        return {
            **super()._key_actions(),
            "solo": actions.solo,
            "forward": lambda: self.tracking.track("forward"),
            "backward": lambda: self.tracking.track("backward"),
            "both": lambda: self.tracking.track("both"),
            "stop": actions.stop,
            "next_uncertain": partial(actions.go_to_uncertain, 1),
            "previous_uncertain": partial(actions.go_to_uncertain, -1),
        }

    def _add_timeline(self) -> None:
        if self._timeline_dock is not None or self.parent() is None:
            return
        window = self.window()
        if isinstance(window, QMainWindow):  # below the slider, not below the docks at the sides
            window.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)
            window.setCorner(Qt.Corner.BottomLeftCorner, Qt.DockWidgetArea.LeftDockWidgetArea)
        self._timeline_dock = self.viewer.window.add_dock_widget(
            self.timeline, name=TIMELINE_NAME, area="bottom", add_vertical_stretch=False
        )
        self.timeline.show()
        self.timeline.fit()

    def _remove_timeline(self) -> None:
        dock, self._timeline_dock = self._timeline_dock, None
        if dock is not None:
            # The window may be gone already, and the timeline's dock with it.
            with suppress(RuntimeError, AttributeError, LookupError):
                self.viewer.window.remove_dock_widget(dock)
        with suppress(RuntimeError):
            self.timeline.deleteLater()

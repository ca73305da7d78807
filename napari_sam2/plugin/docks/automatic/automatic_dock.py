"""Auto-mask: masks of everything on a frame, without a click."""

from __future__ import annotations

import napari.viewer

from napari_sam2.plugin.docks.automatic.automatic_section import AutomaticSection
from napari_sam2.plugin.docks.parts.dock import Dock
from napari_sam2.plugin.docks.parts.layouts import line
from napari_sam2.plugin.docks.parts.model_section import ModelSection


class AutomaticDock(Dock):
    """Find masks of everything on a frame, filter them live, and turn those that are kept into objects."""

    is_tall = True

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer, "Press “Find masks”, move the filters, and drop or keep masks with a click.")
        self.model = ModelSection(self.theme)
        self.section = AutomaticSection(self.viewer, self.theme, self.user_actions)
        self.session.on_close(self.section.close_section)
        self._set_up([self.image, self.model, self.banner, line(), self.section], [self.model, self.section])

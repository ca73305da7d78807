"""Auto-mask: everything on a frame without a click."""

from __future__ import annotations

from functools import partial
from typing import Any

import napari.viewer
from qtpy.QtWidgets import QWidget

from napari_sam2.plugin.docks.automatic.automatic_section import AutomaticSection
from napari_sam2.plugin.docks.parts.actions import Actions
from napari_sam2.plugin.docks.parts.banner import Banner
from napari_sam2.plugin.docks.parts.controller_link import ControllerLink
from napari_sam2.plugin.docks.parts.first_sample import open_first_sample
from napari_sam2.plugin.docks.parts.image_section import ImageSection
from napari_sam2.plugin.docks.parts.model_section import ModelSection
from napari_sam2.plugin.docks.parts.scroll_area import VerticalScrollArea, fill
from napari_sam2.plugin.docks.parts.tabs import Tabs
from napari_sam2.plugin.layers.image_layer import unwrapped

_HINT = "Press “Find masks”, move the filters, and drop or keep masks with a click."


class AutomaticDock(QWidget):
    """Find masks of everything on a frame, filter them live, and make objects of those that are kept.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the dock is.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        viewer = unwrapped(viewer)
        self.session = session = ControllerLink(self, viewer)
        look = session.look
        self.image = ImageSection(viewer, look)
        self.model = ModelSection(look)
        self.banner = Banner(partial(open_first_sample, viewer), _HINT)
        self.section = AutomaticSection(viewer, look, Actions(lambda: session.controller))
        fill(self, VerticalScrollArea([self.image, self.model, self.banner, None, self.section]))
        session.add(self.image, self.model, self.banner, self.section)
        session.on_close(self.image.close_section)
        session.on_close(self.section.close_section)
        self.image.chosen.connect(session.choose)
        self.image.start()
        Tabs(self)

    @property
    def controller(self) -> Any:
        """What this dock works with; None without an image."""
        return self.session.controller

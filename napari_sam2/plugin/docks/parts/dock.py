"""Base of the docks: an image, its controller, a banner, and sections that scroll."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from qtpy.QtCore import QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.docks.parts.actions import Actions
from napari_sam2.plugin.docks.parts.banner import Banner
from napari_sam2.plugin.docks.parts.controller_link import ControllerLink, Section
from napari_sam2.plugin.docks.parts.image_section import ImageSection
from napari_sam2.plugin.docks.parts.layouts import VerticalScrollArea, column
from napari_sam2.plugin.layers.image_layer import unwrapped


class Dock(QWidget):
    """A dock that works with the controller of an image.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Viewer of the dock.
    hint : str
        The next step, shown in the banner; by default what the controller says.
    """

    # Tall docks share one place as tabs: side by side they would not fit on a small screen.
    is_tall: ClassVar[bool] = False

    def __init__(self, viewer: Any, hint: str = "") -> None:
        super().__init__()
        self.viewer = unwrapped(viewer)
        self.session = session = ControllerLink(self, self.viewer)
        self.theme = session.theme
        self.user_actions = Actions(lambda: session.controller)
        self.image = ImageSection(self.viewer, self.theme)
        self.banner = Banner(self.viewer, hint)
        self._is_placed = False

    @property
    def controller(self) -> Controller | None:
        """The controller of the chosen image; None without one."""
        return self.session.controller

    def showEvent(self, event: QShowEvent | None) -> None:
        """Join the tabs of the other tall docks when the dock is shown for the first time."""
        super().showEvent(event)
        if self.is_tall and not self._is_placed:
            QTimer.singleShot(0, self._join_tabs)

    def _set_up(
        self, widgets: Sequence[QWidget], sections: Sequence[Section], stretched: QWidget | None = None
    ) -> None:
        """Lay out widgets from top to bottom, and connect sections to the controller of the first image."""
        self.setLayout(column(VerticalScrollArea(widgets, stretched)))
        self.setSizePolicy(self.sizePolicy().Policy.Preferred, self.sizePolicy().Policy.Expanding)
        self.session.add(self.image, self.banner, *sections)
        self.session.on_close(self.image.close_section)
        self.image.chosen.connect(self.session.choose)
        self.image.start()

    def _join_tabs(self) -> None:
        own, window = dock_widget_of(self), self.window()
        if self._is_placed or own is None or own.isFloating() or not isinstance(window, QMainWindow):
            return
        self._is_placed = True
        area = window.dockWidgetArea(own)
        for other in window.findChildren(QDockWidget):
            if other is own or other.isFloating() or window.dockWidgetArea(other) != area:
                continue
            if any(isinstance(child, Dock) and child.is_tall for child in other.findChildren(QWidget)):
                window.tabifyDockWidget(other, own)
                own.show()
                own.raise_()
                return


def dock_widget_of(widget: QWidget) -> QDockWidget | None:
    """Return the dock widget around a widget; None if there is none."""
    parent = widget.parentWidget()
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parentWidget()
    return parent

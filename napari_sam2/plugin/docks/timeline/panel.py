"""The timeline below the canvas, with its buttons."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.docks.parts.actions import Actions
from napari_sam2.plugin.docks.parts.buttons import tool_button
from napari_sam2.plugin.docks.parts.dock import dock_widget_of
from napari_sam2.plugin.docks.parts.layouts import GAP, column, row
from napari_sam2.plugin.docks.parts.shortcuts import tip
from napari_sam2.plugin.docks.parts.theme import Theme
from napari_sam2.plugin.docks.timeline.view import LEGEND, TimelineView


class TimelinePanel(QWidget):
    """The timeline, and buttons that go from one uncertain frame to the next."""

    def __init__(self, theme: Theme, actions: Actions) -> None:
        super().__init__()
        self._is_single = False
        self._hidden: QWidget | None = None
        self.view = TimelineView(theme)
        self.previous = tool_button(theme, "uncertain_previous", tip=tip("previous_uncertain"))
        self.next = tool_button(theme, "uncertain_next", tip=tip("next_uncertain"))
        self.help = tool_button(theme, "help", tip=LEGEND)
        self.previous.clicked.connect(lambda: actions.go_to_uncertain(-1))
        self.next.clicked.connect(lambda: actions.go_to_uncertain(1))
        buttons = column(self.next, self.previous, self.help, None, spacing=2)
        box = row(self.view, buttons, spacing=GAP, stretched=self.view)
        box.setContentsMargins(GAP, 2, 2, 2)
        self.setLayout(box)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)

    def show_controller(self, controller: Controller | None) -> None:
        """Show another controller's objects; a single image has no timeline."""
        self._is_single = controller is not None and controller.n_frames == 1
        self.fit()
        self.view.show_controller(controller)
        for button in (self.previous, self.next):
            button.setEnabled(controller is not None)

    def fit(self) -> None:
        """Hide the dock of the timeline for a single image, and show it again for a recording."""
        if self._hidden is not None and not self._is_single:
            self._hidden.show()
            self._hidden = None
        dock = dock_widget_of(self)
        if self._is_single and self._hidden is None and dock is not None:
            closed = dock.isHidden() and dock.testAttribute(Qt.WidgetAttribute.WA_WState_ExplicitShowHide)
            dock.hide()
            self._hidden = None if closed else dock

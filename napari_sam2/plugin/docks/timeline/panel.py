"""The timeline as a panel under the canvas."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget, QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.docks.parts.actions import Actions
from napari_sam2.plugin.docks.parts.shortcuts import tip
from napari_sam2.plugin.docks.parts.theme import GAP, Theme, tool_button
from napari_sam2.plugin.docks.timeline.view import TimelineView, legend


class TimelinePanel(QWidget):
    """The timeline with buttons that go from doubt to doubt.

    Parameters
    ----------
    look : Look
        Icons and colours.
    verbs : Verbs
        What the buttons do.
    """

    def __init__(self, look: Theme, verbs: Actions) -> None:
        super().__init__()
        self._is_single = False
        self._hidden: QWidget | None = None
        self.view = TimelineView(look)
        self.previous = tool_button(look, "doubt_previous", tip=tip("previous_doubt"))
        self.next = tool_button(look, "doubt_next", tip=tip("next_doubt"))
        self.help = tool_button(look, "help", tip=legend())
        self.previous.clicked.connect(lambda: verbs.go_to_doubt(-1))
        self.next.clicked.connect(lambda: verbs.go_to_doubt(1))
        buttons = QVBoxLayout()
        buttons.setSpacing(2)
        for button in (self.next, self.previous, self.help):
            buttons.addWidget(button)
        buttons.addStretch(1)
        row = QHBoxLayout(self)
        row.setContentsMargins(GAP, 2, 2, 2)
        row.setSpacing(GAP)
        row.addWidget(self.view, 1)
        row.addLayout(buttons)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)

    def show_controller(self, controller: Controller | None) -> None:
        """Show another controller's objects; of a single image there is no timeline."""
        self._is_single = controller is not None and controller.n_frames == 1
        self.fit()
        self.view.show_controller(controller)
        for button in (self.previous, self.next):
            button.setEnabled(controller is not None)

    def fit(self) -> None:
        """Hide the dock that this is in while there is a single image, and bring it back afterwards."""
        if self._hidden is not None and not self._is_single:
            self._hidden.show()
            self._hidden = None
        dock = self.parentWidget()
        while dock is not None and not isinstance(dock, QDockWidget):
            dock = dock.parentWidget()
        if self._is_single and self._hidden is None and dock is not None:
            closed = dock.isHidden() and dock.testAttribute(Qt.WidgetAttribute.WA_WState_ExplicitShowHide)
            dock.hide()
            self._hidden = None if closed else dock

"""The timeline as a panel under the canvas."""

from __future__ import annotations

from qtpy.QtWidgets import QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from napari_sam2.widgets.controller import Controller
from napari_sam2.widgets.shortcuts import tip
from napari_sam2.widgets.style import GAP, Look, tool_button
from napari_sam2.widgets.timeline_view import TimelineView, legend
from napari_sam2.widgets.verbs import Verbs


class TimelinePanel(QWidget):
    """The timeline with buttons that go from doubt to doubt.

    Parameters
    ----------
    look : Look
        Icons and colours.
    verbs : Verbs
        What the buttons do.
    """

    def __init__(self, look: Look, verbs: Verbs) -> None:
        super().__init__()
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
        """Show another controller's objects."""
        self.view.show_controller(controller)
        for button in (self.previous, self.next):
            button.setEnabled(controller is not None)

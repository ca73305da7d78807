"""A dock's contents: as wide as they need to be, scrolled only up and down."""

# PyQt says of every getter that it may return None.
# mypy: disable-error-code="union-attr"
from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from napari_sam2.plugin.docks.parts.theme import GAP, MARGIN


class VerticalScrollArea(QScrollArea):
    """Widgets one below the other; on a small screen or with large letters they scroll, and nothing is cut off.

    Parameters
    ----------
    widgets : sequence of QWidget or None
        From above; None is a line between two groups.
    stretched : QWidget, optional
        The one that takes the room that is left; by default it stays empty.
    """

    def __init__(self, widgets: Sequence[QWidget | None], stretched: QWidget | None = None) -> None:
        super().__init__()
        body = QWidget()
        body.setObjectName("sam2Body")
        box = QVBoxLayout(body)
        box.setContentsMargins(MARGIN, GAP, MARGIN, GAP)
        box.setSpacing(GAP)
        for widget in widgets:
            box.addWidget(widget or _line(), 1 if widget is not None and widget is stretched else 0)
        if stretched is None:
            box.addStretch(1)
        self.setWidget(body)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

        body.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Ask for more room (or less) when the contents need it, as with larger letters."""
        if event is not None and event.type() == QEvent.Type.LayoutRequest and watched is self.widget():
            self.updateGeometry()
        return bool(super().eventFilter(watched, event))

    def minimumSizeHint(self) -> QSize:
        """Never narrower than the contents, with a scroll bar beside them."""
        body = self.widget()
        if body is None:
            return super().minimumSizeHint()
        return QSize(body.minimumSizeHint().width() + self.verticalScrollBar().sizeHint().width(), 120)

    def sizeHint(self) -> QSize:
        """As high as the contents, if possible."""
        height = self.widget().sizeHint().height() if self.widget() is not None else 0
        return QSize(self.minimumSizeHint().width(), height)


def fill(dock: QWidget, area: VerticalScrollArea) -> None:
    """Let the area be all that a dock shows."""
    outer = QVBoxLayout(dock)
    outer.setContentsMargins(0, 0, 0, 0)
    outer.addWidget(area)
    dock.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)


def _line() -> QFrame:
    line = QFrame()
    line.setObjectName("sam2Line")
    line.setFrameShape(QFrame.Shape.NoFrame)
    line.setFixedHeight(1)
    return line

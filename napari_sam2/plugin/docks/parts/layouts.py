"""Layouts of the docks: rows, columns, and contents that scroll up and down only."""

# PyQt says of every getter that it may return None.
# mypy: disable-error-code="union-attr"
from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtWidgets import (
    QBoxLayout,
    QFrame,
    QHBoxLayout,
    QLayout,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

GAP, MARGIN = 6, 8  # pixels between widgets, and around them
Box = TypeVar("Box", bound=QBoxLayout)


def row(
    *items: QWidget | QLayout | None, spacing: int = GAP - 2, stretched: QWidget | None = None
) -> QHBoxLayout:
    """Return widgets side by side; None is empty room that grows, and so does the ``stretched`` one."""
    return _filled(QHBoxLayout(), items, spacing, stretched)


def column(
    *items: QWidget | QLayout | None, spacing: int = 4, stretched: QWidget | None = None
) -> QVBoxLayout:
    """Return widgets on top of each other; None is empty room that grows, and so does the ``stretched`` one."""
    return _filled(QVBoxLayout(), items, spacing, stretched)


def line() -> QFrame:
    """Return a line between two groups of widgets."""
    drawn = QFrame()
    drawn.setObjectName("sam2Line")
    drawn.setFrameShape(QFrame.Shape.NoFrame)
    drawn.setFixedHeight(1)
    return drawn


class VerticalScrollArea(QScrollArea):
    """Widgets on top of each other that scroll on a small screen or with large letters; nothing is cut off.

    Parameters
    ----------
    widgets : sequence of QWidget
        From top to bottom.
    stretched : QWidget, optional
        The one that takes the remaining room; by default it stays empty.
    """

    def __init__(self, widgets: Sequence[QWidget], stretched: QWidget | None = None) -> None:
        super().__init__()
        body = QWidget()
        body.setObjectName("sam2Body")
        box = column(*widgets, *([None] if stretched is None else []), spacing=GAP, stretched=stretched)
        box.setContentsMargins(MARGIN, GAP, MARGIN, GAP)
        body.setLayout(box)
        body.installEventFilter(self)
        self.setWidget(body)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Ask for more room (or less) when the size of the contents changes, as with larger letters."""
        if event is not None and event.type() == QEvent.Type.LayoutRequest and watched is self.widget():
            self.updateGeometry()
        return bool(super().eventFilter(watched, event))

    def minimumSizeHint(self) -> QSize:
        """Return the width of the contents with a scroll bar beside them."""
        body = self.widget()
        if body is None:
            return super().minimumSizeHint()
        return QSize(body.minimumSizeHint().width() + self.verticalScrollBar().sizeHint().width(), 120)

    def sizeHint(self) -> QSize:
        """Return the height of the contents."""
        height = self.widget().sizeHint().height() if self.widget() is not None else 0
        return QSize(self.minimumSizeHint().width(), height)


def _filled(
    box: Box, items: Sequence[QWidget | QLayout | None], spacing: int, stretched: QWidget | None
) -> Box:
    box.setContentsMargins(0, 0, 0, 0)
    box.setSpacing(spacing)
    for item in items:
        if item is None:
            box.addStretch(1)
        elif isinstance(item, QLayout):
            box.addLayout(item)
        else:
            box.addWidget(item, 1 if item is stretched else 0)
    return box

"""A button whose icon and text stand in its middle, with a mark in the corner when it has a menu."""

from __future__ import annotations

from qtpy.QtCore import QPointF, QRect, Qt
from qtpy.QtGui import QIcon, QPainter, QPaintEvent, QPolygonF
from qtpy.QtWidgets import QStyle, QStyleOptionToolButton, QStylePainter, QToolButton

_SPACE = 4  # what Qt leaves between icon and text
_CORNER = 4.5


class TextButton(QToolButton):
    """A tool button; Qt would put icon and text to the left of a wide one, and hide that there is a menu."""

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the frame, then icon and text in its middle."""
        painter, option = QStylePainter(self), QStyleOptionToolButton()
        self.initStyleOption(option)
        if self.toolButtonStyle() == Qt.ToolButtonStyle.ToolButtonTextBesideIcon:
            text, icon = option.text, QIcon(option.icon)
            option.text, option.icon = "", QIcon()
            painter.drawComplexControl(QStyle.ComplexControl.CC_ToolButton, option)
            option.text, option.icon = text, icon
            option.rect = self._middle(option.rect)
            painter.drawControl(QStyle.ControlElement.CE_ToolButtonLabel, option)
        else:
            painter.drawComplexControl(QStyle.ComplexControl.CC_ToolButton, option)
        if self.menu() is not None:
            self._paint_corner(painter)

    def _middle(self, room: QRect) -> QRect:
        width = self.fontMetrics().horizontalAdvance(self.text()) + 2
        if not self.icon().isNull():
            width += self.iconSize().width() + _SPACE
        place = QRect(room)
        place.setWidth(min(width, room.width()))
        place.moveCenter(room.center())
        return place

    def _paint_corner(self, painter: QPainter) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self.palette().buttonText())
        painter.setOpacity(0.8 if self.isEnabled() else 0.35)
        x, y = self.width() - 3.5, self.height() - 3.5
        corner = [(x, y), (x - _CORNER, y), (x, y - _CORNER)]
        painter.drawPolygon(QPolygonF([QPointF(*place) for place in corner]))

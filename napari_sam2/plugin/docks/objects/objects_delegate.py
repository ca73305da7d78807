"""Drawing of a row of the object table: a colour chip, a bar of uncertainty, a lock."""

# PyQt says of every getter that it may return None.
# mypy: disable-error-code="union-attr"
from __future__ import annotations

from typing import Any

from qtpy.QtCore import QModelIndex, QRect, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem

from napari_sam2.plugin.docks.objects.objects_model import STATE_ROLE, Column
from napari_sam2.plugin.docks.parts.theme import UNCERTAIN, Theme, pixmap
from napari_sam2.plugin.state import ObjectState

_CHIP = 12


class ObjectsDelegate(QStyledItemDelegate):
    """Draws the cells that are more than text."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme

    def paint(self, painter: QPainter | None, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Draw one cell."""
        state: ObjectState | None = index.data(STATE_ROLE)
        if state is None or painter is None:
            return
        if index.column() not in (Column.UNCERTAINTY, Column.LOCK, Column.OBJECT):
            super().paint(painter, option, index)
            return
        plain = _without_content(option)
        style = plain.widget.style()
        style.drawPrimitive(style.PrimitiveElement.PE_PanelItemViewItem, plain, painter, plain.widget)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if index.column() == Column.OBJECT:
            self._paint_name(painter, option.rect, state, str(index.data()))
        elif index.column() == Column.UNCERTAINTY:
            self._paint_uncertainty(painter, option.rect, state)
        elif state.locked:
            place = QRect(0, 0, 14, 14)
            place.moveCenter(option.rect.center())
            painter.drawPixmap(place, pixmap("locked", self._theme.palette.text, 28))
        painter.restore()

    def _paint_name(self, painter: QPainter, rect: QRect, state: ObjectState, text: str) -> None:
        palette = self._theme.palette
        color = QColor(*state.color)
        chip = QRectF(rect.left() + 6, rect.center().y() - _CHIP / 2 + 0.5, _CHIP, _CHIP)
        painter.setPen(QPen(QColor(palette.text if state.active else palette.background), 1.5))
        painter.setBrush(color if state.visible else Qt.BrushStyle.NoBrush)
        painter.drawRoundedRect(chip, 3, 3)
        font = painter.font()
        font.setBold(state.active)
        painter.setFont(font)
        painter.setPen(QColor(palette.text if state.visible else palette.muted))
        room = rect.adjusted(_CHIP + 13, 0, -2, 0)
        shown = painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, room.width())
        painter.drawText(room, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, shown)

    def _paint_uncertainty(self, painter: QPainter, rect: QRect, state: ObjectState) -> None:
        room = QRectF(rect).adjusted(4, 0, -4, 0)
        bar = QRectF(room.left(), room.center().y() - 3, room.width(), 6)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(self._theme.palette.button))
        painter.drawRoundedRect(bar, 3, 3)
        if state.present and state.uncertainty > 0.02:
            bar.setWidth(max(bar.width() * min(state.uncertainty, 1.0), 4))
            painter.setBrush(QColor(UNCERTAIN))
            painter.drawRoundedRect(bar, 3, 3)


def _without_content(option: QStyleOptionViewItem) -> Any:
    plain = QStyleOptionViewItem(option)
    plain.text = ""
    return plain

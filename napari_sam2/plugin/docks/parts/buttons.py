"""Buttons, labels and lists of the docks."""

from __future__ import annotations

from qtpy.QtCore import QPointF, QRect, QSize, Qt
from qtpy.QtGui import QIcon, QPainter, QPaintEvent, QPolygonF
from qtpy.QtWidgets import (
    QComboBox,
    QLabel,
    QSizePolicy,
    QStyle,
    QStyleOptionToolButton,
    QStylePainter,
    QToolButton,
)

from napari_sam2.plugin.docks.parts.theme import ICON, Theme

_ICON_GAP = 4  # pixels that Qt leaves between icon and text
_CORNER = 4.5


class TextButton(QToolButton):
    """A tool button with centred icon and text, and a mark in the corner if it has a menu.

    Qt would put icon and text to the left of a wide button, and would not show that there is a menu.
    """

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
            width += self.iconSize().width() + _ICON_GAP
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


def tool_button(
    theme: Theme,
    icon: str,
    text: str = "",
    tip: str = "",
    checkable: bool = False,
    compact: bool = False,
    primary: bool = False,
) -> QToolButton:
    """Return a flat button with an icon.

    Parameters
    ----------
    theme : Theme
        Colours of the icon.
    icon : str
        Name of the icon.
    text : str
        With a text the button takes the room there is.
    tip : str
        Tooltip.
    checkable : bool
        True: it stays down until it is pressed again.
    compact : bool
        True: it takes no more room than its text.
    primary : bool
        True: it stands out as the next step.
    """
    button = TextButton()
    button.setObjectName(icon)
    button.setIconSize(QSize(ICON, ICON))
    button.setCheckable(checkable)
    button.setToolTip(tip)
    button.setAccessibleName(text or tip.split("\n")[0])
    button.setAutoRaise(not text)
    # The keyboard stays with the canvas when a button is clicked.
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    if text:
        button.setText(text)
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        width = QSizePolicy.Policy.Maximum if compact else QSizePolicy.Policy.Expanding
        button.setSizePolicy(width, QSizePolicy.Policy.Fixed)
    if primary:
        button.setProperty("primary", True)
    theme.put_icon(button, icon)
    return button


def title_label(text: str) -> QLabel:
    """Return the heading of a section."""
    label = QLabel(text)
    label.setObjectName("sam2Title")
    return label


def muted_label(text: str = "", wrap: bool = True) -> QLabel:
    """Return a label in a muted colour."""
    label = QLabel(text)
    label.setObjectName("sam2Muted")
    if wrap:
        label.setWordWrap(True)
        label.setMinimumWidth(40)
    return label


def shrinking(combo: QComboBox, letters: int, tip: str) -> QComboBox:
    """Make a list as narrow as some letters, whatever its items."""
    combo.setToolTip(tip)
    combo.setMinimumContentsLength(letters)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    return combo

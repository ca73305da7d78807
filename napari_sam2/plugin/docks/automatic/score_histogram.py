"""A histogram of scores with a threshold that can be dragged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_sam2.plugin.docks.parts.theme import CERTAIN, Theme

_BINS = 40


class ScoreHistogram(QWidget):
    """Numbers of candidates by score from 0 to 1; those that are kept are coloured.

    Parameters
    ----------
    theme : Theme
        Colours of the dock.
    title : str
        Name of the score.
    """

    threshold_moved = Signal(float)

    def __init__(self, theme: Theme, title: str) -> None:
        super().__init__()
        self._theme = theme
        self._title = title
        self._all = np.zeros(_BINS, int)
        self._kept = np.zeros(_BINS, int)
        self._threshold = 0.0
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            f"{title} of all candidates; those that are kept are coloured. Drag to move the threshold."
        )
        theme.follow(self.update)

    def show_scores(self, scores: NDArray[np.floating], kept: NDArray[np.floating], threshold: float) -> None:
        """Show the scores of all candidates, of those that are kept, and the threshold."""
        self._all, self._kept = _histogram(scores), _histogram(kept)
        self._threshold = threshold
        self.update()

    def sizeHint(self) -> QSize:
        """Return the height of four lines."""
        return QSize(200, 4 * self.fontMetrics().height())

    def minimumSizeHint(self) -> QSize:
        """Return a width at which a slider can be moved by a hundredth."""
        return QSize(44 * self.fontMetrics().horizontalAdvance("0"), 4 * self.fontMetrics().height())

    def paintEvent(self, event: object) -> None:
        """Draw bars, threshold and title."""
        palette, painter = self._theme.palette, QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        room = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        painter.setPen(QPen(QColor(palette.button)))
        painter.setBrush(QColor(palette.raised))
        painter.drawRoundedRect(room, 3, 3)
        # Square roots keep rare scores visible beside common ones.
        highest = float(np.sqrt(max(int(self._all.max()), 1)))
        step, top = room.width() / _BINS, self.fontMetrics().height() + 2
        painter.setPen(Qt.PenStyle.NoPen)
        for counts, color in ((self._all, palette.hover), (self._kept, CERTAIN)):
            painter.setBrush(QColor(color))
            for place in np.flatnonzero(counts):
                height = (room.height() - top) * float(np.sqrt(counts[place])) / highest
                painter.drawRect(QRectF(place * step + 0.5, room.bottom() - height, max(step - 1, 1), height))
        if self._all.any():
            painter.setPen(QPen(QColor(palette.text), 1.6))
            x = self._threshold * room.width()
            painter.drawLine(QPointF(x, top - 2), QPointF(x, room.bottom()))
        painter.setPen(QColor(palette.muted))
        text = self._title if self._all.any() else f"{self._title}: find masks first"
        line = room.adjusted(6, 1, -6, 0)
        painter.drawText(line, Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft, text)
        if self._all.any():
            painter.setPen(QColor(palette.text))
            kept = f"from {self._threshold:.2f}"
            painter.drawText(line, Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignRight, kept)
        painter.end()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Move the threshold to the mouse."""
        self.mouseMoveEvent(event)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Move the threshold to the mouse while the button is down."""
        if event is not None and event.buttons() & Qt.MouseButton.LeftButton:
            part = min(max(event.position().x() / max(self.width(), 1), 0.0), 1.0)
            self.threshold_moved.emit(round(part, 2))


def _histogram(scores: NDArray[np.floating]) -> NDArray[np.int_]:
    counts, _ = np.histogram(np.clip(np.nan_to_num(scores), 0, 1), _BINS, (0, 1))
    return np.asarray(counts)

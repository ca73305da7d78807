"""The timeline: prompts, presence and uncertainty of every object over all frames."""

# PyQt says of every getter that it may return None.
# mypy: disable-error-code="union-attr"
from __future__ import annotations

import numpy as np
from qtpy.QtCore import QEvent, QPoint, QPointF, QRect, QRectF, QSize, Qt, QTimer
from qtpy.QtGui import (
    QColor,
    QFontMetrics,
    QHelpEvent,
    QImage,
    QMouseEvent,
    QPainter,
    QPen,
    QPolygonF,
    QResizeEvent,
)
from qtpy.QtWidgets import QAbstractScrollArea, QFrame, QSizePolicy, QToolTip

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.docks.parts.controller_link import events_of
from napari_sam2.plugin.docks.parts.theme import UNCERTAIN, Theme
from napari_sam2.plugin.docks.timeline.strips import frame_at, strip, tick_step, x_of
from napari_sam2.plugin.layers.connections import Connections
from napari_sam2.plugin.state import ObjectState, PropagationState, Status

_REDRAW_MS = 80
# Heights in rows: the least without objects, the least with many objects, and the most.
_EMPTY_ROWS, _LEAST_ROWS, _MOST_ROWS = 3, 5, 8
LEGEND = (
    "◆ prompts   coloured band: seen   thin line: tracked and not seen\n"
    "orange from above: uncertainty, the deeper the less certain   ▼ the most uncertain frames\n"
    "Click or drag to go to a frame."
)


class TimelineView(QAbstractScrollArea):
    """Draws the visible rows; a click or a drag goes to a frame."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._controller: Controller | None = None
        self._signals = Connections()
        self._states: tuple[ObjectState, ...] = ()
        self._strips: dict[int, QImage] = {}
        self._peaks: tuple[int, ...] = ()
        self._frame = 0
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REDRAW_MS)
        self._timer.timeout.connect(self.viewport().update)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.viewport().setMouseTracking(True)
        theme.follow(self._redraw_all)

    def show_controller(self, controller: Controller | None) -> None:
        """Show another controller's objects."""
        self._controller = controller
        self._signals.replace(
            events_of(controller),
            timeline=self._on_timeline,
            objects=self._on_objects,
            status=self._on_status,
            propagation=self._on_propagation,
        )
        self._strips.clear()
        self._peaks = ()
        self._states = () if controller is None else controller.objects.states
        self._frame = 0 if controller is None else controller.frame
        self._find_peaks()
        self._fit()
        self.viewport().update()

    @property
    def peaks(self) -> tuple[int, ...]:
        """Uncertain frames that are marked above the rows."""
        return self._peaks

    @property
    def visible_rows(self) -> range:
        """Rows that are drawn; none is cut off."""
        first = self.verticalScrollBar().value()
        return range(first, min(first + self._page, len(self._states)))

    def position_of(self, frame: int, object_id: int) -> QPoint:
        """Return where a frame of an object is drawn in the viewport."""
        row = next(i for i, s in enumerate(self._states) if s.object_id == object_id)
        place = self._row_rect(row)
        return QPoint(round(self._x_of(frame)), place.center().y())

    # -- events ------------------------------------------------------------------------------------------

    def _on_timeline(self, object_ids: frozenset[int]) -> None:
        for object_id in object_ids:
            self._strips.pop(object_id, None)
        if self._controller is not None and self._controller.propagation.phase == "idle":
            self._find_peaks()
        self._redraw_soon()

    def _on_objects(self, states: tuple[ObjectState, ...]) -> None:
        colors = {s.object_id: s.color for s in self._states}
        count = len(self._states)
        self._states = states
        for state in states:
            if colors.get(state.object_id) != state.color:
                self._strips.pop(state.object_id, None)
        if len(states) != count:
            self._fit()
        self._redraw_soon()

    def _on_status(self, status: Status) -> None:
        if status.frame != self._frame:
            self._frame = status.frame
            self.viewport().update()

    def _on_propagation(self, state: PropagationState) -> None:
        if state.phase == "idle":
            self._find_peaks()
            self._redraw_soon()

    def _redraw_all(self) -> None:
        self._strips.clear()
        self.viewport().update()

    def _find_peaks(self) -> None:
        controller = self._controller
        self._peaks = () if controller is None else controller.timeline.uncertain_frames()

    def _redraw_soon(self) -> None:
        # A propagation emits an event for every frame: redrawing each time would slow it down.
        if not self._timer.isActive():
            self._timer.start()

    # -- places ------------------------------------------------------------------------------------------

    @property
    def _line(self) -> int:
        return self.fontMetrics().height()

    @property
    def _row_height(self) -> int:
        """A little more than a line; with many objects as much as lets whole rows fill the height."""
        height = self.viewport().height() - self._ruler
        rows = max(height // (self._line + 2), 1)
        return max(height // rows, self._line) if len(self._states) >= rows else self._line + 4

    @property
    def _page(self) -> int:
        """Number of rows that are visible at once."""
        return max((self.viewport().height() - self._ruler) // self._row_height, 1)

    @property
    def _ruler(self) -> int:
        return self._line + 6

    @property
    def _gutter(self) -> int:
        return min(self.fontMetrics().horizontalAdvance("object 0000") + 26, self.viewport().width() // 3)

    @property
    def _width(self) -> int:
        return max(self.viewport().width() - self._gutter - 10, 10)

    @property
    def _count(self) -> int:
        return 1 if self._controller is None else max(self._controller.n_frames, 1)

    def _x_of(self, frame: int) -> float:
        return self._gutter + x_of(frame, self._width, self._count)

    def _row_rect(self, row: int) -> QRect:
        top = self._ruler + (row - self.verticalScrollBar().value()) * self._row_height
        return QRect(0, top, self.viewport().width(), self._row_height)

    def _row_at(self, y: int) -> int:
        if y < self._ruler:
            return -1
        row = (y - self._ruler) // self._row_height + self.verticalScrollBar().value()
        return row if row < len(self._states) else -1

    def _fit(self) -> None:
        # The unit of the scroll bar is a row, so that none is cut off.
        self.verticalScrollBar().setPageStep(self._page)
        self.verticalScrollBar().setMaximum(max(len(self._states) - self._page, 0))
        self.updateGeometry()

    def sizeHint(self) -> QSize:
        """Return room for a few rows."""
        rows = min(max(len(self._states), _LEAST_ROWS), _MOST_ROWS)
        return QSize(400, self._ruler + rows * (self._line + 4))

    def minimumSizeHint(self) -> QSize:
        """Return room for a few rows, and for a few more with more objects."""
        rows = min(max(len(self._states), _EMPTY_ROWS), _LEAST_ROWS)
        return QSize(160, self._ruler + rows * (self._line + 4))

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Redraw at another size."""
        self._strips.clear()
        self._fit()
        super().resizeEvent(event)

    def changeEvent(self, event: QEvent | None) -> None:
        """Fit to another font size."""
        super().changeEvent(event)
        if event is not None and event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._strips.clear()
            self._fit()

    def scrollContentsBy(self, dx: int, dy: int) -> None:
        """Draw other rows."""
        self.viewport().update()

    # -- drawing -----------------------------------------------------------------------------------------

    def paintEvent(self, event: object) -> None:
        """Draw the ruler, the visible rows and the frame that is shown."""
        painter = QPainter(self.viewport())
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        palette = self._theme.palette
        painter.fillRect(self.viewport().rect(), QColor(palette.background))
        if self._controller is None or self._controller.closed:
            self._paint_hint(painter, "The timeline of your objects appears here.")
        else:
            for row in self.visible_rows:
                self._paint_row(painter, row, self._row_rect(row))
            if not self._states:
                self._paint_hint(
                    painter, "Prompt an object: where it is seen, and how sure that is, appears here."
                )
            self._paint_ruler(painter)
            self._paint_cursor(painter, self.viewport().height() if self._states else self._ruler)
        painter.end()

    def _paint_hint(self, painter: QPainter, text: str) -> None:
        painter.setPen(QColor(self._theme.palette.muted))
        room = self.viewport().rect().adjusted(8, self._ruler, -8, 0)
        painter.drawText(room, Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, text)

    def _paint_row(self, painter: QPainter, row: int, place: QRect) -> None:
        state, palette = self._states[row], self._theme.palette
        if state.active or state.selected:
            painter.fillRect(place, QColor(palette.raised))
        chip = QRectF(6, place.center().y() - 4, 9, 9)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(*state.color))
        painter.drawRoundedRect(chip, 2, 2)
        font = painter.font()
        font.setBold(True)
        bold = QFontMetrics(font)  # the active row is the widest: all are shortened alike
        font.setBold(state.active)
        painter.setFont(font)
        painter.setPen(QColor(palette.text if state.visible else palette.muted))
        room = QRect(20, place.top(), self._gutter - 24, place.height())
        title = state.title
        if not state.name and bold.horizontalAdvance(title) > room.width():
            title = str(state.object_id)
        name = painter.fontMetrics().elidedText(title, Qt.TextElideMode.ElideRight, room.width())
        painter.drawText(room, Qt.AlignmentFlag.AlignVCenter, name)
        image = self._strip(state, place.height() - 6)
        painter.drawImage(QPoint(self._gutter, place.top() + 3), image)
        self._paint_prompts(painter, state, place)

    def _strip(self, state: ObjectState, height: int) -> QImage:
        found = self._strips.get(state.object_id)
        if found is None:
            assert self._controller is not None
            uncertain, absent = QColor(UNCERTAIN), QColor(self._theme.palette.hover)
            pixels = strip(
                self._controller.timeline.row(state.object_id),
                self._width,
                height,
                state.color,
                (uncertain.red(), uncertain.green(), uncertain.blue()),
                (absent.red(), absent.green(), absent.blue()),
            )
            side = QImage(
                pixels.tobytes(), self._width, height, 4 * self._width, QImage.Format.Format_RGBA8888
            )
            found = self._strips[state.object_id] = side.copy()
        return found

    def _paint_prompts(self, painter: QPainter, state: ObjectState, place: QRect) -> None:
        palette = self._theme.palette
        painter.setPen(QPen(QColor(palette.background), 1.2))
        painter.setBrush(QColor(palette.text))
        y, reach = place.center().y() + 0.5, min(place.height() / 2 - 2, 5.5)
        for x in sorted({round(self._x_of(frame)) for frame in state.prompted_frames}):
            corners = [(x, y - reach), (x + reach, y), (x, y + reach), (x - reach, y)]
            painter.drawPolygon(QPolygonF([QPointF(*c) for c in corners]))

    def _paint_ruler(self, painter: QPainter) -> None:
        palette, width = self._theme.palette, self.viewport().width()
        painter.fillRect(QRect(0, 0, width, self._ruler), QColor(palette.background))
        painter.setPen(QColor(palette.muted))
        font = painter.font()
        font.setBold(False)
        painter.setFont(font)
        step = tick_step(self._count, self._width, self.fontMetrics().horizontalAdvance("00000") + 16)
        covered = self._cursor_rect()
        for frame in range(0, self._count, step):
            x = round(self._x_of(frame))
            painter.drawLine(x, self._ruler - 4, x, self._ruler - 1)
            room = QRect(x - 40, 0, 80, self._line)
            reach = self.fontMetrics().horizontalAdvance(str(frame)) / 2 + 2
            if x + reach < covered.left() or x - reach > covered.right():
                painter.drawText(room, Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop, str(frame))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(UNCERTAIN))
        bottom = self._ruler - 1
        for x in sorted({round(self._x_of(frame)) for frame in self._peaks}):
            painter.drawPolygon(
                QPolygonF([QPointF(x - 4, bottom - 7), QPointF(x + 4, bottom - 7), QPointF(x, bottom)])
            )

    def _paint_cursor(self, painter: QPainter, bottom: int) -> None:
        palette = self._theme.palette
        x = self._x_of(self._frame)
        painter.setPen(QPen(QColor(palette.text), 1.4))
        painter.drawLine(QPointF(x, self._ruler - 2), QPointF(x, bottom))
        room = self._cursor_rect()
        painter.setBrush(QColor(palette.accent))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.drawRoundedRect(room, 3, 3)
        painter.setPen(QColor(palette.text))
        painter.drawText(room, Qt.AlignmentFlag.AlignCenter, str(self._frame))

    def _cursor_rect(self) -> QRectF:
        """Return the place of the number of the frame that is shown."""
        room = QRectF(0, 0, self.fontMetrics().horizontalAdvance(str(self._frame)) + 10, self._line + 2)
        room.moveCenter(QPointF(self._x_of(self._frame), room.height() / 2))
        room.moveLeft(min(max(room.left(), 0.0), self.viewport().width() - room.width()))
        return room

    # -- the mouse ---------------------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Go to a frame, and select an object."""
        controller = self._controller
        if event is None or controller is None or event.button() != Qt.MouseButton.LeftButton:
            return
        place = event.position()
        row = self._row_at(int(place.y()))
        if row >= 0:
            controller.objects.select([self._states[row].object_id])
        if place.x() >= self._gutter:
            controller.frame = self._frame_at(place.x())

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Go to the frame under the mouse while the button is down."""
        if event is not None and self._controller is not None and event.buttons() & Qt.MouseButton.LeftButton:
            frame = self._frame_at(event.position().x())
            if frame != self._controller.frame:
                self._controller.frame = frame

    def viewportEvent(self, event: QEvent | None) -> bool:
        """Show the facts on the frame under the mouse as a tooltip."""
        if isinstance(event, QHelpEvent) and self._controller is not None:
            text = self._explain(event.pos())
            QToolTip.showText(event.globalPos(), text, self)
            return True
        return bool(super().viewportEvent(event))

    def _frame_at(self, x: float) -> int:
        return frame_at(x - self._gutter, self._width, self._count)

    def _explain(self, place: QPoint) -> str:
        assert self._controller is not None
        frame, row = self._frame_at(place.x()), self._row_at(place.y())
        if row < 0:
            return f"frame {frame}" + (" · uncertain" if frame in self._peaks else "")
        state = self._states[row]
        known = self._controller.timeline.row(state.object_id)
        lines = [f"{state.title}, frame {frame}"]
        if known.prompted[frame]:
            lines.append("prompted here")
        if not known.known[frame]:
            lines.append("not tracked yet")
        elif known.present[frame]:
            lines.append(f"seen, {known.areas[frame]:.0f} pixels")
        else:
            lines.append("not seen")
        if known.known[frame] and np.isfinite(known.predicted_ious[frame]):
            lines.append(
                f"expected quality {known.predicted_ious[frame]:.2f}, uncertainty {known.uncertainty[frame]:.0%}"
            )
        return "\n".join(lines)

"""Style of the docks: colours of napari's theme, its font size, and icons in these colours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from napari.settings import get_settings
from napari.utils.theme import get_theme
from qtpy.QtCore import QByteArray, QRectF, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtSvg import QSvgRenderer
from qtpy.QtWidgets import QAbstractButton, QWidget

from napari_sam2.plugin.layers.connections import Connections

ICON = 16  # pixels
ICONS = Path(__file__).parent / "icons"
_FADED = 0.35
# Distinct with every kind of colour blindness, on dark and on light.
CERTAIN, UNCERTAIN = "#56b4e9", "#e69f00"


@dataclass(frozen=True)
class Palette:
    """The colours of a theme, as "#rrggbb".

    Parameters
    ----------
    background, raised, button, hover : str
        Surfaces, from the background of a dock to a button under the mouse.
    text, muted : str
        Texts, and less important texts.
    accent : str
        Selected items.
    warning : str
        Items that need attention.
    """

    background: str
    raised: str
    button: str
    hover: str
    text: str
    muted: str
    accent: str
    warning: str

    @classmethod
    def of(cls, theme: str) -> Palette:
        """Return the colours of napari's theme of this name."""
        found = get_theme(theme)
        background, text = _hex(found.background), _hex(found.text)
        return cls(
            background,
            _hex(found.foreground),
            _hex(found.primary),
            _hex(found.highlight),
            text,
            mixed(text, background, 0.35),
            _hex(found.current),
            _hex(found.warning),
        )


class Theme:
    """Style of one dock; follows the theme of its viewer and napari's font size.

    Parameters
    ----------
    viewer : Viewer
        Viewer of the dock.
    dock : QWidget
        Styled with everything in it.
    """

    def __init__(self, viewer: Any, dock: QWidget) -> None:
        self._viewer = viewer
        self._styled: list[QWidget] = []
        self._icons: dict[QAbstractButton, str] = {}
        self._followers: list[Callable[[], None]] = []
        self.palette = Palette.of(str(viewer.theme))
        self._connections = Connections()
        self._connections.add(viewer.events, "theme", self._on_theme)
        self._connections.add(get_settings().appearance.events, "font_size", self._on_theme)
        self.style(dock)

    def style(self, widget: QWidget) -> None:
        """Style a widget and everything in it, also after changes of the theme."""
        self._styled.append(widget)
        widget.setStyleSheet(_sheet(self.palette, _font_size()))

    def put_icon(self, button: QAbstractButton, name: str) -> None:
        """Show an icon on a button, also after changes of the theme."""
        self._icons[button] = name
        button.setIcon(icon(name, self.palette.text, self.palette.button))

    def follow(self, repaint: Callable[[], None]) -> None:
        """Call ``repaint`` after the theme changed."""
        self._followers.append(repaint)

    def close(self) -> None:
        """Stop following the theme."""
        self._connections.close()
        self._icons.clear()
        self._styled.clear()
        self._followers.clear()

    def _on_theme(self, event: Any = None) -> None:
        self.palette = Palette.of(str(self._viewer.theme))
        for widget in self._styled:
            widget.setStyleSheet(_sheet(self.palette, _font_size()))
        for button, name in self._icons.items():
            self.put_icon(button, name)
        for repaint in self._followers:
            repaint()


def icon(name: str, color: str, background: str = "#000000") -> QIcon:
    """Return an icon of the plugin in a colour; faded on disabled buttons."""
    found = QIcon()
    for scale in (1, 2):
        drawn = pixmap(name, color, ICON * scale, background)
        found.addPixmap(drawn, QIcon.Mode.Normal)
        found.addPixmap(_faded(drawn), QIcon.Mode.Disabled)
    return found


def pixmap(name: str, color: str, side: int = ICON, background: str = "#000000") -> QPixmap:
    """Return an icon of the plugin as a square image; ``background`` shows through its cut-outs."""
    svg = _svg(name).replace("currentColor", color).replace("KNOCK", background)
    out = QPixmap(side, side)
    out.fill(Qt.GlobalColor.transparent)
    painter = QPainter(out)
    QSvgRenderer(QByteArray(svg.encode())).render(painter, QRectF(0, 0, side, side))
    painter.end()
    return out


def mixed(a: str, b: str, part: float) -> str:
    """Return a mixture of two colours with this part of ``b``."""
    one, two = QColor(a), QColor(b)
    channels = [
        round(x * (1 - part) + y * part)
        for x, y in zip((one.red(), one.green(), one.blue()), (two.red(), two.green(), two.blue()))
    ]
    return QColor(*channels).name()


@lru_cache(maxsize=64)
def _svg(name: str) -> str:
    return (ICONS / f"{name}.svg").read_text(encoding="utf-8")


def _faded(source: QPixmap) -> QPixmap:
    out = QPixmap(source.size())
    out.fill(Qt.GlobalColor.transparent)
    painter = QPainter(out)
    painter.setOpacity(_FADED)
    painter.drawPixmap(0, 0, source)
    painter.end()
    return out


def _hex(color: Any) -> str:
    return QColor(str(color.as_hex() if hasattr(color, "as_hex") else color)).name()


def _font_size() -> int:
    """Return napari's font size in points; Qt applies it to labels and lists only."""
    return int(getattr(get_settings().appearance, "font_size", 9))


def _sheet(p: Palette, points: int) -> str:
    faint = mixed(p.text, p.background, 0.6)
    return f"""
QWidget {{ font-size: {points}pt; }}
QLabel, QComboBox, QCheckBox, QPushButton, QSpinBox, QMenu {{ font-size: {points + 1}pt; }}
QLabel#sam2Title {{ font-weight: bold; color: {p.text}; padding-top: 2px; }}
QLabel#sam2Muted {{ color: {p.muted}; }}
QFrame#sam2Line {{ background: {p.button}; border: 0; margin: 0; padding: 0; }}
QFrame#sam2Banner {{ background: {p.raised}; border-radius: 4px; border-left: 3px solid {p.accent}; }}
QFrame#sam2Banner[tone="warning"] {{ border-left-color: {p.warning}; }}
QToolButton {{ background: {p.button}; border: 1px solid {p.button}; border-radius: 3px; }}
QToolButton {{ padding: 4px; color: {p.text}; }}
QToolButton[autoRaise="true"] {{ background: transparent; border-color: transparent; padding: 3px; }}
QToolButton:hover {{ background: {p.hover}; }}
QToolButton:pressed, QToolButton:checked {{ background: {p.accent}; border-color: {p.text}; }}
QToolButton:focus {{ border-color: {p.accent}; }}
QToolButton:disabled {{ color: {faint}; background: {p.raised}; border-color: {p.raised}; }}
QToolButton[autoRaise="true"]:disabled {{ background: transparent; border-color: transparent; }}
QToolButton::menu-indicator {{ image: none; width: 0; }}
QToolButton::menu-button {{ border: 0; width: 9px; background: transparent; }}
QToolButton::menu-arrow {{ image: none; }}
QToolButton[primary="true"] {{ border-color: {p.accent}; }}
QPushButton {{ background: {p.button}; border: 1px solid {p.button}; border-radius: 3px; padding: 4px 8px; }}
QPushButton:hover {{ background: {p.hover}; }}
QPushButton:pressed {{ background: {p.accent}; }}
QPushButton[primary="true"] {{ border-color: {p.accent}; }}
QTableView {{ background: {p.raised}; border: 1px solid {p.button}; border-radius: 3px; outline: 0; }}
QTableView::item {{ padding: 0 3px; }}
QTableView::item:selected {{ background: {p.accent}; color: {p.text}; }}
QHeaderView {{ background: {p.raised}; }}
QHeaderView::section {{ background: {p.raised}; color: {p.muted}; border: 0; padding: 2px 3px; }}
QSpinBox, QLineEdit {{ background: {p.button}; border-radius: 2px; padding: 2px 4px; }}
QProgressBar {{ background: {p.raised}; border: 1px solid {p.button}; border-radius: 3px; text-align: center; }}
QProgressBar::chunk {{ background: {p.accent}; border-radius: 2px; }}
QScrollArea, QScrollArea > QWidget > QWidget#sam2Body {{ background: transparent; border: 0; }}
QScrollBar:vertical {{ width: 9px; max-width: 9px; margin: 0; background: transparent; }}
QScrollBar::handle:vertical {{ background: {p.hover}; border-radius: 3px; min-height: 18px; margin: 1px; }}
QScrollBar::add-line:vertical, QScrollBar::sub-line:vertical {{ height: 0; width: 0; }}
QScrollBar::up-arrow:vertical, QScrollBar::down-arrow:vertical {{ image: none; background: transparent; }}
QScrollBar::up-arrow:vertical, QScrollBar::down-arrow:vertical {{ min-height: 0; max-height: 0; }}
"""

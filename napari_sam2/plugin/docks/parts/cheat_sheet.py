"""All keys on one page."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QGridLayout, QHBoxLayout, QLabel, QLayout, QVBoxLayout, QWidget

from napari_sam2.plugin.docks.parts.shortcuts import NAPARI_KEYS, SHORTCUTS
from napari_sam2.plugin.docks.parts.theme import GAP, Theme, muted_label, title_label

_NOTE = "The keys work while the canvas has the keyboard: click on it first. Esc closes this page."


class CheatSheet(QDialog):
    """A window with every shortcut, in groups.

    Parameters
    ----------
    parent : QWidget
        The dock that shows it.
    look : Look
        Colours of the theme.
    """

    def __init__(self, parent: QWidget, look: Theme) -> None:
        super().__init__(parent)
        self.setWindowTitle("SAM 2: keys")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        groups: dict[str, list[tuple[str, str]]] = {}
        for shortcut in SHORTCUTS.values():
            groups.setdefault(shortcut.group, []).append((shortcut.shown, shortcut.title))
        groups["napari’s own"] = list(NAPARI_KEYS)
        columns = QHBoxLayout()
        columns.setSpacing(5 * GAP)
        left, right = QGridLayout(), QGridLayout()
        for number, (name, rows) in enumerate(groups.items()):
            _add_group(left if number < 2 else right, name, rows, look)
        for side in (left, right):
            side.setHorizontalSpacing(2 * GAP)
            side.setVerticalSpacing(4)
            side.setColumnStretch(1, 1)
            side.setRowStretch(side.rowCount(), 1)
            columns.addLayout(side)
        box = QVBoxLayout(self)
        box.setContentsMargins(3 * GAP, 3 * GAP, 3 * GAP, 3 * GAP)
        box.setSpacing(2 * GAP)
        box.addLayout(columns)
        box.addWidget(muted_label(_NOTE))
        # Qt would give a new window two thirds of the screen at most, and cut the keys off.
        box.setSizeConstraint(QLayout.SizeConstraint.SetFixedSize)


def _add_group(grid: QGridLayout, name: str, rows: list[tuple[str, str]], look: Theme) -> None:
    """Add a heading and its rows; all groups of a side share the column of the keys."""
    row = grid.rowCount()
    if row > 1:
        grid.setRowMinimumHeight(row, GAP)
        row += 1
    grid.addWidget(title_label(name), row, 0, 1, 2)
    for place, (key, what) in enumerate(rows, start=row + 1):
        grid.addWidget(_cap(key, look), place, 0, Qt.AlignmentFlag.AlignLeft)
        grid.addWidget(QLabel(what), place, 1)


def _cap(key: str, look: Theme) -> QLabel:
    palette = look.palette
    cap = QLabel(key)
    cap.setAlignment(Qt.AlignmentFlag.AlignCenter)
    cap.setMinimumWidth(2 * cap.fontMetrics().height())
    cap.setStyleSheet(
        f"background: {palette.button}; color: {palette.text}; border: 1px solid {palette.hover};"
        "border-radius: 3px; padding: 1px 6px;"
    )
    return cap

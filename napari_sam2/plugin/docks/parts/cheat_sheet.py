"""A page with all keys."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QGridLayout, QLabel, QLayout, QWidget

from napari_sam2.plugin.docks.parts.buttons import muted_label, title_label
from napari_sam2.plugin.docks.parts.layouts import GAP, column, row
from napari_sam2.plugin.docks.parts.shortcuts import keys_by_group
from napari_sam2.plugin.docks.parts.theme import Theme

_NOTE = "The keys work while the canvas has the keyboard: click on it first. Esc closes this page."


class CheatSheet(QDialog):
    """A window with all shortcuts in groups."""

    def __init__(self, parent: QWidget, theme: Theme) -> None:
        super().__init__(parent)
        self.setWindowTitle("SAM 2: keys")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        left, right = QGridLayout(), QGridLayout()
        for number, (name, keys) in enumerate(keys_by_group("napari’s own").items()):
            _add_group(left if number < 2 else right, name, keys, theme)
        for side in (left, right):
            side.setHorizontalSpacing(2 * GAP)
            side.setVerticalSpacing(4)
            side.setColumnStretch(1, 1)
            side.setRowStretch(side.rowCount(), 1)
        box = column(row(left, right, spacing=5 * GAP), muted_label(_NOTE), spacing=2 * GAP)
        box.setContentsMargins(3 * GAP, 3 * GAP, 3 * GAP, 3 * GAP)
        # Qt would limit a new window to two thirds of the screen, and cut keys off.
        box.setSizeConstraint(QLayout.SizeConstraint.SetFixedSize)
        self.setLayout(box)


def _add_group(grid: QGridLayout, name: str, keys: list[tuple[str, str]], theme: Theme) -> None:
    """Add a heading and its keys; all groups of a side share the column of the keys."""
    first = grid.rowCount()
    if first > 1:
        grid.setRowMinimumHeight(first, GAP)
        first += 1
    grid.addWidget(title_label(name), first, 0, 1, 2)
    for place, (key, title) in enumerate(keys, start=first + 1):
        grid.addWidget(_key_cap(key, theme), place, 0, Qt.AlignmentFlag.AlignLeft)
        grid.addWidget(QLabel(title), place, 1)


def _key_cap(key: str, theme: Theme) -> QLabel:
    palette = theme.palette
    cap = QLabel(key)
    cap.setAlignment(Qt.AlignmentFlag.AlignCenter)
    cap.setMinimumWidth(2 * cap.fontMetrics().height())
    cap.setStyleSheet(
        f"background: {palette.button}; color: {palette.text}; border: 1px solid {palette.hover};"
        "border-radius: 3px; padding: 1px 6px;"
    )
    return cap

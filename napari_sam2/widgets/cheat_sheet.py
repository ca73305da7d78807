"""All keys on one page."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QGridLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_sam2.widgets.shortcuts import SHORTCUTS
from napari_sam2.widgets.style import GAP, Look

_OWN = {
    "napari": (
        ("← →", "Frame by frame"),
        ("Space", "Hold to move and zoom"),
        ("Delete", "Delete the selected points or shapes"),
        ("[  ]", "Brush size (Paint)"),
        ("Ctrl+Z", "Undo a brush stroke (Paint)"),
    )
}


class CheatSheet(QDialog):
    """A window with every shortcut, in groups.

    Parameters
    ----------
    parent : QWidget
        The dock that shows it.
    look : Look
        Colours of the theme.
    """

    def __init__(self, parent: QWidget, look: Look) -> None:
        super().__init__(parent)
        self.setWindowTitle("SAM 2: keys")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        groups: dict[str, list[tuple[str, str]]] = {}
        for shortcut in SHORTCUTS.values():
            groups.setdefault(shortcut.group, []).append((shortcut.shown, shortcut.title))
        groups |= {name: list(rows) for name, rows in _OWN.items()}
        columns = QHBoxLayout()
        columns.setSpacing(4 * GAP)
        left, right = QVBoxLayout(), QVBoxLayout()
        for number, (name, rows) in enumerate(groups.items()):
            (left if number < 2 else right).addLayout(_group(name, rows, look))
        for side in (left, right):
            side.setSpacing(2 * GAP)
            side.addStretch(1)
            columns.addLayout(side)
        box = QVBoxLayout(self)
        box.setContentsMargins(3 * GAP, 3 * GAP, 3 * GAP, 3 * GAP)
        box.addLayout(columns)


def _group(name: str, rows: list[tuple[str, str]], look: Look) -> QGridLayout:
    palette = look.palette
    grid = QGridLayout()
    grid.setHorizontalSpacing(2 * GAP)
    grid.setVerticalSpacing(4)
    title = QLabel(name)
    title.setObjectName("sam2Title")
    grid.addWidget(title, 0, 0, 1, 2)
    for row, (key, what) in enumerate(rows, start=1):
        cap = QLabel(key)
        cap.setAlignment(Qt.AlignmentFlag.AlignCenter)
        cap.setStyleSheet(
            f"background: {palette.button}; border: 1px solid {palette.hover}; border-radius: 3px; padding: 1px 6px;"
        )
        grid.addWidget(cap, row, 0)
        grid.addWidget(QLabel(what), row, 1)
    grid.setColumnStretch(1, 1)
    return grid

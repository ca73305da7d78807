"""Write docs/shortcuts.md from the code, so that the page is never behind: ``python docs/make_shortcuts.py``."""

from __future__ import annotations

from pathlib import Path

from napari_sam2.plugin.docks.parts.shortcuts import NAPARI_KEYS, SHORTCUTS

PAGE = Path(__file__).with_name("shortcuts.md")
_HEAD = """# Keys

`F1` (or the keyboard beside the image's name) shows this list in napari. The keys work while the canvas has the
keyboard: click on it first. They belong to the dock that was used last, and are free again when it is closed. None of
them is taken by napari: not by its menus, and not by its layers. Only `Ctrl+Z` is shared: while a Labels layer is
active, it takes back a stroke of the brush.
"""
_TAIL = """
The same keys are in the tooltips of the buttons.
"""


def page() -> str:
    """Return the page as Markdown."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for shortcut in SHORTCUTS.values():
        groups.setdefault(shortcut.group, []).append((shortcut.shown, shortcut.title))
    parts = [_HEAD]
    parts += [_table(name, rows) for name, rows in groups.items()]
    parts.append(_table("napari’s own, for the same work", list(NAPARI_KEYS)))
    return "".join(parts) + _TAIL


def _table(name: str, rows: list[tuple[str, str]]) -> str:
    lines = [f"\n## {name}\n", "| key | what it does |", "|---|---|"]
    for keys, title in rows:
        shown = " or ".join(f"`{key}`" for key in keys.split(" or "))
        lines.append(f"| {shown} | {title} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())

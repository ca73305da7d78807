"""Write docs/shortcuts.md from the code: ``python docs/make_shortcuts.py``."""

from __future__ import annotations

from pathlib import Path

from napari_sam2.plugin.docks.parts.shortcuts import keys_by_group

PAGE = Path(__file__).with_name("shortcuts.md")
_HEAD = """# Keys

`F1` (or the keyboard icon beside the image's name) shows this list in napari. The keys work while the canvas has the
keyboard: click on it first. They belong to the dock that was used last, and are released when it is closed. None of
them is used by napari's menus or layers. Only `Ctrl+Z` is shared: while a Labels layer is active, it undoes a stroke
of the brush.
"""
_TAIL = """
The tooltips of the buttons show the same keys.
"""


def page() -> str:
    """Return the page as Markdown."""
    groups = keys_by_group("napari’s own, for the same work")
    return _HEAD + "".join(_table(name, keys) for name, keys in groups.items()) + _TAIL


def _table(name: str, keys: list[tuple[str, str]]) -> str:
    lines = [f"\n## {name}\n", "| key | what it does |", "|---|---|"]
    for key, title in keys:
        shown = " or ".join(f"`{one}`" for one in key.split(" or "))
        lines.append(f"| {shown} | {title} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())

"""Draw `pictures/architecture.svg`: the packages by layer, with what each holds and imports.

Layers come from the import contract in `pyproject.toml`, sentences from docstrings, imports from the code. An
import that follows from another one is left out.
"""

from __future__ import annotations

import ast
import re
import textwrap
import tomllib
from collections import defaultdict
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "napari_sam2"
TARGET = Path(__file__).parent / "pictures" / "architecture.svg"
WIDTH, MARGIN, GAP, LINE = 1200, 56, 16, 17
FONT = "system-ui, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif"


def layers() -> list[list[str]]:
    """Return the layers of the import contract, top first, each a list of packages and modules."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    rows = next(c["layers"] for c in contracts if c["name"] == "Imports go down only")
    return [re.findall(r"napari_sam2\.(\w+)", row) for row in rows]


def imports() -> dict[str, set[str]]:
    """Return which packages each package imports."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        owner = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("napari_sam2."):
                found[owner].add(node.module.split(".")[1])
    return {owner: targets - {owner} for owner, targets in found.items()}


def direct(arrows: dict[str, set[str]], owner: str) -> list[str]:
    """Return the imports of a package that don't follow from its others."""

    def below(name: str) -> set[str]:
        return arrows.get(name, set()) | {far for near in arrows.get(name, ()) for far in below(near)}

    targets = arrows.get(owner, set())
    return sorted(t for t in targets if not any(t in below(other) for other in targets - {t}))


def describe(name: str, arrows: dict[str, set[str]], columns: int) -> list[tuple[str, str]]:
    """Return (kind, line) of a box: a sentence, its sub-packages, its imports."""
    folder = PACKAGE / name
    path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    sentence = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
    parts = sorted(p.parent.name for p in folder.glob("*/__init__.py"))
    uses = direct(arrows, name)
    lines = [("text", line) for line in textwrap.wrap(sentence.replace("`", ""), columns)]
    lines += (
        [("part", line) for line in textwrap.wrap("holds " + " · ".join(parts), columns)] if parts else []
    )
    return lines + (
        [("uses", line) for line in textwrap.wrap("→ " + ", ".join(uses), columns)] if uses else []
    )


def draw() -> str:
    """Return the picture as SVG."""
    shapes, arrows, y = [], imports(), 20
    for number, row in enumerate(layers()):
        box = (WIDTH - 2 * MARGIN - GAP * (len(row) - 1)) / len(row)
        texts = [describe(name, arrows, int((box - 24) / 6.9)) for name in row]
        height = 38 + LINE * max(map(len, texts))
        shade = "#eef3f8" if number % 2 else "#e4ecf4"
        shapes.append(
            f'<rect x="40" y="{y - 9}" width="{WIDTH - 60}" height="{height + 18}" fill="{shade}"/>'
        )
        for column, (name, lines) in enumerate(zip(row, texts, strict=True)):
            shapes.append(_box(name, lines, MARGIN + column * (box + GAP), y, box, height))
        y += height + 18
    rail = (
        f'<path d="M24 20V{y - 24}M18 {y - 34}L24 {y - 22}L30 {y - 34}" fill="none" stroke="#7d93a8"/>'
        f'<text x="0" y="0" font-size="12" fill="#5b6b7a" transform="translate(18 {y / 2:.0f}) rotate(-90)" '
        'text-anchor="middle">imports go down only</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" font-family="{FONT}" role="img" '
        'aria-label="The packages of napari_sam2 by layer">\n'
        f'<rect width="{WIDTH}" height="{y}" fill="#ffffff"/>\n' + "\n".join([*shapes, rail]) + "\n</svg>\n"
    )


def _box(name: str, lines: list[tuple[str, str]], x: float, y: float, width: float, height: int) -> str:
    out = [
        f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{height}" rx="7" fill="#ffffff" stroke="#8ba2b8"/>',
        f'<text x="{x + 12:.0f}" y="{y + 23}" font-size="16" font-weight="600" fill="#1d2b38">{escape(name)}</text>',
    ]
    for number, (kind, line) in enumerate(lines, start=1):
        color = {"text": "#24323f", "part": "#5b6b7a", "uses": "#2f6ca8"}[kind]
        out.append(
            f'<text x="{x + 12:.0f}" y="{y + 25 + number * LINE}" font-size="13" fill="{color}">{escape(line)}</text>'
        )
    return "\n".join(out)


if __name__ == "__main__":
    TARGET.write_text(draw(), encoding="utf-8")

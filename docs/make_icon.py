"""Draw the plugin's icon, two cells with their outlines on a timeline: ``python docs/make_icon.py``."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

TARGET = Path(__file__).parents[1] / "napari_sam2" / "plugin" / "contributions" / "icon.png"
SIDE, SCALE = 256, 4
PAPER, TEAL, ORANGE, RIM = (31, 41, 51), (62, 178, 163), (240, 160, 70), (236, 240, 243)


def draw() -> Image.Image:
    """Return the icon, drawn large and made small."""
    image = Image.new("RGBA", (SIDE * SCALE, SIDE * SCALE), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)

    def at(*values: float) -> list[float]:
        return [value * SCALE for value in values]

    pen.rounded_rectangle(at(4, 4, 252, 252), 52 * SCALE, PAPER)
    for x, color in ((36, (40, 84, 88)), (62, (47, 120, 115))):  # where the cell was
        pen.ellipse(at(x, 62, x + 92, 154), color)
    pen.ellipse(at(92, 62, 184, 154), TEAL, RIM, 7 * SCALE)
    pen.ellipse(at(160, 112, 222, 174), ORANGE, RIM, 7 * SCALE)
    pen.rounded_rectangle(at(36, 200, 220, 214), 7 * SCALE, (70, 84, 97))
    pen.rounded_rectangle(at(36, 200, 150, 214), 7 * SCALE, TEAL)
    pen.polygon(at(150, 192, 164, 207, 150, 222, 136, 207), ORANGE)
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    draw().quantize(64, method=Image.Quantize.FASTOCTREE).save(TARGET, optimize=True)

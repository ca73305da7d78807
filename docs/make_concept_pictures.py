"""Draw the pictures of concepts.md, always the same: ``python docs/make_concept_pictures.py``."""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape
from pathlib import Path

FOLDER = Path(__file__).parent / "pictures"
FONT = "system-ui, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif"
PAPER, FRAME, RIM = "#fbfcfd", "#e6ecf1", "#b4c1cc"
INK, MUTED = "#24323f", "#657584"
BLUE, TEAL, ORANGE, RED = "#2f6ca8", "#2a8f84", "#cf7f1f", "#b8504a"
WIDTH = 900


class Drawing:
    """Shapes of one picture, in pixels."""

    def __init__(self, label: str, height: int) -> None:
        self.height = height
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="{FONT}" '
            f'role="img" aria-label="{escape(label)}">',
            f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="10" fill="{PAPER}" '
            'stroke="#d5dde5"/>',
        ]

    def svg(self) -> str:
        return "\n".join([*self.parts, "</svg>\n"])

    def text(
        self, x: float, y: float, words: str, color: str = INK, size: int = 14, anchor: str = "start"
    ) -> None:
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{color}" text-anchor="{anchor}">{escape(words)}</text>'
        )

    def rect(
        self,
        x: float,
        y: float,
        w: float,
        h: float,
        fill: str = FRAME,
        stroke: str = "none",
        rx: float = 3,
        **more: object,
    ) -> None:
        self._add("rect", x=x, y=y, width=w, height=h, rx=rx, fill=fill, stroke=stroke, **more)

    def circle(self, x: float, y: float, r: float, fill: str, stroke: str = "none", **more: object) -> None:
        self._add("circle", cx=x, cy=y, r=r, fill=fill, stroke=stroke, **more)

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, fill: str, stroke: str = "none", **more: object
    ) -> None:
        self._add("ellipse", cx=x, cy=y, rx=rx, ry=ry, fill=fill, stroke=stroke, **more)

    def path(self, d: str, stroke: str = INK, width: float = 1.5, fill: str = "none", **more: object) -> None:
        self._add("path", d=d, stroke=stroke, stroke_width=width, fill=fill, **more)

    def arrow(self, x0: float, y0: float, x1: float, y1: float, color: str = MUTED, bend: float = 0) -> None:
        """An arrow, bent upwards by ``bend`` pixels."""
        cx, cy = (x0 + x1) / 2, (y0 + y1) / 2 - bend
        self.path(f"M{x0:g} {y0:g}Q{cx:g} {cy:g} {x1:g} {y1:g}", color)
        angle = math.atan2(y1 - cy, x1 - cx)
        ends = [(x1 - 8 * math.cos(angle + t), y1 - 8 * math.sin(angle + t)) for t in (0.45, -0.45)]
        self.path(
            f"M{ends[0][0]:.1f} {ends[0][1]:.1f}L{x1:g} {y1:g}L{ends[1][0]:.1f} {ends[1][1]:.1f}", color
        )

    def diamond(self, x: float, y: float, color: str = ORANGE) -> None:
        self.path(f"M{x:g} {y - 6:g}L{x + 6:g} {y:g}L{x:g} {y + 6:g}L{x - 6:g} {y:g}Z", color, 1, color)

    def _add(self, kind: str, **attributes: object) -> None:
        words = [
            f'{k.replace("_", "-")}="{v:g}"'
            if isinstance(v, (int, float))
            else f'{k.replace("_", "-")}="{v}"'
            for k, v in attributes.items()
        ]
        self.parts.append(f"<{kind} {' '.join(words)}/>")


def prompts() -> str:
    """Four kinds of prompts on the same two cells, and the masks that answer them."""
    d = Drawing(
        "A click, a click with a correction, a box and a painted mask, with the masks that answer them", 250
    )
    names = ["a click", "… and one beside it", "a box", "a mask"]
    notes = ["where is it? three guesses,", "“not here” cuts off", "the whole object,", "taken over exactly"]
    more = ["the best is taken", "the neighbour", "hardly ambiguous", "as you drew it"]
    for k, name in enumerate(names):
        x = 30 + k * 218
        d.rect(x, 20, 186, 130)
        d.ellipse(x + 75, 85, 42, 34, "#cfd9e1", RIM)
        d.ellipse(x + 138, 78, 26, 26, "#cfd9e1", RIM)
        if k == 0:
            d.path(_blob(x + 75, 85, x + 138, 78), TEAL, 2, TEAL, fill_opacity=0.3)
        elif k < 3:
            d.ellipse(x + 75, 85, 42, 34, TEAL, TEAL, fill_opacity=0.3, stroke_width=2)
        if k < 2:
            d.circle(x + 75, 85, 5, BLUE, "#ffffff")
        if k == 1:
            d.path(f"M{x + 133} 73l10 10m0 -10l-10 10", RED, 3)
        if k == 2:
            d.rect(x + 30, 47, 90, 76, "none", BLUE, stroke_width=2, stroke_dasharray="6 4")
        if k == 3:
            d.path(f"M{x + 45} 88q12 -32 34 -30t34 22q2 26 -30 34t-38 -26z", BLUE, 2, TEAL, fill_opacity=0.3)
        d.text(x + 93, 174, name, INK, 15, "middle")
        d.text(x + 93, 197, notes[k], MUTED, 13, "middle")
        d.text(x + 93, 214, more[k], MUTED, 13, "middle")
    d.circle(38, 236, 4, BLUE)
    d.text(48, 240, "here", MUTED, 12)
    d.path("M90 232l8 8m0 -8l-8 8", RED, 2)
    d.text(104, 240, "not here", MUTED, 12)
    d.rect(172, 230, 14, 11, TEAL, TEAL, fill_opacity=0.3)
    d.text(192, 240, "mask", MUTED, 12)
    return d.svg()


def _blob(x0: float, y0: float, x1: float, y1: float) -> str:
    return (
        f"M{x0 - 42:g} {y0:g}C{x0 - 40:g} {y0 - 45:g} {x0 + 25:g} {y0 - 42:g} {x0 + 38:g} {y0 - 20:g}"
        f"C{x1 - 18:g} {y1 - 30:g} {x1 + 26:g} {y1 - 30:g} {x1 + 26:g} {y1:g}"
        f"C{x1 + 26:g} {y1 + 30:g} {x1 - 20:g} {y1 + 30:g} {x0 + 38:g} {y0 + 20:g}"
        f"C{x0 + 25:g} {y0 + 44:g} {x0 - 42:g} {y0 + 44:g} {x0 - 42:g} {y0:g}Z"
    )


def memory() -> str:
    """The frames whose memories are read for one frame."""
    d = Drawing(
        "The memories of prompted frames and of the six frames before are read for the frame that is tracked",
        250,
    )
    y, now = 120, 15
    for t in range(19):
        x = 34 + t * 44
        prompted, recent = t in (0, 6), now - 6 <= t < now
        fill = "#f4ddbd" if prompted else "#cfe3df" if recent else "#ffffff" if t > now else FRAME
        d.rect(x, y, 36, 46, fill, BLUE if t == now else RIM, stroke_width=2 if t == now else 1)
        d.ellipse(x + 18, y + 23 + 5 * math.sin(t / 2), 9, 7, "#9fb1bf" if t <= now else "none", RIM)
        d.text(x + 18, y + 64, str(t), MUTED, 12, "middle")
        if prompted:
            d.diamond(x + 18, y + 80)
        if prompted or recent:
            d.arrow(x + 18, y - 4, 34 + now * 44 + 18, y - 6, ORANGE if prompted else TEAL, (now - t) * 6.5)
    d.text(34 + now * 44 + 18, y + 90, "this frame", BLUE, 13, "middle")
    d.rect(34, 222, 14, 11, "#f4ddbd", RIM)
    d.text(54, 232, "conditioning: every prompted frame", MUTED, 12)
    d.rect(300, 222, 14, 11, "#cfe3df", RIM)
    d.text(320, 232, "recent: the 6 frames before", MUTED, 12)
    d.rect(526, 222, 14, 11, FRAME, RIM)
    d.text(546, 232, "left the memory: kept on disk, and rebuilt when needed", MUTED, 12)
    return d.svg()


def pointers() -> str:
    """What one frame leaves behind: a spatial memory and a pointer."""
    d = Drawing("A frame leaves a spatial memory, a small map, and an object pointer, one vector", 250)
    d.rect(30, 60, 130, 100)
    d.ellipse(95, 108, 34, 26, TEAL, TEAL, fill_opacity=0.3, stroke_width=2)
    d.text(95, 182, "frame and mask", INK, 14, "middle")
    d.arrow(170, 90, 236, 74)
    d.arrow(170, 130, 236, 172)
    for row in range(6):
        for column in range(8):
            inside = ((column - 3.5) / 2.4) ** 2 + ((row - 2.5) / 1.9) ** 2 < 1
            d.rect(250 + column * 13, 34 + row * 13, 12, 12, "#9ccbc4" if inside else "#dfe7ed", rx=1)
    d.text(374, 62, "spatial memory: where it was and what it looked like there,", INK, 14)
    d.text(374, 82, "a map of features. Read for the prompted frames and the 6 frames before.", MUTED, 13)
    for k in range(16):
        shade = ("#2f6ca8", "#6f9cc6", "#a9c4de", "#cddcea")[(k * 7) % 4]
        d.rect(250 + k * 6.4, 160, 5.6, 24, shade, rx=1)
    d.text(374, 170, "object pointer: what it is, one short vector, nowhere on the image.", INK, 14)
    d.text(374, 190, "Read for the prompted frames before and up to 15 frames before:", MUTED, 13)
    d.text(374, 208, "small, so it reaches further back, and helps to find the object again.", MUTED, 13)
    return d.svg()


def staleness() -> str:
    """A correction makes frames between the neighbouring prompts stale; uncertainty is about what is current."""
    d = Drawing("A correction at frame 12 makes the frames between the neighbouring prompts stale", 260)
    rows = ["tracked", "a correction", "tracked again"]
    for r, name in enumerate(rows):
        y = 40 + r * 62
        d.text(28, y + 15, name, INK, 14)
        for t in range(26):
            x = 150 + t * 28
            stale = r == 1 and 0 < t < 20 and t != 12
            d.rect(
                x,
                y,
                26,
                22,
                "#ffffff" if stale else "#a9d0ca",
                RIM,
                stroke_dasharray="3 3" if stale else "none",
            )
            if r == 0 and t in (10, 11, 12, 13, 14):
                d.rect(x, y, 26, (4, 8, 12, 9, 5)[t - 10], ORANGE, rx=1)
        for t in (0, 20) + ((12,) if r else ()):
            d.diamond(150 + t * 28 + 13, y + 11)
    for t in (0, 12, 20, 25):
        d.text(163 + t * 28, 30, str(t), MUTED, 12, "middle")
    d.diamond(40, 232)
    d.text(54, 236, "prompt", MUTED, 12)
    d.rect(120, 225, 16, 12, ORANGE)
    d.text(142, 236, "uncertain: look here", MUTED, 12)
    d.rect(284, 225, 16, 12, "#ffffff", RIM, stroke_dasharray="3 3")
    d.text(306, 236, "stale: answers earlier prompts, computed again", MUTED, 12)
    d.rect(628, 225, 16, 12, "#a9d0ca", RIM)
    d.text(650, 236, "current: never computed twice", MUTED, 12)
    return d.svg()


def masklets() -> str:
    """Objects through time."""
    d = Drawing(
        "Three objects through time, each with its own id; one begins late, one is hidden for a while", 230
    )
    colors = (BLUE, TEAL, ORANGE)
    for t in range(8):
        x = 130 + t * 94
        d.rect(x, 22, 84, 92)
        for k, color in enumerate(colors):
            cx, cy = x + (18 + 3 * t, 60 - 3 * t, 42)[k], (44 + 2 * t, 92 - 2 * t, 84)[k]
            if (k == 1 and t in (3, 4)) or (k == 2 and t < 3):
                continue
            d.ellipse(cx, cy - (10 if k == 2 else 0), (12, 10, 14)[k], 9, color, color, fill_opacity=0.45)
        d.text(x + 42, 132, f"frame {t}", MUTED, 12, "middle")
    for k, color in enumerate(colors):
        y = 152 + k * 20
        d.text(28, y + 5, f"object {k + 1}", color, 13)
        for t in range(8):
            if (k == 1 and t in (3, 4)) or (k == 2 and t < 3):
                if k == 1:
                    d.path(f"M{130 + t * 94} {y}h84", RIM, 1.5, stroke_dasharray="4 4")
                continue
            d.rect(130 + t * 94, y - 5, 94 if t < 7 else 84, 10, color, rx=2, fill_opacity=0.75)
        if k < 2:
            d.diamond(136, y, INK)
    d.diamond(130 + 3 * 94 + 6, 192, INK)
    d.text(28, 220, "◆ first prompt   - - hidden: an empty mask, the id stays", MUTED, 12)
    return d.svg()


def lineage() -> str:
    """A mother that ends where her daughters begin."""
    d = Drawing("Object 1 ends before frame 4, where objects 2 and 3 begin with it as their parent", 190)
    rows = {1: (80, BLUE, 0, 4), 2: (50, TEAL, 4, 9), 3: (110, ORANGE, 4, 9)}
    for t in range(9):
        d.text(142 + t * 82, 24, str(t), MUTED, 12, "middle")
    for object_id, (y, color, first, end) in rows.items():
        d.rect(104 + first * 82, y, (end - first) * 82 - 6, 24, color, rx=4, fill_opacity=0.3)
        for t in range(first, end):
            d.ellipse(142 + t * 82, y + 12, 13 if object_id > 1 else 15 + t, 8, color)
    for y, color in ((62, TEAL), (122, ORANGE)):
        d.arrow(416, 92, 434, y, color)
    d.text(28, 97, "object 1", BLUE, 14)
    d.text(858, 67, "2", TEAL, 14)
    d.text(858, 127, "3", ORANGE, 14)
    d.text(104, 168, "generation 0", MUTED, 13)
    d.text(434, 168, "generation 1, parent 1 from frame 4 on", MUTED, 13)
    return d.svg()


def stability() -> str:
    """Logits along a line through a sharp and a soft object, cut at three thresholds."""
    d = Drawing(
        "Logits along a line: a sharp edge gives nearly the same mask at both thresholds, a soft one does not",
        290,
    )
    for k, (name, soft) in enumerate((("stable: kept", 9.0), ("unstable: dropped", 42.0))):
        x0 = 40 + k * 440
        zero, scale = 150, 11
        levels = {1: zero - scale * 2, -1: zero + scale * 2, 0: zero}
        for level, y in levels.items():
            d.path(
                f"M{x0} {y}h380",
                RED if level == 0 else MUTED,
                1,
                stroke_dasharray="none" if level == 0 else "5 4",
            )
        points = []
        for step in range(191):
            x = x0 + step * 2
            logit = 8 * math.tanh((95 - abs(step * 2 - 190)) / soft)
            points.append((x, zero - scale * logit))
        d.path("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points), BLUE, 2.5)
        widths = {level: [x for x, y in points if y <= cut] for level, cut in levels.items()}
        for row, level in enumerate((1, -1)):
            left, right = min(widths[level]), max(widths[level])
            d.rect(left, 246 + row * 12, right - left, 8, (TEAL, "#9ccbc4")[row], rx=2)
        ratio = (max(widths[1]) - min(widths[1])) / (max(widths[-1]) - min(widths[-1]))
        d.text(x0 + 190, 30, f"{name} (overlap {ratio:.2f})", INK, 15, "middle")
        if k == 0:
            d.text(x0, levels[1] - 5, "+ offset", MUTED, 12)
            d.text(x0, zero - 5, "threshold", RED, 12)
            d.text(x0, levels[-1] + 15, "− offset", MUTED, 12)
    d.text(450, 252, "smaller mask", MUTED, 12, "middle")
    d.text(450, 266, "larger mask", MUTED, 12, "middle")
    return d.svg()


def what_is_seen() -> str:
    """From 16 bits and channels to the picture of the network."""
    d = Drawing(
        "Contrast limits cut the range of a 16-bit image out of the histogram; channels add up in colour", 280
    )
    d.text(40, 36, "16-bit intensities of a channel", INK, 14)
    x0, y0 = 40, 150
    heights = [
        100 * math.exp(-(((k - 9) / 4) ** 2)) + 26 * math.exp(-(((k - 19) / 5) ** 2)) for k in range(60)
    ]
    for k, height in enumerate(heights):
        d.rect(x0 + k * 5, y0 - height, 4, max(height, 0.5), "#9fb1bf" if 5 <= k <= 28 else "#d5dde5", rx=0)
    for k, name in ((5, "black"), (28, "white")):
        d.path(f"M{x0 + k * 5} 46V{y0 + 6}", BLUE, 1.5)
        d.text(x0 + k * 5, y0 + 22, name, BLUE, 12, "middle")
    d.text(x0 + 300, y0 + 22, "65535", MUTED, 12, "end")
    for k in range(24):
        d.rect(x0 + 25 + k * 5, 196, 5, 18, f"#{(k * 11):02x}{(k * 11):02x}{(k * 11):02x}", rx=0)
    d.text(x0, 238, "the contrast limits that you set in napari", MUTED, 13)
    d.text(x0, 256, "(or percentiles, where nobody set any)", MUTED, 13)
    d.arrow(362, 110, 420, 110)
    for k, color in enumerate(("#c03fb0", "#2fa04a")):
        d.rect(440, 40 + k * 86, 110, 74, "#10161b")
        d.circle(480 + k * 24, 78 + k * 86, 22, color, fill_opacity=0.85)
        d.circle(520 - k * 50, 66 + k * 100, 9, color, fill_opacity=0.6)
    d.text(495, 236, "each channel in its colour", MUTED, 13, "middle")
    d.arrow(562, 120, 620, 120)
    d.rect(640, 62, 210, 130, "#10161b")
    d.circle(720, 120, 40, "#c03fb0", fill_opacity=0.7)
    d.circle(764, 132, 40, "#2fa04a", fill_opacity=0.6)
    d.circle(806, 92, 15, "#c03fb0", fill_opacity=0.6)
    d.circle(676, 168, 15, "#2fa04a", fill_opacity=0.6)
    d.text(745, 218, "8-bit RGB: what you see", INK, 14, "middle")
    d.text(745, 238, "is what the network sees", INK, 14, "middle")
    return d.svg()


PICTURES: dict[str, Callable[[], str]] = {
    "concept_prompts": prompts,
    "concept_memory": memory,
    "concept_pointers": pointers,
    "concept_stale": staleness,
    "concept_masklets": masklets,
    "concept_lineage": lineage,
    "concept_stability": stability,
    "concept_seen": what_is_seen,
}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(draw(), encoding="utf-8")

"""Names and colours of objects."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Any

Color = tuple[int, int, int]
MAX_OBJECT_ID = 65535  # labels are uint16


@dataclass(frozen=True)
class ObjectInfo:
    """One object: its id (the label value), its name and colour (8-bit RGB), and whether it may not be changed."""

    object_id: int
    name: str = ""
    color: Color | None = None
    locked: bool = False

    @property
    def title(self) -> str:
        """The name, or "object ID" without one."""
        return self.name or f"object {self.object_id}"

    @property
    def rgb(self) -> Color:
        """The colour, or one that follows from the id alone."""
        return self.color or object_color(self.object_id)


def object_color(object_id: int) -> Color:
    """Return a bright colour (8-bit RGB) for an id; neighbouring ids get hues far apart."""
    # The golden angle never repeats a hue, whatever the number of objects.
    hue = (object_id * 0.61803398875) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def checked_object_id(value: Any) -> int:
    """Return an object id as int; ValueError when it cannot be a label value."""
    number = int(value) if hasattr(value, "__index__") else value
    if isinstance(value, bool) or not isinstance(number, int) or not 1 <= number <= MAX_OBJECT_ID:
        raise ValueError(f"an object id is a whole number from 1 to {MAX_OBJECT_ID}, not {value!r}")
    return number

"""Colours of channels, as stops of a colour map that runs from the lower to the upper contrast limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rgb = tuple[float, float, float]
Stops = tuple[Rgb, ...]

BLACK: Rgb = (0.0, 0.0, 0.0)
GRAY: Stops = (BLACK, (1.0, 1.0, 1.0))

_NAMED: dict[str, Rgb] = {
    "gray": (1, 1, 1),
    "grey": (1, 1, 1),
    "white": (1, 1, 1),
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
    "cyan": (0, 1, 1),
    "magenta": (1, 0, 1),
    "yellow": (1, 1, 0),
}
# The order in which napari colours the channels of a new image; a single channel is grey.
_CYCLES: dict[int, tuple[str, ...]] = {1: ("gray",), 2: ("magenta", "green")}
_MANY = ("cyan", "yellow", "magenta", "red", "green", "blue")


def color_stops(color: Any) -> Stops:
    """Stops of a colour map.

    Parameters
    ----------
    color : str, (r, g, b), or sequence of (r, g, b) or (r, g, b, a)
        A name (``gray``, ``red``, ``green``, ``blue``, ``cyan``, ``magenta``, ``yellow``), ``"#rrggbb"``, the colour
        at the upper limit (black is at the lower one), or evenly spaced stops from the lower to the upper limit,
        such as ``layer.colormap.map(np.linspace(0, 1, 256))``. Values from 0 to 1; alpha is ignored.

    Raises
    ------
    ValueError
        If it is none of these.
    """
    if isinstance(color, str):
        return (BLACK, _named(color))
    values = np.asarray(color, dtype=float)
    if values.ndim == 1 and len(values) in (3, 4):
        values = np.stack([np.zeros(3), values[:3]])
    if values.ndim != 2 or len(values) < 2 or values.shape[1] not in (3, 4):
        raise ValueError(
            f"A colour is a name, '#rrggbb', (r, g, b) or a list of at least two of these, not shape {values.shape}."
        )
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("The parts of a colour must be between 0 and 1.")
    return tuple((float(r), float(g), float(b)) for r, g, b in values[:, :3])


def default_stops(count: int) -> list[Stops]:
    """Colours for ``count`` channels for which nobody chose any, as napari gives them."""
    cycle: Sequence[str] = _CYCLES.get(count, _MANY)
    return [color_stops(cycle[i % len(cycle)]) for i in range(count)]


def apply_stops(unit: NDArray[np.float32], stops: Stops) -> NDArray[np.float32]:
    """Colours of values from 0 to 1, interpolated linearly between the stops; shape (…) -> (…, 3)."""
    table = np.asarray(stops, dtype=np.float32)
    if len(table) == 2:
        return np.asarray(table[0] + unit[..., None] * (table[1] - table[0]), dtype=np.float32)
    places = np.linspace(0.0, 1.0, len(table))
    return np.stack([np.interp(unit, places, table[:, c]) for c in range(3)], axis=-1).astype(np.float32)


def _named(name: str) -> Rgb:
    if name.lower() in _NAMED:
        return _NAMED[name.lower()]
    digits = name.removeprefix("#")
    if name.startswith("#") and len(digits) == 6:
        try:
            r, g, b = (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
        except ValueError:
            pass
        else:
            return (r, g, b)
    raise ValueError(f"There is no colour {name!r}; use {', '.join(sorted(_NAMED))} or '#rrggbb'.")

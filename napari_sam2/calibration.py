"""Physical size of pixels and frames: frame axis, scale, units, times."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

# Name that OME-Zarr asks for -> symbol that OME-TIFF and column titles use.
SYMBOLS = {
    "nanometer": "nm",
    "micrometer": "µm",
    "millimeter": "mm",
    "centimeter": "cm",
    "meter": "m",
    "angstrom": "Å",
    "inch": "in",
    "nanosecond": "ns",
    "microsecond": "µs",
    "millisecond": "ms",
    "second": "s",
    "minute": "min",
    "hour": "h",
    "day": "d",
}
SECONDS = {
    "nanosecond": 1e-9,
    "microsecond": 1e-6,
    "millisecond": 1e-3,
    "second": 1.0,
    "minute": 60.0,
    "hour": 3600.0,
    "day": 86400.0,
}
_SPELLINGS = {
    **{name: name for name in SYMBOLS},
    **{symbol: name for name, symbol in SYMBOLS.items()},
    "um": "micrometer",
    "μm": "micrometer",  # Greek mu, the other micro sign
    "micron": "micrometer",
    "microns": "micrometer",
    "us": "microsecond",
    "sec": "second",
    "seconds": "second",
    "minutes": "minute",
    "hours": "hour",
    "days": "day",
    "\\u00B5m": "micrometer",  # as ImageJ escapes it
    "metre": "meter",
    "micrometre": "micrometer",
    "nanometre": "nanometer",
    "millimetre": "millimeter",
}


def unit_name(unit: str | None) -> str | None:
    """Return the full English name of a unit ("µm" -> "micrometer"); None for pixels and unknown units."""
    return _SPELLINGS.get(unit) if unit else None


def unit_symbol(unit: str | None) -> str | None:
    """Return the symbol of a unit ("micrometer" -> "µm"); None for pixels and unknown units."""
    name = unit_name(unit)
    return None if name is None else SYMBOLS[name]


@dataclass(frozen=True)
class Calibration:
    """Scale and time of a stack of frames.

    Parameters
    ----------
    axis : str
        Name of the frame axis, one lower-case letter: "t" (time), "z" (depth) or another.
    scale : tuple of float
        Size of a step along (frame axis, y, x) in ``units``.
    units : tuple of str or None
        Units of the three steps, as a name ("micrometer") or a symbol ("µm"); None where the step is not a
        physical size.
    frame_times : tuple of float, optional
        Seconds at which each frame was taken, where the steps are not equal.
    frame_rate : float, optional
        Frames per second of the video that the frames come from.
    """

    axis: str = "t"
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    units: tuple[str | None, str | None, str | None] = (None, None, None)
    frame_times: tuple[float, ...] | None = None
    frame_rate: float | None = None

    def __post_init__(self) -> None:
        if len(self.axis) != 1 or not self.axis.isalpha() or self.axis in "yx":
            raise ValueError(f"the frame axis is one letter other than y and x, not {self.axis!r}")
        if not all(math.isfinite(s) and s > 0 for s in self.scale):
            raise ValueError(f"a scale must be positive and finite, got {self.scale}")
        if self.frame_rate is not None and not (math.isfinite(self.frame_rate) and self.frame_rate > 0):
            raise ValueError(f"a frame rate must be positive and finite, got {self.frame_rate}")

    @property
    def unit_names(self) -> tuple[str | None, str | None, str | None]:
        """Full names of the units along (frame axis, y, x), None where unknown."""
        step, y, x = (unit_name(u) for u in self.units)
        return step, y, x

    @property
    def pixel_unit(self) -> str | None:
        """Symbol of the unit of both y and x; None when pixels have no physical size."""
        y, x = unit_symbol(self.units[1]), unit_symbol(self.units[2])
        return y if y == x else None

    def position(self, frame: int) -> tuple[float, str] | None:
        """Return where a frame is along the frame axis and in which unit, None when unknown."""
        if self.frame_times is not None and frame < len(self.frame_times):
            return self.frame_times[frame], "s"
        unit = unit_symbol(self.units[0])
        if unit is not None:
            return frame * self.scale[0], unit
        return None if self.frame_rate is None else (frame / self.frame_rate, "s")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict, as a project keeps it."""
        plain = asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Calibration:
        """Read what :meth:`to_json` wrote; what is missing keeps its default. ValueError when it is damaged."""
        try:
            step, y, x = (float(s) for s in saved.get("scale", (1, 1, 1)))
            units = tuple(None if u is None else str(u) for u in saved.get("units", (None,) * 3))
            times, rate = saved.get("frame_times"), saved.get("frame_rate")
            if len(units) != 3:
                raise ValueError(f"three units are needed, got {units}")
            return cls(
                str(saved.get("axis", "t")),
                (step, y, x),
                units,
                None if times is None else tuple(float(t) for t in times),
                None if rate is None else float(rate),
            )
        except (TypeError, AttributeError) as error:
            raise ValueError(f"this calibration can't be read: {error}") from error

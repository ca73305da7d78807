"""Options for turning an array into frames: frame axis, channels, contrast and colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import numpy as np

Contrast = Literal["auto", "full", "percentile"]
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


@dataclass(frozen=True)
class ChannelOptions:
    """Contrast and colour of one channel.

    Parameters
    ----------
    index : int
        Position on the channel axis; 0 where there is none.
    contrast_limits : tuple of float, optional
        Intensities that become black and full colour. None: as ``FrameStackOptions.contrast`` says.
    gamma : float
        Exponent on the intensity between the limits; 1 is linear, below 1 brightens what is dim.
    color : str, (r, g, b), or sequence of stops
        See :func:`~napari_sam2.frames.options.color_stops`; kept as stops.
    """

    index: int = 0
    contrast_limits: tuple[float, float] | None = None
    gamma: float = 1.0
    color: Stops = GRAY

    def __post_init__(self) -> None:
        object.__setattr__(self, "color", color_stops(self.color))
        if self.contrast_limits is not None:
            low, high = (float(limit) for limit in self.contrast_limits)
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(
                    f"Contrast limits must be two finite numbers, low < high, not ({low}, {high})."
                )
            object.__setattr__(self, "contrast_limits", (low, high))
        if not (math.isfinite(self.gamma) and self.gamma > 0):
            raise ValueError(f"gamma must be above 0, not {self.gamma}.")


@dataclass(frozen=True)
class FrameStackOptions:
    """Frame axis, channels and contrast of an array. Axes count from 0, or from the end with negative numbers.

    Parameters
    ----------
    axis : int, optional
        The frame axis (time, z, or any other). None: the array is a single image.
    plane : tuple of int, optional
        The axes that are rows and columns of a frame. None: the last two that are neither frame axis nor channels.
    fixed : tuple of (axis, position)
        Where the remaining axes are held. An axis that is not named is held in its middle.
    channel_axis : int, optional
        The axis of channels, or of the samples of RGB(A). None: no channels (or, with ``rgb``, the last axis).
    rgb : bool
        The channel axis holds red, green, blue and maybe alpha; colours are then as they are.
    reverse : bool
        Reversed order: frame 0 is the last position.
    channels : tuple of ChannelOptions
        The channels that are seen; their colours add up as napari's additive blending does. Empty: all of them, in
        napari's default colours. With ``rgb`` at most one, whose limits and gamma hold for all samples.
    contrast : {"auto", "full", "percentile"}
        Limits of channels that have none of their own. ``full``: the whole range of the integer type; of float data, 0
        to 1 for RGB and the lowest to the highest sampled value otherwise. ``percentile``: the percentiles over the
        sampled frames. ``auto``: full for 8-bit, bool and RGB data, percentiles for everything else.
    percentiles : tuple of float
        Lower and upper percentile.
    sampled_frames : int
        How many frames, evenly spread over the axis, are looked at for percentiles.
    """

    axis: int | None = 0
    plane: tuple[int, int] | None = None
    fixed: tuple[tuple[int, int], ...] = ()
    channel_axis: int | None = None
    rgb: bool = False
    reverse: bool = False
    channels: tuple[ChannelOptions, ...] = ()
    contrast: Contrast = "auto"
    percentiles: tuple[float, float] = (0.5, 99.5)
    sampled_frames: int = 5

    def __post_init__(self) -> None:
        if self.contrast not in get_args(Contrast):
            raise ValueError(
                f"contrast must be one of {', '.join(get_args(Contrast))}, not {self.contrast!r}."
            )
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(f"percentiles must be 0 ≤ low < high ≤ 100, not ({low}, {high}).")
        if self.sampled_frames < 1:
            raise ValueError(f"sampled_frames must be at least 1, not {self.sampled_frames}.")
        if self.rgb and len(self.channels) > 1:
            raise ValueError("RGB data is seen as one channel; give at most one entry in channels.")
        if self.plane is not None:
            rows, columns = self.plane
            object.__setattr__(self, "plane", (int(rows), int(columns)))
        object.__setattr__(self, "fixed", tuple((int(a), int(p)) for a, p in self.fixed))
        object.__setattr__(self, "channels", tuple(self.channels))

    def to_dict(self) -> dict[str, Any]:
        """Return lists, numbers and strings ready for JSON; only what differs from the defaults."""
        default = FrameStackOptions()
        full = asdict(self)
        return {
            f.name: _plain(full[f.name])
            for f in fields(self)
            if getattr(self, f.name) != getattr(default, f.name)
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> FrameStackOptions:
        """Return the options that :meth:`to_dict` wrote.

        Raises
        ------
        ValueError
            If a name or a value is unknown.
        """
        names = {f.name for f in fields(cls)}
        unknown = sorted(set(saved) - names)
        if unknown:
            raise ValueError(f"Unknown frame option {unknown[0]!r}; known are {', '.join(sorted(names))}.")
        values = {name: _frozen(value) for name, value in saved.items() if name != "channels"}
        try:
            channels = tuple(
                ChannelOptions(**{name: _frozen(value) for name, value in channel.items()})
                for channel in saved.get("channels", ())
            )
            return cls(**values, channels=channels)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"These frame options can't be read: {error}.") from error


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, (list, tuple)) else value


def color_stops(color: Any) -> Stops:
    """Return the stops of a colour map.

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
    """Return napari's default colours for ``count`` channels."""
    cycle: Sequence[str] = _CYCLES.get(count, _MANY)
    return [color_stops(cycle[i % len(cycle)]) for i in range(count)]


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

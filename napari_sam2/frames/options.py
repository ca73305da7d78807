"""How an array becomes frames for the model: which axis is time, which channels are seen, and how bright."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from napari_sam2.frames.colormaps import GRAY, Stops, color_stops

Contrast = Literal["auto", "full", "percentile"]


@dataclass(frozen=True)
class ChannelOptions:
    """How one channel is seen.

    Parameters
    ----------
    index : int
        Position on the channel axis; 0 where there is none.
    contrast_limits : tuple of float, optional
        Intensities that become black and full colour. None: as ``FrameStackOptions.contrast`` says.
    gamma : float
        Exponent on the intensity between the limits; 1 is linear, below 1 brightens what is dim.
    color : str, (r, g, b), or sequence of stops
        See :func:`~napari_sam2.frames.colormaps.color_stops`; kept as stops.
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
    """How an array becomes frames. Axes count from 0, or from the end with negative numbers.

    Parameters
    ----------
    axis : int, optional
        The axis that is travelled (time, z, or any other). None: the array is a single image.
    plane : tuple of int, optional
        The axes that are rows and columns of a frame. None: the last two that are neither travelled nor channels.
    fixed : tuple of (axis, position)
        Where the remaining axes are held. An axis that is not named is held in its middle.
    channel_axis : int, optional
        The axis of channels, or of the samples of RGB(A). None: no channels (or, with ``rgb``, the last axis).
    rgb : bool
        The channel axis holds red, green, blue and maybe alpha; colours are then as they are.
    reverse : bool
        Travel backwards: frame 0 is the last position.
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
        """Plain lists, numbers and words, ready for JSON; only what differs from the defaults."""
        default = FrameStackOptions()
        full = asdict(self)
        return {
            f.name: _plain(full[f.name])
            for f in fields(self)
            if getattr(self, f.name) != getattr(default, f.name)
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> FrameStackOptions:
        """The options that :meth:`to_dict` wrote.

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

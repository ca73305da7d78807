"""From measured intensities to 8-bit RGB, without ever passing on a NaN."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.frames.options import GRAY, ChannelOptions, Stops

Limits = tuple[float, float]

_PIXELS_PER_SAMPLE = 1 << 18


def check_dtype(dtype: Any) -> np.dtype[Any]:
    """Return the dtype, if pixels can have it.

    Raises
    ------
    TypeError
        For complex numbers, objects, text, dates and records.
    """
    checked: np.dtype[Any] = np.dtype(dtype)
    if checked.kind not in "buif":
        raise TypeError(f"Pixels of type {dtype} can't be shown; convert them to integers, floats or bool.")
    return checked


def full_range(dtype: Any) -> Limits | None:
    """Return the whole range of a type; None for floats, whose range has to be measured."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return 0.0, 1.0
    if dtype.kind == "f":
        return None
    info = np.iinfo(dtype)
    return float(info.min), float(info.max)


def percentile_limits(planes: Iterable[NDArray[Any]], percentiles: tuple[float, float]) -> Limits:
    """Return contrast limits from the finite values of some planes.

    At most 262,144 evenly spaced pixels of each plane are read. A constant or an all-NaN sample gives limits that
    are about one apart.
    """
    values = []
    for plane in planes:
        flat = np.asarray(plane).reshape(-1)
        sample = flat[:: max(1, len(flat) // _PIXELS_PER_SAMPLE)].astype(np.float64)
        values.append(sample[np.isfinite(sample)])
    finite = np.concatenate(values) if values else np.empty(0)
    if len(finite) == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(finite, percentiles))
    if high > low:
        return low, high
    # Sparse bright objects on a constant background: its percentiles are equal, its extremes are not.
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if high > low else (low, low + max(1.0, abs(low) * 1e-6))


def to_unit(plane: NDArray[Any], limits: Limits, gamma: float) -> NDArray[np.float32]:
    """Return intensities between the limits as 0 to 1, clipped; shape kept.

    NaN and minus infinity become 0 (black), infinity becomes 1.
    """
    kind, itemsize = plane.dtype.kind, plane.dtype.itemsize
    if kind in "ui" and itemsize <= 2:
        # One value per possible intensity, then a look-up: faster than arithmetic on every pixel.
        info = np.iinfo(plane.dtype)
        possible = np.arange(info.min, info.max + 1)
        table = _stretched(possible.astype(np.float64), limits, gamma)
        return np.asarray(table.take(plane if info.min == 0 else plane.astype(np.int64) - info.min))
    return _stretched(plane.astype(np.float64), limits, gamma)


def compose(planes: Sequence[NDArray[Any]], channels: Sequence[ChannelOptions]) -> NDArray[np.uint8]:
    """Add up the colours of channels and clip, as napari's additive blending does.

    Parameters
    ----------
    planes : sequence of ndarray, each (H, W)
        Intensities of each channel.
    channels : sequence of ChannelOptions
        How each is seen; all with contrast limits.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
    """
    total: NDArray[np.float32] | None = None
    for plane, channel in zip(planes, channels, strict=True):
        unit = to_unit(plane, _limits(channel), channel.gamma)
        if len(planes) == 1 and channel.color == GRAY:
            grey = _to_bytes(unit)  # (H, W)
            return np.repeat(grey[..., None], 3, axis=-1)  # (H, W, 3)
        colors = apply_stops(unit, channel.color)
        total = colors if total is None else total + colors
    if total is None:
        raise ValueError("At least one channel must be seen; none was given.")
    return _to_bytes(total)


def compose_rgb(samples: NDArray[Any], channel: ChannelOptions) -> NDArray[np.uint8]:
    """Convert RGB(A) samples to 8-bit RGB; transparent pixels are seen on black. Shape (H, W, 3 or 4) -> (H, W, 3)."""
    limits = _limits(channel)
    color = samples[..., :3]
    plain = samples.dtype == np.uint8 and limits == (0.0, 255.0) and channel.gamma == 1.0
    if plain and samples.shape[-1] == 3:
        return np.array(color)  # a copy: what is read may be a shared, read-only frame
    unit = to_unit(color, limits, channel.gamma)
    if samples.shape[-1] == 4:
        opaque = full_range(samples.dtype) or (0.0, 1.0)
        unit = unit * to_unit(samples[..., 3:], (0.0, opaque[1]), 1.0)
    return _to_bytes(unit)


def apply_stops(unit: NDArray[np.float32], stops: Stops) -> NDArray[np.float32]:
    """Return the colours of values from 0 to 1, interpolated linearly between the stops; shape (…) -> (…, 3)."""
    table = np.asarray(stops, dtype=np.float32)
    if len(table) == 2:
        return np.asarray(table[0] + unit[..., None] * (table[1] - table[0]), dtype=np.float32)
    places = np.linspace(0.0, 1.0, len(table))
    return np.stack([np.interp(unit, places, table[:, c]) for c in range(3)], axis=-1).astype(np.float32)


def _limits(channel: ChannelOptions) -> Limits:
    if channel.contrast_limits is None:
        raise ValueError(f"Channel {channel.index} has no contrast limits.")
    return channel.contrast_limits


def _stretched(values: NDArray[np.float64], limits: Limits, gamma: float) -> NDArray[np.float32]:
    low, high = limits
    with np.errstate(invalid="ignore", over="ignore"):
        unit = (values - low) / (high - low)
        unit = np.nan_to_num(unit, nan=0.0, posinf=1.0, neginf=0.0).clip(0.0, 1.0)
    if gamma != 1.0:
        unit = unit**gamma
    return unit.astype(np.float32)


def _to_bytes(unit: NDArray[np.float32]) -> NDArray[np.uint8]:
    return (unit.clip(0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)

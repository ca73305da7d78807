"""Which parts of an array make up frame t: pure index arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.frames.options import FrameStackOptions


@dataclass(frozen=True)
class Layout:
    """The roles of an array's axes.

    Attributes
    ----------
    shape : tuple of int
        Shape of the array.
    axis : int or None
        The travelled axis.
    rows, columns : int
        The axes of a frame.
    channel : int or None
        The axis of channels or RGB(A) samples.
    held : tuple of (axis, position)
        All remaining axes.
    reverse : bool
        Whether frame 0 is the last position.
    """

    shape: tuple[int, ...]
    axis: int | None
    rows: int
    columns: int
    channel: int | None
    held: tuple[tuple[int, int], ...]
    reverse: bool

    @property
    def length(self) -> int:
        """Number of frames."""
        return 1 if self.axis is None else self.shape[self.axis]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of a frame."""
        return self.shape[self.rows], self.shape[self.columns]

    @property
    def channel_count(self) -> int:
        """Number of channels."""
        return 1 if self.channel is None else self.shape[self.channel]

    def position(self, frame: int) -> int:
        """Where on the travelled axis a frame lies."""
        return self.length - 1 - frame if self.reverse else frame

    def index(self, frame: int, channel: int | None = None) -> tuple[int | slice, ...]:
        """What to index the array with for a frame: of one channel, or of all."""
        parts: list[int | slice] = [slice(None)] * len(self.shape)
        if self.axis is not None:
            parts[self.axis] = self.position(frame)
        for axis, place in self.held:
            parts[axis] = place
        if self.channel is not None and channel is not None:
            parts[self.channel] = channel
        return tuple(parts)

    def upright(self, part: NDArray[Any]) -> NDArray[Any]:
        """Order the axes of what was indexed as (rows, columns) or (rows, columns, channel)."""
        kept = [self.rows, self.columns]
        if part.ndim == 3 and self.channel is not None:
            kept.append(self.channel)
        order = np.argsort(np.argsort(kept))  # rank of each wanted axis among the kept ones
        return part.transpose(tuple(int(place) for place in order))


def resolve_layout(shape: Sequence[int], options: FrameStackOptions) -> Layout:
    """Settle the roles of all axes.

    Raises
    ------
    ValueError
        If the options do not fit the shape.
    """
    shape = tuple(int(n) for n in shape)
    if any(n < 1 for n in shape):
        raise ValueError(f"An array of shape {shape} holds no frame.")
    axis = None if options.axis is None else _axis(options.axis, shape, "axis")
    channel = -1 if options.rgb and options.channel_axis is None else options.channel_axis
    channel = None if channel is None else _axis(channel, shape, "channel_axis")
    if options.rgb and channel is not None and shape[channel] not in (3, 4):
        raise ValueError(f"RGB needs 3 or 4 samples on axis {channel}; shape {shape} has {shape[channel]}.")
    taken = {a for a in (axis, channel) if a is not None}
    plane = _plane(options, shape, taken)
    roles = [*plane, *(a for a in (axis, channel) if a is not None)]
    if len(set(roles)) < len(roles):
        raise ValueError(
            f"axis {axis}, channel_axis {channel} and plane {plane} must be different axes of shape {shape}."
        )
    return Layout(shape, axis, *plane, channel, _held(options, shape, set(roles)), options.reverse)


def guess_options(shape: Sequence[int], dtype: Any) -> FrameStackOptions:
    """Options for an array about which nothing is known but its shape and type.

    A last axis of 3 or 4 is RGB(A) where the type is uint8 and three axes or more are there; the first axis is
    travelled unless the array is a single image.
    """
    rgb = len(shape) >= 3 and shape[-1] in (3, 4) and np.dtype(dtype) == np.uint8
    image = len(shape) - int(rgb) <= 2
    return FrameStackOptions(axis=None if image else 0, rgb=rgb)


def _plane(options: FrameStackOptions, shape: tuple[int, ...], taken: set[int]) -> tuple[int, int]:
    if options.plane is not None:
        rows, columns = (_axis(a, shape, "plane") for a in options.plane)
        return rows, columns
    free = [a for a in range(len(shape)) if a not in taken]
    if len(free) < 2:
        raise ValueError(
            f"Shape {shape} leaves no two axes for rows and columns besides axes {sorted(taken)}."
        )
    return free[-2], free[-1]


def _held(options: FrameStackOptions, shape: tuple[int, ...], roles: set[int]) -> tuple[tuple[int, int], ...]:
    given = {_axis(a, shape, "fixed"): place for a, place in options.fixed}
    for axis, place in given.items():
        if axis in roles:
            raise ValueError(
                f"Axis {axis} can't be held at {place}: it is travelled, seen or the channel axis."
            )
        if not -shape[axis] <= place < shape[axis]:
            raise ValueError(f"Axis {axis} has positions 0 to {shape[axis] - 1}, not {place}.")
    rest = [a for a in range(len(shape)) if a not in roles]
    return tuple((a, given.get(a, shape[a] // 2) % shape[a]) for a in rest)


def _axis(axis: int, shape: tuple[int, ...], name: str) -> int:
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"{name} {axis} does not exist: the array has {len(shape)} axes, shape {shape}.")
    return axis % len(shape)

"""FrameStack: a lazy view of any array as 8-bit RGB frames for the model."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.frames.contrast import (
    Limits,
    check_dtype,
    compose,
    compose_rgb,
    full_range,
    percentile_limits,
)
from napari_sam2.frames.errors import FrameReadError
from napari_sam2.frames.options import ChannelOptions, FrameStackOptions, default_stops


@dataclass(frozen=True)
class Layout:
    """The roles of an array's axes.

    Attributes
    ----------
    shape : tuple of int
        Shape of the array.
    axis : int or None
        The frame axis.
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
        """Return the position of a frame on the frame axis."""
        return self.length - 1 - frame if self.reverse else frame

    def index(self, frame: int, channel: int | None = None) -> tuple[int | slice, ...]:
        """Return the index into the array of a frame: of one channel, or of all."""
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


class FrameStack:
    """Any array as frames: ``frame(t)`` is uint8 RGB, computed when it is asked for.

    Nothing is copied whole: one frame is indexed, converted and returned. It can be pickled where the array can.

    Parameters
    ----------
    array : array-like with shape, dtype and [], or a multiscale sequence of such
        numpy, dask, zarr, tensorstore, the data of a napari layer. Of a multiscale image level 0 is taken.
    options : FrameStackOptions, optional
        Axes, channels and contrast. None: guessed from shape and dtype (see
        :func:`guess_options`).

    Raises
    ------
    TypeError
        If this is no array, or its pixels are no numbers.
    ValueError
        If the options do not fit the array.

    Notes
    -----
    NaN and minus infinity are black, infinity is the full colour; none of them counts for percentiles.
    """

    def __init__(self, array: Any, options: FrameStackOptions | None = None) -> None:
        self._array = full_resolution(array)
        self._dtype = check_dtype(self._array.dtype)
        self._given = options or guess_options(self._array.shape, self._dtype)
        self._layout = resolve_layout(self._array.shape, self._given)
        self._channels = self._known_channels()
        self._resolved = all(channel.contrast_limits is not None for channel in self._channels)

    def __len__(self) -> int:
        return self._layout.length

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame."""
        return self._layout.size

    @property
    def array(self) -> Any:
        """The array that frames are read from, at full resolution."""
        return self._array

    @property
    def options(self) -> FrameStackOptions:
        """All choices made explicit: axes, held positions, channels with their limits.

        A stack made with them from the same array gives the same frames, whatever it was guessed or measured from.
        Reads some frames when percentiles have to be measured.
        """
        layout = self._layout
        return replace(
            self._given,
            axis=layout.axis,
            plane=(layout.rows, layout.columns),
            fixed=layout.held,
            channel_axis=layout.channel,
            channels=self.channels,
        )

    @property
    def channels(self) -> tuple[ChannelOptions, ...]:
        """The channels that are seen, with contrast limits (measured when needed, once)."""
        if not self._resolved:
            self._channels = tuple(
                channel
                if channel.contrast_limits
                else replace(channel, contrast_limits=self._measured(channel.index))
                for channel in self._channels
            )
            self._resolved = True
        return self._channels

    def position(self, frame: int) -> int:
        """Return the position of a frame on the frame axis; differs from ``frame`` where the order is reversed."""
        return self._layout.position(self._checked(frame))

    def frame(self, frame: int) -> NDArray[np.uint8]:
        """Return one frame as the model sees it.

        Parameters
        ----------
        frame : int
            0 … ``len(self) - 1``.

        Returns
        -------
        ndarray of uint8, shape (H, W, 3)
            A new, writable array.

        Raises
        ------
        IndexError
            If there is no such frame.
        """
        frame = self._checked(frame)
        channels = self.channels
        if self._given.rgb:
            pixels = compose_rgb(self._read(frame, None), channels[0])
        else:
            pixels = compose(self._planes(frame, [channel.index for channel in channels]), channels)
        return np.ascontiguousarray(pixels)

    def intensities(self, frame: int, channel: int = 0) -> NDArray[Any]:
        """Return one frame as it was measured: (H, W) in the array's own dtype, of one channel or RGB sample."""
        return self._planes(self._checked(frame), [channel])[0]

    def _checked(self, frame: int) -> int:
        if not 0 <= frame < len(self):
            raise IndexError(f"Frame {frame} does not exist: there are frames 0 to {len(self) - 1}.")
        return int(frame)

    def _read(self, frame: int, channel: int | None) -> NDArray[Any]:
        try:
            part = np.asarray(self._array[self._layout.index(frame, channel)])
        except MemoryError:
            raise
        except Exception as error:  # arrays of other readers raise whatever their codecs raise
            if isinstance(error, FrameReadError) and str(error).startswith(f"Frame {frame} "):
                raise
            path = getattr(error, "path", "")
            reason = str(error) or type(error).__name__
            raise FrameReadError(f"Frame {frame} can't be read: {reason}", frame, path) from error
        return self._layout.upright(part)

    def _planes(self, frame: int, channels: Sequence[int]) -> list[NDArray[Any]]:
        layout = self._layout
        if layout.channel is None:
            return [self._read(frame, None)] * len(channels)
        if layout.channel > max(layout.rows, layout.columns):
            pixels = self._read(frame, None)  # samples of a pixel lie together: read once, then take apart
            return [pixels[..., c] for c in channels]
        return [self._read(frame, c) for c in channels]

    def _known_channels(self) -> tuple[ChannelOptions, ...]:
        given, count = self._given, self._layout.channel_count
        if given.rgb:
            chosen: Sequence[ChannelOptions] = given.channels or (ChannelOptions(),)
        else:
            chosen = given.channels or [
                ChannelOptions(index=i, color=stops) for i, stops in enumerate(default_stops(count))
            ]
            wrong = [channel.index for channel in chosen if not 0 <= channel.index < count]
            if wrong:
                raise ValueError(f"Channel {wrong[0]} does not exist: there are channels 0 to {count - 1}.")
        limits = self._known_limits()
        return tuple(
            channel if channel.contrast_limits or limits is None else replace(channel, contrast_limits=limits)
            for channel in chosen
        )

    def _known_limits(self) -> Limits | None:
        """Return the limits that follow from the type alone; None where pixels must be read."""
        contrast = self._given.contrast
        simple = self._given.rgb or self._dtype.kind == "b" or self._dtype.itemsize == 1
        if contrast == "percentile" or (contrast == "auto" and not simple):
            return None
        return full_range(self._dtype) or ((0.0, 1.0) if self._given.rgb else None)

    def _measured(self, channel: int) -> Limits:
        count = min(self._given.sampled_frames, len(self))
        frames = np.unique(np.linspace(0, len(self) - 1, count).round().astype(int))
        planes: list[NDArray[Any]] = []
        for frame in frames:
            with contextlib.suppress(FrameReadError):  # one damaged frame must not hide all others
                if self._given.rgb:
                    planes.append(self._read(int(frame), None)[..., :3])
                else:
                    planes.extend(self._planes(int(frame), [channel]))
        full = self._given.contrast == "full"
        return percentile_limits(planes, (0.0, 100.0) if full else self._given.percentiles)


def full_resolution(array: Any) -> Any:
    """Return level 0 of a multiscale sequence, or the array itself.

    Raises
    ------
    TypeError
        If it is neither an array nor a multiscale sequence.
    """
    if isinstance(array, Sequence) and len(array) and all(_is_array(level) for level in array):
        sizes = [int(np.prod(level.shape)) for level in array]
        if any(later >= earlier for earlier, later in pairwise(sizes)):
            raise TypeError(
                "A list of arrays is taken for a multiscale image, largest first; use np.stack for frames."
            )
        return array[0]
    if not _is_array(array):
        raise TypeError(f"Frames need an array with shape, dtype and []; {type(array).__name__} is none.")
    return array


def _is_array(array: Any) -> bool:
    return all(hasattr(array, name) for name in ("shape", "dtype", "__getitem__"))


def resolve_layout(shape: Sequence[int], options: FrameStackOptions) -> Layout:
    """Resolve the roles of all axes.

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
    """Return options for an array of which only shape and type are known.

    A last axis of 3 or 4 is RGB(A) where the type is uint8 and three axes or more are there; the first axis is
    the frame axis unless the array is a single image.
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
                f"Axis {axis} can't be held at {place}: it is the frame axis, rows, columns or the channel axis."
            )
        if not -shape[axis] <= place < shape[axis]:
            raise ValueError(f"Axis {axis} has positions 0 to {shape[axis] - 1}, not {place}.")
    rest = [a for a in range(len(shape)) if a not in roles]
    return tuple((a, given.get(a, shape[a] // 2) % shape[a]) for a in rest)


def _axis(axis: int, shape: tuple[int, ...], name: str) -> int:
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"{name} {axis} does not exist: the array has {len(shape)} axes, shape {shape}.")
    return axis % len(shape)

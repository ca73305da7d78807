"""Opening sources as the user asks for, and finding the frames of a project again."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.calibration import Calibration, unit_symbol
from napari_sam2.cli.errors import CommandError, UsageError
from napari_sam2.frames.open_source import open_source
from napari_sam2.frames.options import FrameStackOptions
from napari_sam2.frames.source import Source
from napari_sam2.frames.stack import FrameStack
from napari_sam2.storage.errors import ProjectMismatchError
from napari_sam2.storage.frames_fingerprint import frames_hash
from napari_sam2.storage.project import Project
from napari_sam2.storage.schema import SourceDescription

# Times of frames are kept one by one only where they are further from even than this part of a step.
_EVEN = 0.02


@dataclass(frozen=True)
class SourceFrames:
    """A source, opened, with the frames that are looked at.

    Parameters
    ----------
    source : Source
        The opened file or folder, with all its axes.
    frames : FrameStack
        The frames along one axis, as the model sees them.
    axes : str, optional
        Axes that the user gave.
    series : str, optional
        Image of the file that the user chose.
    """

    source: Source
    frames: FrameStack
    axes: str | None = None
    series: str | None = None

    @property
    def calibration(self) -> Calibration:
        """Frame axis, scale, units and times."""
        return _calibration(self.source, self.frames.options)

    @property
    def frame_names(self) -> tuple[str, ...]:
        """File name of each frame; empty where frames are no files."""
        return self.source.names_of(self.frames.options)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of what :meth:`intensity` gives."""
        if self.source.rgb:
            return ("red", "green", "blue")[: self._channel_count]
        if self._channel_count == 1:
            return ()
        names = self.source.channel_names
        if len(names) == self._channel_count and len(set(names)) == len(names) and all(names):
            return names
        return tuple(f"channel{k}" for k in range(self._channel_count))

    def intensity(self, frame: int) -> NDArray[Any]:
        """Return the numbers of the file, (H, W, C); an alpha channel is left out."""
        planes = [self.frames.intensities(frame, c) for c in range(self._channel_count)]
        return np.stack(planes, axis=-1)

    def describe(self) -> SourceDescription:
        """Return what a project keeps, enough to open exactly these frames again; reads a few of them."""
        reading = {"axes": self.axes, "options": self.frames.options.to_dict()}
        if self.series is not None:
            reading["series"] = self.series
        path = str(Path(self.source.path).expanduser().absolute())
        return SourceDescription(
            path, frames_hash(self.frames), self.source.kind, reading, self.calibration.to_json()
        )

    @property
    def _channel_count(self) -> int:
        axis = self.frames.options.channel_axis
        if self.source.rgb:
            return min(int(self.source.array.shape[-1]), 3)
        return 1 if axis is None else int(self.source.array.shape[axis])


def open_frames(args: Namespace, path: str) -> SourceFrames:
    """Open a source with the options of the command line (``axes``, ``axis``, ``at``, ``contrast``, ``channels``)."""
    source = open_source(path, axes=args.axes, series=getattr(args, "series", None))
    options = source.options()
    if args.axis is not None:
        options = replace(options, axis=_axis_index(source, args.axis))
    fixed = {_axis_index(source, axis): position for axis, position in args.at}
    if options.axis in fixed:
        raise UsageError(
            f"axis {source.axes[options.axis]} is the frame axis and can't be held: choose --axis"
        )
    options = replace(options, fixed=tuple(sorted(fixed.items())))
    try:
        frames = _with_contrast(source, options, args.contrast, args.channels)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path}: {error}") from error
    return SourceFrames(source, frames, args.axes, getattr(args, "series", None))


def reopen(description: SourceDescription, moved_to: str | None = None) -> SourceFrames:
    """Open the frames of a project again.

    Raises
    ------
    CommandError
        When they are not where they were; says to give ``--source``.
    """
    path = moved_to or description.path
    if path is None:
        raise CommandError("the project was made of an array in memory: give its frames with --source PATH")
    reading = description.reading
    axes = reading.get("axes")
    try:
        series = reading.get("series")
        series = series if isinstance(series, str) else None
        source = open_source(path, axes=axes if isinstance(axes, str) else None, series=series)
        saved = reading.get("options")
        options = FrameStackOptions.from_dict(saved) if isinstance(saved, Mapping) else source.options()
        return SourceFrames(source, source.frames(options), axes, series)
    except (ValueError, TypeError, OSError) as error:
        hint = "" if moved_to else ": if the file was moved, say where it is with --source PATH"
        raise CommandError(f"the project's frames can't be read ({str(error).rstrip('.')}){hint}") from error


def source_frames_of(project: Project, moved_to: str | None = None) -> SourceFrames:
    """Open a project's frames and make sure that they are the ones it was made with.

    Raises
    ------
    CommandError
        They can't be opened.
    ProjectMismatchError
        They are others.
    """
    recording = reopen(project.source, moved_to)
    frames = recording.frames
    known = project.source.fingerprint
    if (len(frames), *frames.size) != project.shape or (known and frames_hash(frames) != known):
        raise ProjectMismatchError(
            f"{recording.source.path} does not hold the frames that {project.path} was made with: "
            "say where they are with --source PATH"
        )
    return recording


def _axis_index(source: Source, name: str) -> int:
    letter = name.lower()
    if letter not in source.axes:
        raise UsageError(f"{source.path} has no axis {name!r}: its axes are {', '.join(source.axes)}")
    if letter in "yx" or (letter == "s" and source.rgb):
        raise UsageError(f"axis {name!r} lies within a frame: choose another of {', '.join(source.axes)}")
    return source.axes.index(letter)


def _with_contrast(
    source: Source, options: FrameStackOptions, contrast: str | None, channels: tuple[int, ...] | None
) -> FrameStack:
    limits = _limits(contrast)
    if contrast in ("full", "percentile"):
        options = replace(options, contrast="full" if contrast == "full" else "percentile")
    frames = source.frames(options)
    if limits is None and channels is None:
        return frames
    # The full range needs no look at the pixels; the limits are replaced anyway.
    seen = source.frames(replace(options, contrast="full")).channels if limits else frames.channels
    if channels is not None:
        missing = [c for c in channels if c not in range(len(seen))]
        if missing:
            raise UsageError(f"channel {missing[0]} does not exist: there are channels 0 to {len(seen) - 1}")
        seen = tuple(seen[c] for c in channels)
    if limits is not None:
        seen = tuple(replace(channel, contrast_limits=limits) for channel in seen)
    return source.frames(replace(options, channels=seen))


def _limits(contrast: str | None) -> tuple[float, float] | None:
    if contrast is None or contrast in ("full", "percentile", "auto"):
        return None
    try:
        low, high = (float(part) for part in contrast.split(","))
    except ValueError:
        raise UsageError(
            f"--contrast {contrast!r}: write LOW,HIGH, for example 100,4000, or full, percentile, auto"
        ) from None
    if not low < high:
        raise UsageError(f"--contrast {contrast!r}: the first number must be below the second")
    return low, high


def _calibration(source: Source, options: FrameStackOptions) -> Calibration:
    axis = options.axis
    rows, columns = options.plane or (source.axes.index("y"), source.axes.index("x"))
    letter = "t" if axis is None else source.axes[axis]
    steps = [None if k is None else source.scale[k] for k in (axis, rows, columns)]
    units = [None if k is None else unit_symbol(source.units[k]) for k in (axis, rows, columns)]
    scale = tuple(float(s) if s and np.isfinite(s) and s > 0 else 1.0 for s in steps)
    rate = 1 / scale[0] if source.kind == "video" and letter == "t" and units[0] == "s" else None
    times = _uneven_times(source.frame_times) if letter == "t" else None
    return Calibration(letter, scale, tuple(units), times, rate)  # type: ignore[arg-type]


def _uneven_times(times: NDArray[np.float64] | None) -> tuple[float, ...] | None:
    if times is None or len(times) < 3 or not np.isfinite(times).all():
        return None
    even = np.linspace(times[0], times[-1], len(times))
    step = (times[-1] - times[0]) / (len(times) - 1)
    if step <= 0 or np.abs(times - even).max() <= _EVEN * step:
        return None
    return tuple(round(float(t), 6) for t in times)

"""Source: what a path holds, opened but not read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.frames.dask_array import PlaneReader
from napari_sam2.frames.options import FrameStackOptions
from napari_sam2.frames.stack import FrameStack


@dataclass(frozen=True)
class Source:
    """A recording that was opened by path.

    Attributes
    ----------
    path : str
        What was opened.
    kind : str
        ``video``, ``images``, ``tiff``, ``zarr`` or ``npy``.
    array : dask.array.Array
        One chunk per frame, plane or RGB picture; read when computed.
    axes : tuple of str
        A letter for each axis of the array: ``t`` time, ``z`` depth, ``c`` channel, ``y``, ``x``, ``s`` RGB(A) samples
        (always last), and other letters for what else the file names.
    scale : tuple of float
        Size of a step along each axis; 1 where it is not known.
    units : tuple of str
        Unit of each step: ``second``, ``micrometer``, …; ``pixel`` (or nothing, for channels) where it is not known.
    frame_times : ndarray of float64, optional
        Time of each frame in seconds after the first, where the file gives times. With a variable frame rate the steps
        differ; ``scale`` then holds their mean.
    channel_names : tuple of str
        Names of the channels, where the file gives any.
    """

    path: str
    kind: str
    array: Any
    axes: tuple[str, ...]
    scale: tuple[float, ...]
    units: tuple[str, ...]
    frame_times: NDArray[np.float64] | None = None
    channel_names: tuple[str, ...] = ()
    reader: PlaneReader | None = field(default=None, repr=False, compare=False)

    @property
    def rgb(self) -> bool:
        """Whether the last axis holds RGB(A) samples."""
        return self.axes[-1] == "s"

    def options(self) -> FrameStackOptions:
        """Options that travel along time where there is more than one time, else along z, else along the first axis."""
        channel = self.axes.index("c") if "c" in self.axes and not self.rgb else None
        candidates = [i for i, letter in enumerate(self.axes) if letter not in "cyxs"]
        long = [i for i in candidates if self.array.shape[i] > 1]
        preferred = [i for letter in "tz" for i in long if self.axes[i] == letter] or long or candidates
        plane = (self.axes.index("y"), self.axes.index("x"))
        return FrameStackOptions(
            axis=preferred[0] if preferred else None, plane=plane, channel_axis=channel, rgb=self.rgb
        )

    def frames(self, options: FrameStackOptions | None = None) -> FrameStack:
        """The recording as frames for the model; see :meth:`options` for what is chosen when nothing is said."""
        return FrameStack(self.array, options or self.options())

    def close(self) -> None:
        """Give back processes and open files. Reading the array again opens them again."""
        if self.reader is not None:
            self.reader.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def unknown_scale(axes: tuple[str, ...]) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Scale and units of axes of which a file says nothing."""
    units = tuple("" if letter in "cs" else "pixel" for letter in axes)
    return (1.0,) * len(axes), units

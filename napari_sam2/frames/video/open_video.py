"""Videos as sources."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.frames.axes import checked_axes
from napari_sam2.frames.dask_array import lazy_array
from napari_sam2.frames.disk_cache import file_key
from napari_sam2.frames.source import Source
from napari_sam2.frames.video.reader import VideoReader


class VideoPlanes:
    """A video reader as a :class:`~napari_sam2.frames.dask_array.PlaneReader`."""

    def __init__(self, video: VideoReader) -> None:
        self.video = video

    def read(self, index: tuple[int, ...]) -> NDArray[Any]:
        """The frame at ``index[0]``."""
        return self.video.frame(index[0])

    def close(self) -> None:
        """End ffmpeg."""
        self.video.close()


def open_video(path: str, axes: tuple[str, ...] | None = None, backend: str = "ffmpeg") -> Source:
    """Open a video as a (T, Y, X, 3) array, or (T, Y, X) where it is grey with more than 8 bits."""
    video = VideoReader(path, backend=backend)
    pixels = video.pixels
    planes = VideoPlanes(video)
    array = lazy_array(
        planes,
        (len(video),),
        pixels.shape,
        pixels.dtype,
        f"video-{file_key(video.path, backend, pixels.name)}",
    )
    found = ("t", "y", "x", "s")[: array.ndim]
    times = None if video.table.by_order else video.table.seconds()
    step = float(times[-1]) / (len(times) - 1) if times is not None and len(times) > 1 else 0.0
    if step == 0.0:
        step = 1.0 / video.info.frame_rate if video.info.frame_rate else 1.0
    if times is None:
        times = np.arange(len(video), dtype=np.float64) * step
    return Source(
        path=video.path,
        kind="video",
        array=array,
        axes=checked_axes(axes, found, array.shape),
        scale=(step, 1.0, 1.0, 1.0)[: array.ndim],
        units=("second", "pixel", "pixel", "")[: array.ndim],
        frame_times=times,
        reader=planes,
    )

"""Videos that ``init_state`` accepts: folders of images, video files, arrays, frame sources."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from napari_sam2.frames.errors import FrameReadError
from napari_sam2.session.array_frames import ArrayFrames
from napari_sam2.session.protocols import FrameSource


def video_frames(video: Any) -> FrameSource:
    """Return a frame source for a folder of images, a video file, an array or a frame source.

    Parameters
    ----------
    video : path, array or FrameSource
        A folder of JPEG or PNG files, in the order of the numbers in their names; a list of image files; a video file;
        an array (numpy, dask, zarr, torch) of shape (T, H, W), (T, H, W, C) or (T, C, H, W), with C 1, 3 or (last
        only) 4; or anything with ``len``, ``size`` and ``frame(t)``.

    Raises
    ------
    ValueError, TypeError, FileNotFoundError
        Saying what is wrong with it.
    """
    if isinstance(video, (str, os.PathLike)):
        path = Path(video)
        if path.is_dir():
            return ImageFiles(_images_in(path))
        if not path.exists():
            raise FileNotFoundError(f"there is no video '{path}': give a folder of images or a video file")
        return _video_file(path)
    if isinstance(video, FrameSource):
        return video
    if isinstance(video, torch.Tensor):
        video = video.numpy(force=True)
    if hasattr(video, "shape") and hasattr(video, "dtype"):
        return _stack(video)
    if isinstance(video, (list, tuple)) and video and all(isinstance(f, (str, os.PathLike)) for f in video):
        return ImageFiles([Path(file) for file in video])
    if isinstance(video, (list, tuple)):
        return ArrayFrames([np.asarray(frame) for frame in video])
    raise TypeError(f"a {type(video).__name__} is no video: give a path, an array or a frame source")


class ImageFiles:
    """Image files, one a frame, in the order given."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = list(files)
        with Image.open(self._files[0]) as first:
            self._size = (first.height, first.width)

    def __len__(self) -> int:
        return len(self._files)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame."""
        return self._size

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Return one frame as uint8 RGB (H, W, 3)."""
        file = self._files[index]
        try:
            with Image.open(file) as image:
                return np.asarray(image.convert("RGB"))
        except (
            Exception
        ) as error:  # whatever a decoder raises on a damaged file: this frame is lost, not the session
            raise FrameReadError(
                f"Frame {index} can't be read from {file} ({error}).", index, str(file)
            ) from error


def _images_in(folder: Path) -> list[Path]:
    """Return the JPEG files of a folder, or its PNG files where there is no JPEG, by the numbers in their names."""
    files = [f for f in folder.iterdir() if f.is_file() and not f.name.startswith(".")]
    jpegs = [f for f in files if f.suffix.lower() in (".jpg", ".jpeg")]
    found = sorted(jpegs or [f for f in files if f.suffix.lower() == ".png"], key=_natural)
    if not found:
        raise ValueError(f"no images found in '{folder}': it must hold JPEG or PNG files, one for each frame")
    return found


def _natural(file: Path) -> tuple[tuple[str | int, ...], str]:
    """Return a key that sorts frame2 before frame10."""
    parts = re.split(r"(\d+)", file.stem)
    return tuple(int(part) if part.isdecimal() else part for part in parts), file.name


def _video_file(path: Path) -> FrameSource:
    from napari_sam2.frames import open_source

    stack: FrameSource = open_source(path).frames()
    return stack


def _stack(array: Any) -> FrameSource:
    from napari_sam2.frames import FrameStack, FrameStackOptions

    shape = tuple(array.shape)
    if len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3, 4):
        if not hasattr(array, "transpose"):  # zarr has none, and is not to be read whole
            array = dask.array.asarray(array)  # type: ignore[no-untyped-call]
        array = array.transpose(0, 2, 3, 1)
        shape = tuple(array.shape)
    channels = shape[3] if len(shape) == 4 else None
    if len(shape) not in (3, 4) or channels not in (None, 1, 3, 4):
        raise ValueError(
            f"a video is an array (T, H, W), (T, H, W, C) or (T, C, H, W) with 1, 3 or 4 channels, not {shape}: "
            "for other axes give napari_sam2.FrameStack(array, FrameStackOptions(…))"
        )
    if isinstance(array, np.ndarray) and array.dtype == np.uint8 and channels != 4:
        return ArrayFrames(array)
    colour = channels is not None and channels > 1
    options = FrameStackOptions(channel_axis=None if channels is None else 3, rgb=colour)
    stack: FrameSource = FrameStack(array, options)
    return stack

"""Sources of training clips: the synthetic generator, still images, and a user's own masklets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F

from napari_sam2.synthetic import generate_clip, sample_scene

__all__ = ["ClipSource", "MaskletClips", "SyntheticClips", "TrainingClip"]

# side of the smallest scene that is enlarged: the objects of smaller ones are but a few pixels
LEAST_SIDE = 192
# share of a crop that the object it was cut out for covers at least
LEAST_SHARE = 1 / 2000


@dataclass(frozen=True)
class TrainingClip:
    """A short video with the truth.

    Attributes
    ----------
    frames : Tensor, (T, 3, S, S) float32
        In 0..1.
    labels : Tensor, (T, S, S) int32
        Object ids through time; 0 = background.
    """

    frames: torch.Tensor
    labels: torch.Tensor

    def __post_init__(self) -> None:
        """Check that frames and labels belong together."""
        expected = (len(self.frames), *self.frames.shape[-2:])
        if self.frames.ndim != 4 or tuple(self.labels.shape) != expected:
            raise ValueError(
                f"frames {tuple(self.frames.shape)} and labels {tuple(self.labels.shape)} do not fit"
            )


class ClipSource(Protocol):
    """Anything that clips can be drawn from.

    Attributes
    ----------
    altered : float
        Share of clips whose looks training changes, see `photometric`.
    """

    altered: float

    def draw(self, rng: np.random.Generator, size: int, frames: int, motion: float) -> TrainingClip:
        """Draw one clip; everything random comes from `rng`."""
        ...


class SyntheticClips:
    """Clips of the procedural generator, over all kinds of scenes; `motion` is the scene's difficulty.

    Parameters
    ----------
    eventful : float
        Share of clips in which objects leave and return, go out of focus, and pass behind each other and behind
        occluders. In all other clips such things happen as rarely as in most recordings, too rarely to learn
        from.
    stacked : float
        Share of clips that are stacks in depth whatever their scene: objects grow from nothing and shrink again.
    enlarged : float
        Share of clips painted at 0.4 to 0.75 of the side and enlarged, as small recordings are on their way into
        the network: their noise is coarser and their edges are softer than those of a large scene.
    """

    # the generator has noise and illumination of its own
    altered = 0.4

    def __init__(self, eventful: float = 0.6, enlarged: float = 0.6, stacked: float = 0.15) -> None:
        self._eventful, self._enlarged, self._stacked = eventful, enlarged, stacked

    def draw(self, rng: np.random.Generator, size: int, frames: int, motion: float) -> TrainingClip:
        """Draw a clip of `frames` frames of ``size x size`` pixels."""
        side = size
        if rng.random() < self._enlarged:
            side = min(size, max(LEAST_SIDE, round(size * rng.uniform(0.4, 0.75))))
        scene = sample_scene(rng, (side, side), frames, difficulty=float(np.clip(motion, 0, 1)))
        if frames > 1 and rng.random() < self._stacked:
            scene = replace(scene, exits=0.0, crossings=0.0, occluders=0, zstack=True)
        elif frames > 1 and rng.random() < self._eventful:
            scene = replace(scene, exits=0.4, vanishings=0.4, crossings=0.3, occluders=2, zstack=False)
        clip = generate_clip(scene, int(rng.integers(2**31)))
        return resized_clip(clip.frames, clip.labels, size)


class MaskletClips:
    """Clips cut out of labelled videos: what a user corrected becomes what the network learns.

    Parameters
    ----------
    videos : sequence of (frames, labels)
        Frames (T, H, W, 3) uint8 and labels (T, H, W) integers, the same id meaning the same object.
        Arrays are indexed frame by frame, so lazily read ones stay lazy. Labels may have a method
        ``known(frame)`` that returns the ids of which the frame tells whether and where they are; an object is not
        followed through a frame that does not know it, for "not tracked yet" is not "gone".
    crop : tuple of float
        Range of the crop's side as a share of the frame's shorter side; small objects are cut out more closely.
    max_stride : int
        Frames may be skipped up to this stride, which shows the same motion faster.

    Raises
    ------
    ValueError
        If there is no video, a video's frames and labels differ in size, or nothing is labelled.
    """

    altered = 1.0

    def __init__(
        self,
        videos: Sequence[tuple[np.ndarray, np.ndarray]],
        crop: tuple[float, float] = (0.5, 1.0),
        max_stride: int = 3,
    ) -> None:
        if not videos:
            raise ValueError("there is no video to train on; pass at least one pair of frames and labels")
        self._labelled: list[tuple[int, int]] = []
        for index, (frames, labels) in enumerate(videos):
            if tuple(frames.shape[:3]) != tuple(labels.shape):
                raise ValueError(
                    f"video {index}: frames {frames.shape} and labels {labels.shape} differ in size"
                )
            self._labelled += [(index, t) for t in range(len(labels)) if np.asarray(labels[t]).any()]
        if not self._labelled:
            raise ValueError("no frame of these videos is labelled; track or paint something first")
        self._videos = videos
        self._crop = crop
        self._max_stride = max_stride

    def draw(self, rng: np.random.Generator, size: int, frames: int, motion: float) -> TrainingClip:
        """Draw a clip that starts on a labelled frame and runs in either direction of time.

        Shorter videos are played to and fro. `motion` limits the stride: 0 takes neighbouring frames only.
        """
        index, start = self._labelled[rng.integers(len(self._labelled))]
        video, truth = self._videos[index]
        stride = int(rng.integers(1, 1 + max(1, round(self._max_stride * motion))))
        direction = 1 if rng.random() < 0.5 else -1
        times = _bounce(start + direction * stride * np.arange(frames), len(truth))
        height, width = truth.shape[1:]
        first = np.asarray(truth[start])
        rows, columns = np.nonzero(first)
        pick = rng.integers(len(rows))
        area = np.count_nonzero(first == first[rows[pick], columns[pick]])
        side = min(height, width) * rng.uniform(*self._crop)
        side = int(max(8, min(side, (area / LEAST_SHARE) ** 0.5)))
        shift = rng.uniform(-0.35, 0.35, 2) * side
        top = int(np.clip(rows[pick] - side / 2 + shift[0], 0, height - side))
        left = int(np.clip(columns[pick] - side / 2 + shift[1], 0, width - side))
        window = slice(top, top + side), slice(left, left + side)
        pixels = np.stack([np.asarray(video[t])[window] for t in times])
        labels = np.stack([np.asarray(truth[t])[window] for t in times]).astype(np.int32)
        labels[~np.isin(labels, _known_throughout(truth, times, labels))] = 0
        return resized_clip(torch.from_numpy(pixels), torch.from_numpy(labels), size)


def resized_clip(pixels: torch.Tensor, labels: torch.Tensor, size: int) -> TrainingClip:
    """Make a clip of frames (T, H, W, 3) uint8 and labels (T, H, W), stretched to ``size x size``."""
    frames = pixels.permute(0, 3, 1, 2).float() / 255
    truth = labels.to(torch.int32)
    if tuple(frames.shape[-2:]) != (size, size):
        frames = F.interpolate(
            frames, size=(size, size), mode="bilinear", align_corners=False, antialias=True
        )
        # float64 holds every 32-bit label exactly
        truth = F.interpolate(truth[:, None].double(), size=(size, size), mode="nearest-exact")[:, 0].to(
            torch.int32
        )
    return TrainingClip(frames=frames.clamp(0, 1).contiguous(), labels=truth.contiguous())


def _known_throughout(truth: Any, times: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Ids whose whereabouts are known on all of some frames; all where the labels do not say."""
    ids = np.unique(labels)
    if hasattr(truth, "known"):
        for t in np.unique(times):
            ids = np.intersect1d(ids, list(truth.known(int(t))))
    return ids


def _bounce(times: np.ndarray, length: int) -> np.ndarray:
    """Reflect frame numbers at both ends of a video of `length` frames."""
    if length == 1:
        return np.zeros_like(times)
    period = 2 * (length - 1)
    wrapped = np.mod(times, period)
    reflected: np.ndarray = np.where(wrapped < length, wrapped, period - wrapped)
    return reflected

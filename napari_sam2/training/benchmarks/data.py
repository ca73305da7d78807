"""Data of the benchmarks: synthetic data of fixed seeds, and folders of real data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from napari_sam2.synthetic import generate_clip, sample_scene

__all__ = [
    "ImageSet",
    "Sequence2D",
    "read_image_sets",
    "read_sequences",
    "synthetic_images",
    "synthetic_videos",
]

Frames = NDArray[np.uint8]
Labels = NDArray[np.int32]
# training draws its seeds below 2**31, so these clips were never trained on
FIRST_SEED = 2**31
TRAINING_PREFIX = "train_"


@dataclass(frozen=True)
class Sequence2D:
    """A real video with the truth: frames (T, H, W, 3) uint8 and labels (T, H, W)."""

    name: str
    frames: Frames
    labels: Labels


@dataclass(frozen=True)
class ImageSet:
    """Real images (H, W, 3) uint8, each with labels (H, W)."""

    name: str
    pairs: tuple[tuple[Frames, Labels], ...]


def synthetic_images(count: int, side: int, first: int = 0) -> Iterator[tuple[Frames, Labels]]:
    """Yield `count` held-out synthetic images of ``side x side`` pixels with labels, from number `first` on.

    The same number is always the same image.
    """
    for index in range(first, first + count):
        scene = sample_scene(np.random.default_rng((FIRST_SEED, 1, index)), (side, side), 1, difficulty=0.6)
        clip = generate_clip(scene, FIRST_SEED + index)
        yield clip.frames[0].numpy(), clip.labels[0].numpy().astype(np.int32)


def synthetic_videos(
    count: int, frames: int, side: int, eventful: bool = False, first: int = 0
) -> Iterator[tuple[Frames, Labels]]:
    """Yield `count` held-out synthetic videos with labels; the same number is always the same video.

    Parameters
    ----------
    count, frames, side : int
        Number, length and side in pixels.
    eventful : bool
        Objects leave and return, go out of focus and back, and pass behind each other and behind occluders.
    first : int
        Number of the first video.
    """
    for index in range(first, first + count):
        rng = np.random.default_rng((FIRST_SEED, 2 + eventful, index))
        scene = sample_scene(rng, (side, side), frames, difficulty=0.5)
        if eventful:
            scene = replace(scene, exits=0.35, vanishings=0.35, crossings=0.3, occluders=2, zstack=False)
        clip = generate_clip(scene, FIRST_SEED + 10_000 * (1 + eventful) + index)
        yield clip.frames.numpy(), clip.labels.numpy().astype(np.int32)


def read_sequences(folder: Path) -> list[Sequence2D]:
    """Read every folder that holds ``frames/`` and ``masks.tif``; 16-bit frames are stretched to 8 bit."""
    sequences = []
    for path in sorted(folder.iterdir()):
        if not (path / "masks.tif").exists() or path.name.startswith(TRAINING_PREFIX):
            continue
        files = sorted(p for p in (path / "frames").iterdir() if p.suffix in (".png", ".jpg"))
        frames = _as_bytes(np.stack([np.asarray(Image.open(file)) for file in files]))
        sequences.append(Sequence2D(path.name, frames, tifffile.imread(path / "masks.tif").astype(np.int32)))
    return sequences


def read_image_sets(folder: Path) -> list[ImageSet]:
    """Read every folder that holds ``images/*.png`` and ``masks/*.tif``, except those made for training."""
    sets = []
    for path in sorted(folder.iterdir()):
        if not (path / "images").is_dir() or path.name.startswith(TRAINING_PREFIX):
            continue
        pairs = tuple(
            (
                _as_bytes(np.asarray(Image.open(file))[None])[0],
                tifffile.imread(path / "masks" / f"{file.stem}.tif").astype(np.int32),
            )
            for file in sorted((path / "images").glob("*.png"))
        )
        sets.append(ImageSet(path.name, pairs))
    return sets


def _as_bytes(frames: NDArray[np.generic]) -> Frames:
    """Frames (T, H, W[, C]) as uint8 RGB; what is not 8 bit is stretched between two percentiles."""
    pixels = np.asarray(frames)
    if pixels.dtype != np.uint8:
        low, high = np.percentile(pixels.astype(np.float64), (0.2, 99.8))
        pixels = np.clip((pixels.astype(np.float64) - low) / max(high - low, 1e-9) * 255, 0, 255).astype(
            np.uint8
        )
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    return np.ascontiguousarray(np.broadcast_to(pixels[..., :3], (*pixels.shape[:3], 3)))

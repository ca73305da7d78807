"""Which clips a run is trained on, and which it is examined on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from napari_sam2.training.data.clips import ClipSource, MaskletClips, SyntheticClips
from napari_sam2.training.data.stills import StillImages

__all__ = ["default_sources"]

# how often each folder of real images is drawn; the ones that are not named share alike
REAL_WEIGHTS = {"train_dsb2018": 0.3, "train_usiigaci": 0.3, "train_coco_permissive": 0.4}
# images that are scored elsewhere: set1 is the first frame of usiigaci_t98g
SCORED = {"train_usiigaci": ("set1",)}


def default_sources(
    synthetic_share: float,
    folders: Sequence[Path | str] = (),
    videos: Sequence[tuple[np.ndarray, np.ndarray]] = (),
    held_out: bool = False,
    eventful: float = 0.6,
) -> list[tuple[ClipSource, float]]:
    """Return synthetic clips, clips out of labelled still images, and clips of labelled videos, with weights.

    Parameters
    ----------
    synthetic_share : float
        Share of synthetic clips; 1 where nothing else is given.
    folders : sequence of Path
        Each holds labelled images or photos, see `StillImages`.
    videos : sequence of (frames, labels)
        A user's own masklets, see `MaskletClips`; they weigh as much as all folders together. No frame of them
        is held out: a user's few corrected frames are worth more in training than in an exam.
    held_out : bool
        Take the still images that training leaves out instead of the others.
    eventful : float
        Of the synthetic clips, see `SyntheticClips`.
    """
    share = synthetic_share if folders or videos else 1.0
    sources: list[tuple[ClipSource, float]] = [(SyntheticClips(eventful), share)]
    part = (1 - share) / (bool(folders) + bool(videos) or 1)
    weights = [REAL_WEIGHTS.get(Path(folder).name, 0.5) for folder in folders]
    for folder, weight in zip(folders, weights, strict=True):
        scored = SCORED.get(Path(folder).name, ())
        images = StillImages(folder, held_out=held_out, without=scored)
        sources.append((images, part * weight / sum(weights)))
    if videos:
        sources.append((MaskletClips(videos), part))
    return [(source, weight) for source, weight in sources if weight > 0]

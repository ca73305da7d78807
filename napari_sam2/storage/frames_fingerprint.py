"""Telling whether frames are the frames that a project was made with, from their content."""

from __future__ import annotations

import hashlib

import numpy as np

from napari_sam2.frames.errors import FrameReadError
from napari_sam2.session.protocols import FrameSource

SAMPLES = 4


def frames_hash(frames: FrameSource, samples: int = SAMPLES) -> str:
    """Return a hash of frames as the model sees them.

    It covers number and size of the frames and all pixels of a few of them, evenly spread from the first
    to the last; so it costs the reading of ``samples`` frames. The same file read with another contrast has
    another hash, because results would differ as well.

    Parameters
    ----------
    frames : FrameSource
        Video, time-lapse or stack.
    samples : int
        How many frames are looked at.
    """
    count = len(frames)
    height, width = frames.size
    digest = hashlib.sha256(f"{count} {height} {width}".encode())
    for index in sample_indices(count, samples):
        digest.update(f" {index} ".encode())
        try:
            digest.update(np.ascontiguousarray(frames.frame(index), np.uint8).tobytes())
        except FrameReadError:
            digest.update(b"unreadable")  # the rest of a damaged recording can still be tracked
    return "sha256:" + digest.hexdigest()


def sample_indices(count: int, samples: int) -> list[int]:
    """Return at most ``samples`` frame numbers, evenly spread, the first and the last among them."""
    if count < 1 or samples < 1:
        raise ValueError(f"a fingerprint needs frames and samples, got {count} and {samples}")
    return sorted({round(i) for i in np.linspace(0, count - 1, min(samples, count))})

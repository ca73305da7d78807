"""Telling whether frames are the frames that a project was made with, from their content."""

from __future__ import annotations

import hashlib

import numpy as np

from napari_sam2.frames.errors import FrameReadError
from napari_sam2.session.protocols import FrameSource

SAMPLES = 4


def frames_hash(frames: FrameSource) -> str:
    """Return a hash of frames as the model sees them.

    It covers number and size of the frames and all pixels of four of them, evenly spread from the first to the last,
    so it costs the reading of those. The same file read with another contrast has another hash, because results would
    differ as well.
    """
    count, (height, width) = len(frames), frames.size
    digest = hashlib.sha256(f"{count} {height} {width}".encode())
    for index in sorted({round(i) for i in np.linspace(0, count - 1, min(SAMPLES, count))}):
        digest.update(f" {index} ".encode())
        try:
            digest.update(np.ascontiguousarray(frames.frame(index), np.uint8).tobytes())
        except FrameReadError:
            digest.update(b"unreadable")  # the rest of a damaged recording can still be tracked
    return "sha256:" + digest.hexdigest()

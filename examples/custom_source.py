"""Frames from anywhere: a session needs a length, a size and one frame at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_sam2 import BoxPrompt, Prompt, VideoSession, load_model, sample_timelapse


class SideBySide:
    """Two recordings of the same length and height, shown side by side."""

    def __init__(self, left: Any, right: Any) -> None:
        self.left, self.right = left, right  # any arrays (T, H, W): numpy, dask, zarr …

    def __len__(self) -> int:
        return len(self.left)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame."""
        return self.left.shape[1], self.left.shape[2] + self.right.shape[2]

    def frame(self, index: int) -> np.ndarray:
        """Return one frame as uint8 RGB (H, W, 3)."""
        both = np.hstack([np.asarray(self.left[index]), np.asarray(self.right[index])])
        return np.repeat(both[..., None], 3, axis=-1)


def main(folder: Path, frames: int = 6) -> VideoSession:
    """Return the session after tracking."""
    sample = sample_timelapse()
    video = SideBySide(sample.image[:frames], sample.image[:frames, :, ::-1])
    session = VideoSession(load_model("nano"), video)
    session.set_prompt(0, 1, Prompt(box=BoxPrompt(*sample.first_sight[1].box)))
    for masks in session.propagate():
        print(masks.frame, int(masks.of(1).sum()))
    return session


if __name__ == "__main__":
    main(Path())

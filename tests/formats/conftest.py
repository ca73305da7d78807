"""A drawn toy run that every export is tested with: small, with everything that happens in real runs."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam2.calibration import Calibration
from napari_sam2.formats import TrackingResults
from napari_sam2.masks import FrameMasks
from napari_sam2.objects import ObjectInfo

# a = object 1, b = object 7, c = object 40; capital letters are two objects at once: A = 1 and 7, C = 7 and 40.
# a leaves after frame 2, returns on 5, and is wholly covered by b on 6; b is in two pieces on 3;
# c comes late, touches the rim, and lies inside b on 5; on 7 nothing is seen.
FRAMES = """
...........  ...........  ...........  ...........  ...........  ...........  ...........  ...........
.aaa.......  .aaa.......  ..aaa......  ...........  ...........  .aaa.......  .....AA....  ...........
.aaa.......  .aaa.......  ..aAAbb....  .bb...bb...  .......bbb.  .aaabbCCb..  ...........  ...........
.aaa..bbb..  .aaa.bbb...  ..aAAbb....  .bb...bb..c  .......bbcc  .....bCCb..  ..........c  ...........
......bbb..  .....bbb...  ....bbb....  ..........c  .........cc  ...........  ..........c  ...........
......bbb..  .....bbb...  ...........  ..........c  .........cc  ...........  ...........  ...........
...........  ...........  ...........  ...........  ...........  ...........  ...........  ...........
"""
LETTERS = {"a": (1,), "b": (7,), "c": (40,), "A": (1, 7), "C": (7, 40), ".": ()}
IDS = (1, 7, 40)


def drawn_frames() -> list[np.ndarray]:
    """Masks (3, H, W) of ids 1, 7, 40 for each frame."""
    rows = [line.split() for line in FRAMES.strip().splitlines()]
    frames = []
    for t in range(len(rows[0])):
        text = [row[t] for row in rows]
        frames.append(np.array([[[i in LETTERS[c] for c in line] for line in text] for i in IDS]))
    return frames


def frame_masks(frame: int, masks: np.ndarray) -> FrameMasks:
    """Object 40 is not looked for before frame 2; the others have an entry on every frame, empty or not."""
    ids = IDS if frame >= 2 else IDS[:2]
    there = masks[: len(ids)].any((1, 2))
    scores = np.where(there, np.float32(3.5), np.float32(-2.25))
    ious = np.linspace(0.5, 0.9, len(ids)).astype(np.float32)
    prompted = np.array([frame == 0] * len(ids))
    return FrameMasks(frame, ids, masks[: len(ids)], scores, ious, prompted)


@pytest.fixture
def masks() -> list[np.ndarray]:
    return drawn_frames()


@pytest.fixture
def labels(masks: list[np.ndarray]) -> np.ndarray:
    """What the labels must be (T, H, W): where two objects overlap the smaller one, of equals the higher id."""
    out = np.zeros((len(masks), *masks[0].shape[1:]), np.uint16)
    for t, frame in enumerate(masks):
        areas = {i: int(m.sum()) for i, m in zip(IDS, frame)}
        for y, x in np.argwhere(frame.any(0)):
            there = [i for i, m in zip(IDS, frame) if m[y, x]]
            out[t, y, x] = min(there, key=lambda i: (areas[i], -i))
    return out


@pytest.fixture
def intensities(masks: list[np.ndarray]) -> np.ndarray:
    """Two channels (T, H, W, 2), reproducible."""
    shape = (len(masks), *masks[0].shape[1:], 2)
    return np.random.default_rng(5).integers(100, 60000, shape).astype(np.uint16)


@pytest.fixture
def run(masks: list[np.ndarray], intensities: np.ndarray) -> TrackingResults:
    frames = [frame_masks(t, m) for t, m in enumerate(masks)]
    pictures = (intensities[..., :1] // 256).astype(np.uint8).repeat(3, axis=-1)
    return TrackingResults.from_frames(
        frames,
        [ObjectInfo(1, "mother", (255, 0, 0)), ObjectInfo(7), ObjectInfo(40, "Zelle ü", (0, 255, 0))],
        calibration=Calibration("t", (2.5, 0.25, 0.25), ("s", "µm", "micrometer")),
        intensity=lambda t: intensities[t],
        channels=("dapi", "gfp"),
        picture=lambda t: pictures[t],
        name="toy",
    )

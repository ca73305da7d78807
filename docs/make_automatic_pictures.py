"""Draw the pictures of automatic.md: `python docs/make_automatic_pictures.py NUCLEI_IMAGE` (nano, minutes on a CPU).

The thresholds of each picture stand in its tuple below; nothing is retouched.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from napari_sam2.automatic import AutomaticOptions, InteractiveFilter, find_candidates, track_everything
from napari_sam2.masks import compose_labels
from napari_sam2.model.weights.checkpoints import load_model
from napari_sam2.objects import object_color
from napari_sam2.session import ArrayFrames, VideoSession
from napari_sam2.synthetic import crowd

PICTURES = Path(__file__).parent / "pictures"
CELLS = AutomaticOptions.preset("cells", points_per_side=16)
THRESHOLDS = (0.8, 0.6, 0.5, 0.4)
TIMES = (0, 2, 4)


def painted(image, labels, height=300):
    """Tint each object in its colour, enlarged to ``height``."""
    picture = image.astype(np.float32)
    for i in np.unique(labels[labels > 0]):
        inside = labels == i
        picture[inside] = 0.45 * picture[inside] + 0.55 * np.array(object_color(int(i)))
    size = (round(height * image.shape[1] / image.shape[0]), height)
    return np.asarray(Image.fromarray(picture.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC))


def save(pictures, name):
    """Write pictures side by side."""
    gap = np.full((pictures[0].shape[0], 6, 3), 255, np.uint8)
    row = [part for picture in pictures for part in (picture, gap)][:-1]
    Image.fromarray(np.concatenate(row, axis=1)).quantize(128).save(PICTURES / name, optimize=True)


def nuclei(model, path):
    """Draw a nuclei image with its masks, and the same candidates at four thresholds."""
    image = np.asarray(Image.open(path).convert("RGB"))
    live = InteractiveFilter(find_candidates(model, image, CELLS))
    save(
        [painted(image, np.zeros(image.shape[:2], int)), painted(image, live.result(CELLS).labels())],
        "automatic_nuclei.png",
    )
    shown = [live.result(CELLS.changed(pred_iou_thresh=least)) for least in THRESHOLDS]
    print("pred_iou_thresh:", {t: len(r) for t, r in zip(THRESHOLDS, shown, strict=True)})
    save([painted(image, r.labels(), 240) for r in shown], "automatic_thresholds.png")


def followed(model):
    """Draw a synthetic crowd that was found on frame 0 and tracked."""
    clip = crowd(14, frames=max(TIMES) + 1, size=(256, 256))
    frames = np.asarray(clip.image)
    frames = np.repeat(frames[..., None], 3, axis=-1) if frames.ndim == 3 else frames
    session = VideoSession(model, ArrayFrames(frames))
    masks = {found.frame: found for found in track_everything(session, CELLS)}
    print("crowd: objects", session.object_ids[-1:])
    save([painted(frames[t], compose_labels(masks[t])) for t in TIMES], "automatic_crowd.png")
    session.close()


if __name__ == "__main__":
    network = load_model("nano", device="cpu")
    nuclei(network, sys.argv[1])
    followed(network)

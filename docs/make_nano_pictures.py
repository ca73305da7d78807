"""Draw the pictures of the model card of nano: `python docs/make_nano_pictures.py DATA_DIR`.

Cases are fixed beforehand (the first held-out synthetic videos, and every real sequence of DATA_DIR), not chosen by
how well they went.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from napari_sam2.model.weights.checkpoints import load_model
from napari_sam2.training.benchmarks.data import read_sequences, synthetic_videos
from napari_sam2.training.benchmarks.suites import first_prompts, some_ids, track_clip
from napari_sam2.training.pictures import picture_strip

PICTURES = Path(__file__).parent / "pictures"


def rows(cases, model, kinds):
    """Track each case from frame 0 and draw four of its frames."""
    for (frames, labels), kind in zip(cases, kinds, strict=True):
        ids = some_ids(labels[0], 5)
        masks, _ = track_clip(model, frames, first_prompts(labels, ids, kind))
        truth = np.stack([labels == i for i in ids], axis=1)
        times = np.linspace(0, len(frames) - 1, 4).round().astype(int).tolist()
        yield picture_strip(frames, masks, truth, times)


def save(pictures, name: str) -> None:
    """Write rows of pictures below each other."""
    drawn = list(pictures)
    width = max(row.shape[1] for row in drawn)
    padded = [np.pad(r, ((0, 4), (0, width - r.shape[1]), (0, 0)), constant_values=255) for r in drawn]
    Image.fromarray(np.concatenate(padded)).convert("RGB").save(PICTURES / name, quality=88)


def main(data_dir: Path) -> None:
    """Draw synthetic and real cases."""
    model = load_model("nano", device="cpu")
    videos = list(synthetic_videos(4, 12, 256))
    save(rows(videos, model, ["box", "mask", "box", "mask"]), "nano_synthetic.jpg")
    real = [(s.frames[:12], s.labels[:12]) for s in read_sequences(data_dir)]
    save(rows(real, model, ["mask"] * len(real)), "nano_real.jpg")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

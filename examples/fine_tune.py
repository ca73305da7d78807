"""A few steps of fine-tuning on labelled frames, and the new network in use. Real runs take hours and a GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_sam2 import load_model, sample_timelapse
from napari_sam2.training.recipe import TrainOptions
from napari_sam2.training.trainer import train


def main(folder: Path, frames: int = 8, steps: int = 2) -> Path:
    """Return the best checkpoint."""
    sample = sample_timelapse()
    video = np.repeat(sample.image[:frames, ..., None], 3, axis=-1)  # (T, H, W, 3) uint8
    labels = sample.labels[:frames]  # (T, H, W); the same id is the same object
    recipe = replace(TrainOptions.preset("finetune"), model="nano", start="nano", threads=1, workers=0)
    [stage, *_] = recipe.stages
    short = replace(stage, steps=steps, sizes=((128, 1.0),), clips=1, frames=(2, 2), image_share=0.0)
    best = train(replace(recipe, stages=(short,)), folder / "run", videos=[(video, labels)])
    print(best, load_model(str(best)).config.image_size)
    return best


if __name__ == "__main__":
    here = Path("napari-sam2-examples")
    here.mkdir(exist_ok=True)
    main(here)

"""A seeded network of a few thousand weights and a moving picture: sessions that take milliseconds."""

from __future__ import annotations

import numpy as np
import torch

from napari_sam2.model.config import ModelConfig
from napari_sam2.model.sam2 import Sam2
from napari_sam2.prompts import BoxPrompt, PointPrompt, Prompt
from napari_sam2.session import ArrayFrames, SessionOptions

CONFIG = ModelConfig(
    image_size=64,
    trunk_width=8,
    stages=(1, 1, 2, 1),
    global_blocks=(3,),
    window_sizes=(4, 4, 4, 4),
    embed_dim=32,
    memory_dim=16,
    num_maskmem=4,
    max_pointers=4,
    memory_layers=1,
    memory_feedforward=32,
    decoder_heads=2,
    decoder_feedforward=32,
    iou_hidden=16,
)
LENGTH, HEIGHT, WIDTH = 30, 40, 56
OPTIONS = SessionOptions(precision="exact", feature_cache_mb=4)


def network() -> Sam2:
    torch.manual_seed(3)
    torch.set_num_threads(1)
    return Sam2(CONFIG).eval()


def frames() -> ArrayFrames:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 90, (LENGTH, HEIGHT, WIDTH, 3)).astype(np.uint8)
    for t in range(LENGTH):
        pixels[t, 8:20, t : t + 14] += 140
        pixels[t, 26:36, 40 - t : 52 - t] += 90
    return ArrayFrames(pixels)


PROMPTS = {
    (4, 1): Prompt((PointPrompt(10, 14), PointPrompt(40, 30, False))),
    (9, 2): Prompt(box=BoxPrompt(30, 25, 44, 37)),
    (15, 1): Prompt((PointPrompt(20, 14),)),
}

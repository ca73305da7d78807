"""A world small enough to see: a tiny seeded network and a few frames with moving discs."""

import numpy as np
import pytest

from napari_sam2.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt
from napari_sam2.session import ArrayFrames
from tests.golden.recipe import recipe_model
from tests.golden.tiny_network import TINY

HEIGHT, WIDTH = 48, 64


def moving_discs(count, height=HEIGHT, width=WIDTH):
    """(T, H, W, 3): three discs that drift over a gradient."""
    y, x = np.mgrid[:height, :width]
    frames = np.zeros((count, height, width, 3), np.uint8)
    for t in range(count):
        picture = np.stack([x * 2, y * 2, x + y], -1).astype(float)
        for k, (cx, cy) in enumerate([(15, 12), (45, 30), (25, 36)]):
            inside = (x - cx - 6 * np.sin(t / 9 + k)) ** 2 + (y - cy - 4 * np.cos(t / 7)) ** 2 < 60
            picture[inside] = [200 - 60 * k, 80 + 70 * k, 60]
        frames[t] = picture.clip(0, 255)
    return frames


def click(x, y, positive=True):
    return Prompt((PointPrompt(x, y, positive),))


def clicks(*points):
    return Prompt(tuple(PointPrompt(*p) for p in points))


def box(x0, y0, x1, y1):
    return Prompt(box=BoxPrompt(x0, y0, x1, y1))


def painted(mask):
    return Prompt(mask=MaskPrompt.from_array(mask))


@pytest.fixture(scope="session")
def model():
    return recipe_model(TINY)


@pytest.fixture(scope="session")
def frames():
    return ArrayFrames(moving_discs(24))

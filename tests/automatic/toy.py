"""A world that can be seen: bright discs on black, and a network that knows exactly what a click on one means."""

from types import SimpleNamespace

import numpy as np
import torch
from scipy import ndimage

from napari_sam2.model.tensors import MaskCandidates
from napari_sam2.session.image import ImageSession
from napari_sam2.session.tensors import InputGeometry

GRID = 64


def discs(size, *places):
    """An image (H, W) with bright discs at (x, y, radius)."""
    yy, xx = np.mgrid[: size[0], : size[1]]
    image = np.zeros(size, np.uint8)
    for x, y, radius in places:
        image[(xx - x) ** 2 + (yy - y) ** 2 <= radius**2] = 200
    return image


class DiscSession(ImageSession):
    """Answers a click on a disc with that disc, and a click on black with a wide, unsure, unstable mask.

    The first of three masks is the disc, the second a smaller one (less sure), the third noise.
    """

    def __init__(self):
        self.runner = SimpleNamespace(
            side=4 * GRID,
            mask_side=GRID,
            device=torch.device("cpu"),
            run=lambda verb, image: None,
            model=SimpleNamespace(encode_image=None),
        )
        self.images = []
        self.asked = 0
        self.size = (0, 0)

    @property
    def geometry(self):
        return InputGeometry.of(self.size, self.runner.side, "stretch")

    def set_image(self, image):
        self.images.append(np.array(image))
        self.size = image.shape[:2]
        labels, _ = ndimage.label(image[..., 0] > 100)
        self.labels = labels
        yy, xx = (
            (np.arange(GRID) + 0.5)[:, None] * self.size[0] / GRID,
            (np.arange(GRID) + 0.5) * self.size[1] / GRID,
        )
        self.cells = (
            np.minimum(yy, self.size[0] - 1).astype(int),
            np.minimum(xx, self.size[1] - 1).astype(int),
        )

    def decode(self, prompts, multimask):
        logits, ious = [], []
        for x, y in prompts.points[:, 0].numpy() / (4 * GRID):
            self.asked += 1
            label = self.labels[int(y * self.size[0]), int(x * self.size[1])]
            if label:
                shown = (self.labels == label)[self.cells]
                edge = ndimage.distance_transform_edt(shown) - ndimage.distance_transform_edt(~shown)
                logits.append(
                    torch.from_numpy(np.stack([4 * edge, 4 * edge - 8, edge * 0 - 3]).astype(np.float32))
                )
                ious.append([0.95, 0.75, 0.3])
            else:
                noise = np.random.default_rng(int(1e6 * (x + y))).normal(-1, 1.5, (3, GRID, GRID))
                logits.append(torch.from_numpy(noise.astype(np.float32)))
                ious.append([0.5, 0.4, 0.2])
        k = 3 if multimask else 1
        n = len(logits)
        return MaskCandidates(
            torch.stack(logits)[:, :k], torch.tensor(ious)[:, :k], torch.ones(n, 1), torch.zeros(n, k, 8)
        )


def smooth_logits(count, grid=GRID, seed=0):
    """Logits (count, grid, grid) of smooth blobs, as a trained network gives them."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:grid, :grid] + 0.5
    out = np.empty((count, grid, grid), np.float32)
    for row in range(count):
        x, y = rng.uniform(0, grid, 2)
        a, b = rng.uniform(0.06, 0.3, 2) * grid
        bumps = 1 + 0.15 * np.sin(3 * np.arctan2(yy - y, xx - x) + rng.uniform(0, 6))
        out[row] = 60 * (bumps - np.hypot((xx - x) / a, (yy - y) / b))
    return torch.from_numpy(out).clamp(-32, 32)

"""Backgrounds of synthetic scenes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .noise_fields import coarse_field, gaussian_blur
from .options import SceneOptions


def _fractal(size: tuple[int, int], coarsest: int, noise: torch.Generator) -> Tensor:
    """Noise on several scales, (H, W), deviation about 1."""
    total = torch.zeros(size, device=noise.device)
    cells, weight = coarsest, 1.0
    while cells < max(size):
        total += weight * coarse_field(cells, size, noise)
        cells, weight = cells * 2, weight * 0.65
    return total / (total.std() + 1e-6)


def _debris(size: tuple[int, int], rng: np.random.Generator, noise: torch.Generator) -> Tensor:
    """Specks, and blurred blobs that are out of focus."""
    height, width = size
    specks = torch.zeros(size, device=noise.device)
    count = int(rng.integers(5, 80))
    rows, columns = rng.integers(0, height, count), rng.integers(0, width, count)
    specks[rows, columns] = torch.as_tensor(rng.uniform(-1, 3, count).astype(np.float32), device=noise.device)
    sharp = gaussian_blur(specks[None], float(rng.uniform(0.6, 1.2)))[0] * 6
    far = coarse_field(int(rng.integers(6, 16)), size, noise)
    return 0.25 * sharp + 0.35 * (far - 1.2).clamp_min(0)


def _floor(size: tuple[int, int], rng: np.random.Generator, noise: torch.Generator) -> Tensor:
    """Stripes, tiles or weave under a rotated grid, with stains."""
    height, width = size
    y, x = torch.meshgrid(
        torch.arange(height, device=noise.device), torch.arange(width, device=noise.device), indexing="ij"
    )
    turn = float(rng.uniform(0, np.pi))
    period = float(max(size) * rng.uniform(0.03, 0.25))
    along = (x * np.cos(turn) + y * np.sin(turn)) / period
    across = (y * np.cos(turn) - x * np.sin(turn)) / (period * float(rng.uniform(0.5, 2)))
    style = int(rng.integers(4))
    if style == 0:
        pattern = torch.sin(2 * torch.pi * along)
    elif style == 1:
        pattern = ((along.floor() + across.floor()).remainder(2)) * 2 - 1
    elif style == 2:
        joint = torch.minimum((along.remainder(1) - 0.5).abs(), (across.remainder(1) - 0.5).abs())
        pattern = 1 - 2 * (joint < 0.06).float()
    else:
        pattern = torch.sin(2 * torch.pi * along) * torch.sin(2 * torch.pi * across)
    return float(rng.uniform(0.05, 0.25)) * pattern + 0.08 * _fractal(size, 4, noise)


def _patches(size: tuple[int, int], rng: np.random.Generator, noise: torch.Generator) -> Tensor:
    """Areas of different brightness with sharp borders: furniture, fields, walls."""
    field = coarse_field(int(rng.integers(3, 9)), size, noise)
    steps = float(rng.uniform(0.8, 2.0))
    flat = (field * steps).round() / steps
    return 0.25 * flat + 0.06 * _fractal(size, 8, noise)


def _grey(
    options: SceneOptions, size: tuple[int, int], rng: np.random.Generator, noise: torch.Generator
) -> Tensor:
    kind = options.background
    slope = coarse_field(2, size, noise) * float(rng.uniform(0, 0.12))
    if kind == "flat":
        return slope * 0.2
    if kind == "uneven":
        return slope + coarse_field(int(rng.integers(3, 9)), size, noise) * float(rng.uniform(0.02, 0.15))
    if kind == "textured":
        grain = _fractal(size, int(rng.integers(3, 40)), noise)
        # faint objects on a strong texture could not be told from it
        return slope + grain * float(rng.uniform(0.03, 0.2)) * min(1.0, options.contrast)
    if kind == "debris":
        return slope + _debris(size, rng, noise)
    if kind == "floor":
        return slope + _floor(size, rng, noise)
    return slope + _patches(size, rng, noise)


def make_ground(
    options: SceneOptions, camera: np.ndarray, rng: np.random.Generator, noise: torch.Generator
) -> Tensor:
    """The ground on every frame, following the camera.

    Returns
    -------
    (T, 1 or 3, H, W) float; 0 is the level on which objects are built.
    """
    height, width = options.size
    margin = int(np.ceil(np.abs(camera).max())) + 1 if options.shake > 0 else 0
    size = (height + 2 * margin, width + 2 * margin)
    grey = _grey(options, size, rng, noise)[None]
    if options.colour:
        tint = torch.as_tensor(rng.normal(0, 0.12, (3, 1, 1)).astype(np.float32), device=noise.device)
        stain = torch.as_tensor(rng.normal(1, 0.25, (3, 1, 1)).astype(np.float32), device=noise.device)
        grey = grey * stain + tint
    if margin == 0:
        return grey[None].expand(options.frames, -1, -1, -1)
    shift = torch.as_tensor(camera.astype(np.float32), device=noise.device)
    y = torch.arange(height, device=noise.device) + margin - shift[:, 1:2]  # (T, H)
    x = torch.arange(width, device=noise.device) + margin - shift[:, 0:1]
    gx = (2 * x / (size[1] - 1) - 1)[:, None, :].expand(-1, height, -1)
    gy = (2 * y / (size[0] - 1) - 1)[:, :, None].expand(-1, -1, width)
    grid = torch.stack([gx, gy], -1)
    canvas = grey[None].expand(options.frames, -1, -1, -1)
    return functional.grid_sample(
        canvas, grid, mode="bilinear", padding_mode="reflection", align_corners=True
    )

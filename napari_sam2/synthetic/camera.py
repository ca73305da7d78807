"""From brightness to recorded bytes: blur, illumination, noise, tone, compression."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from .noise_fields import coarse_field, gaussian_blur
from .options import SceneOptions


def _blurred(options: SceneOptions, images: Tensor) -> Tensor:
    if options.blur_drift == 0:
        return gaussian_blur(images, options.blur)
    # focus drifts in a few steps: neighbours in time share a blur
    frames = images.shape[0]
    middle = (frames - 1) / 2
    steps = [round(options.blur * (1 + options.blur_drift * (t - middle) / frames), 1) for t in range(frames)]
    parts = {step: [t for t in range(frames) if steps[t] == step] for step in steps}
    out = torch.empty_like(images)
    for step, times in parts.items():
        out[times] = gaussian_blur(images[times], max(step, 0.3))
    return out


def _normalised(images: Tensor) -> Tensor:
    """Stretch the clip's own range to 0..1."""
    sample = images.reshape(-1)
    sample = sample[:: max(1, sample.numel() // 10_000)].sort().values
    low = sample[int(0.004 * sample.numel())]
    high = sample[min(int(0.997 * sample.numel()), sample.numel() - 1)]
    # the floor keeps an almost empty clip from becoming pure noise
    return (images - low) / (high - low).clamp_min(0.4)


def _lit(options: SceneOptions, images: Tensor, rng: np.random.Generator) -> Tensor:
    """Vignette, bleaching and flicker on images (T, C, H, W) in 0..1."""
    frames, _, height, width = images.shape
    gain = (1 - options.bleaching) ** np.arange(frames) * (1 + options.flicker * rng.normal(size=frames))
    if options.bleaching or options.flicker:
        images = images * torch.as_tensor(gain.astype(np.float32), device=images.device).view(-1, 1, 1, 1)
    if options.vignette:
        y = torch.linspace(-1, 1, height, device=images.device)[:, None] - float(rng.uniform(-0.4, 0.4))
        x = torch.linspace(-1, 1, width, device=images.device)[None, :] - float(rng.uniform(-0.4, 0.4))
        images = images * (1 - options.vignette * 0.5 * (x * x + y * y)).clamp_min(0.3)
    return images


def _noisy(options: SceneOptions, images: Tensor, rng: np.random.Generator, noise: torch.Generator) -> Tensor:
    device = images.device
    frames, _, height, width = images.shape
    if options.gaussian_noise or options.poisson_noise:
        white = torch.randn(images.shape, generator=noise, device=device)
        if options.poisson_noise:
            # variance grows with the signal; 1 at mid-grey
            spread = (
                images.clamp(0.005, 2) * (2 * options.poisson_noise**2) + options.gaussian_noise**2
            ).sqrt()
            white = white * spread
        else:
            white = white * options.gaussian_noise
        images = images + white
    if options.structured_noise:
        rows = torch.randn((frames, 1, height, 1), generator=noise, device=device)
        fixed = torch.randn((1, 1, 1, width), generator=noise, device=device)
        drift = torch.stack([coarse_field(4, (height, width), noise) for _ in range(2)])
        mix = torch.as_tensor(rng.uniform(0, 1, (frames, 1, 1)).astype(np.float32), device=device)
        moving = (drift[0] * mix + drift[1] * (1 - mix))[:, None]
        images = images + options.structured_noise * (0.5 * rows + 0.5 * fixed + 0.6 * moving)
    return images


@lru_cache(maxsize=1)
def _cosines() -> tuple[tuple[float, ...], ...]:
    n = np.arange(8)
    basis = np.cos(np.pi * (2 * n[None] + 1) * n[:, None] / 16) * 0.5
    basis[0] /= np.sqrt(2)
    return tuple(tuple(float(v) for v in row) for row in basis)


def _quantised(images: Tensor, strength: float) -> Tensor:
    """Quantise the cosine coefficients of 8 x 8 blocks, coarser for higher frequencies, as JPEG does."""
    frames, channels, height, width = images.shape
    tall, wide = height // 8 * 8, width // 8 * 8
    basis = torch.tensor(_cosines(), device=images.device)
    order = torch.arange(8, device=images.device)
    steps = strength * (0.02 + 0.02 * (order[:, None] + order[None, :]))
    blocks = images[..., :tall, :wide].reshape(frames, channels, tall // 8, 8, wide // 8, 8)
    blocks = blocks.transpose(3, 4)  # (T, C, rows, columns, 8, 8)
    coefficients = basis @ blocks @ basis.T
    coefficients = (coefficients / steps).round() * steps
    back = (basis.T @ coefficients @ basis).transpose(3, 4).reshape(frames, channels, tall, wide)
    if (tall, wide) == (height, width):
        return back
    images = images.clone()
    images[..., :tall, :wide] = back
    return images


def record(options: SceneOptions, images: Tensor, rng: np.random.Generator, noise: torch.Generator) -> Tensor:
    """Record brightness (T, 1 or 3, H, W) as bytes (T, H, W, 3)."""
    images = _normalised(_blurred(options, images))
    if options.polarity < 0:
        images = 1 - images
    images = _lit(options, images, rng)
    images = _noisy(options, images, rng, noise)
    low, high = options.levels
    images = images.clamp(0, 1)
    if options.gamma != 1:
        images = images**options.gamma
    images = low + (high - low) * images
    if options.jpeg:
        images = _quantised(images, options.jpeg)
    bytes_ = (images * 255).round_().clamp_(0, 255).to(torch.uint8)
    if bytes_.shape[1] == 1:
        bytes_ = bytes_.expand(-1, 3, -1, -1)
    return bytes_.permute(0, 2, 3, 1).contiguous()

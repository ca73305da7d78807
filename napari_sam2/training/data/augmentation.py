"""Looks: what happens to the pixels of a training clip without moving anything.

Every function takes and returns float frames (T, 3, H, W) in 0..1 and draws from a numpy generator, so
that a step's data depend on its seed alone.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

__all__ = ["blurred", "flipped", "photometric"]


def photometric(frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Apply a random chain of gamma, contrast, inversion, tint, shading, drift, blur, noise and compression.

    Parameters
    ----------
    frames : Tensor, (T, 3, H, W) float32
        In 0..1.
    rng : numpy.random.Generator
        Source of all choices.

    Returns
    -------
    Tensor, (T, 3, H, W) float32
        In 0..1.
    """
    # first of all: most users see, and so the network sees, stretched contrast
    chain: list[tuple[float, Callable[[torch.Tensor, np.random.Generator], torch.Tensor]]] = [
        (0.70, _stretched),
        (0.20, _coarse),
        (0.15, _inverted),
        (0.60, _gamma),
        (0.60, _contrast),
        (0.20, _tinted),
        (0.30, _shaded),
        (0.30, _drifting),
        (0.30, _random_blur),
        (0.10, _smeared),
        (0.60, _noisy),
        (0.10, _compressed),
    ]
    for chance, change in chain:
        if rng.random() < chance:
            frames = change(frames, rng)
    return frames.clamp(0, 1)


def flipped(
    frames: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mirror and transpose frames (T, 3, S, S) and labels (T, S, S) together; one of eight ways."""
    for axis in (-1, -2):
        if rng.random() < 0.5:
            frames, labels = frames.flip(axis), labels.flip(axis)
    if rng.random() < 0.5:
        frames, labels = frames.transpose(-1, -2), labels.transpose(-1, -2)
    return frames.contiguous(), labels.contiguous()


def blurred(frames: torch.Tensor, sigma: float) -> torch.Tensor:
    """Return frames (T, C, H, W) after a separable Gaussian blur of `sigma` pixels, edges reflected."""
    radius = max(1, round(2.5 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=frames.dtype, device=frames.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).repeat(frames.shape[1], 1)  # (C, 2r+1)
    padded = F.pad(frames, (radius, radius, radius, radius), mode="reflect")
    rows = F.conv2d(padded, kernel[:, None, :, None], groups=frames.shape[1])
    return F.conv2d(rows, kernel[:, None, None, :], groups=frames.shape[1])


def _stretched(frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    values = frames.flatten()
    values = values[:: max(1, len(values) // 20_000)]
    low, high = torch.quantile(values, torch.tensor([rng.uniform(0, 0.02), rng.uniform(0.98, 1)]).to(values))
    stretched: torch.Tensor = (frames - low) / (high - low).clamp_min(0.02)
    return stretched


def _coarse(frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Sample down and up again: a small frame that was enlarged to the model's input size."""
    size = frames.shape[-1]
    small = max(24, int(size / rng.uniform(1.5, 4.5)))
    down = F.interpolate(frames, size=(small, small), mode="area")
    return F.interpolate(down, size=(size, size), mode="bilinear", align_corners=False)


def _inverted(frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    return 1 - frames


def _gamma(frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    power = float(np.exp(rng.normal(0, 0.4)))
    return frames.clamp_min(1e-4) ** power


def _contrast(frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    gain, offset = float(np.exp(rng.normal(-0.1, 0.35))), float(rng.normal(0, 0.1))
    middle = frames.mean()
    return (frames - middle) * gain + middle + offset


def _tinted(frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    low = rng.uniform(0, 0.3, 3)
    high = low + (1 - low) * rng.uniform(0.1, 1, 3)
    high[rng.integers(3)] = rng.uniform(0.7, 1)  # at least one channel keeps the contrast
    colour_low = torch.as_tensor(low, dtype=frames.dtype, device=frames.device)[None, :, None, None]
    colour_high = torch.as_tensor(high, dtype=frames.dtype, device=frames.device)[None, :, None, None]
    return colour_low + (colour_high - colour_low) * frames


def _shaded(frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Uneven illumination that stands still."""
    field = torch.as_tensor(rng.normal(0, 1, (1, 1, 3, 3)), dtype=frames.dtype, device=frames.device)
    field = F.interpolate(field, size=frames.shape[-2:], mode="bicubic", align_corners=True)
    return frames * (1 + rng.uniform(0.05, 0.3) * field)


def _drifting(frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Bleaching or a drifting lamp: a gain that changes slowly, plus a little flicker."""
    steps = len(frames)
    gain = np.exp(np.linspace(0, rng.normal(0, 0.3), steps) + rng.normal(0, 0.04, steps))
    return frames * torch.as_tensor(gain, dtype=frames.dtype, device=frames.device)[:, None, None, None]


def _random_blur(frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    return blurred(frames, float(rng.uniform(0.4, 1.6)))


def _noisy(frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Gaussian noise, sometimes growing with the signal, grey or per channel."""
    seed = int(rng.integers(2**31))
    generator = torch.Generator().manual_seed(seed)
    channels = 1 if rng.random() < 0.7 else 3
    shape = (len(frames), channels, *frames.shape[-2:])
    noise = torch.randn(shape, generator=generator).to(frames.device)
    strength = float(rng.uniform(0.005, 0.1))
    if rng.random() < 0.4:
        return frames + strength * 1.5 * noise * frames.clamp_min(0).sqrt()
    return frames + strength * noise


def _smeared(frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Blur by a shaking camera: along one line, on some of the frames."""
    reach, angle = rng.uniform(2, 0.03 * frames.shape[-1] + 3), rng.uniform(0, np.pi)
    radius = math.ceil(reach / 2)
    axis = torch.arange(-radius, radius + 1, dtype=frames.dtype, device=frames.device)
    along = math.cos(angle) * axis[None] + math.sin(angle) * axis[:, None]
    across = math.cos(angle) * axis[:, None] - math.sin(angle) * axis[None]
    kernel = (1 - across.abs()).clamp_min(0) * (along.abs() <= reach / 2)
    kernel = (kernel / kernel.sum()).expand(frames.shape[1], 1, -1, -1)
    padded = F.pad(frames, (radius,) * 4, mode="reflect")
    hit = torch.as_tensor(rng.random((len(frames), 1, 1, 1)) < rng.uniform(0.3, 1), device=frames.device)
    return torch.where(hit, F.conv2d(padded, kernel, groups=frames.shape[1]), frames)


def _compressed(frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Artefacts of JPEG, as videos have them."""
    quality = int(rng.integers(25, 90))
    pixels = (frames.clamp(0, 1) * 255).round().to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy()
    decoded = []
    for frame in pixels:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=quality)
        decoded.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).to(frames) / 255

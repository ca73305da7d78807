"""Smooth random fields, made in the frequency domain (periodic) or by enlarging a coarse grid."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

ATLAS = 256


def coarse_field(cells: int, size: tuple[int, int], noise: torch.Generator) -> Tensor:
    """Normal values on a `cells` x `cells` grid, enlarged smoothly to `size`: (H, W)."""
    grid = torch.randn((1, 1, cells, cells), generator=noise, device=noise.device)
    return functional.interpolate(grid, size=size, mode="bicubic", align_corners=True)[0, 0]


def texture_atlas(scales: tuple[float, ...], noise: torch.Generator) -> Tensor:
    """Periodic Gaussian textures of the given grain sizes in pixels, deviation 1: (n, ATLAS, ATLAS)."""
    device = noise.device
    white = torch.randn((len(scales), ATLAS, ATLAS), generator=noise, device=device)
    fy = torch.fft.fftfreq(ATLAS, device=device)[:, None]
    fx = torch.fft.rfftfreq(ATLAS, device=device)[None, :]
    square = fy * fy + fx * fx
    # a Gaussian of deviation s in space is one of deviation 1 / (2 pi s) in frequency
    keep = torch.stack([torch.exp(-2 * (torch.pi * s) ** 2 * square) for s in scales])
    keep[:, 0, 0] = 0
    smooth = torch.fft.irfft2(torch.fft.rfft2(white) * keep, s=(ATLAS, ATLAS))
    textures: Tensor = smooth / smooth.std((1, 2), keepdim=True)
    return textures


def look_up(atlas: Tensor, layer: int, x: Tensor, y: Tensor) -> Tensor:
    """Nearest value of one periodic texture at pixel positions x, y (any shape)."""
    column = x.long() & (ATLAS - 1)
    row = y.long() & (ATLAS - 1)
    return atlas[layer].reshape(-1)[row * ATLAS + column]


def gaussian_blur(images: Tensor, deviation: float) -> Tensor:
    """Blur (..., H, W) with a separable Gaussian; borders are reflected."""
    if deviation < 0.2:
        return images
    reach = max(1, min(int(3 * deviation + 0.5), images.shape[-1] - 1, images.shape[-2] - 1))
    taps = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    bell = torch.exp(-0.5 * (taps / deviation) ** 2)
    weights: list[float] = (bell / bell.sum()).tolist()
    flat = images.reshape(-1, 1, *images.shape[-2:])
    for axis in (-1, -2):
        pad = (reach, reach, 0, 0) if axis == -1 else (0, 0, reach, reach)
        wide = functional.pad(flat, pad, mode="reflect")
        length = flat.shape[axis]
        # shifted sums beat a one-channel convolution on a CPU
        blurred = wide.narrow(axis, reach, length) * weights[reach]
        for i in range(1, reach + 1):
            pair = wide.narrow(axis, reach - i, length) + wide.narrow(axis, reach + i, length)
            blurred.add_(pair, alpha=weights[reach + i])
        flat = blurred
    return flat.view(images.shape)

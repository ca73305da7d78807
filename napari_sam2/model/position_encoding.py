"""Encodings of positions in space and time: sine, random Fourier and rotary encodings."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn


def sine_encoding_2d(height: int, width: int, dim: int, temperature: float = 10000.0) -> Tensor:
    """Encode a grid by sines (reference: ``PositionEmbeddingSine``).

    Returns
    -------
    Tensor
        (dim, height, width): the first half of the channels encodes y, the second half x.
    """
    half = dim // 2
    step = temperature ** (2 * torch.div(torch.arange(half), 2, rounding_mode="floor") / half)
    y = torch.arange(1, height + 1) / (height + 1e-6) * 2 * math.pi
    x = torch.arange(1, width + 1) / (width + 1e-6) * 2 * math.pi
    rows = _interleaved_sine(y[:, None] / step).T[:, :, None].expand(half, height, width)
    columns = _interleaved_sine(x[:, None] / step).T[:, None, :].expand(half, height, width)
    return torch.cat([rows, columns])


def _interleaved_sine(angles: Tensor) -> Tensor:
    out = torch.empty_like(angles)
    out[:, 0::2] = angles[:, 0::2].sin()
    out[:, 1::2] = angles[:, 1::2].cos()
    return out


def sine_encoding_1d(positions: Tensor, dim: int, temperature: float = 10000.0) -> Tensor:
    """Encode positions (...,) as (..., dim), sines first, then cosines (reference: ``get_1d_sine_pe``)."""
    half = dim // 2
    index = torch.arange(half, dtype=torch.float32, device=positions.device)
    step = temperature ** (2 * torch.div(index, 2, rounding_mode="floor") / half)
    angles = positions.float()[..., None] / step
    return torch.cat([angles.sin(), angles.cos()], -1)


class RandomFourierEncoding(nn.Module):
    """Encode points of the unit square with random spatial frequencies (``PositionEmbeddingRandom``)."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, dim // 2))

    def forward(self, points: Tensor) -> Tensor:
        """Encode points (..., 2), x and y in 0…1, as (..., dim)."""
        matrix = self.positional_encoding_gaussian_matrix
        angles = 2 * math.pi * ((2 * points.to(matrix.dtype) - 1) @ matrix)
        return torch.cat([angles.sin(), angles.cos()], -1)

    def grid(self, height: int, width: int) -> Tensor:
        """Encode the pixel centres of a grid, (dim, height, width)."""
        device = self.positional_encoding_gaussian_matrix.device
        y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / height
        x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / width
        points = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1)
        encoded: Tensor = self(points)
        return encoded.permute(2, 0, 1)


@lru_cache(maxsize=8)
def rotary_table(height: int, width: int, dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of axial rotary encoding (reference: ``compute_axial_cis``).

    Returns
    -------
    tuple of Tensor
        Two tables (height * width, dim / 2): a quarter of the channels' pairs for x, then a quarter for y.
    """
    frequencies = 1.0 / theta ** (torch.arange(0, dim, 4)[: dim // 4].float() / dim)
    token = torch.arange(height * width)
    x = (token % width).float()
    y = torch.div(token, width, rounding_mode="floor").float()
    angles = torch.cat([x[:, None] * frequencies, y[:, None] * frequencies], 1)  # (HW, dim/2)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate neighbouring channel pairs of x (..., N, C) by the table (N, C/2) (``apply_rotary_enc``)."""
    even, odd = x[..., 0::2].float(), x[..., 1::2].float()
    rotated = torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1)
    return rotated.flatten(-2).to(x.dtype)

"""Layers that every network here is built from."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam2.model.device import default_float32

_MANY_TOKENS = 1024  # from here on both back ends were equally fast, or the other one faster


def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Return scaled dot product attention of (..., N, C), as PyTorch does.

    Between few tokens (windows, prompts) it takes PyTorch's default back end for float32: there the one that is faster
    for large products was 1.5 to 12 times slower.
    """
    few = min(q.shape[-2], k.shape[-2]) < _MANY_TOKENS
    with default_float32() if few else nullcontext():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of (B, C, H, W) (reference: ``LayerNorm2d``)."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each pixel over its channels."""
        mean = x.mean(1, keepdim=True)
        centred = x - mean
        scale = torch.rsqrt(centred.square().mean(1, keepdim=True) + self.eps)
        return self.weight[:, None, None] * (centred * scale) + self.bias[:, None, None]


class MLP(nn.Module):
    """Linear layers with an activation between them (reference: ``MLP``)."""

    def __init__(
        self,
        in_dim: int,
        hidden_dim: int,
        out_dim: int,
        depth: int,
        activation: Callable[[Tensor], Tensor] = F.relu,
    ) -> None:
        super().__init__()
        widths = [in_dim, *[hidden_dim] * (depth - 1), out_dim]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map the last axis from ``in_dim`` to ``out_dim``."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        out: Tensor = self.layers[-1](x)
        return out


class Attention(nn.Module):
    """Multi-head attention on tokens (B, N, C), optionally in fewer channels (reference: ``Attention``).

    Parameters
    ----------
    dim : int
        Channels of the queries and of the output.
    heads : int
        Number of heads.
    downsample : int
        Attention works in ``dim // downsample`` channels.
    key_dim : int, optional
        Channels of keys and values, when they are not ``dim``.
    """

    def __init__(self, dim: int, heads: int, downsample: int = 1, key_dim: int | None = None) -> None:
        super().__init__()
        inner = dim // downsample
        if inner % heads:
            raise ValueError(f"{inner} channels cannot be split into {heads} heads")
        self.heads = heads
        self.q_proj = nn.Linear(dim, inner)
        self.k_proj = nn.Linear(key_dim or dim, inner)
        self.v_proj = nn.Linear(key_dim or dim, inner)
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from ``q`` (B, Nq, C) to ``k`` and ``v`` (B, Nk, C)."""
        heads = self.split(self.q_proj(q)), self.split(self.k_proj(k)), self.split(self.v_proj(v))
        out: Tensor = self.out_proj(self.join(attention(*heads)))
        return out

    def split(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, heads, N, C / heads)."""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def join(self, x: Tensor) -> Tensor:
        """(B, heads, N, C / heads) -> (B, N, C)."""
        return x.transpose(1, 2).flatten(2)

"""Hiera, the hierarchical vision transformer that sees each frame (C. Ryali et al., 2023).

Inside the trunk tokens are (B, H, W, C); what leaves it is (B, C, H, W).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam2.model.config import ModelConfig
from napari_sam2.model.layers import MLP, attention


def split_windows(x: Tensor, window: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut (B, H, W, C) into (B * windows, window, window, C), padding with zeros; also the padded size."""
    b, h, w, c = x.shape
    x = F.pad(x, (0, 0, 0, -w % window, 0, -h % window))
    height, width = x.shape[1:3]
    x = x.view(b, height // window, window, width // window, window, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window, window, c), (height, width)


def join_windows(x: Tensor, window: int, padded: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Undo :func:`split_windows` and crop to ``size``."""
    height, width = padded
    batch = x.shape[0] // (height * width // window // window)
    x = x.view(batch, height // window, width // window, window, window, -1)
    x = x.permute(0, 1, 3, 2, 4, 5).reshape(batch, height, width, -1)
    return x[:, : size[0], : size[1]]


def _pool(x: Tensor) -> Tensor:
    """Take the maximum of 2 × 2 tokens: (B, H, W, C) -> (B, H/2, W/2, C)."""
    return F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


class MultiScaleAttention(nn.Module):
    """Attention whose queries are pooled where a stage changes (reference: ``MultiScaleAttention``)."""

    def __init__(self, in_dim: int, out_dim: int, heads: int, pool: bool) -> None:
        super().__init__()
        self.heads = heads
        self.pool = pool
        self.qkv = nn.Linear(in_dim, out_dim * 3)
        self.proj = nn.Linear(out_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, in_dim) -> (B, H', W', out_dim)."""
        b, h, w, _ = x.shape
        qkv = self.qkv(x).reshape(b, h * w, 3, self.heads, -1)
        q, k, v = qkv.unbind(2)  # each (B, HW, heads, C / heads)
        if self.pool:
            q = _pool(q.reshape(b, h, w, -1))
            h, w = q.shape[1:3]
            q = q.reshape(b, h * w, self.heads, -1)
        out = attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        projected: Tensor = self.proj(out.transpose(1, 2).reshape(b, h, w, -1))
        return projected


class Block(nn.Module):
    """One transformer block, in windows or over the whole image (reference: ``MultiScaleBlock``)."""

    def __init__(self, in_dim: int, out_dim: int, heads: int, pool: bool, window: int) -> None:
        super().__init__()
        self.pool = pool
        self.window = window  # 0: the whole image
        self.norm1 = nn.LayerNorm(in_dim, eps=1e-6)
        self.attn = MultiScaleAttention(in_dim, out_dim, heads, pool)
        self.norm2 = nn.LayerNorm(out_dim, eps=1e-6)
        self.mlp = MLP(out_dim, out_dim * 4, out_dim, 2, F.gelu)
        if in_dim != out_dim:
            self.proj = nn.Linear(in_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, in_dim) -> (B, H', W', out_dim)."""
        shortcut = x
        x = self.norm1(x)
        if hasattr(self, "proj"):
            shortcut = self.proj(x)
            shortcut = _pool(shortcut) if self.pool else shortcut
        x = shortcut + self._attend(x)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def _attend(self, x: Tensor) -> Tensor:
        if not self.window:
            attended: Tensor = self.attn(x)
            return attended
        h, w = x.shape[1:3]
        windows, padded = split_windows(x, self.window)
        windows = self.attn(windows)
        if not self.pool:
            return join_windows(windows, self.window, padded, (h, w))
        # Pooling halved the windows, and with them the padded image and the image.
        return join_windows(windows, self.window // 2, (padded[0] // 2, padded[1] // 2), (h // 2, w // 2))


class PatchEmbed(nn.Module):
    """Turn pixels into tokens at a quarter of the resolution (reference: ``PatchEmbed``)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=7, stride=4, padding=3)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, S/4, S/4, dim)."""
        tokens: Tensor = self.proj(images).permute(0, 2, 3, 1)
        return tokens


class Hiera(nn.Module):
    """The trunk of the image encoder (reference: ``Hiera``)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.trunk_width
        self.patch_embed = PatchEmbed(width)
        self.pos_embed = nn.Parameter(torch.zeros(1, width, *config.background_size))
        self.pos_embed_window = nn.Parameter(
            torch.zeros(1, width, config.window_sizes[0], config.window_sizes[0])
        )
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.pos_embed_window, std=0.02)
        self.blocks = nn.ModuleList()
        self.stage_ends: list[int] = []
        dim, heads = width, config.trunk_heads
        for stage, depth in enumerate(config.stages):
            for index in range(depth):
                first = stage > 0 and index == 0
                out_dim, heads = (dim * 2, heads * 2) if first else (dim, heads)
                # The first block of a stage still works in the windows of the stage before.
                window = config.window_sizes[stage - 1 if first else stage]
                if len(self.blocks) in config.global_blocks:
                    window = 0
                self.blocks.append(Block(dim, out_dim, heads, pool=first, window=window))
                dim = out_dim
            self.stage_ends.append(len(self.blocks) - 1)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, S, S) -> features at strides 4, 8, 16, 32, each (B, C, S/stride, S/stride)."""
        x: Tensor = self.patch_embed(images)
        x = x + self._position(x.shape[1], x.shape[2])
        outputs = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.stage_ends:
                outputs.append(x.permute(0, 3, 1, 2))
        return outputs

    def _position(self, height: int, width: int) -> Tensor:
        window = self.pos_embed_window
        if height % window.shape[2] or width % window.shape[3]:
            raise ValueError(
                f"an image of {height * 4} × {width * 4} does not fit windows of {window.shape[2]} tokens: "
                f"use a size that is a multiple of {window.shape[2] * 4}"
            )
        coarse = F.interpolate(self.pos_embed, size=(height, width), mode="bicubic")
        tiled = window.tile(1, 1, height // window.shape[2], width // window.shape[3])
        return (coarse + tiled).permute(0, 2, 3, 1)

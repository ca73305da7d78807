"""TinyViT, the encoder of MobileSAM (K. Wu et al., "TinyViT", 2022; C. Zhang et al., "Faster Segment Anything", 2023).

Everything here is (B, C, H, W) except inside attention and MLPs.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam2.model.hiera import join_windows, split_windows
from napari_sam2.model.layers import attention
from napari_sam2.model.sam1.config import TinyVitConfig
from napari_sam2.model.sam1.vit import neck

EXPANSION = 4  # of the hidden channels in convolutions and MLPs, in every released network


class ConvNorm(nn.Sequential):
    """A convolution without bias, and batch normalisation (reference: ``Conv2d_BN``)."""

    def __init__(self, in_dim: int, out_dim: int, size: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.add_module("c", nn.Conv2d(in_dim, out_dim, size, stride, size // 2, groups=groups, bias=False))
        self.add_module("bn", nn.BatchNorm2d(out_dim))


class ConvBlock(nn.Module):
    """Convolutions with a residual (reference: ``MBConv``), or without, between two stages (``PatchMerging``)."""

    def __init__(
        self, in_dim: int, hidden: int, out_dim: int, stride: int = 1, residual: bool = True
    ) -> None:
        super().__init__()
        self.residual = residual
        self.conv1 = ConvNorm(in_dim, hidden)
        self.conv2 = ConvNorm(hidden, hidden, 3, stride, groups=hidden)
        self.conv3 = ConvNorm(hidden, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_dim, H, W) -> (B, out_dim, H', W')."""
        out: Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))
        return F.gelu(x + out) if self.residual else out


class WindowAttention(nn.Module):
    """Attention inside a window, with a bias for each absolute distance (reference: ``Attention``)."""

    pairs: Tensor

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window**2))
        place = torch.arange(window**2, device="cpu")
        rows, columns = torch.div(place, window, rounding_mode="floor"), place % window
        # Distances are numbered in the order in which they first occur from the first token: row by row.
        pairs = (rows[:, None] - rows).abs() * window + (columns[:, None] - columns).abs()
        self.register_buffer("pairs", pairs, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, window, window, C) -> (N, window, window, C)."""
        tokens = self.norm(x).flatten(1, 2)  # (N, T, C)
        q, k, v = self.qkv(tokens).unflatten(2, (self.heads, 3, -1)).permute(3, 0, 2, 1, 4)
        bias = self.attention_biases[:, self.pairs].to(q.dtype)
        out = attention(q, k, v, bias[None])
        projected: Tensor = self.proj(out.transpose(1, 2).reshape(x.shape))
        return projected


class _Mlp(nn.Module):
    """Normalisation and two layers (reference: ``Mlp``)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, dim * EXPANSION)
        self.fc2 = nn.Linear(dim * EXPANSION, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x))))
        return out


class AttentionBlock(nn.Module):
    """Attention in windows, a local convolution, an MLP (reference: ``TinyViTBlock``)."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(dim, heads, window)
        self.local_conv = ConvNorm(dim, dim, 3, groups=dim)
        self.mlp = _Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        size = x.shape[2], x.shape[3]
        windows, padded = split_windows(x.permute(0, 2, 3, 1), self.window)
        attended = join_windows(self.attn(windows), self.window, padded, size)
        x = self.local_conv(x + attended.permute(0, 3, 1, 2))
        out: Tensor = x + self.mlp(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out


class Stage(nn.Module):
    """Blocks of one width, and the way to the next one (reference: ``ConvLayer``, ``BasicLayer``)."""

    def __init__(self, blocks: Iterable[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        if downsample is not None:
            self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        for block in self.blocks:
            x = block(x)
        if hasattr(self, "downsample"):
            x = self.downsample(x)
        return x


class _PatchEmbed(nn.Module):
    """Turn pixels into tokens at a quarter of the resolution (reference: ``PatchEmbed``)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(ConvNorm(3, dim // 2, 3, 2), nn.GELU(), ConvNorm(dim // 2, dim, 3, 2))

    def forward(self, images: Tensor) -> Tensor:
        tokens: Tensor = self.seq(images)
        return tokens


class TinyViT(nn.Module):
    """Pixels to an image embedding (reference: ``TinyViT``); the classifier in MobileSAM's file is not used."""

    def __init__(self, config: TinyVitConfig, image_size: int, embed_dim: int) -> None:
        super().__init__()
        self.img_size = image_size  # under the reference's name, which scripts read
        widths = config.widths
        self.patch_embed = _PatchEmbed(widths[0])
        self.layers = nn.ModuleList()
        for index, (width, depth) in enumerate(zip(widths, config.depths)):
            blocks: list[nn.Module] = [
                AttentionBlock(width, config.heads[index], config.windows[index])
                if index
                else ConvBlock(width, width * EXPANSION, width)
                for _ in range(depth)
            ]
            wider = None
            if index < 3:
                # The last stage keeps the resolution, so that tokens lie 16 pixels apart.
                out = widths[index + 1]
                wider = ConvBlock(width, out, out, stride=2 if index < 2 else 1, residual=False)
            self.layers.append(Stage(blocks, wider))
        self.neck = neck(widths[-1], embed_dim)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, embed_dim, S/16, S/16)."""
        x: Tensor = self.patch_embed(images)
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.neck(x)
        return out

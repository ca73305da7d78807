"""Memory encoder: what a frame and its mask leave behind as a spatial memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam2.model.config import ModelConfig
from napari_sam2.model.layers import LayerNorm2d


class MaskDownsampler(nn.Module):
    """Bring a mask to the stride and width of the image embedding (reference: ``MaskDownSampler``)."""

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for _ in range(4):
            layers += [
                nn.Conv2d(channels, channels * 4, 3, stride=2, padding=1),
                LayerNorm2d(channels * 4),
                nn.GELU(),
            ]
            channels *= 4
        self.encoder = nn.Sequential(*layers, nn.Conv2d(channels, out_channels, 1))

    def forward(self, mask: Tensor) -> Tensor:
        """(B, 1, S, S) -> (B, C, S/16, S/16)."""
        out: Tensor = self.encoder(mask)
        return out


class ConvNextBlock(nn.Module):
    """Depth-wise convolution and MLP with a learnt scale (reference: ``CXBlock``)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = LayerNorm2d(channels)
        self.pwconv1 = nn.Linear(channels, channels * 4)
        self.pwconv2 = nn.Linear(channels * 4, channels)
        self.gamma = nn.Parameter(torch.full((channels,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        out = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)  # (B, H, W, C)
        out = self.gamma * self.pwconv2(F.gelu(self.pwconv1(out)))
        fused: Tensor = x + out.permute(0, 3, 1, 2)
        return fused


class Fuser(nn.Module):
    """Blocks in a row (reference: ``Fuser``)."""

    def __init__(self, channels: int, depth: int = 2) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(ConvNextBlock(channels) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        out: Tensor = self.layers(x)
        return out


class MemoryEncoder(nn.Module):
    """Fuse the unconditioned image embedding with a mask (reference: ``MemoryEncoder``)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.mask_downsampler = MaskDownsampler(config.embed_dim)
        self.pix_feat_proj = nn.Conv2d(config.embed_dim, config.embed_dim, 1)
        self.fuser = Fuser(config.embed_dim)
        self.out_proj = nn.Conv2d(config.embed_dim, config.memory_dim, 1)

    def forward(self, embedding: Tensor, mask: Tensor) -> Tensor:
        """Image embedding (B or 1, C, h, w) and scaled mask (B, 1, 16h, 16w) -> memory (B, Cm, h, w)."""
        fused = self.fuser(self.pix_feat_proj(embedding) + self.mask_downsampler(mask))
        out: Tensor = self.out_proj(fused)
        return out

"""Prompt encoder: clicks, boxes and masks as embeddings (SAM, A. Kirillov et al., 2023)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from napari_sam2.model.layers import LayerNorm2d
from napari_sam2.model.position_encoding import RandomFourierEncoding
from napari_sam2.model.tensors import PromptTensors


class PromptEncoder(nn.Module):
    """Embed prompts (reference: ``PromptEncoder``)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.pe_layer = RandomFourierEncoding(dim)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.no_mask_embed = nn.Embedding(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, 4, 2, stride=2),
            LayerNorm2d(4),
            nn.GELU(),
            nn.Conv2d(4, 16, 2, stride=2),
            LayerNorm2d(16),
            nn.GELU(),
            nn.Conv2d(16, dim, 1),
        )

    def forward(self, prompts: PromptTensors, image_size: int, side: int) -> tuple[Tensor, Tensor]:
        """Return sparse embeddings (B, N, C) and dense ones (B or 1, C, side, side)."""
        return self._sparse(prompts, image_size), self._dense(prompts.mask_logits, side)

    def _sparse(self, prompts: PromptTensors, image_size: int) -> Tensor:
        points, labels = prompts.points, prompts.labels
        if points is None or labels is None:
            # "No prompt" while tracking is one padding point, which is then padded like any other.
            device = self.no_mask_embed.weight.device
            points = torch.zeros(prompts.batch, 1, 2, device=device)
            labels = -torch.ones(prompts.batch, 1, dtype=torch.int64, device=device)
        elif points.shape[1] == 0:
            return points.new_zeros(points.shape[0], 0, self.dim)
        points = torch.cat([points, points.new_zeros(len(points), 1, 2)], 1)
        labels = torch.cat([labels, -labels.new_ones(len(labels), 1)], 1)
        return self.embed_points(points, labels, image_size)

    def embed_points(self, points: Tensor, labels: Tensor, image_size: int) -> Tensor:
        """Embed points (B, N, 2) with labels (B, N) as (B, N, C); nothing is added to them."""
        embedded: Tensor = self.pe_layer((points + 0.5) / image_size)
        is_point = (labels >= 0)[..., None]
        by_label = torch.cat([e.get_parameter("weight") for e in self.point_embeddings])  # (4, C)
        return torch.where(is_point, embedded + by_label[labels.clamp(min=0)], self.not_a_point_embed.weight)

    def _dense(self, mask_logits: Tensor | None, side: int) -> Tensor:
        if mask_logits is None:
            return self.no_mask_embed.weight[:, :, None, None].expand(1, -1, side, side)
        out: Tensor = self.mask_downscaling(mask_logits)
        return out

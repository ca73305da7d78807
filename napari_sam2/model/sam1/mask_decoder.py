"""SAM 1's mask decoder: two-way transformer and upscaling as SAM 2's, without its finer features and object score."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from napari_sam2.model.layers import MLP, LayerNorm2d
from napari_sam2.model.sam1.config import SamConfig
from napari_sam2.model.two_way_transformer import TwoWayTransformer


class SamMaskDecoder(nn.Module):
    """Decode masks (reference: ``MaskDecoder`` of segment-anything)."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        dim, masks = config.embed_dim, config.mask_tokens
        self.transformer = TwoWayTransformer(
            dim, config.decoder_depth, config.decoder_heads, config.decoder_feedforward
        )
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(masks, dim)  # the single mask, then those of an ambiguous prompt
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, 2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(MLP(dim, dim, dim // 8, 3) for _ in range(masks))
        self.iou_prediction_head = MLP(dim, config.iou_hidden, masks, config.iou_depth)

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
    ) -> tuple[Tensor, Tensor]:
        """Decode a batch of prompts on one image.

        Parameters
        ----------
        image_embeddings, image_pe : Tensor
            (1, C, h, w), the image embedding and the encoding of places.
        sparse_prompt_embeddings, dense_prompt_embeddings : Tensor
            (B, N, C) and (B or 1, C, h, w), from the prompt encoder.
        multimask_output : bool
            The masks of an ambiguous prompt, or the single one.

        Returns
        -------
        logits : Tensor
            (B, K, 4h, 4w).
        ious : Tensor
            (B, K), the predicted quality; no sigmoid bounds it, so it can leave 0 to 1.
        """
        batch = len(sparse_prompt_embeddings)
        own = self.own_tokens
        tokens = torch.cat([own.expand(batch, -1, -1), sparse_prompt_embeddings], 1)
        source = (image_embeddings + dense_prompt_embeddings).expand(batch, -1, -1, -1)
        tokens, image = self.transformer(source, image_pe.expand_as(source), tokens)
        fine = self.output_upscaling(image.transpose(1, 2).reshape(source.shape))  # (B, C/8, 4h, 4w)
        chosen = range(1, len(own) - 1) if multimask_output else range(1)
        weights = torch.stack([self.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in chosen], 1)
        logits = (weights @ fine.flatten(2)).view(batch, -1, *fine.shape[2:])
        return logits, self.predicted_ious(tokens[:, 0])[:, chosen.start : chosen.stop]

    @property
    def own_tokens(self) -> Tensor:
        """(K + 1, C): the tokens of the quality and the masks, which come before the prompt's."""
        return torch.cat([self.iou_token.weight, self.mask_tokens.weight])

    def predicted_ious(self, token: Tensor) -> Tensor:
        """Return the quality (B, K) of each mask from the quality's token (B, C)."""
        ious: Tensor = self.iou_prediction_head(token)
        return ious

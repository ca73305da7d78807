"""Mask decoder: from an image embedding and prompts to masks, their quality, and the object's visibility."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam2.model.config import ModelConfig
from napari_sam2.model.layers import MLP, LayerNorm2d
from napari_sam2.model.tensors import ImageFeatures
from napari_sam2.model.two_way_transformer import TwoWayTransformer


class DecoderOutput(NamedTuple):
    """Masks (B, K, S/4, S/4), predicted IoUs (B, K), mask tokens (B, K, C), object score (B, 1)."""

    logits: Tensor
    ious: Tensor
    tokens: Tensor
    object_score: Tensor


def _setting(field: str) -> property:
    """Return a property that reads and sets a field of the decoder's configuration."""

    def put(decoder: MaskDecoder, value: Any) -> None:
        decoder.config = replace(decoder.config, **{field: value})

    return property(lambda decoder: getattr(decoder.config, field), put)


class MaskDecoder(nn.Module):
    """Decode masks (reference: ``MaskDecoder``)."""

    # Names that scripts for the reference set on a finished network.
    dynamic_multimask_via_stability = _setting("dynamic_stability")
    dynamic_multimask_stability_delta = _setting("stability_delta")
    dynamic_multimask_stability_thresh = _setting("stability_threshold")

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.config = config
        self.transformer = TwoWayTransformer(
            dim, config.decoder_depth, config.decoder_heads, config.decoder_feedforward
        )
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(4, dim)  # the single mask, then three for ambiguous prompts
        self.obj_score_token = nn.Embedding(1, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, 2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, 2, stride=2),
            nn.GELU(),
        )
        self.conv_s0 = nn.Conv2d(dim, dim // 8, 1)
        self.conv_s1 = nn.Conv2d(dim, dim // 4, 1)
        self.output_hypernetworks_mlps = nn.ModuleList(MLP(dim, dim, dim // 8, 3) for _ in range(4))
        self.iou_prediction_head = MLP(dim, config.iou_hidden, 4, 3)
        self.pred_obj_score_head = MLP(dim, dim, 1, 3)

    def forward(
        self,
        embedding: Tensor,
        features: ImageFeatures,
        position: Tensor,
        sparse: Tensor,
        dense: Tensor,
        multimask: bool,
    ) -> DecoderOutput:
        """Decode a batch of prompts.

        Parameters
        ----------
        embedding : Tensor
            (B or 1, C, h, w), the image embedding, conditioned on memory.
        features : ImageFeatures
            For their strides 4 and 8, batch B or 1.
        position : Tensor
            (1, C, h, w).
        sparse, dense : Tensor
            (B, N, C) and (B or 1, C, h, w), from the prompt encoder.
        multimask : bool
            Three masks for an ambiguous prompt, or the single one.
        """
        everything = self._decode_all(embedding, features, position, sparse, dense)
        if multimask:
            return DecoderOutput(
                everything.logits[:, 1:],
                everything.ious[:, 1:],
                everything.tokens[:, 1:],
                everything.object_score,
            )
        single = DecoderOutput(
            everything.logits[:, :1],
            everything.ious[:, :1],
            everything.tokens[:, :1],
            everything.object_score,
        )
        if self.training or not self.config.dynamic_stability:
            return single
        return self._stable(single, everything)

    @property
    def own_tokens(self) -> Tensor:
        """(6, C): the tokens of the object score, the quality and the masks, which come before the prompt's."""
        return torch.cat([self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight])

    def predicted_ious(self, token: Tensor) -> Tensor:
        """Return the quality (B, K) of each mask from the quality's token (B, C)."""
        ious: Tensor = self.iou_prediction_head(token).sigmoid()
        return ious

    def _decode_all(
        self, embedding: Tensor, features: ImageFeatures, position: Tensor, sparse: Tensor, dense: Tensor
    ) -> DecoderOutput:
        batch = sparse.shape[0]
        tokens = torch.cat([self.own_tokens.expand(batch, -1, -1), sparse], 1)
        source = (embedding + dense).expand(batch, -1, -1, -1)
        tokens, image = self.transformer(source, position.expand_as(source), tokens)
        mask_tokens = tokens[:, 2:6]
        image = image.transpose(1, 2).reshape(source.shape)  # (B, C, h, w)
        up1, norm1, act1, up2, act2 = self.output_upscaling
        fine = act1(norm1(up1(image) + features.stride8))
        fine = act2(up2(fine) + features.stride4)  # (B, C/8, S/4, S/4)
        weights = torch.stack(
            [mlp(mask_tokens[:, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], 1
        )
        logits = (weights @ fine.flatten(2)).view(batch, -1, *fine.shape[2:])  # (B, 4, S/4, S/4)
        ious = self.predicted_ious(tokens[:, 1])
        return DecoderOutput(logits, ious, mask_tokens, self.pred_obj_score_head(tokens[:, 0]))

    def _stable(self, single: DecoderOutput, everything: DecoderOutput) -> DecoderOutput:
        """Replace unstable single masks by the best of three (``_dynamic_multimask_via_stability``).

        The token stays that of the single mask, as in the reference.
        """
        delta, threshold = self.config.stability_delta, self.config.stability_threshold
        inner = (single.logits > delta).flatten(1).sum(1).float()
        outer = (single.logits > -delta).flatten(1).sum(1).float()
        stable = torch.where(outer > 0, inner / outer.clamp(min=1), 1.0) >= threshold
        best = everything.ious[:, 1:].argmax(1) + 1
        row = torch.arange(len(best), device=best.device)
        logits = torch.where(
            stable[:, None, None, None], single.logits, everything.logits[row, best][:, None]
        )
        ious = torch.where(stable[:, None], single.ious, everything.ious[row, best][:, None])
        return DecoderOutput(logits, ious, single.tokens, single.object_score)


def shrink(mask: Tensor, side: int) -> Tensor:
    """Resize mask maps (B, 1, H, W) to (B, 1, side, side), bilinear with antialias."""
    if mask.shape[-2:] == (side, side):
        return mask
    # Not every PyTorch that is supported can antialias on Apple's GPUs.
    source = mask.float().cpu() if mask.device.type == "mps" else mask.float()
    small = F.interpolate(source, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
    return small.to(mask.device)

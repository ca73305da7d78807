"""The mask decoder for many points of one image on a CPU: the same mathematics in about a third of the work.

All points of a grid see the same image, and each brings only a handful of tokens. So what depends on the image alone is
computed once, and projections of the 4,096 image tokens are folded into those few tokens: a score ``(Wk x)·q`` is
``x·(Wkᵀ q)``, a sum ``Σ p Wv x`` is ``Wv Σ p x``. The enlarged image stays in the order in which its products come out,
so nothing large is transposed. Results equal those of :class:`~napari_sam2.model.mask_decoder.MaskDecoder` up to
rounding.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from napari_sam2.model.layers import Attention, LayerNorm2d
from napari_sam2.model.sam2 import Sam2
from napari_sam2.model.tensors import ImageFeatures, PromptTensors
from napari_sam2.model.two_way import TwoWayBlock
from napari_sam2.session.compute import Compute

# More points at once leave the caches of a CPU.
POINTS_AT_ONCE = 2


class GridDecoder:
    """Decodes single points on one image, three masks each.

    Parameters
    ----------
    compute : Compute
        Model and precision; only float32 on a CPU (:meth:`fits`).
    features : ImageFeatures
        Of the image.
    embedding : Tensor
        (1, C, h, w), the conditioned embedding.
    """

    def __init__(self, compute: Compute, features: ImageFeatures, embedding: Tensor) -> None:
        self._compute = compute
        self._model = compute.model
        self._features = features
        self._side: int = embedding.shape[-1]
        self._embedding = embedding
        compute.run(self._prepare)

    @staticmethod
    def fits(compute: object) -> bool:
        """Tell whether this way of computing is the right one for a device and precision."""
        return isinstance(compute, Compute) and compute.device.type == "cpu" and compute.autocast is None

    def decode(self, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Decode points (N, 1, 2) in pixels of the network's input with labels (N, 1).

        Returns
        -------
        logits : Tensor, shape (N, 3, 4h, 4w)
        ious : Tensor, shape (N, 3)
        """
        side = 4 * self._side
        logits, ious = torch.empty(len(points), 3, side, side), torch.empty(len(points), 3)
        for low in range(0, len(points), POINTS_AT_ONCE):
            part = slice(low, low + POINTS_AT_ONCE)
            logits[part], ious[part] = self._compute.run(self._decode, points[part], labels[part])
        return logits, ious

    def _prepare(self) -> None:
        """Compute what all points share."""
        model, side = self._model, self._side
        empty = PromptTensors(torch.zeros(1, 0, 2), torch.zeros(1, 0, dtype=torch.int32))
        _, dense = model.prompt_encoder(empty, side * 16, side)
        place = model.prompt_encoder.pe_layer.grid(side, side)  # (C, h, w)
        self._image = (self._embedding + dense).flatten(2).transpose(1, 2).contiguous()  # (1, HW, C)
        place = place.flatten(1).T.contiguous()  # (HW, C)
        transformer = model.mask_decoder.transformer
        layers = [cast(TwoWayBlock, layer) for layer in transformer.layers]
        looks = [layer.cross_attn_token_to_image for layer in layers]
        self._key_places = [a.k_proj(place) for a in [*looks, transformer.final_attn_token_to_image]]
        self._query_places = [layer.cross_attn_image_to_token.q_proj(place) for layer in layers]
        # (1, C/4, 2h, 2w) -> (1, HW, 2, 2, C/4), and (1, C/8, 4h, 4w) -> (1, HW, 2, 2, 2, 2, C/8)
        fine, finest = self._features.stride8, self._features.stride4
        fine = fine.unflatten(2, (side, 2)).unflatten(4, (side, 2))  # type: ignore[no-untyped-call]
        self._fine = fine.permute(0, 2, 4, 3, 5, 1).flatten(1, 2).contiguous()
        finest = finest.unflatten(2, (side, 2, 2)).unflatten(5, (side, 2, 2))  # type: ignore[no-untyped-call]
        self._finest = finest.permute(0, 2, 5, 3, 6, 4, 7, 1).flatten(1, 2).contiguous()

    def _decode(self, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        model: Sam2 = self._model
        decoder = model.mask_decoder
        sparse, _ = model.prompt_encoder(PromptTensors(points, labels), self._side * 16, self._side)
        own = torch.cat(
            [decoder.obj_score_token.weight, decoder.iou_token.weight, decoder.mask_tokens.weight]
        )
        tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse], 1)  # (B, N, C)
        tokens, image = self._two_way(tokens)
        weights = torch.stack(
            [mlp(tokens[:, 3 + i]) for i, mlp in enumerate(list(decoder.output_hypernetworks_mlps)[1:])], 2
        )  # (B, C/8, 3)
        ious = decoder.iou_prediction_head(tokens[:, 1]).sigmoid()[:, 1:]
        return self._enlarged(image, weights), ious

    def _two_way(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Counterpart of :class:`~napari_sam2.model.two_way.TwoWayTransformer`."""
        transformer = self._model.mask_decoder.transformer
        place, image = tokens, self._image
        for index, module in enumerate(transformer.layers):
            layer = cast(TwoWayBlock, module)
            if layer.first:
                tokens = layer.self_attn(tokens, tokens, tokens)
            else:
                query = tokens + place
                tokens = tokens + layer.self_attn(query, query, tokens)
            tokens = layer.norm1(tokens)
            seen = _look(layer.cross_attn_token_to_image, tokens + place, image, self._key_places[index])
            tokens = layer.norm2(tokens + seen)
            tokens = layer.norm3(tokens + layer.mlp(tokens))
            answer = layer.cross_attn_image_to_token
            image = layer.norm4(_answered(answer, image, self._query_places[index], tokens + place, tokens))
        last = transformer.final_attn_token_to_image
        seen = _look(last, tokens + place, image, self._key_places[-1])
        out: Tensor = transformer.norm_final_attn(tokens + seen)
        return out, image

    def _enlarged(self, image: Tensor, weights: Tensor) -> Tensor:
        """Image tokens (B, HW, C) and mask weights (B, C/8, 3) -> logits (B, 3, 4h, 4w)."""
        up1, norm, act1, up2, act2 = self._model.mask_decoder.output_upscaling
        norm1 = cast(LayerNorm2d, norm)
        batch, side = len(image), self._side
        fine = _doubled(image, up1).add_(self._fine)  # (B, HW, 2, 2, C/4)
        fine = act1(functional.layer_norm(fine, fine.shape[-1:], norm1.weight, norm1.bias, norm1.eps))
        fine = act2(_doubled(fine, up2).add_(self._finest))  # (B, HW, 2, 2, 2, 2, C/8)
        logits: Tensor = fine.reshape(batch, -1, fine.shape[-1]) @ weights  # (B, HW * 16, 3)
        logits = logits.view(batch, side, side, 2, 2, 2, 2, 3)
        return logits.permute(0, 7, 1, 3, 5, 2, 4, 6).reshape(batch, 3, 4 * side, 4 * side)


def _doubled(x: Tensor, up: torch.nn.Module) -> Tensor:
    """Apply a transposed convolution 2 × 2 of stride 2 to pixels (..., C): (..., 2, 2, C')."""
    weight, bias = up.get_parameter("weight"), up.get_parameter("bias")  # (C, C', 2, 2), (C',)
    columns = weight.permute(0, 2, 3, 1).reshape(len(weight), -1)  # (C, 4 C')
    out = torch.addmm(bias.repeat(4), x.reshape(-1, x.shape[-1]), columns)
    return out.view(*x.shape[:-1], 2, 2, len(bias))


def _look(attention: Attention, query: Tensor, image: Tensor, key_place: Tensor) -> Tensor:
    """Tokens (B, N, C) attend to image tokens (B or 1, HW, C); ``key_place`` (HW, Ci): the keys' position, bias."""
    batch, count, dim = query.shape
    heads = attention.heads
    q = attention.q_proj(query).view(batch, count, heads, -1)  # (B, N, H, d)
    q = q.transpose(1, 2) / math.sqrt(q.shape[-1])  # (B, H, N, d)
    width = q.shape[-1]
    folded = (q @ attention.k_proj.weight.view(heads, width, dim)).flatten(1, 2)  # (B, H N, C)
    place = q @ key_place.view(-1, heads, width).permute(1, 2, 0)  # (B, H, N, HW)
    scores = torch.baddbmm(place.flatten(1, 2), folded, image.expand(batch, -1, -1).transpose(1, 2))
    seen = (scores.softmax(-1) @ image).view(batch, heads, count, dim)
    values = seen @ attention.v_proj.weight.view(heads, width, dim).transpose(1, 2)  # (B, H, N, d)
    values = values.transpose(1, 2).flatten(2) + attention.v_proj.bias
    out: Tensor = attention.out_proj(values)
    return out


def _answered(attention: Attention, image: Tensor, query_place: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Image tokens plus what they take from tokens: (B or 1, HW, C) -> (B, HW, C)."""
    batch, count, dim = key.shape
    heads = attention.heads
    k = attention.k_proj(key).view(batch, count, heads, -1).permute(0, 2, 3, 1)  # (B, H, d, N)
    width = k.shape[2]
    k = k / math.sqrt(width)
    folded = attention.q_proj.weight.view(heads, width, dim).transpose(1, 2) @ k  # (B, H, C, N)
    blocks = k.new_zeros(batch, heads, width, heads, count)  # each head's keys in its own columns
    row = torch.arange(heads)
    blocks[:, row, :, row] = k.transpose(0, 1)
    place = query_place @ blocks.view(batch, heads * width, heads * count)  # (B, HW, H N)
    columns = folded.permute(0, 2, 1, 3).reshape(batch, dim, -1)  # (B, C, H N)
    everywhere = image.expand(batch, -1, -1)
    scores = torch.baddbmm(place, everywhere, columns)
    shares = scores.view(batch, -1, heads, count).softmax(-1).flatten(2)  # (B, HW, H N)
    v = attention.v_proj(value).view(batch, count, heads, width).transpose(1, 2)  # (B, H, N, d)
    out_weight = attention.out_proj.weight.view(dim, heads, width).permute(1, 2, 0)  # (H, d, C)
    given = (v @ out_weight).flatten(1, 2)  # (B, H N, C)
    return torch.baddbmm(everywhere, shares, given).add_(attention.out_proj.bias)

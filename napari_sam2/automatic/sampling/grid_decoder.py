"""The mask decoder for many points of one image on a CPU: the same mathematics in about a third of the work.

All points of a grid see the same image, and each brings only a handful of tokens. So what depends on the image alone is
computed once: its keys, values and queries in the first layer, and those of its position in all. After the first layer
each point has an image of its own; there, projections of the 4,096 image tokens are folded into the few tokens: a score
``(Wk x)·q`` is ``x·(Wkᵀ q)``, a sum ``Σ p Wv x`` is ``Wv Σ p x``. The enlarged image stays in the order in which its
products come out, so nothing large is transposed. Results equal those of
:class:`~napari_sam2.model.mask_decoder.MaskDecoder` up to rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from napari_sam2.model.layers import Attention, LayerNorm2d
from napari_sam2.model.sam1.sam import Sam
from napari_sam2.model.sam2 import Sam2
from napari_sam2.model.tensors import ImageFeatures, PromptTensors
from napari_sam2.model.two_way_transformer import TwoWayBlock
from napari_sam2.session.runner import ImageRunner

# Image tokens times channels of the points that are decoded at once; more leave the caches of a CPU.
VALUES_AT_ONCE = 1 << 20


@dataclass(frozen=True, eq=False)
class _Shared:
    """Values that all points share in one attention between tokens and image tokens.

    Parameters
    ----------
    attention : Attention
        Its weights.
    keys : Tensor, shape (H, d, HW)
        What the position of the image tokens adds to their keys (or queries), and the bias; in the first layer, what
        the image itself adds, too.
    values : Tensor, shape (H, HW, d), optional
        Of the image, without bias; only in the first layer.
    """

    attention: Attention
    keys: Tensor
    values: Tensor | None = None

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.attention.heads


class GridDecoder:
    """Decodes single points on one image, three masks each.

    Parameters
    ----------
    runner : ImageRunner
        Model and precision; only float32 on a CPU (:meth:`fits`).
    features : ImageFeatures
        Of the image.
    embedding : Tensor
        (1, C, h, w), the conditioned embedding.
    """

    def __init__(self, runner: ImageRunner[Sam2 | Sam], features: ImageFeatures, embedding: Tensor) -> None:
        self._runner = runner
        self._model = runner.model
        self._features = features
        self._side: int = embedding.shape[-1]
        self._embedding = embedding
        runner.run(self._prepare)

    @staticmethod
    def fits(runner: object) -> bool:
        """Tell whether this way of computing is the right one for a device and precision."""
        return isinstance(runner, ImageRunner) and runner.device.type == "cpu" and runner.autocast is None

    def decode(self, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Decode points (N, 1, 2) in pixels of the network's input with labels (N, 1).

        Returns
        -------
        logits : Tensor, shape (N, 3, 4h, 4w)
        ious : Tensor, shape (N, 3)
        """
        side = 4 * self._side
        logits, ious = torch.empty(len(points), 3, side, side), torch.empty(len(points), 3)
        # Two points of the largest networks share what is read for one, small networks many points what is called.
        at_once = max(2, VALUES_AT_ONCE // self._image.numel())
        for low in range(0, len(points), at_once):
            part = slice(low, low + at_once)
            logits[part], ious[part] = self._runner.run(self._decode, points[part], labels[part])
        return logits, ious

    def _prepare(self) -> None:
        """Compute what all points share."""
        model, side = self._model, self._side
        empty = PromptTensors(torch.zeros(1, 0, 2), torch.zeros(1, 0, dtype=torch.int32))
        _, dense = model.embed_prompts(empty, side)
        place = model.prompt_encoder.pe_layer.grid(side, side)  # (C, h, w)
        self._image = (self._embedding + dense).flatten(2).transpose(1, 2).contiguous()  # (1, HW, C)
        place = place.flatten(1).T.contiguous()  # (HW, C)
        transformer = model.mask_decoder.transformer
        self._looks, self._answers = [], []
        for layer in (cast(TwoWayBlock, module) for module in transformer.layers):
            image = self._image[0] if layer.first else None
            self._looks.append(_shared_look(layer.cross_attn_token_to_image, place, image))
            answer = layer.cross_attn_image_to_token
            seen = place if image is None else image + place
            self._answers.append(_Shared(answer, _by_head(answer.q_proj(seen), answer.heads)))
        self._last_look = _shared_look(transformer.final_attn_token_to_image, place, None)
        self._prepare_upscaling()

    def _prepare_upscaling(self) -> None:
        side = self._side
        first, _, _, second, _ = self._model.mask_decoder.output_upscaling
        self._columns = _columns(first), _columns(second)
        # (1, C/4, 2h, 2w) -> (1, HW, 4 C/4), and (1, C/8, 4h, 4w) -> (1, HW * 4, 4 C/8)
        if self._features.stride8.shape[1] == 0:  # Segment Anything 1 has no finer features
            self._fine = first.get_parameter("bias").repeat(4)[None, None]
            self._finest = second.get_parameter("bias").repeat(4)[None, None]
            return
        fine, finest = self._features.stride8, self._features.stride4
        fine = fine.unflatten(2, (side, 2)).unflatten(4, (side, 2))  # type: ignore[no-untyped-call]
        fine = fine.permute(0, 2, 4, 3, 5, 1) + first.get_parameter("bias")
        self._fine = fine.flatten(3).flatten(1, 2).contiguous()
        finest = finest.unflatten(2, (side, 2, 2)).unflatten(5, (side, 2, 2))  # type: ignore[no-untyped-call]
        finest = finest.permute(0, 2, 5, 3, 6, 4, 7, 1) + second.get_parameter("bias")
        self._finest = finest.flatten(5).flatten(1, 4).contiguous()

    def _decode(self, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        decoder = self._model.mask_decoder
        sparse, _ = self._model.embed_prompts(PromptTensors(points, labels), self._side)
        own = decoder.own_tokens
        first = len(own) - len(decoder.mask_tokens.weight)  # where the masks' tokens begin
        tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse], 1)  # (B, N, C)
        tokens, image = self._two_way(tokens)
        weights = torch.stack(
            [
                mlp(tokens[:, first + 1 + i])
                for i, mlp in enumerate(list(decoder.output_hypernetworks_mlps)[1:])
            ],
            1,
        )  # (B, 3, C/8)
        ious = decoder.predicted_ious(tokens[:, first - 1])[:, 1:]
        return self._enlarged(image, weights), ious

    def _two_way(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Counterpart of :class:`~napari_sam2.model.two_way_transformer.TwoWayTransformer`."""
        transformer = self._model.mask_decoder.transformer
        place, image = tokens, self._image.expand(len(tokens), -1, -1)
        for index, module in enumerate(transformer.layers):
            layer = cast(TwoWayBlock, module)
            if layer.first:
                tokens = layer.self_attn(tokens, tokens, tokens)
            else:
                query = tokens + place
                tokens = tokens + layer.self_attn(query, query, tokens)
            tokens = layer.norm1(tokens)
            tokens = layer.norm2(tokens + _look(self._looks[index], tokens + place, image))
            tokens = layer.norm3(tokens + layer.mlp(tokens))
            answered = _answered(self._answers[index], image, tokens + place, tokens, layer.first)
            image = layer.norm4(answered)
        seen = _look(self._last_look, tokens + place, image)
        out: Tensor = transformer.norm_final_attn(tokens + seen)
        return out, image

    def _enlarged(self, image: Tensor, weights: Tensor) -> Tensor:
        """Image tokens (B, HW, C) and mask weights (B, 3, C/8) -> logits (B, 3, 4h, 4w)."""
        _, norm, act1, _, act2 = self._model.mask_decoder.output_upscaling
        norm1 = cast(LayerNorm2d, norm)
        batch, side = len(image), self._side
        fine = _added(self._fine, image, self._columns[0])  # (B, HW, 4 C/4)
        fine = fine.view(batch, 4 * side**2, -1)  # (B, HW * 4, C/4)
        fine = act1(functional.layer_norm(fine, fine.shape[-1:], norm1.weight, norm1.bias, norm1.eps))
        fine = act2(_added(self._finest, fine, self._columns[1]))  # (B, HW * 4, 4 C/8)
        fine = fine.view(batch, 16 * side**2, -1)  # (B, HW * 16, C/8)
        logits: Tensor = (weights @ fine.transpose(1, 2)).view(batch, 3, side, side, 2, 2, 2, 2)
        return logits.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(batch, 3, 4 * side, 4 * side)


def _by_head(x: Tensor, heads: int) -> Tensor:
    """(HW, H d) -> (H, d, HW), contiguous."""
    return x.T.reshape(heads, -1, len(x)).contiguous()


def _shared_look(attention: Attention, place: Tensor, image: Tensor | None) -> _Shared:
    """Share the keys of positions (HW, C), and those and the values of an image (HW, C) that is the same for all."""
    if image is None:
        return _Shared(attention, _by_head(attention.k_proj(place), attention.heads))
    values = _by_head(image @ attention.v_proj.weight.T, attention.heads).transpose(1, 2).contiguous()
    return _Shared(attention, _by_head(attention.k_proj(image + place), attention.heads), values)


def _columns(up: torch.nn.Module) -> Tensor:
    """Weights of a transposed convolution 2 × 2 of stride 2 as a matrix (C, 4 C')."""
    weight = up.get_parameter("weight")  # (C, C', 2, 2)
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def _added(to: Tensor, x: Tensor, columns: Tensor) -> Tensor:
    """``to`` (1, N, D) plus ``x`` (B, N, C) times ``columns`` (C, D): (B, N, D)."""
    batch = len(x)
    return torch.baddbmm(to.expand(batch, -1, -1), x, columns.expand(batch, -1, -1))


def _look(shared: _Shared, query: Tensor, image: Tensor) -> Tensor:
    """Tokens (B, N, C) attend to image tokens (B, HW, C)."""
    attention, heads = shared.attention, shared.heads
    batch, count, dim = query.shape
    q = attention.q_proj(query).view(batch, count, heads, -1).transpose(1, 2)  # (B, H, N, d)
    width = q.shape[-1]
    q = q / math.sqrt(width)
    scores = q @ shared.keys  # (B, H, N, HW)
    if shared.values is not None:
        values = scores.softmax(-1) @ shared.values  # (B, H, N, d)
    else:
        folded = (q @ attention.k_proj.weight.view(heads, width, dim)).flatten(1, 2)  # (B, H N, C)
        scores = torch.baddbmm(scores.flatten(1, 2), folded, image.transpose(1, 2))
        seen = (scores.softmax(-1) @ image).view(batch, heads, count, dim)
        values = seen @ attention.v_proj.weight.view(heads, width, dim).transpose(1, 2)
    out: Tensor = attention.out_proj(values.transpose(1, 2).flatten(2) + attention.v_proj.bias)
    return out


def _answered(shared: _Shared, image: Tensor, key: Tensor, value: Tensor, first: bool) -> Tensor:
    """Image tokens (B, HW, C) plus what they take from tokens (B, N, C); ``first``: all of it is in ``shared``."""
    attention, heads = shared.attention, shared.heads
    batch, count, dim = key.shape
    k = attention.k_proj(key).view(batch, count, heads, -1).transpose(1, 2)  # (B, H, N, d)
    width = k.shape[-1]
    k = k / math.sqrt(width)
    scores = k @ shared.keys  # (B, H, N, HW): tokens before pixels, so that the softmax runs along memory
    if not first:
        folded = (k @ attention.q_proj.weight.view(heads, width, dim)).flatten(1, 2)  # (B, H N, C)
        scores = torch.baddbmm(scores.flatten(1, 2), folded, image.transpose(1, 2))
    shares = scores.view(batch, heads, count, -1).softmax(2).flatten(1, 2)  # (B, H N, HW)
    v = attention.v_proj(value).view(batch, count, heads, width).transpose(1, 2)  # (B, H, N, d)
    out_weight = attention.out_proj.weight.view(dim, heads, width).permute(1, 2, 0)  # (H, d, C)
    # The shares of a head sum to one, so each head can bring its part of the bias.
    given = (v @ out_weight).flatten(1, 2) + attention.out_proj.bias / heads  # (B, H N, C)
    return torch.baddbmm(image, shares.transpose(1, 2), given)

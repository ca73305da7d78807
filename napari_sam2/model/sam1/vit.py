"""The plain vision transformer of SAM: windows, decomposed relative positions, and attention in bounded memory.

Inside, tokens are (B, H, W, C); what leaves is (B, C, H, W).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam2.model.hiera import join_windows, split_windows
from napari_sam2.model.layers import MLP, LayerNorm2d, attention
from napari_sam2.model.sam1.config import VitConfig

# Scores that one step of attention holds on a CPU, in values (8 MiB of float32): they stay in its caches.
SCORES_AT_ONCE = 1 << 21


class RelativeAttention(nn.Module):
    """Attention with a bias for the distance of two tokens along y and along x (reference: ``Attention``).

    Parameters
    ----------
    width, attention_width, heads : int
        Channels outside and inside, and heads.
    side : int
        Side of the square of tokens it is used on.
    """

    def __init__(self, width: int, attention_width: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, attention_width * 3)
        self.proj = nn.Linear(attention_width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, attention_width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, attention_width // heads))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        batch, height, width, _ = x.shape
        qkv = self.qkv(x).view(batch, height * width, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.flatten(1, 2).unbind()  # each (B * heads, HW, d)
        grid = q.unflatten(1, (height, width))
        down = torch.einsum("nyxc,ykc->nyxk", grid, self._distances(self.rel_pos_h, height, q.dtype))
        across = torch.einsum("nyxc,xkc->nyxk", grid, self._distances(self.rel_pos_w, width, q.dtype))
        attend = _attend_in_blocks if _is_plain(q) else _attend_as_one
        out = attend(q, k, v, down.flatten(1, 2), across.flatten(1, 2))
        out = out.view(batch, self.heads, height, width, -1).permute(0, 2, 3, 1, 4)
        projected: Tensor = self.proj(out.flatten(3))
        return projected

    @staticmethod
    def _distances(table: Tensor, length: int, dtype: torch.dtype) -> Tensor:
        """Return the rows of a table (2 L - 1, d) for all pairs of places: (L, L, d)."""
        if len(table) != 2 * length - 1:  # another image size than the table's (reference: ``get_rel_pos``)
            table = F.interpolate(table.T[None].float(), size=2 * length - 1, mode="linear")[0].T
        place = torch.arange(length, device=table.device)
        return table[place[:, None] - place + length - 1].to(dtype)


def _is_plain(q: Tensor) -> bool:
    return q.device.type == "cpu" and q.dtype == torch.float32 and not torch.is_grad_enabled()


def _attend_in_blocks(q: Tensor, k: Tensor, v: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Attend with biases ``down[n, q, y] + across[n, q, x]``, a block of queries or of windows at a time.

    Parameters
    ----------
    q, k, v : Tensor
        (N, HW, d); N counts heads and windows.
    down, across : Tensor
        (N, HW, H) and (N, HW, W).
    """
    count, tokens, _ = q.shape
    scale = q.shape[-1] ** -0.5
    out = torch.empty_like(q)
    together = max(1, min(count, SCORES_AT_ONCE // tokens**2))
    step = max(1, min(tokens, SCORES_AT_ONCE // tokens))
    room = q.new_empty(together * step * tokens)
    for first in range(0, count, together):
        part = slice(first, min(first + together, count))
        keys = k[part].transpose(1, 2)
        for start in range(0, tokens, step):
            rows = slice(start, min(start + step, tokens))
            bias = down[part, rows, :, None], across[part, rows, None, :]
            shape = (*bias[0].shape[:3], bias[1].shape[3])
            scores = room[: math.prod(shape)].view(shape)
            torch.add(*bias, out=scores)
            scores = scores.flatten(2)
            scores.baddbmm_(q[part, rows], keys, alpha=scale)
            torch.softmax(scores, -1, out=scores)
            out[part, rows] = torch.bmm(scores, v[part])
    return out


def _attend_as_one(q: Tensor, k: Tensor, v: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """The same through fused kernels: the biases become further channels of queries, and keys say where they are.

    ``q·k / √d + down[y] + across[x]`` is one product of (q / √d, down, across) and (k, onehot(y), onehot(x)), so no
    matrix of scores or biases is ever held, on any device and with gradients.
    """
    tokens, height, width = q.shape[1], down.shape[2], across.shape[2]
    place = torch.arange(tokens, device=q.device)
    rows = F.one_hot(torch.div(place, width, rounding_mode="floor"), height)
    columns = F.one_hot(place % width, width)
    where = torch.cat([rows, columns], 1).to(k.dtype).expand(len(k), -1, -1)
    queries = torch.cat([q * q.shape[-1] ** -0.5, down, across], 2)
    keys = torch.cat([k, where], 2)
    padded = F.pad(v, (0, keys.shape[-1] - v.shape[-1]))  # fused kernels want equal widths
    out = attention(queries[None], keys[None], padded[None], scale=1.0)[0]
    return out[..., : v.shape[-1]]


class VitBlock(nn.Module):
    """One transformer block, in windows or over the whole image (reference: ``Block``)."""

    def __init__(self, config: VitConfig, window: int, side: int) -> None:
        super().__init__()
        self.window = window  # 0: the whole image
        self.norm1 = nn.LayerNorm(config.width, eps=1e-6)
        self.attn = RelativeAttention(config.width, config.attention_width, config.heads, window or side)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-6)
        self.mlp = MLP(config.width, config.mlp_width, config.width, 2, F.gelu)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = x + self._attend(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def _attend(self, x: Tensor) -> Tensor:
        if not self.window:
            attended: Tensor = self.attn(x)
            return attended
        # Padding is attended to, as in the reference: it has no mask.
        windows, padded = split_windows(x, self.window)
        return join_windows(self.attn(windows), self.window, padded, (x.shape[1], x.shape[2]))


class VitPatchEmbed(nn.Module):
    """Turn patches into tokens (reference: ``PatchEmbed``)."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.width, kernel_size=config.patch, stride=config.patch)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, S/patch, S/patch, C)."""
        tokens: Tensor = self.proj(images).permute(0, 2, 3, 1)
        return tokens


class ImageEncoderViT(nn.Module):
    """Pixels to an image embedding (reference: ``ImageEncoderViT``)."""

    def __init__(self, config: VitConfig, image_size: int, embed_dim: int) -> None:
        super().__init__()
        side = image_size // config.patch
        self.img_size = image_size  # under the reference's name, which scripts read
        self.patch_embed = VitPatchEmbed(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, side, side, config.width))
        self.blocks = nn.ModuleList(
            VitBlock(config, 0 if index in config.global_blocks else config.window, side)
            for index in range(config.depth)
        )
        self.neck = neck(config.width, embed_dim)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, embed_dim, S/patch, S/patch)."""
        x: Tensor = self.patch_embed(images) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return out


def neck(width: int, embed_dim: int) -> nn.Sequential:
    """Return the two convolutions that bring tokens (B, width, h, w) to the width of prompts."""
    return nn.Sequential(
        nn.Conv2d(width, embed_dim, 1, bias=False),
        LayerNorm2d(embed_dim),
        nn.Conv2d(embed_dim, embed_dim, 3, padding=1, bias=False),
        LayerNorm2d(embed_dim),
    )

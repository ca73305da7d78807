"""Memory attention: the current frame looks at what the memory bank recalls."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam2.model.chunked_attention import attend_in_blocks
from napari_sam2.model.config import ModelConfig
from napari_sam2.model.layers import Attention, attention
from napari_sam2.model.position_encoding import rotary_table, rotate


class RotaryAttention(Attention):
    """Attention whose queries and keys are turned by their place (reference: ``RoPEAttention``)."""

    def __init__(self, dim: int, heads: int, theta: float, key_dim: int | None = None) -> None:
        super().__init__(dim, heads, key_dim=key_dim)
        self.theta = theta

    def attend(self, q: Tensor, k: Tensor, v: Tensor, size: tuple[int, int], unplaced: int = 0) -> Tensor:
        """Attend from a frame to frames.

        Parameters
        ----------
        q : Tensor
            (B, HW, C), tokens of a frame of ``size`` = (H, W).
        k, v : Tensor
            (B, M * HW + unplaced, Ck): M frames and, last, tokens without a place (pointers).
        """
        inner = self.q_proj.out_features // self.heads
        cos, sin = (t.to(q.device) for t in rotary_table(*size, inner, self.theta))
        q = rotate(self.split(self.q_proj(q)), cos, sin)
        k = self.split(self.k_proj(k))
        placed = k.shape[2] - unplaced
        repeats = placed // cos.shape[0]
        turned = rotate(k[:, :, :placed], cos.repeat(repeats, 1), sin.repeat(repeats, 1))
        k = torch.cat([turned, k[:, :, placed:]], 2) if unplaced else turned
        if self.heads == 1 and not torch.is_grad_enabled() and q.device.type == "cpu":
            # softmax rows sum to 1, so the value projection can wait until after the (narrower) average.
            averaged = attend_in_blocks(q[:, 0], k[:, 0], v)
            projected: Tensor = self.out_proj(self.v_proj(averaged))
            return projected
        joined = self.join(attention(q, k, self.split(self.v_proj(v))))
        out: Tensor = self.out_proj(joined)
        return out


class MemoryAttentionLayer(nn.Module):
    """Self-attention, attention to the memories, MLP (reference: ``MemoryAttentionLayer``)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, heads, theta = config.embed_dim, config.memory_heads, config.rope_theta
        self.self_attn = RotaryAttention(dim, heads, theta)
        self.cross_attn_image = RotaryAttention(dim, heads, theta, key_dim=config.memory_dim)
        self.linear1 = nn.Linear(dim, config.memory_feedforward)
        self.linear2 = nn.Linear(config.memory_feedforward, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, size: tuple[int, int], unplaced: int
    ) -> Tensor:
        """Tokens of the frame (B, HW, C), memories (B, N, Cm) -> tokens (B, HW, C)."""
        own = self.norm1(x)
        x = x + self.self_attn.attend(own, own, own, size)
        x = x + self.cross_attn_image.attend(self.norm2(x), keys, values, size, unplaced)
        out: Tensor = x + self.linear2(F.relu(self.linear1(self.norm3(x))))
        return out


class MemoryAttention(nn.Module):
    """Condition a frame's embedding on memories (reference: ``MemoryAttention``)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MemoryAttentionLayer(config) for _ in range(config.memory_layers))
        self.norm = nn.LayerNorm(config.embed_dim)

    def forward(
        self,
        embedding: Tensor,
        position: Tensor,
        memory: Tensor,
        memory_position: Tensor,
        pointer_tokens: int,
    ) -> Tensor:
        """Let a frame look at its memories.

        Parameters
        ----------
        embedding, position : Tensor
            (B, C, h, w).
        memory, memory_position : Tensor
            (B, N, Cm): flattened spatial memories, then pointer tokens.
        pointer_tokens : int
            How many of the N are pointer tokens.

        Returns
        -------
        Tensor
            (B, C, h, w).
        """
        size = embedding.shape[2], embedding.shape[3]
        x = (embedding + 0.1 * position).flatten(2).transpose(1, 2)  # (B, HW, C)
        keys = memory + memory_position
        for layer in self.layers:
            x = layer(x, keys, memory, size, pointer_tokens)
        out: Tensor = self.norm(x).transpose(1, 2).reshape(embedding.shape)
        return out

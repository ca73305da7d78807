"""Two-way transformer: prompt tokens and image tokens attend to each other (SAM, 2023)."""

from __future__ import annotations

from torch import Tensor, nn

from napari_sam2.model.layers import MLP, Attention


class TwoWayBlock(nn.Module):
    """Self-attention of the tokens, tokens to image, MLP, image to tokens (``TwoWayAttentionBlock``)."""

    def __init__(self, dim: int, heads: int, feedforward: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = Attention(dim, heads, downsample=2)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, feedforward, dim, 2)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, heads, downsample=2)

    def forward(
        self, tokens: Tensor, image: Tensor, token_pos: Tensor, image_pos: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, C) and image (B, HW, C) with their positions -> both, updated."""
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens)  # there is nothing to keep yet
        else:
            q = tokens + token_pos
            tokens = tokens + self.self_attn(q, q, tokens)
        tokens = self.norm1(tokens)
        attended = self.cross_attn_token_to_image(tokens + token_pos, image + image_pos, image)
        tokens = self.norm2(tokens + attended)
        tokens = self.norm3(tokens + self.mlp(tokens))
        attended = self.cross_attn_image_to_token(image + image_pos, tokens + token_pos, tokens)
        return tokens, self.norm4(image + attended)


class TwoWayTransformer(nn.Module):
    """Blocks, and a last look from the tokens to the image (reference: ``TwoWayTransformer``)."""

    def __init__(self, dim: int, depth: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(dim, heads, feedforward, i == 0) for i in range(depth))
        self.final_attn_token_to_image = Attention(dim, heads, downsample=2)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(self, image: Tensor, image_pos: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Image and its position (B, C, H, W), tokens (B, N, C) -> tokens (B, N, C), image (B, HW, C)."""
        image = image.flatten(2).transpose(1, 2)  # (B, HW, C)
        image_pos = image_pos.flatten(2).transpose(1, 2)
        token_pos = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_pos, image_pos)
        attended = self.final_attn_token_to_image(tokens + token_pos, image + image_pos, image)
        return self.norm_final_attn(tokens + attended), image

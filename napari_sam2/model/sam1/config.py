"""Sizes of the networks of Segment Anything 1: the released ones, MobileSAM's, and any that a file has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

from napari_sam2.model.config import InputLayout

SamName = Literal["vit_b", "vit_l", "vit_h", "vit_t"]


@dataclass(frozen=True)
class VitConfig:
    """Sizes of the plain vision transformer.

    Parameters
    ----------
    width : int
        Channels of a token.
    attention_width : int
        Channels inside attention; differs from ``width`` only in pruned networks.
    depth, heads : int
        Blocks, and heads in each.
    mlp_width : int
        Hidden channels of the MLPs.
    global_blocks : tuple of int
        Indices of the blocks with attention over the whole image.
    window : int
        Window side of all other blocks, in tokens.
    patch : int
        Side of a patch in pixels.
    """

    width: int = 768
    attention_width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 3072
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    window: int = 14
    patch: int = 16


@dataclass(frozen=True)
class TinyVitConfig:
    """Sizes of TinyViT, the encoder of MobileSAM; one value for each of the four stages.

    Parameters
    ----------
    widths, depths, heads, windows : tuple of int
        Channels, blocks, attention heads and window side of a stage. The first stage is convolutional: its entries in
        ``heads`` and ``windows`` are not used.
    """

    widths: tuple[int, int, int, int] = (64, 128, 160, 320)
    depths: tuple[int, int, int, int] = (2, 2, 6, 2)
    heads: tuple[int, int, int, int] = (2, 4, 5, 10)
    windows: tuple[int, int, int, int] = (7, 7, 14, 7)

    patch: ClassVar[int] = 16  # tokens lie 16 pixels apart, as a plain transformer's do


@dataclass(frozen=True)
class SamConfig:
    """Sizes of one Segment Anything 1 network.

    Parameters
    ----------
    image_size : int
        Side of the square network input in pixels; a multiple of the encoder's patch.
    encoder : VitConfig or TinyVitConfig
        The image encoder.
    embed_dim : int
        Channels of the image embedding and of prompts.
    decoder_depth, decoder_heads, decoder_feedforward : int
        Two-way transformer of the mask decoder.
    iou_hidden, iou_depth : int
        Width and layers of the head that predicts the quality of a mask.
    mask_tokens : int
        Masks that the decoder knows: a single one, and those of an ambiguous prompt.
    """

    image_size: int = 1024
    encoder: VitConfig | TinyVitConfig = field(default_factory=VitConfig)
    embed_dim: int = 256
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_feedforward: int = 2048
    iou_hidden: int = 256
    iou_depth: int = 3
    mask_tokens: int = 4

    input_layout: ClassVar[InputLayout] = "pad"
    num_maskmem: ClassVar[int] = 1  # frames that a mask is followed from

    def __post_init__(self) -> None:
        if self.image_size < self.encoder.patch or self.image_size % self.encoder.patch:
            raise ValueError(
                f"image_size must be a positive multiple of {self.encoder.patch}, not {self.image_size}"
            )

    @property
    def embedding_side(self) -> int:
        """Side of the image embedding in tokens."""
        return self.image_size // self.encoder.patch

    @property
    def mask_side(self) -> int:
        """Side of the low-resolution mask logits: four cells to a token."""
        return self.embedding_side * 4

    @property
    def name(self) -> str:
        """Name of the released network of this size, or ``"custom"``."""
        return next((name for name, config in _RELEASED.items() if config == self), "custom")

    @classmethod
    def preset(cls, name: str) -> SamConfig:
        """Return the configuration of a released network: vit_b, vit_l, vit_h, or vit_t of MobileSAM."""
        if name not in _RELEASED:
            raise ValueError(
                f"unknown Segment Anything 1 model {name!r}: choose one of {', '.join(get_args(SamName))}"
            )
        return _RELEASED[name]


_RELEASED: dict[str, SamConfig] = {
    "vit_b": SamConfig(),
    "vit_l": SamConfig(encoder=VitConfig(1024, 1024, 24, 16, 4096, (5, 11, 17, 23))),
    "vit_h": SamConfig(encoder=VitConfig(1280, 1280, 32, 16, 5120, (7, 15, 23, 31))),
    "vit_t": SamConfig(encoder=TinyVitConfig()),
}

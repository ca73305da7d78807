"""One configuration for every size of SAM 2: the released ones, the embedded one, and yours."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Literal, get_args

# How frames are brought to a square input: stretched, or resized with their aspect ratio kept and padded.
InputLayout = Literal["stretch", "pad"]
ModelName = Literal["nano", "tiny", "small", "base_plus", "large"]


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and switches of one SAM 2 network.

    Only what differs between the released models, or what a fine-tuned or custom model changes, is here.

    Parameters
    ----------
    image_size : int
        Side of the square network input in pixels; a multiple of 32.
    trunk_width : int
        Channels of the first stage of Hiera; doubles at each stage.
    trunk_heads : int
        Attention heads of the first stage; doubles at each stage.
    stages : tuple of int
        Blocks in each of the four stages.
    global_blocks : tuple of int
        Indices of the blocks with attention over the whole image.
    window_sizes : tuple of int
        Window side of each stage, in tokens.
    background_size : tuple of int
        Size of the coarse positional embedding.
    embed_dim : int
        Channels of image embedding, prompts and pointers.
    memory_dim : int
        Channels of a spatial memory; divides ``embed_dim``.
    num_maskmem : int
        Spatial memories read for a frame: one age for conditioning memories, the rest for recent ones.
    max_pointers : int
        Object pointers read for a frame.
    memory_layers, memory_heads, memory_feedforward : int
        Memory attention.
    rope_theta : float
        Base of the rotary position encoding.
    decoder_depth, decoder_heads, decoder_feedforward : int
        Two-way transformer of the mask decoder.
    iou_hidden : int
        Width of the head that predicts the quality of a mask.
    pointer_time_encoding : bool
        Pointers carry their distance in time (SAM 2.1).
    spatial_no_object : bool
        The memory of a frame without the object is marked as such (SAM 2.1).
    dynamic_stability : bool
        A single mask that is not stable is replaced by the best of three (inference only).
    stability_delta, stability_threshold : float
        When a single mask counts as stable.
    sigmoid_scale, sigmoid_bias : float
        Applied to mask probabilities before they are remembered.
    """

    image_size: int = 1024
    trunk_width: int = 96
    trunk_heads: int = 1
    stages: tuple[int, int, int, int] = (1, 2, 7, 2)
    global_blocks: tuple[int, ...] = (5, 7, 9)
    window_sizes: tuple[int, int, int, int] = (8, 4, 14, 7)
    background_size: tuple[int, int] = (7, 7)
    embed_dim: int = 256
    memory_dim: int = 64
    num_maskmem: int = 7
    max_pointers: int = 16
    memory_layers: int = 4
    memory_heads: int = 1
    memory_feedforward: int = 2048
    rope_theta: float = 10000.0
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_feedforward: int = 2048
    iou_hidden: int = 256
    pointer_time_encoding: bool = True
    spatial_no_object: bool = True
    dynamic_stability: bool = True
    stability_delta: float = 0.05
    stability_threshold: float = 0.98
    sigmoid_scale: float = 20.0
    sigmoid_bias: float = -10.0

    input_layout: ClassVar[InputLayout] = "stretch"

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_value(field.name, getattr(self, field.name))
        if self.image_size < 32 or self.image_size % 32:
            raise ValueError(f"image_size must be a positive multiple of 32, not {self.image_size}")
        if self.embed_dim % self.memory_dim or self.embed_dim % 8:
            raise ValueError(
                f"embed_dim ({self.embed_dim}) must be a multiple of 8 and of memory_dim ({self.memory_dim})"
            )
        if self.num_maskmem < 1 or self.max_pointers < 1:
            raise ValueError("num_maskmem and max_pointers must be at least 1")
        for name, count in (("stages", 4), ("window_sizes", 4), ("background_size", 2)):
            if len(getattr(self, name)) != count:
                raise ValueError(f"{name} needs {count} values, not {getattr(self, name)}")

    @property
    def embedding_side(self) -> int:
        """Side of the image embedding in tokens (stride 16)."""
        return self.image_size // 16

    @property
    def mask_side(self) -> int:
        """Side of the low-resolution mask logits (stride 4)."""
        return self.image_size // 4

    @classmethod
    def preset(cls, name: str, version: Literal["2.0", "2.1"] = "2.1") -> ModelConfig:
        """Return the configuration of a named model; "nano" exists as 2.1 only."""
        if name not in get_args(ModelName):
            raise ValueError(f"unknown model {name!r}: choose one of {', '.join(get_args(ModelName))}")
        if version not in ("2.0", "2.1"):
            raise ValueError(f"unknown SAM 2 version {version!r}: choose '2.0' or '2.1'")
        if name == "nano" and version != "2.1":
            raise ValueError("nano is a SAM 2.1 network; there is no nano 2.0")
        is_21 = version == "2.1"
        return replace(_PRESETS[name], pointer_time_encoding=is_21, spatial_no_object=is_21)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ModelConfig:
        """Read what :meth:`to_dict` wrote; ValueError names an unknown field."""
        if not isinstance(data, dict):
            raise ValueError(f"model settings are an object of names and values, not {data!r:.60}")
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            raise ValueError(f"unknown model setting {unknown[0]!r}")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**values)


# Far above every network of this kind: a larger number is a mistake, or would fill the memory before it is noticed.
_MOST = {
    "image_size": 16384,
    "num_maskmem": 1024,
    "max_pointers": 4096,
    "memory_layers": 256,
    "decoder_depth": 256,
}
_MOST |= {"stages": 1024, "global_blocks": 4096, "window_sizes": 1024, "background_size": 1024}
_SWITCHES = ("pointer_time_encoding", "spatial_no_object", "dynamic_stability")
_NUMBERS = ("rope_theta", "stability_delta", "stability_threshold", "sigmoid_scale", "sigmoid_bias")


def _check_value(name: str, value: object) -> None:
    """Raise ValueError when a setting has a wrong type, or is no number that a network could have."""
    if name in _SWITCHES:
        if not isinstance(value, bool):
            raise ValueError(f"{name} is true or false, not {value!r:.60}")
    elif name in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"{name} is a finite number, not {value!r:.60}")
    else:
        several = name in ("stages", "global_blocks", "window_sizes", "background_size")
        if several and not isinstance(value, tuple):
            raise ValueError(f"{name} is a list of whole numbers, not {value!r:.60}")
        least, most = 0 if several else 1, _MOST.get(name, 65536)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
                raise ValueError(
                    f"{name} is made of whole numbers from {least} to {most}, not {number!r:.60}"
                )


_PRESETS: dict[str, ModelConfig] = {
    "nano": ModelConfig(
        image_size=512,
        trunk_width=32,
        stages=(1, 2, 5, 2),
        global_blocks=(4, 6, 7),
        embed_dim=128,
        memory_dim=32,
        memory_layers=2,
        memory_feedforward=512,
        decoder_heads=4,
        decoder_feedforward=512,
        dynamic_stability=False,  # its edges are too soft to be "stable", and its three candidates know one click only
    ),
    "tiny": ModelConfig(),
    "small": ModelConfig(stages=(1, 2, 11, 2), global_blocks=(7, 10, 13)),
    "base_plus": ModelConfig(
        trunk_width=112,
        trunk_heads=2,
        stages=(2, 3, 16, 3),
        global_blocks=(12, 16, 20),
        background_size=(14, 14),
    ),
    "large": ModelConfig(
        trunk_width=144,
        trunk_heads=2,
        stages=(2, 6, 36, 4),
        global_blocks=(23, 33, 43),
        window_sizes=(8, 4, 16, 8),
    ),
}

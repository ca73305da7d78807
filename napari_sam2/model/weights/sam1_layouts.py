"""Segment Anything 1 in the layouts it is found in: Meta's, transformers', MobileSAM's, MedSAM's and micro-sam's.

All lead to one state dict under our names, and the network's sizes are read from the shapes in it: no such file needs a
configuration beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from napari_sam2.model.errors import CheckpointError
from napari_sam2.model.sam1.config import SamConfig, TinyVitConfig, VitConfig
from napari_sam2.model.sam1.instance_decoder import InstanceDecoder
from napari_sam2.model.sam1.sam import Sam
from napari_sam2.model.weights.key_mapping import WRAPPERS, from_meta, from_transformers

# Constants of every released network; the shapes of the weights don't show them.
DECODER_HEADS = 8
TINY_VIT_SIZE = 1024

_VIT = "image_encoder.pos_embed"
_TINY_VIT = "image_encoder.patch_embed.seq.0.c.weight"

# In files of third parties, or of MobileSAM's classifier; they are no part of what segments.
_UNUSED = re.compile(r"^(pixel_mean|pixel_std)$|^image_encoder\.(norm_)?head\.")

# Networks that extend SAM 1, by a part of one of their keys.
_EXTENDED = (
    (re.compile(r"lora|\.qkv\.qkv_proj\.|\.w_[ab]_linear_"), "LoRA layers"),
    (re.compile(r"FacT|\.q_(adapter|FacTs)|adapt", re.I), "adapter layers"),
    (
        re.compile(r"^mask_decoder\.(hf_|compress_vit_feat|embedding_(encoder|maskfeature))"),
        "the layers of SAM-HQ",
    ),
)

# transformers' vision encoder -> Meta's
_VISION_FROM_TRANSFORMERS: tuple[tuple[str, str], ...] = (
    (r"^vision_encoder\.", "image_encoder."),
    (r"\.layers\.(\d+)\.", r".blocks.\1."),
    (r"patch_embed\.projection\.", "patch_embed.proj."),
    (r"neck\.conv1\.", "neck.0."),
    (r"neck\.layer_norm1\.", "neck.1."),
    (r"neck\.conv2\.", "neck.2."),
    (r"neck\.layer_norm2\.", "neck.3."),
    (r"layer_norm(\d)\.", r"norm\1."),
)


@dataclass(frozen=True, eq=False)
class Sam1State:
    """The weights of a Segment Anything 1 file.

    Parameters
    ----------
    weights : mapping of str to Tensor
        Under the names of :class:`Sam`.
    decoder : mapping of str to Tensor, optional
        Of micro-sam's decoder for instances.
    """

    weights: dict[str, Tensor]
    decoder: dict[str, Tensor] | None = None


def read_sam1(content: Any) -> Sam1State | None:
    """Return the weights in what a file holds; None when it is no Segment Anything 1.

    Parameters
    ----------
    content : Any
        A flat state dict, or a dict around one under ``"model"``, ``"model_state"`` or the like.
    """
    if not isinstance(content, Mapping):
        return None
    inner = (content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping))
    flat = next(inner, content)
    state = {str(key): value for key, value in flat.items() if isinstance(value, Tensor)}
    for prefix in ("module.", "sam."):  # of data-parallel training, and of torch-em's trainer
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    if "vision_encoder.pos_embed" in state:
        state = _from_transformers(state)
    if not (_VIT in state or _TINY_VIT in state) or "mask_decoder.iou_token.weight" not in state:
        return None
    weights = {
        re.sub(r"\.mlp\.lin([12])\.", lambda m: f".mlp.layers.{int(m[1]) - 1}.", key): value
        for key, value in state.items()
        if not _UNUSED.search(key)
    }
    decoder = content.get("decoder_state")
    return Sam1State(weights, dict(decoder) if isinstance(decoder, Mapping) and decoder else None)


def _from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a transformers ``SamModel`` state dict to Meta's names."""
    out = {}
    rest = {}
    for key, value in state.items():
        if not key.startswith("vision_encoder."):
            rest[key.replace("prompt_encoder.point_embed.", "prompt_encoder.point_embeddings.")] = value
            continue
        for pattern, replacement in _VISION_FROM_TRANSFORMERS:
            key = re.sub(pattern, replacement, key)
        out[key] = value
    return out | from_meta(from_transformers(rest))


def to_meta_sam1(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename our keys to Meta's, for a file that other programs read."""
    pattern = r"(image_encoder\.blocks\.\d+|transformer\.layers\.\d+)\.mlp\.layers\.([01])\."
    return {re.sub(pattern, lambda m: f"{m[1]}.mlp.lin{int(m[2]) + 1}.", key): v for key, v in state.items()}


def config_of(state: Mapping[str, Tensor]) -> SamConfig:
    """Read a network's sizes from the shapes of its weights, under our names.

    Raises
    ------
    CheckpointError
        When the weights don't make such a network.
    """
    try:
        if _TINY_VIT in state:
            encoder: VitConfig | TinyVitConfig = _tiny_vit(state)
            image_size = TINY_VIT_SIZE
        else:
            encoder = _vit(state)
            image_size = state[_VIT].shape[1] * encoder.patch
        iou = _numbers(state, "mask_decoder.iou_prediction_head.layers.")
        layers = _numbers(state, "mask_decoder.transformer.layers.")
        return SamConfig(
            image_size,
            encoder,
            state["image_encoder.neck.0.weight"].shape[0],
            len(layers),
            DECODER_HEADS,
            state["mask_decoder.transformer.layers.0.mlp.layers.0.weight"].shape[0],
            state["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
            len(iou),
            state["mask_decoder.mask_tokens.weight"].shape[0],
        )
    except KeyError as error:
        raise CheckpointError(f"this Segment Anything 1 file lacks the weight {error}") from error


def _vit(state: Mapping[str, Tensor]) -> VitConfig:
    depth = len(_numbers(state, "image_encoder.blocks."))
    lengths = [len(state[f"image_encoder.blocks.{i}.attn.rel_pos_h"]) for i in range(depth)]
    side = state[_VIT].shape[1]
    # A file that was fine-tuned at another size can have resized only its positions: then the longer tables are global.
    longest = max(lengths) if len(set(lengths)) > 1 else 2 * side - 1
    local = [length for length in lengths if length != longest]
    first = "image_encoder.blocks.0."
    inside = state[first + "attn.qkv.weight"].shape[0] // 3
    return VitConfig(
        width=state[_VIT].shape[3],
        attention_width=inside,
        depth=depth,
        heads=inside // state[first + "attn.rel_pos_h"].shape[1],
        mlp_width=state[first + "mlp.layers.0.weight"].shape[0],
        global_blocks=tuple(i for i, length in enumerate(lengths) if length == longest),
        window=(local[0] + 1) // 2 if local else side,
        patch=state["image_encoder.patch_embed.proj.weight"].shape[-1],
    )


def _tiny_vit(state: Mapping[str, Tensor]) -> TinyVitConfig:
    stage = "image_encoder.layers.{}."
    depths = [len(_numbers(state, stage.format(i) + "blocks.")) for i in range(4)]
    biases = [state[stage.format(i) + "blocks.0.attn.attention_biases"].shape for i in (1, 2, 3)]
    width = [state[stage.format(0) + "blocks.0.conv3.c.weight"].shape[0]]
    width += [state[stage.format(i) + "blocks.0.attn.norm.weight"].shape[0] for i in (1, 2, 3)]
    known = TinyVitConfig()  # for the first stage, which has no attention
    side = [round(shape[1] ** 0.5) for shape in biases]
    return TinyVitConfig(
        widths=(width[0], width[1], width[2], width[3]),
        depths=(depths[0], depths[1], depths[2], depths[3]),
        heads=(known.heads[0], biases[0][0], biases[1][0], biases[2][0]),
        windows=(known.windows[0], side[0], side[1], side[2]),
    )


def _numbers(state: Mapping[str, Tensor], prefix: str) -> set[int]:
    return {int(key[len(prefix) :].split(".")[0]) for key in state if key.startswith(prefix)}


def build_sam1(found: Sam1State, path: object) -> Sam:
    """Build a network and put every weight in its place.

    Raises
    ------
    CheckpointError
        For a variant with layers that this implementation doesn't have (LoRA, adapters, SAM-HQ), and when a weight is
        missing, left over or of another shape.
    """
    weights = found.weights
    for pattern, layers in _EXTENDED:
        extended = next((key for key in weights if pattern.search(key)), None)
        if extended is not None:
            raise CheckpointError(
                f"{path} is a Segment Anything 1 with {layers} (such as {extended}), which can't be used as they are: "
                "merge them into the plain weights with the program that trained them, and load that file"
            )
    with torch.device("meta"):
        model = Sam(config_of(weights))
    wanted = model.state_dict()
    problems = [f"{key} is missing" for key in wanted if key not in weights]
    problems += [f"{key} is unexpected" for key in weights if key not in wanted]
    for key in wanted.keys() & weights.keys():
        if weights[key].shape != wanted[key].shape and not _resized_table(key, weights, wanted):
            problems.append(f"{key} is {tuple(weights[key].shape)}, needs {tuple(wanted[key].shape)}")
    if problems:
        raise CheckpointError(
            f"{path} does not fit a Segment Anything 1 network: {'; '.join(sorted(problems)[:3])} "
            f"({len(problems)} in all)"
        )
    broken = next((key for key, value in weights.items() if not torch.isfinite(value.float()).all()), None)
    if broken is not None:
        raise CheckpointError(f"{path} can't be used: {broken} has values that are NaN or infinite")
    # Assigned to a network without values: initialising 640 million weights first would take longer than reading them.
    model.load_state_dict({key: _full(value) for key, value in weights.items()}, assign=True)
    if found.decoder is not None:
        try:
            model.instance_decoder = InstanceDecoder.from_state(found.decoder)
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}") from error
    return model.eval()


def _full(value: Tensor) -> Tensor:
    return value.float().contiguous() if value.is_floating_point() else value


def _resized_table(key: str, weights: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> bool:
    """Bring a table of relative positions to the length that the image size needs, as the reference does when run."""
    if ".attn.rel_pos_" not in key:
        return False
    table = weights[key].float().T[None]  # (1, d, length)
    weights[key] = torch.nn.functional.interpolate(table, size=len(wanted[key]), mode="linear")[0].T
    return True


def describe_sam1(state: Sam1State) -> str:
    """Return a short name for people: ``"vit_b"``, or the size of the network."""
    config = config_of(state.weights)
    kind = config.name if config.name != "custom" else f"a network of its own for {config.image_size} pixels"
    return kind + (" with micro-sam's instance decoder" if state.decoder is not None else "")

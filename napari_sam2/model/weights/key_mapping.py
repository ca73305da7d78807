"""Names of the weights: ours, Meta's, and those of transformers, as one short two-way table each.

Inside the modules our parameter names are Meta's; only two prefixes differ. transformers renames more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

# Where training code puts the weights in a file.
WRAPPERS = ("model", "model_state", "model_state_dict", "state_dict")

# ours -> Meta's
META_PREFIXES = (("prompt_encoder.", "sam_prompt_encoder."), ("mask_decoder.", "sam_mask_decoder."))

_TOP = "shared_image_embedding.positional_embedding"  # transformers' second copy of the same buffer

# transformers -> Meta's; applied in order to every key
_FROM_TRANSFORMERS: tuple[tuple[str, str], ...] = (
    (r"^vision_encoder\.backbone\.", "image_encoder.trunk."),
    (r"^vision_encoder\.neck\.convs\.(\d)\.", r"image_encoder.neck.convs.\1.conv."),
    (r"patch_embed\.projection\.", "patch_embed.proj."),
    (r"^prompt_encoder\.", "sam_prompt_encoder."),
    (r"^mask_decoder\.", "sam_mask_decoder."),
    (r"shared_embedding\.positional_embedding$", "pe_layer.positional_encoding_gaussian_matrix"),
    (r"mask_embed\.conv1\.", "mask_downscaling.0."),
    (r"mask_embed\.layer_norm1\.", "mask_downscaling.1."),
    (r"mask_embed\.conv2\.", "mask_downscaling.3."),
    (r"mask_embed\.layer_norm2\.", "mask_downscaling.4."),
    (r"mask_embed\.conv3\.", "mask_downscaling.6."),
    (r"upscale_conv1\.", "output_upscaling.0."),
    (r"upscale_layer_norm\.", "output_upscaling.1."),
    (r"upscale_conv2\.", "output_upscaling.3."),
    (r"^object_pointer_proj\.", "obj_ptr_proj."),
    # three-layer MLPs
    (
        r"(output_hypernetworks_mlps\.\d|iou_prediction_head|pred_obj_score_head|obj_ptr_proj)\.layers\.0\.",
        r"\1.layers.1.",
    ),
    (
        r"(output_hypernetworks_mlps\.\d|iou_prediction_head|pred_obj_score_head|obj_ptr_proj)\.proj_in\.",
        r"\1.layers.0.",
    ),
    (
        r"(output_hypernetworks_mlps\.\d|iou_prediction_head|pred_obj_score_head|obj_ptr_proj)\.proj_out\.",
        r"\1.layers.2.",
    ),
    # two-layer MLPs
    (r"\.mlp\.proj_in\.", ".mlp.layers.0."),
    (r"\.mlp\.proj_out\.", ".mlp.layers.1."),
    (r"memory_fuser\.", "fuser."),
    (r"depthwise_conv\.", "dwconv."),
    (r"pointwise_conv(\d)\.", r"pwconv\1."),
    (r"(fuser\.layers\.\d)\.scale$", r"\1.gamma"),
    (r"(fuser\.layers\.\d)\.layer_norm\.", r"\1.norm."),
    (r"feature_projection\.", "pix_feat_proj."),
    (r"^memory_encoder\.projection\.", "memory_encoder.out_proj."),
    (r"mask_downsampler\.final_conv\.", "mask_downsampler.encoder.12."),
    (r"^memory_attention\.layer_norm\.", "memory_attention.norm."),
    (r"layer_norm_final_attn\.", "norm_final_attn."),
    (r"layer_norm(\d)\.", r"norm\1."),
    (r"\.o_proj\.", ".out_proj."),
    (r"^no_memory_embedding$", "no_mem_embed"),
    (r"^no_memory_positional_encoding$", "no_mem_pos_enc"),
    (r"^memory_temporal_positional_encoding$", "maskmem_tpos_enc"),
    (r"^no_object_pointer$", "no_obj_ptr"),
    (r"^temporal_positional_encoding_projection_layer\.", "obj_ptr_tpos_proj."),
    (r"^occlusion_spatial_embedding_parameter$", "no_obj_embed_spatial"),
)


def is_transformers_layout(keys: Mapping[str, object]) -> bool:
    """Return whether a checkpoint's keys are those that transformers writes."""
    return any(key.startswith("vision_encoder.") for key in keys)


def from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a transformers ``Sam2VideoModel`` state dict to Meta's names."""
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        if key == _TOP:
            continue
        if key == "prompt_encoder.point_embed.weight":
            for index, row in enumerate(value):
                out[f"sam_prompt_encoder.point_embeddings.{index}.weight"] = row[None]
            continue
        out[_meta_name(key)] = value
    return out


def _meta_name(key: str) -> str:
    if match := re.match(r"memory_encoder\.mask_downsampler\.layers\.(\d)\.(conv|layer_norm)\.(.*)", key):
        index = int(match[1]) * 3 + (match[2] == "layer_norm")
        return f"memory_encoder.mask_downsampler.encoder.{index}.{match[3]}"
    for pattern, replacement in _FROM_TRANSFORMERS:
        key = re.sub(pattern, replacement, key)
    return key


def from_meta(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename Meta's keys to ours."""
    return {_swap_prefix(key, to_meta=False): value for key, value in state.items()}


def to_meta(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename our keys to Meta's."""
    return {_swap_prefix(key, to_meta=True): value for key, value in state.items()}


def _swap_prefix(key: str, to_meta: bool) -> str:
    for ours, theirs in META_PREFIXES:
        old, new = (ours, theirs) if to_meta else (theirs, ours)
        if key.startswith(old):
            return new + key[len(old) :]
    return key

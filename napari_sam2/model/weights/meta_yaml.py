"""Read the YAML files that Meta's training code writes, so that a fine-tuned ``.pt`` finds its network.

Every key of the ``model:`` tree is known by name: it sets a field of :class:`ModelConfig`, or it must have the
one value that this implementation has built in, or it only matters for training. Anything else is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from napari_sam2.model.config import ModelConfig

_TRUNK = "image_encoder.trunk."
_ATTENTION = "memory_attention.layer."

# key in the YAML -> field of ModelConfig
_FIELDS = {
    "image_size": "image_size",
    "num_maskmem": "num_maskmem",
    "max_obj_ptrs_in_encoder": "max_pointers",
    "sigmoid_scale_for_mem_enc": "sigmoid_scale",
    "sigmoid_bias_for_mem_enc": "sigmoid_bias",
    "add_tpos_enc_to_obj_ptrs": "pointer_time_encoding",
    "no_obj_embed_spatial": "spatial_no_object",
    "memory_encoder.out_dim": "memory_dim",
    "memory_attention.num_layers": "memory_layers",
    "memory_attention.d_model": "embed_dim",
    _ATTENTION + "dim_feedforward": "memory_feedforward",
    _ATTENTION + "self_attention.num_heads": "memory_heads",
    _ATTENTION + "self_attention.rope_theta": "rope_theta",
    _TRUNK + "embed_dim": "trunk_width",
    _TRUNK + "num_heads": "trunk_heads",
    _TRUNK + "stages": "stages",
    _TRUNK + "global_att_blocks": "global_blocks",
    _TRUNK + "window_spec": "window_sizes",
    _TRUNK + "window_pos_embed_bkg_spatial_size": "background_size",
    "sam_mask_decoder_extra_args.dynamic_multimask_via_stability": "dynamic_stability",
    "sam_mask_decoder_extra_args.dynamic_multimask_stability_delta": "stability_delta",
    "sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh": "stability_threshold",
}

# What a YAML that is silent gets: the defaults of the reference's constructors, not those of ModelConfig.
_REFERENCE_DEFAULTS: dict[str, Any] = {
    "image_size": 512,
    "sigmoid_scale": 1.0,
    "sigmoid_bias": 0.0,
    "pointer_time_encoding": False,
    "spatial_no_object": False,
    "background_size": (14, 14),
    "window_sizes": (8, 4, 14, 7),
}

# The only value that is supported, for switches that no released model sets otherwise.
BUILT_IN: dict[str, Any] = {
    "image_encoder.scalp": 1,
    "image_encoder.neck.fpn_top_down_levels": [2, 3],
    "image_encoder.neck.fpn_interp_model": "nearest",
    "image_encoder.neck.position_encoding.normalize": True,
    "image_encoder.neck.position_encoding.scale": None,
    "image_encoder.neck.position_encoding.temperature": 10000,
    _TRUNK + "dim_mul": 2.0,
    _TRUNK + "head_mul": 2.0,
    _TRUNK + "q_pool": 3,
    _TRUNK + "q_stride": [2, 2],
    _TRUNK + "return_interm_layers": True,
    "memory_attention.pos_enc_at_input": True,
    _ATTENTION + "activation": "relu",
    _ATTENTION + "pos_enc_at_attn": False,
    _ATTENTION + "pos_enc_at_cross_attn_keys": True,
    _ATTENTION + "pos_enc_at_cross_attn_queries": False,
    _ATTENTION + "self_attention.downsample_rate": 1,
    _ATTENTION + "cross_attention.downsample_rate": 1,
    _ATTENTION + "cross_attention.rope_k_repeat": True,
    "memory_encoder.position_encoding.normalize": True,
    "memory_encoder.position_encoding.scale": None,
    "memory_encoder.position_encoding.temperature": 10000,
    "memory_encoder.mask_downsampler.kernel_size": 3,
    "memory_encoder.mask_downsampler.stride": 2,
    "memory_encoder.mask_downsampler.padding": 1,
    "memory_encoder.fuser.num_layers": 2,
    "memory_encoder.fuser.layer.kernel_size": 7,
    "memory_encoder.fuser.layer.padding": 3,
    "memory_encoder.fuser.layer.use_dwconv": True,
    "use_mask_input_as_output_without_sam": True,
    "directly_add_no_mem_embed": True,
    "use_high_res_features_in_sam": True,
    "multimask_output_in_sam": True,
    "iou_prediction_use_sigmoid": True,
    "use_obj_ptrs_in_encoder": True,
    "only_obj_ptrs_in_the_past_for_eval": True,
    "pred_obj_scores": True,
    "pred_obj_scores_mlp": True,
    "fixed_no_obj_ptr": True,
    "soft_no_obj_ptr": False,
    "multimask_output_for_tracking": True,
    "use_multimask_token_for_obj_ptr": True,
    "multimask_min_pt_num": 0,
    "multimask_max_pt_num": 1,
    "use_mlp_for_obj_ptr_proj": True,
    "backbone_stride": 16,
    "non_overlap_masks_for_mem_enc": False,
}

# Says how a video is tracked, which is no property of a network: read by the reference's video predictor only.
_INFERENCE = (
    "max_cond_frames_in_attn",
    "memory_temporal_stride_for_eval",
    "add_all_frames_to_correct_as_cond",
    "binarize_mask_from_pts_for_mem_enc",
    "clear_non_cond_mem_around_input",
    "fill_hole_area",
    "non_overlap_masks",
)

# Switches that must be said, because the reference's default is the unsupported value.
_MUST_BE_SAID = (
    "use_mask_input_as_output_without_sam",
    "directly_add_no_mem_embed",
    "use_high_res_features_in_sam",
    "multimask_output_in_sam",
    "iou_prediction_use_sigmoid",
    "use_obj_ptrs_in_encoder",
    "pred_obj_scores",
    "pred_obj_scores_mlp",
    "fixed_no_obj_ptr",
    "multimask_output_for_tracking",
    "use_multimask_token_for_obj_ptr",
    "use_mlp_for_obj_ptr_proj",
)

# Must agree with another field; checked by the weights when they are loaded.
_FOLLOWS = re.compile(
    r"(\.(d_model|embedding_dim|dim|num_pos_feats|kv_in_dim|feat_sizes|backbone_channel_list)"
    r"|cross_attention\.(num_heads|rope_theta)"
    r"|proj_tpos_enc_in_obj_ptrs|use_signed_tpos_enc_to_obj_ptrs)$"
)

# Says something about training, or about how the reference runs, and nothing about the network.
_TRAINING = re.compile(
    r"(^|\.)(dropout|drop_path_rate|layer_scale_init_value|compile_image_encoder|weights_path)$"
    r"|^(prob_to_|num_frames_to_|num_init_cond_frames|num_correction_pt|num_frames_to_correct|rand_|freeze_|"
    r"use_act_ckpt|forward_backbone_per_frame|pt_sampling|clear_non_cond_mem_for_multi_obj)"
)


def read_reference_yaml(path: str | Path) -> ModelConfig:
    """Read the network's configuration from a YAML file of the reference.

    Parameters
    ----------
    path : path
        A released configuration, or what the reference's training code wrote (``model:`` or ``trainer: model:``).

    Raises
    ------
    ValueError
        When the file is not such a YAML, or sets a switch that is not supported; the message names the key.
    FileNotFoundError
        When there is no such file.
    """
    return _config(_switches(Path(path)), Path(path))


def read_inference_switches(path: str | Path) -> dict[str, Any]:
    """Read what a YAML file of the reference says about tracking, under the reference's names.

    Raises as :func:`read_reference_yaml` does.
    """
    return {key: value for key, value in _switches(Path(path)).items() if key in _INFERENCE}


def _switches(file: Path) -> dict[str, Any]:
    """Return everything below ``model:``, by dotted name."""
    try:
        whole = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not a YAML file: {error}") from error
    tree = _model_tree(whole, file)
    return {key: _resolved(value, whole, file) for key, value in _leaves(tree)}


def _model_tree(whole: Any, file: Path) -> Mapping[str, Any]:
    for names in (("model",), ("trainer", "model")):
        tree = whole
        for name in names:
            tree = tree.get(name) if isinstance(tree, dict) else None
        if isinstance(tree, dict) and "image_encoder" in tree:
            return tree
    raise ValueError(f"{file} has no 'model:' tree with an 'image_encoder': it is not a SAM 2 configuration")


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        elif key != "_target_":
            yield f"{prefix}{key}", value


def _resolved(value: Any, whole: Any, file: Path) -> Any:
    """Follow one reference like ``${scratch.resolution}``."""
    match = re.fullmatch(r"\$\{([\w.]+)\}", value) if isinstance(value, str) else None
    if match is None:
        return value
    found = whole
    for name in match[1].split("."):
        found = found.get(name) if isinstance(found, dict) else None
    if found is None or isinstance(found, (dict, str)):
        raise ValueError(f"{file}: {value} points to nothing that can be read; write the value in its place")
    return found


def _config(flat: Mapping[str, Any], file: Path) -> ModelConfig:
    values = dict(_REFERENCE_DEFAULTS)
    for key, value in flat.items():
        if key in _FIELDS:
            values[_FIELDS[key]] = tuple(value) if isinstance(value, list) else value
        elif key in BUILT_IN:
            if value != BUILT_IN[key]:
                raise ValueError(f"{file}: {key}={value!r} is not supported, only {BUILT_IN[key]!r} is")
        elif key not in _INFERENCE and not _FOLLOWS.search(key) and not _TRAINING.search(key):
            raise ValueError(f"{file}: unknown switch {key}={value!r}")
    for key in _MUST_BE_SAID:
        if key not in flat:
            raise ValueError(f"{file}: {key} is missing; only networks with {key}=true are supported")
    missing = sorted({"trunk_width", "trunk_heads", "stages", "global_blocks"} - set(values))
    if missing:
        raise ValueError(f"{file}: the trunk's {missing[0]} is missing")
    try:
        return ModelConfig(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: {error}") from error

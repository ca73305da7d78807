"""Weights that any machine can make again, bit for bit, from a parameter's name in Meta's checkpoints.

The reference's outputs in this folder were computed with these weights, so no checkpoint has to be shipped.
"""

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from napari_sam2.model.config import ModelConfig
from napari_sam2.model.sam2 import Sam2
from napari_sam2.model.weights.key_mapping import from_meta, to_meta

SMALL = ModelConfig(image_size=256, trunk_width=32, stages=(1, 2, 3, 1), global_blocks=(4, 5))
SMALL_20 = replace(SMALL, pointer_time_encoding=False, spatial_no_object=False)
HERE = Path(__file__).parent
SHARED = Path(__file__).parents[3] / "shared" / "golden"

_HALF = ("maskmem_tpos_enc", "no_mem_embed", "no_mem_pos_enc", "no_obj_ptr", "no_obj_embed_spatial")
_TOKENS = (
    "iou_token",
    "mask_tokens",
    "obj_score_token",
    "point_embeddings",
    "not_a_point_embed",
    "no_mask_embed",
)

# Biases of heads: most objects are there, and masks are thought to be good.
_HEADS = {
    "sam_mask_decoder.pred_obj_score_head.layers.2.bias": 1.5,
    "mask_decoder.iou_prediction_head.layers.2.bias": 0.8,  # Segment Anything 1, whose head has no sigmoid
}


def make_parameter(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of one parameter of Meta's checkpoints of SAM 2 or SAM 1, rounded to float16."""
    x = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "positional_encoding_gaussian_matrix":
        y = x
    elif leaf == "gamma":
        y = 0.3 + 0.1 * x
    elif name in _HALF:
        y = 0.5 * x
    elif "pos_embed" in name or leaf.startswith("rel_pos"):
        y = 0.3 * x
    elif any(token in name for token in _TOKENS):
        y = 0.7 * x
    elif leaf == "weight" and len(shape) == 1:
        y = 1.0 + 0.1 * x
    elif leaf == "bias":
        y = 0.05 * x + _HEADS.get(name, 0.0)
    elif leaf == "weight":
        y = _gain(name) * x / np.sqrt(shape[0] if "output_upscaling" in name else np.prod(shape[1:]))
    else:
        y = 0.1 * x
    return y.astype(np.float16)


def _gain(name: str) -> float:
    if "output_hypernetworks_mlps" in name and ".layers.2." in name:
        return 3.0
    if name.startswith("mask_decoder.iou_prediction_head.layers.2"):
        return 0.5
    if name.startswith("mask_downsample"):
        return 4.0
    if name.startswith("memory_attention") and ".out_proj." in name:
        return 1.5
    return 1.6 if ".q_proj." in name or ".k_proj." in name else 1.0


def recipe_state(model: Sam2, occluded: bool = False) -> dict[str, torch.Tensor]:
    """State dict under Meta's names; ``occluded`` makes some objects absent and some masks unstable."""
    state = {
        name: torch.from_numpy(make_parameter(name, tuple(value.shape)).astype(np.float32))
        for name, value in to_meta(model.state_dict()).items()
    }
    if occluded:
        state["sam_mask_decoder.pred_obj_score_head.layers.2.weight"] *= 8
        state["sam_mask_decoder.pred_obj_score_head.layers.2.bias"][:] = -1.6
        for i in range(4):
            for leaf in ("weight", "bias"):
                state[f"sam_mask_decoder.output_hypernetworks_mlps.{i}.layers.2.{leaf}"] *= 0.25
    return state


def recipe_model(config: ModelConfig = SMALL, occluded: bool = False) -> Sam2:
    """Network with the recipe's weights, ready for inference."""
    model = Sam2(config)
    model.load_state_dict(from_meta(recipe_state(model, occluded)), strict=True)
    return model.requires_grad_(False).eval()

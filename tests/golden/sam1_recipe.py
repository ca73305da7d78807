"""Small Segment Anything 1 networks with weights that any machine can make again, and files of them in every layout."""

import re

import numpy as np
import torch

from napari_sam2.model.sam1.config import SamConfig, TinyVitConfig, VitConfig
from napari_sam2.model.sam1.sam import Sam
from napari_sam2.model.weights.sam1_layouts import to_meta_sam1
from tests.golden.recipe import make_parameter

TINY = SamConfig(256, VitConfig(64, 64, 4, 2, 256, (1, 3), 7))
MOBILE = SamConfig(1024, TinyVitConfig((8, 16, 20, 40), (1, 1, 2, 1), (2, 2, 2, 4), (7, 7, 14, 7)))
# How much is taken off each mask's logits in the variant for automatic masks.
_OFFSETS = (31.0, -8.6, -16.0, 21.7)


def meta_state(config: SamConfig = TINY, blobs: bool = False) -> dict[str, torch.Tensor]:
    """State dict as Meta saves it; ``blobs`` makes masks of all sizes instead of masks as large as the image."""
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in to_meta_sam1(Sam(config).state_dict()).items()}
    state = {}
    for name, shape in shapes.items():
        if name.endswith("running_var"):
            values = np.ones(shape)
        elif name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1)
            continue
        else:
            values = make_parameter(name, shape)
        state[name] = torch.from_numpy(np.asarray(values, np.float32))
    return _blobs(state) if blobs else state


def _blobs(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Make masks smooth, and take a constant off each."""
    up = "mask_decoder.output_upscaling."
    for i in (0, 3):
        weight = state[f"{up}{i}.weight"]
        state[f"{up}{i}.weight"] = weight[:, :, :1, :1].expand(weight.shape).clone()
    state[up + "3.weight"][:, 0] = 0.0
    state[up + "3.bias"][0] = 1.0
    for i, offset in enumerate(_OFFSETS):
        head = f"mask_decoder.output_hypernetworks_mlps.{i}.layers.2."
        state[head + "weight"] *= 4.0
        state[head + "bias"] *= 4.0
        state[head + "weight"][0] = 0.0
        state[head + "bias"][0] = -offset
    return state


def transformers_state(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same weights under the names that transformers' ``SamModel`` gives them."""
    table = (
        (r"^image_encoder\.blocks\.", "vision_encoder.layers."),
        (r"^image_encoder\.neck\.0\.", "vision_encoder.neck.conv1."),
        (r"^image_encoder\.neck\.1\.", "vision_encoder.neck.layer_norm1."),
        (r"^image_encoder\.neck\.2\.", "vision_encoder.neck.conv2."),
        (r"^image_encoder\.neck\.3\.", "vision_encoder.neck.layer_norm2."),
        (r"^image_encoder\.", "vision_encoder."),
        (r"patch_embed\.proj\.", "patch_embed.projection."),
        (r"\.norm(\d|_final_attn)\.", r".layer_norm\1."),
        (r"pe_layer\.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
        (r"point_embeddings\.", "point_embed."),
        (r"mask_downscaling\.0\.", "mask_embed.conv1."),
        (r"mask_downscaling\.1\.", "mask_embed.layer_norm1."),
        (r"mask_downscaling\.3\.", "mask_embed.conv2."),
        (r"mask_downscaling\.4\.", "mask_embed.layer_norm2."),
        (r"mask_downscaling\.6\.", "mask_embed.conv3."),
        (r"output_upscaling\.0\.", "upscale_conv1."),
        (r"output_upscaling\.1\.", "upscale_layer_norm."),
        (r"output_upscaling\.3\.", "upscale_conv2."),
        (r"(mlps\.\d|prediction_head)\.layers\.0\.", r"\1.proj_in."),
        (r"(mlps\.\d|prediction_head)\.layers\.1\.", r"\1.layers.0."),
        (r"(mlps\.\d|prediction_head)\.layers\.2\.", r"\1.proj_out."),
    )
    out = {}
    for key, value in state.items():
        for pattern, replacement in table:
            key = re.sub(pattern, replacement, key)
        out[key] = value
    shared = out["prompt_encoder.shared_embedding.positional_embedding"]
    return out | {"shared_image_embedding.positional_embedding": shared.clone()}

"""Attributes of Meta's video predictor and network, which scripts read and set on a finished predictor."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from napari_sam2.model.sam2 import Sam2
from napari_sam2.model.weights.key_mapping import from_meta, to_meta
from napari_sam2.model.weights.meta_yaml import BUILT_IN
from napari_sam2.reference.hydra_overrides import MODEL_FIELDS, PREDICTOR_FIELDS, checked_setting
from napari_sam2.session.options import SessionOptions

# Parts of the network, by Meta's names.
_PARTS = {
    "image_encoder": "image_encoder",
    "memory_attention": "memory_attention",
    "memory_encoder": "memory_encoder",
    "sam_prompt_encoder": "prompt_encoder",
    "sam_mask_decoder": "mask_decoder",
    "mask_downsample": "mask_downsample",
    "obj_ptr_proj": "obj_ptr_proj",
    "obj_ptr_tpos_proj": "obj_ptr_tpos_proj",
    "maskmem_tpos_enc": "maskmem_tpos_enc",
    "no_mem_embed": "no_mem_embed",
    "no_mem_pos_enc": "no_mem_pos_enc",
    "no_obj_ptr": "no_obj_ptr",
    "no_obj_embed_spatial": "no_obj_embed_spatial",
}
# Methods and attributes of a torch.nn.Module that hold for the network.
_OF_THE_MODULE = (
    "parameters named_parameters buffers named_buffers modules named_modules children named_children training"
).split()
_SIZES = {"hidden_dim": "embed_dim", "mem_dim": "memory_dim"}
_OWN = ("model", "options")


class PredictorAttributes:
    """A network and session options that can be read and set by Meta's names, as a ``torch.nn.Module``.

    What is set acts on all that is computed from then on, also with states that exist already. Unknown attributes
    are refused.
    """

    model: Sam2
    options: SessionOptions

    def __getattr__(self, name: str) -> Any:
        if name in _OWN:
            raise AttributeError(name)  # not set yet
        if name in PREDICTOR_FIELDS:
            value = getattr(self.options, PREDICTOR_FIELDS[name][0])
            return self.model.config.num_maskmem if name == "num_maskmem" and value == -1 else value
        if name in MODEL_FIELDS:
            return getattr(self.model.config, MODEL_FIELDS[name][0])
        if name in _SIZES:
            return getattr(self.model.config, _SIZES[name])
        if name in BUILT_IN:
            return BUILT_IN[name]
        if name in _OF_THE_MODULE or name in _PARTS:
            return getattr(self.model, _PARTS.get(name, name))
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN:
            object.__setattr__(self, name, value)
        elif name in PREDICTOR_FIELDS:
            field, kind = PREDICTOR_FIELDS[name]
            self.options = replace(
                self.options, **{field: checked_setting(name, value, kind, SessionOptions, field)}
            )
        elif name == "image_size":
            raise AttributeError(
                "image_size is fixed once a predictor is built: build it with "
                f"hydra_overrides_extra=['++model.image_size={value}']"
            )
        elif name in MODEL_FIELDS:
            field, kind = MODEL_FIELDS[name]
            checked = checked_setting(name, value, kind, self.model.config.__class__, field)
            for part in (self.model, self.model.mask_decoder):
                part.config = replace(part.config, **{field: checked})
        elif name in BUILT_IN:
            if value != BUILT_IN[name]:
                raise AttributeError(f"{name}={value!r} is not supported, only {BUILT_IN[name]!r} is")
        else:
            known = ", ".join(sorted({*PREDICTOR_FIELDS, *MODEL_FIELDS} - {"image_size"}))
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r} that could be set; these can be: {known}"
            )

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return self.model.device

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Move the network to a device, or compute in another precision; existing states stay as they are."""
        device, dtype, _, _ = torch._C._nn._parse_to(*args, **kwargs)
        if dtype is not None:
            self.model.compute_dtype = dtype
        if device is not None:
            self.model.to(device)
        return self

    def cuda(self, device: int | torch.device | None = None) -> Any:
        """Move the network to a CUDA device."""
        return self.to(
            torch.device("cuda", device) if isinstance(device, int) else device or torch.device("cuda")
        )

    def cpu(self) -> Any:
        """Move the network to the CPU."""
        return self.to("cpu")

    def half(self) -> Any:
        """Compute in float16; the weights stay float32."""
        return self.to(torch.float16)

    def bfloat16(self) -> Any:
        """Compute in bfloat16; the weights stay float32."""
        return self.to(torch.bfloat16)

    def float(self) -> Any:
        """Compute in float32."""
        return self.to(torch.float32)

    def eval(self) -> Any:
        """Put the network into evaluation mode."""
        return self.train(False)

    def train(self, mode: bool = True) -> Any:
        """Put the network into training mode; a session puts it back into evaluation mode."""
        self.model.train(mode)
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Set whether gradients are computed for the weights."""
        self.model.requires_grad_(requires_grad)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights under Meta's names."""
        return to_meta(self.model.state_dict())

    def load_state_dict(self, state_dict: dict[str, Tensor], strict: bool = True) -> Any:
        """Load weights under Meta's names."""
        return self.model.load_state_dict(from_meta(state_dict), strict=strict)


def state_options(wanted: SessionOptions, current: SessionOptions) -> SessionOptions:
    """Return options of a session that follow the predictor's, apart from those chosen when the state was made."""
    kept = {"precision", "memory_dtype", "store_dtype", "resize", "offload_memories"}
    kept |= {"feature_cache_mb", "feature_spill_mb", "objects_per_batch"}
    changed = {f.name: getattr(wanted, f.name) for f in fields(wanted) if f.name not in kept}
    return replace(current, **changed)

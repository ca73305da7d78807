"""Meta's builders of networks: from a configuration name, a YAML file or a model name."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import torch

from napari_sam2.model.config import ModelConfig
from napari_sam2.model.device import choose_device
from napari_sam2.model.sam2 import Sam2
from napari_sam2.model.weights.checkpoints import load_model
from napari_sam2.model.weights.meta_yaml import read_reference_yaml
from napari_sam2.model.weights.registry import RELEASED
from napari_sam2.reference.hydra_overrides import parse_overrides

_SIZES = {"t": "tiny", "s": "small", "b+": "base_plus", "l": "large"}
_CONFIG_NAME = re.compile(r"(?:.*/)?sam2(\.1)?_hiera_(t|s|b\+|l)(?:\.ya?ml)?")
Device = str | torch.device


def build_sam2(
    config_file: str,
    ckpt_path: str | None = None,
    device: Device = "cuda",
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    **kwargs: Any,
) -> Sam2:
    """Build a network (Meta's ``build_sam2``).

    Parameters
    ----------
    config_file : str
        A released configuration such as ``configs/sam2.1/sam2.1_hiera_t.yaml``, the path of a YAML file, or a model
        name such as ``"nano"`` or ``"tiny"``, which brings its weights.
    ckpt_path : str, optional
        A checkpoint; without one the weights are random, unless a model name was given.
    device : str or torch.device
        ``"auto"`` is understood, too. Where CUDA is asked for and absent, the best device of this machine is taken,
        with a warning.
    mode : {"eval", "train"}
        Anything but ``"eval"`` leaves the network in training mode.
    hydra_overrides_extra : sequence of str
        ``"++model.name=value"``; unknown names are refused.
    apply_postprocessing : bool
        Replace unstable single masks by the best of three.
    **kwargs : Any
        Ignored, as in the reference.
    """
    settings = {"dynamic_stability": bool(apply_postprocessing)} | dict(
        parse_overrides(hydra_overrides_extra).model
    )
    name, target = str(config_file), _device(device)
    config = _config(name)
    if config is None:
        if ckpt_path is not None:
            raise ValueError(f"{name!r} is no configuration, so it cannot go with {ckpt_path!r}")
        network = _named(name, target, settings)
    elif ckpt_path is not None:
        network = load_model(ckpt_path, target, torch.float32, config=replace(config, **settings))
    elif name == "nano" or name in RELEASED:
        network = _named(name, target, settings)
    else:
        network = Sam2(replace(config, **settings)).to(target)
    return network.eval() if mode == "eval" else network.train()


def build_sam2_hf(model_id: str, **kwargs: Any) -> Sam2:
    """Build a network from a hub repository (Meta's ``build_sam2_hf``).

    Parameters
    ----------
    model_id : str
        Repository of a released model, such as ``"facebook/sam2.1-hiera-tiny"``; its checkpoint is downloaded once.
    **kwargs : Any
        As for :func:`build_sam2`.

    Returns
    -------
    Sam2
        With the weights of the repository.
    """
    return build_sam2(model_name(model_id), **kwargs)


def model_name(model_id: str) -> str:
    """Return the name of a released model for its hub repository; anything else is returned as it is."""
    names = [model.name for model in RELEASED.values() if model.repository == model_id]
    return names[0] if names else model_id


def _named(name: str, device: torch.device, settings: dict[str, Any]) -> Sam2:
    """Load a model by name or repository; how it computes is changed afterwards, its weights are not."""
    network = load_model(name, device, torch.float32)
    config = replace(network.config, **settings)
    if config == network.config:
        return network
    changed = Sam2(config)
    changed.load_state_dict(network.state_dict(), strict=True)
    changed.origin = network.origin
    return changed.requires_grad_(False).to(device)


def _config(name: str) -> ModelConfig | None:
    """Return the configuration that a name stands for; None for a hub repository."""
    if Path(name).is_file():
        return read_reference_yaml(name)
    match = _CONFIG_NAME.fullmatch(name)
    if match is not None:
        return ModelConfig.preset(_SIZES[match[2]], cast(Literal["2.0", "2.1"], "2" + (match[1] or ".0")))
    if name == "nano":
        return ModelConfig.preset("nano")
    if name in RELEASED:
        return ModelConfig.preset(RELEASED[name].size, RELEASED[name].version)
    if name.endswith((".yaml", ".yml")) or name.count("/") != 1:
        raise ValueError(
            f"unknown configuration {name!r}: use 'configs/sam2.1/sam2.1_hiera_t.yaml' (or s, b+, l; or sam2), the "
            f"path of a YAML file, or one of {', '.join(['nano', *RELEASED])}"
        )
    return None


def _device(device: Device) -> torch.device:
    if str(device).startswith("cuda") and not torch.cuda.is_available():
        found = choose_device("auto")
        warnings.warn(f"CUDA is not available here, so {found} is used", UserWarning, stacklevel=3)
        return found
    return choose_device(device)

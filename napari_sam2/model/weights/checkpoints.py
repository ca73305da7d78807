"""Load weights: by name, from a file in Meta's or transformers' layout, or from a hub repository."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from napari_sam2.model.config import ModelConfig, ModelName
from napari_sam2.model.device import DeviceName, choose_device, half_precision
from napari_sam2.model.errors import CheckpointError
from napari_sam2.model.sam2 import Sam2
from napari_sam2.model.tensors import ModelOrigin
from napari_sam2.model.weights.download import Progress, fetch_released, fetch_repository, file_sha256
from napari_sam2.model.weights.key_mapping import from_meta, from_transformers, is_transformers_layout
from napari_sam2.model.weights.meta_yaml import read_reference_yaml
from napari_sam2.model.weights.registry import NANO_FILE, RELEASED

DtypeName = Literal["auto", "float32", "bfloat16", "float16"]


def load_model(
    name_or_path: str | Path,
    device: DeviceName | torch.device = "auto",
    dtype: DtypeName | torch.dtype = "auto",
    config: ModelConfig | str | Path | None = None,
    progress: Progress | None = None,
) -> Sam2:
    """Load a SAM 2 network with its weights, ready for inference.

    Parameters
    ----------
    name_or_path : str or path
        ``"nano"`` (embedded), a released model (``"tiny"``, ``"small"``, ``"base_plus"``, ``"large"``, or with
        ``"-2.0"`` appended), a ``.pt`` or ``.safetensors`` file, or a hub repository like ``"owner/name"``.
    device : str or torch.device
        ``"auto"`` takes CUDA, then MPS, then the CPU.
    dtype : str or torch.dtype
        What the networks compute in. ``"auto"``: bfloat16 on a CUDA device that has it, else float32. The weights
        stay float32; sessions read this choice from ``model.compute_dtype``.
    config : ModelConfig or path, optional
        Only for a file with a network of its own; a path is a YAML file of Meta's training code.
    progress : callable, optional
        Called with (bytes done, bytes in total) while downloading.

    Returns
    -------
    Sam2
        In evaluation mode, without gradients, with ``model.origin`` (:class:`ModelOrigin`).

    Raises
    ------
    CheckpointError
        When the weights cannot be found, read or fitted; a subclass of ValueError.
    """
    name = str(name_or_path)
    path = find_weights(name, progress)
    state, stored = read_checkpoint(path)
    network = _network_config(path, state, config, stored, name)
    model = build_model(network, state, path)
    target = choose_device(device)
    model.compute_dtype = choose_dtype(dtype, target)
    model.origin = ModelOrigin(name, str(path), file_sha256(path))
    return model.requires_grad_(False).eval().to(target)


def find_weights(name: str, progress: Progress | None = None) -> Path:
    """Return the file behind a model name, path or hub repository, downloading it when needed."""
    if name == "nano":
        if not NANO_FILE.is_file():
            raise CheckpointError(f"the embedded model is missing from this installation ({NANO_FILE})")
        return NANO_FILE
    if name in RELEASED:
        return fetch_released(RELEASED[name], progress)
    path = Path(name).expanduser()
    if path.is_file():
        return path
    looks_like_file = path.suffix in (".pt", ".pth", ".safetensors", ".yaml") or path.is_dir()
    if looks_like_file or name.count("/") != 1 or path.parent.is_dir():
        raise CheckpointError(
            f"there is no weight file '{name}', and no model of that name: "
            f"choose one of {', '.join(['nano', *RELEASED])}, or give the path of a .pt or .safetensors file"
        )
    return fetch_repository(name, progress)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], ModelConfig | None]:
    """Read a file's weights under our names, and the configuration if the file carries one.

    Raises
    ------
    CheckpointError
        When the file is truncated, of a foreign kind, or would have to run code to be read.
    """
    stored = None
    if path.suffix == ".safetensors":
        raw, stored = _read_safetensors(path)
    else:
        raw = _read_pickle(path)
    meta = from_transformers(raw) if is_transformers_layout(raw) else raw
    return from_meta(meta), stored


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], ModelConfig | None]:
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is truncated or not a safetensors file ({error}): get it again"
        ) from error
    stored = json.loads(metadata["config"]) if "config" in metadata else None
    return state, None if stored is None else ModelConfig.from_dict(stored)


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(path):
            raise CheckpointError(
                f"{path} holds more than weights: reading it could run code, so it is refused. Save only the "
                f"weights, torch.save({{'model': model.state_dict()}}, file), where you trust it ({error})"
            ) from error
        raise CheckpointError(
            f"{path} is not a weight file of PyTorch, or it is truncated: get it again"
        ) from error
    except Exception as error:  # what a damaged pickle raises is anybody's guess
        raise CheckpointError(
            f"{path} is truncated or not a weight file of PyTorch ({error}): get it again"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(
            f"{path} holds no state dict: expected {{'model': {{name: tensor}}}} as Meta saves it"
        )
    return content


def recognise(state: Mapping[str, Tensor]) -> tuple[str, Literal["2.0", "2.1"]] | None:
    """Return the preset and the release of SAM 2 that weights under our names are of; None when no preset fits."""
    version: Literal["2.0", "2.1"] = "2.1" if "no_obj_embed_spatial" in state else "2.0"
    position = state.get("image_encoder.trunk.pos_embed")
    embedding = state.get("no_mem_embed")
    if position is None or embedding is None:
        return None
    blocks = {int(key.split(".")[3]) for key in state if key.startswith("image_encoder.trunk.blocks.")}
    for name in get_args(ModelName):
        config = ModelConfig.preset(name)
        if (config.trunk_width, sum(config.stages), config.embed_dim) == (
            position.shape[1],
            len(blocks),
            embedding.shape[-1],
        ):
            return name, version
    return None


def _network_config(
    path: Path,
    state: Mapping[str, Tensor],
    given: ModelConfig | str | Path | None,
    stored: ModelConfig | None,
    name: str,
) -> ModelConfig:
    if isinstance(given, ModelConfig):
        return given
    if given is not None:
        return read_reference_yaml(given)
    if stored is not None:
        return stored
    found = recognise(state)
    if found is None:
        raise CheckpointError(
            f"{path} does not look like a SAM 2 model ({_key_summary(state)}). If it is one of a size of its own, "
            f"give its configuration too: config='model.yaml'"
        )
    if name in RELEASED and found != (RELEASED[name].size, RELEASED[name].version):
        raise CheckpointError(f"{path} is a {found[0]} of SAM {found[1]}, but '{name}' was asked for")
    config = ModelConfig.preset(*found) if found[0] != "nano" else ModelConfig.preset("nano")
    if found[0] == "nano" and found[1] == "2.0":
        config = replace(config, pointer_time_encoding=False, spatial_no_object=False)
    return config


def build_model(config: ModelConfig, state: Mapping[str, Tensor], path: Path | str) -> Sam2:
    """Build a network and put every weight in its place; nothing may be missing, left over or of another shape."""
    model = Sam2(config)
    _check_fit(model.state_dict(), state, path)
    model.load_state_dict({key: value.float() for key, value in state.items()}, strict=True)
    return model


def _check_fit(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], path: Path | str) -> None:
    missing = sorted(set(wanted) - set(given))
    unexpected = sorted(set(given) - set(wanted))
    shapes = [
        f"{key} is {tuple(given[key].shape)}, needs {tuple(wanted[key].shape)}"
        for key in wanted
        if key in given and given[key].shape != wanted[key].shape
    ]
    if not (missing or unexpected or shapes):
        return
    parts = []
    if missing:
        parts.append(f"{len(missing)} weights are missing (first: {', '.join(missing[:3])})")
    if unexpected:
        parts.append(f"{len(unexpected)} are unexpected (first: {', '.join(unexpected[:3])})")
    if shapes:
        parts.append(f"{len(shapes)} have another shape (first: {shapes[0]})")
    raise CheckpointError(
        f"{path} does not fit this network: {'; '.join(parts)}. It looks like {_likely(given)}."
    )


def _likely(state: Mapping[str, Tensor]) -> str:
    found = recognise(state)
    if found is not None:
        return f"'{found[0]}' of SAM {found[1]}"
    is_sam2 = "image_encoder.trunk.pos_embed" in state
    return "a SAM 2 of a size of its own, which needs its own configuration" if is_sam2 else "no SAM 2 model"


def _key_summary(state: Mapping[str, Tensor]) -> str:
    keys = list(state)
    return f"{len(keys)} weights" + (f", the first is {keys[0]!r}" if keys else "")


def choose_dtype(dtype: DtypeName | torch.dtype, device: torch.device) -> torch.dtype:
    """Return the type that networks compute in; see :func:`load_model`."""
    if isinstance(dtype, torch.dtype):
        chosen = dtype
    elif dtype == "auto":
        fast = device.type == "cuda" and half_precision(device) == torch.bfloat16
        chosen = torch.bfloat16 if fast else torch.float32
    elif dtype in get_args(DtypeName):
        chosen = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]
    else:
        raise ValueError(f"unknown dtype {dtype!r}: choose one of {', '.join(get_args(DtypeName))}")
    if chosen not in (torch.float32, torch.bfloat16, torch.float16):
        raise ValueError(f"networks compute in float32, bfloat16 or float16, not {chosen}")
    return chosen

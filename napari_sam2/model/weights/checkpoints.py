"""Load weights: by name, from a file in Meta's or transformers' layout, or from a hub repository."""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from napari_sam2.model.config import ModelConfig, ModelName
from napari_sam2.model.device import DeviceName, choose_device, half_precision
from napari_sam2.model.errors import CheckpointError
from napari_sam2.model.sam2 import Sam2
from napari_sam2.model.tensors import ModelOrigin
from napari_sam2.model.weights.download import Progress, fetch_released, fetch_repository, file_sha256
from napari_sam2.model.weights.key_mapping import (
    WRAPPERS,
    from_meta,
    from_transformers,
    is_transformers_layout,
)
from napari_sam2.model.weights.meta_yaml import read_reference_yaml
from napari_sam2.model.weights.registry import NANO_FILE, RELEASED
from napari_sam2.model.weights.sam1_layouts import describe_sam1, read_sam1
from napari_sam2.model.weights.torch_em import read_torch_em

_OFFICIAL_FILES = {model.pickle_file for model in RELEASED.values()}
# Published networks of released shapes that were trained at another input size, by the beginning of their files' names.
_TRAINED_AT = {"medsam2": 512}
DtypeName = Literal["auto", "float32", "bfloat16", "float16"]


def load_model(
    name_or_path: str | Path,
    device: DeviceName | torch.device = "auto",
    dtype: DtypeName | torch.dtype = "auto",
    config: ModelConfig | str | Path | None = None,
    progress: Progress | None = None,
    image_size: int | None = None,
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
        Only for a file with a network of its own; a path is a YAML file of Meta's training code. By default what the
        file carries, else a YAML file of the same name beside it, else what its weights look like.
    progress : callable, optional
        Called with (bytes done, bytes in total) while downloading.
    image_size : int, optional
        Side of the square input in pixels, in place of the configuration's; best the one of the training.

    Returns
    -------
    Sam2
        In evaluation mode, without gradients, with ``model.origin`` (:class:`ModelOrigin`).

    Raises
    ------
    CheckpointError
        When the weights cannot be found, read or fitted; a subclass of ValueError.

    Warns
    -----
    UserWarning
        Weights from elsewhere that fit a released network but do not say at which input size they were trained.
    """
    name = str(name_or_path)
    path = find_weights(name, progress)
    state, stored = read_checkpoint(path)
    network = _network_config(path, state, config, stored, name, image_size)
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
        When the file is truncated, of a foreign kind, a Segment Anything 1, or would have to run code to be read.
    """
    content, stored = read_content(path)
    sam1 = read_sam1(content)
    if sam1 is not None:
        raise CheckpointError(
            f"{path} is a Segment Anything 1 model ({describe_sam1(sam1)}), which segments single images: use it for "
            "automatic masks ('napari-sam2 auto'; with --track as --find-with), or with load_image_model(). It follows "
            "objects only frame by frame ('napari-sam2 track --frame-by-frame'); a SAM 2 model remembers them"
        )
    raw = _flat(content, path)
    if raw and all(key.startswith("module.") for key in raw):
        # Saved from a network that trained on several devices.
        raw = {key.removeprefix("module."): value for key, value in raw.items()}
    meta = from_transformers(raw) if is_transformers_layout(raw) else raw
    return from_meta(meta), stored


def read_content(path: Path) -> tuple[Any, ModelConfig | None]:
    """Return what a file holds, under its own names, and the configuration if it carries one; never runs its code."""
    return _read_safetensors(path) if path.suffix == ".safetensors" else (_read_pickle(path), None)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], ModelConfig | None]:
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is truncated or not a safetensors file ({error}): get it again"
        ) from error
    if "config" not in metadata:
        return state, None
    try:
        return state, ModelConfig.from_dict(json.loads(metadata["config"]))
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} carries settings of a network that can't be used: {error}") from error


def _read_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(path):
            trained = read_torch_em(path)
            if trained is not None:
                return trained
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


def _flat(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the state dict in what a file holds."""
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
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
    image_size: int | None,
) -> ModelConfig:
    beside = [file for file in (path.with_suffix(".yaml"), path.with_suffix(".yml")) if file.is_file()]
    if isinstance(given, ModelConfig):
        config = given
    elif given is not None:
        config = read_reference_yaml(given)
    elif stored is not None:
        config = stored
    elif beside and name not in RELEASED:
        config = read_reference_yaml(beside[0])
    else:
        return _recognised_config(path, state, name, image_size)
    return config if image_size is None else replace(config, image_size=image_size)


def _recognised_config(
    path: Path, state: Mapping[str, Tensor], name: str, image_size: int | None
) -> ModelConfig:
    """Return the configuration that weights look like; their shapes do not tell the input size."""
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
    # Training here writes the configuration into the file; official files are known by their names.
    foreign = found[0] != "nano" and name not in RELEASED and path.name not in _OFFICIAL_FILES
    if image_size is None and foreign:
        image_size = next(
            (size for start, size in _TRAINED_AT.items() if path.name.casefold().startswith(start)), None
        )
        if image_size is None:
            warnings.warn(
                f"{path.name} does not say at which input size it was trained: {config.image_size} pixels are "
                f"assumed, as for {found[0]!r}. If that is wrong, so are its masks: put the YAML file of its training "
                f"beside it, as {path.with_suffix('.yaml').name}, or give image_size "
                "(--image-size; Input size in napari)",
                UserWarning,
                stacklevel=4,
            )
    return config if image_size is None else replace(config, image_size=image_size)


def build_model(config: ModelConfig, state: Mapping[str, Tensor], path: Path | str) -> Sam2:
    """Build a network and put every weight in its place; nothing may be missing, left over or of another shape."""
    with torch.device("meta"):  # no memory is taken for a configuration that does not fit
        _check_fit(Sam2(config).state_dict(), state, path)
    _check_numbers(state, path)
    model = Sam2(config)
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


def _check_numbers(state: Mapping[str, Tensor], path: Path | str) -> None:
    for key, value in state.items():
        if not value.is_floating_point():
            kind = str(value.dtype).removeprefix("torch.")
            raise CheckpointError(
                f"{path} can't be used: {key} is {kind}, not floating point, as in a quantised file. Get the weights "
                "as float32, bfloat16 or float16"
            )
        if not torch.isfinite(value.float()).all():
            raise CheckpointError(
                f"{path} can't be used: {key} has values that are NaN or infinite, as after a training that diverged"
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

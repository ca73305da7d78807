"""Writing a trained network so that everything else can load it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from napari_sam2.model.config import ModelConfig
from napari_sam2.model.weights.checkpoints import load_model
from napari_sam2.model.weights.key_mapping import to_meta

__all__ = ["average_checkpoints", "export_checkpoint"]


def export_checkpoint(
    state: dict[str, torch.Tensor],
    config: ModelConfig,
    path: Path | str,
    summary: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float16,
) -> Path:
    """Write weights as safetensors, atomically.

    Parameters
    ----------
    state : dict of Tensor
        The network's `state_dict`.
    config : ModelConfig
        Stored as JSON in the metadata (key ``config``), so that the file describes itself.
    path : Path or str
        Where to.
    summary : dict, optional
        How the network was trained; stored as JSON in the metadata (key ``training``).
    dtype : torch.dtype
        Type of the stored numbers.

    Returns
    -------
    Path
        The file.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    named = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in to_meta(state).items()}
    metadata = {"format": "pt", "config": json.dumps(config.to_dict()), "training": json.dumps(summary or {})}
    partial = target.with_name(target.name + ".partial")
    save_file(named, str(partial), metadata=metadata)
    os.replace(partial, target)
    return target


def average_checkpoints(paths: Sequence[Path | str], shares: Sequence[float], out: Path | str) -> Path:
    """Write the weighted mean of several checkpoints of one run, or of runs that went on from each other.

    Such a mean is often better than each of them: they went to different sides of the same valley (Izmailov et al.
    2018, "Averaging weights leads to wider optima").

    Parameters
    ----------
    paths : sequence of Path
        Files as `export_checkpoint` writes them, of the same configuration.
    shares : sequence of float
        Weight of each; they are divided by their sum.
    out : Path or str
        Where to.

    Returns
    -------
    Path
        The file; its summary names the means' parts.

    Raises
    ------
    ValueError
        If there are no files, not as many shares, or the configurations differ.
    """
    if not paths or len(paths) != len(shares) or min(shares) < 0 or not sum(shares):
        raise ValueError(f"{len(paths)} checkpoints need as many shares, none of them negative; got {shares}")
    models = [load_model(str(path), device="cpu", dtype=torch.float32) for path in paths]
    config = models[0].config
    for path, model in zip(paths, models, strict=True):
        if model.config != config:
            raise ValueError(
                f"{path} is another network than {paths[0]}; only weights of the same one have a mean"
            )
    weights = [share / sum(shares) for share in shares]
    states = [model.state_dict() for model in models]
    mean = {
        name: torch.stack([w * state[name] for w, state in zip(weights, states, strict=True)]).sum(0)
        for name in states[0]
    }
    parts = [
        {"share": round(weight, 4), "training": _summary(path)}
        for weight, path in zip(weights, paths, strict=True)
    ]
    return export_checkpoint(mean, config, out, {"mean_of": parts})


def _summary(path: Path | str) -> Any:
    with safe_open(path, framework="pt") as file:
        return json.loads((file.metadata() or {}).get("training", "{}"))

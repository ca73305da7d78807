"""Writing a trained network so that everything else can load it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from napari_sam2.model.config import ModelConfig
from napari_sam2.model.key_layouts import to_meta

__all__ = ["export_checkpoint"]


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

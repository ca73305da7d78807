"""Load a network for single images: Segment Anything 1, its microscopy and medical fine-tunes, or SAM 2."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from napari_sam2.model.device import DeviceName, choose_device
from napari_sam2.model.errors import CheckpointError
from napari_sam2.model.sam1.sam import Sam
from napari_sam2.model.sam2 import Sam2
from napari_sam2.model.tensors import ModelOrigin
from napari_sam2.model.weights.checkpoints import (
    DtypeName,
    choose_dtype,
    find_weights,
    load_model,
    read_content,
)
from napari_sam2.model.weights.download import Progress, fetch_sam1, file_sha256
from napari_sam2.model.weights.registry import PUBLISHED_SAM1, RELEASED
from napari_sam2.model.weights.sam1_layouts import build_sam1, read_sam1


def load_image_model(
    name_or_path: str | Path,
    device: DeviceName | torch.device = "auto",
    dtype: DtypeName | torch.dtype = "auto",
    progress: Progress | None = None,
    image_size: int | None = None,
) -> Sam | Sam2:
    """Load a network that segments single images.

    Parameters
    ----------
    name_or_path : str or path
        What :func:`~napari_sam2.model.weights.checkpoints.load_model` takes, and for Segment Anything 1 a file in the
        layout of Meta, transformers, MobileSAM, MedSAM or micro-sam, or a name such as ``"vit_b"`` or ``"vit_b_lm"``
        (micro-sam's models are found in its own cache). micro-sam's decoder for instances comes along when the file
        holds it, or a file with ``_decoder`` after its name lies beside it.
    device, dtype, progress, image_size
        See :func:`~napari_sam2.model.weights.checkpoints.load_model`; the input size of a Segment Anything 1 is that
        of its weights.

    Returns
    -------
    Sam or Sam2
        In evaluation mode, without gradients, with ``model.origin``.

    Raises
    ------
    CheckpointError
        When the weights cannot be found, read or fitted.
    """
    name = str(name_or_path)
    if name == "nano" or name in RELEASED:
        return load_model(name, device, dtype, progress=progress, image_size=image_size)
    published = None if Path(name).is_file() else PUBLISHED_SAM1.get(name)
    path = find_weights(name, progress) if published is None else fetch_sam1(published, progress)
    content, _ = read_content(path)
    found = read_sam1(content)
    if found is None:
        return load_model(name, device, dtype, progress=progress, image_size=image_size)
    if found.decoder is None:
        found = replace(found, decoder=_decoder_beside(path))
    model = build_sam1(found, path)
    if image_size not in (None, model.config.image_size):
        raise CheckpointError(
            f"{path} is a Segment Anything 1 for {model.config.image_size} pixels, which can't be used at {image_size}"
        )
    target = choose_device(device)
    model.compute_dtype = choose_dtype(dtype, target)
    model.origin = ModelOrigin(name, str(path), file_sha256(path))
    return model.requires_grad_(False).eval().to(target)


def _decoder_beside(path: Path) -> dict[str, torch.Tensor] | None:
    """Return micro-sam's decoder from the file beside the network's, if there is one."""
    file = path.with_name(f"{path.stem}_decoder{path.suffix}")
    if not file.is_file():
        return None
    content, _ = read_content(file)
    inner = content.get("decoder_state", content) if isinstance(content, dict) else None
    if not isinstance(inner, dict):
        raise CheckpointError(f"{file} holds no decoder weights")
    return inner

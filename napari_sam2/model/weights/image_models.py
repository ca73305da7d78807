"""Load a network for single images: Segment Anything 1, its microscopy and medical fine-tunes, or SAM 2."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

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
from napari_sam2.model.weights.download import Progress, fetch_repository, file_sha256
from napari_sam2.model.weights.registry import RELEASED
from napari_sam2.model.weights.sam1_layouts import build_sam1, read_sam1


@dataclass(frozen=True)
class PublishedSam1:
    """A published Segment Anything 1 file.

    Parameters
    ----------
    name : str
        The name to ask for.
    url : str
        Where the file is.
    megabytes : int
        Its size, rounded; 0 where it isn't known here.
    licence : str
        Of the weights, as their authors give it.
    repository : str, optional
        The same weights on the Hugging Face hub, from where they are downloaded.
    sha256 : str, optional
        Checksum of the file at ``url``, where it is known.
    """

    name: str
    url: str
    megabytes: int
    licence: str
    repository: str | None = None
    sha256: str | None = None


_META = "https://dl.fbaipublicfiles.com/segment_anything/"
_ZOO = "https://uk1s3.embassy.ebi.ac.uk/public-datasets/bioimage.io/"


def _micro_sam(name: str, entry: str) -> PublishedSam1:
    return PublishedSam1(
        name, f"{_ZOO}{entry}/files/{name[:5]}.pt", 0, "licence as its entry at bioimage.io says"
    )


PUBLISHED_SAM1 = MappingProxyType(
    {
        model.name: model
        for model in (
            PublishedSam1(
                "vit_b",
                _META + "sam_vit_b_01ec64.pth",
                375,
                "Apache-2.0",
                "facebook/sam-vit-base",
                "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            ),
            PublishedSam1(
                "vit_l", _META + "sam_vit_l_0b3195.pth", 1249, "Apache-2.0", "facebook/sam-vit-large"
            ),
            PublishedSam1(
                "vit_h", _META + "sam_vit_h_4b8939.pth", 2564, "Apache-2.0", "facebook/sam-vit-huge"
            ),
            PublishedSam1(
                "vit_t",
                "https://github.com/ChaoningZhang/MobileSAM/blob/master/weights/mobile_sam.pt",
                40,
                "Apache-2.0",
            ),
            _micro_sam("vit_t_lm", "faithful-chicken/1.1"),
            _micro_sam("vit_b_lm", "diplomatic-bug/1.2"),
            _micro_sam("vit_l_lm", "idealistic-rat/1.2"),
            _micro_sam("vit_t_em_organelles", "greedy-whale/1"),
            _micro_sam("vit_b_em_organelles", "noisy-ox/1.2"),
            _micro_sam("vit_l_em_organelles", "humorous-crab/1.2"),
        )
    }
)


def load_image_model(
    name_or_path: str | Path,
    device: DeviceName | torch.device = "auto",
    dtype: DtypeName | torch.dtype = "auto",
    progress: Progress | None = None,
) -> Sam | Sam2:
    """Load a network that segments single images.

    Parameters
    ----------
    name_or_path : str or path
        What :func:`~napari_sam2.model.weights.checkpoints.load_model` takes, and for Segment Anything 1 a file in the
        layout of Meta, transformers, MobileSAM, MedSAM or micro-sam, or a name such as ``"vit_b"`` or ``"vit_b_lm"``
        (micro-sam's models are found in its own cache). micro-sam's decoder for instances comes along when the file
        holds it, or a file with ``_decoder`` after its name lies beside it.
    device, dtype, progress
        See :func:`~napari_sam2.model.weights.checkpoints.load_model`.

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
        return load_model(name, device, dtype, progress=progress)
    path = _find(name, progress)
    content, _ = read_content(path)
    found = read_sam1(content)
    if found is None:
        return load_model(name, device, dtype, progress=progress)
    if found.decoder is None:
        found = replace(found, decoder=_decoder_beside(path))
    model = build_sam1(found, path)
    target = choose_device(device)
    model.compute_dtype = choose_dtype(dtype, target)
    model.origin = ModelOrigin(name, str(path), file_sha256(path))
    return model.requires_grad_(False).eval().to(target)


def _find(name: str, progress: Progress | None) -> Path:
    published = PUBLISHED_SAM1.get(name)
    if published is None or Path(name).is_file():
        return find_weights(name, progress)
    cached = micro_sam_cache() / name
    if cached.is_file():
        return cached
    if published.repository is not None:
        try:
            return fetch_repository(published.repository, progress)
        except CheckpointError as error:
            raise CheckpointError(f"{_how_to_get(published)} ({error})") from error
    raise CheckpointError(_how_to_get(published))


def _how_to_get(published: PublishedSam1) -> str:
    about = [f"{published.megabytes} MB"] if published.megabytes else []
    about += [published.licence] + ([f"SHA-256 {published.sha256}"] if published.sha256 else [])
    return (
        f"the Segment Anything 1 model '{published.name}' is not on this machine: get {published.url} "
        f"({', '.join(about)}) and give the path of the file instead of the name"
    )


def micro_sam_cache() -> Path:
    """Return the folder in which micro-sam keeps its models on this machine."""
    folder = os.environ.get("MICROSAM_CACHEDIR")
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder or Path(caches) / "micro_sam") / "models"


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

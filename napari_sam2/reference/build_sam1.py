"""Meta's builders of Segment Anything 1, and its registry of model types."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from napari_sam2.model.errors import CheckpointError
from napari_sam2.model.sam1.config import SamConfig
from napari_sam2.model.sam1.sam import Sam
from napari_sam2.model.weights.checkpoints import read_content
from napari_sam2.model.weights.sam1_layouts import build_sam1, read_sam1


def build_sam(checkpoint: str | Path | None = None) -> Sam:
    """Build a vit_h network (Meta's ``build_sam``, which is ``build_sam_vit_h``).

    Parameters
    ----------
    checkpoint : path, optional
        A file in any layout that :func:`~napari_sam2.model.weights.image_models.load_image_model` reads; without one
        the weights are random.

    Returns
    -------
    Sam
        On the CPU, in evaluation mode, with gradients, as Meta's.
    """
    return build_sam_vit_h(checkpoint)


def build_sam_vit_h(checkpoint: str | Path | None = None) -> Sam:
    """Build a Segment Anything 1 network with the huge image encoder; see :func:`build_sam`."""
    return _built("vit_h", checkpoint)


def build_sam_vit_l(checkpoint: str | Path | None = None) -> Sam:
    """Build a Segment Anything 1 network with the large image encoder; see :func:`build_sam`."""
    return _built("vit_l", checkpoint)


def build_sam_vit_b(checkpoint: str | Path | None = None) -> Sam:
    """Build a Segment Anything 1 network with the base image encoder; see :func:`build_sam`."""
    return _built("vit_b", checkpoint)


def build_sam_vit_t(checkpoint: str | Path | None = None) -> Sam:
    """Build a Segment Anything 1 network with MobileSAM's image encoder; see :func:`build_sam`."""
    return _built("vit_t", checkpoint)


def build_sam_auto(checkpoint: str | Path) -> Sam:
    """Build the network that a file holds, of whatever size: its shapes tell.

    Raises
    ------
    CheckpointError
        When the file can't be read, or is no Segment Anything 1.
    """
    content, _ = read_content(Path(checkpoint))
    found = read_sam1(content)
    if found is None:
        raise CheckpointError(f"{checkpoint} is not a Segment Anything 1 model")
    return build_sam1(found, checkpoint)


sam_model_registry: dict[str, Callable[..., Sam]] = {
    "default": build_sam_vit_h,
    "vit_h": build_sam_vit_h,
    "vit_l": build_sam_vit_l,
    "vit_b": build_sam_vit_b,
    "vit_t": build_sam_vit_t,
    "auto": build_sam_auto,
}


def _built(name: str, checkpoint: str | Path | None) -> Sam:
    config = SamConfig.preset(name)
    if checkpoint is None:
        return Sam(config).eval()
    model = build_sam_auto(checkpoint)
    if model.config.encoder != config.encoder:
        raise CheckpointError(
            f"{checkpoint} is no {name}, its sizes are those of "
            f"{model.config.name if model.config.name != 'custom' else repr(model.config.encoder)}: "
            "use sam_model_registry['auto'] for any size"
        )
    return model

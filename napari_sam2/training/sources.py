"""Which clips a run is trained on, and which it is examined on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_sam2.training.clips import ClipSource, SyntheticClips
from napari_sam2.training.stills import StillImages

__all__ = ["default_sources"]

# how often each folder of real images is drawn; the ones that are not named share alike
REAL_WEIGHTS = {"train_dsb2018": 0.6, "train_usiigaci": 0.4}


def default_sources(
    synthetic_share: float, folders: Sequence[Path | str] = (), held_out: bool = False
) -> list[tuple[ClipSource, float]]:
    """Return synthetic clips and clips out of folders of labelled still images, with their weights.

    Parameters
    ----------
    synthetic_share : float
        Share of synthetic clips; 1 where there are no folders.
    folders : sequence of Path
        Each holds ``images/*.png`` and ``masks/*.tif``, see `StillImages`.
    held_out : bool
        Take the images that training leaves out instead of the others.
    """
    share = synthetic_share if folders else 1.0
    sources: list[tuple[ClipSource, float]] = [(SyntheticClips(), share)]
    weights = [REAL_WEIGHTS.get(Path(folder).name, 0.5) for folder in folders]
    for folder, weight in zip(folders, weights, strict=True):
        sources.append((StillImages(folder, held_out=held_out), (1 - share) * weight / sum(weights)))
    return [(source, weight) for source, weight in sources if weight > 0]

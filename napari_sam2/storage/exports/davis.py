"""DAVIS-style annotations: one palette PNG for each frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from napari_sam2.masks import compose_labels
from napari_sam2.storage.exports.results import Results
from napari_sam2.storage.exports.staging import staged

# 255 means "don't care" in data sets of this family.
HIGHEST_ID = 254


def davis_palette() -> list[int]:
    """Return the 256 colours of PASCAL VOC and DAVIS, 768 numbers: bits of the index spread over channels."""
    palette = []
    for index in range(256):
        for channel in range(3):
            bits = (index >> (3 * k + channel) & 1 for k in range(3))
            palette.append(sum(bit << (7 - k) for k, bit in enumerate(bits)))
    return palette


def write_davis(results: Results, path: Path, *, overwrite: bool = False) -> Path:
    """Write a folder of palette PNG images, ``00000.png`` ..., whose pixel values are the object ids.

    Where objects overlap the smaller one is on top.

    Raises
    ------
    FileExistsError
        When ``path`` exists and ``overwrite`` is not set.
    ValueError
        When an object id is above 254, which this format can't hold.
    """
    too_high = [i for i in results.object_ids if i > HIGHEST_ID]
    if too_high:
        raise ValueError(
            f"DAVIS images hold object ids up to {HIGHEST_ID} and object {too_high[0]} does not fit: "
            "export fewer objects, or use TIFF"
        )
    palette = davis_palette()
    digits = max(5, len(str(results.n_frames - 1)))
    with staged(path, overwrite, contents=("*.png",)) as part:
        part.mkdir()
        for found in results.frames():
            image = Image.fromarray(compose_labels(found, np.uint8))
            image.putpalette(palette)
            image.save(part / f"{found.frame:0{digits}d}.png")
    return path

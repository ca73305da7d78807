"""DAVIS-style annotations: one palette PNG for each frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from napari_sam2.formats.atomic_output import SIGNATURE, Overwrite, staged
from napari_sam2.formats.imported_masks import Collector, ImportedMasks, ImportProblem, frames_of_files
from napari_sam2.formats.label_images import read_label_image, readable
from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.masks import compose_labels

# Pixels that no method is judged by, in data sets of this family.
DONT_CARE = 255
HIGHEST_ID = DONT_CARE - 1


def davis_palette() -> list[int]:
    """Return the 256 colours of PASCAL VOC and DAVIS, 768 numbers: bits of the index spread over channels."""
    palette = []
    for index in range(256):
        for channel in range(3):
            bits = (index >> (3 * k + channel) & 1 for k in range(3))
            palette.append(sum(bit << (7 - k) for k, bit in enumerate(bits)))
    return palette


def write_davis(results: TrackingResults, path: Path, *, overwrite: Overwrite = False) -> Path:
    """Write a folder of palette PNG images whose pixel values are the object ids.

    They are named like the images of the source, or ``00000.png`` ... where it has no names.

    Where objects overlap the smaller one is on top.

    Raises
    ------
    FileExistsError
        When ``path`` exists and may not be replaced.
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
    stems = results.frame_stems
    digits = max(5, len(str(results.n_frames - 1)))
    signed = PngInfo()
    signed.add_text("Software", SIGNATURE)
    with staged(path, overwrite) as part:
        part.mkdir()
        for found in results.frames():
            image = Image.fromarray(compose_labels(found, np.uint8))
            image.putpalette(palette)
            name = stems[found.frame] if stems else f"{found.frame:0{digits}d}"
            image.save(part / f"{name}.png", pnginfo=signed)
    return path


def read_davis(path: Path) -> ImportedMasks:
    """Read palette (or grey) PNG images, numbered by frame.

    Where numbers are missing in between, those frames have no masks; a series without gaps begins at frame 0.

    255 means "don't care" in these data sets and is read as background.

    Raises
    ------
    ImportProblem
        When there is no PNG image, or one is in colour.
    """
    path = Path(path)
    with readable(path):
        files = sorted(path.glob("*.png"))
        if not files:
            raise ImportProblem(f"{path} has no PNG images in it")
        frames = frames_of_files(files)
        collector = Collector(str(path))
        for frame, file in sorted(zip(frames, files)):
            with readable(file):
                labels = read_label_image(file)
            # A colour image is left as it is: the collector says what is wrong with it.
            ids = np.where(labels == DONT_CARE, 0, labels) if labels.ndim == 2 else labels
            collector.add_labels(frame, ids)
        return collector.finished(
            max(frames) + 1, frame_names={frame: file.name for frame, file in zip(frames, files, strict=True)}
        )

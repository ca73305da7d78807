"""DAVIS-style annotations: a folder of palette PNG images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_sam2.storage.imports.imported import Collector, ImportedMasks, ImportProblem, frames_of_files
from napari_sam2.storage.imports.labels import read_label_image, readable

DONT_CARE = 255


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
            labels = read_label_image(file)
            # A colour image is left as it is: the collector says what is wrong with it.
            ids = np.where(labels == DONT_CARE, 0, labels) if labels.ndim == 2 else labels
            collector.add_labels(frame, ids)
        return collector.finished(max(frames) + 1)

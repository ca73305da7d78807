"""Masks from the formats that other tools write, as prompts or as finished masklets; one format a file."""

from napari_sam2.storage.imports.coco import read_coco
from napari_sam2.storage.imports.ctc import read_ctc
from napari_sam2.storage.imports.davis import read_davis
from napari_sam2.storage.imports.detect import read_masks
from napari_sam2.storage.imports.imported import ImportedMasks, ImportProblem
from napari_sam2.storage.imports.labels import read_label_stack

__all__ = [
    "ImportProblem",
    "ImportedMasks",
    "read_coco",
    "read_ctc",
    "read_davis",
    "read_label_stack",
    "read_masks",
]

"""Automatic masks: everything on a frame without a click, filtered live, and a start for tracking."""

from napari_sam2.automatic.candidates import Candidates, joined
from napari_sam2.automatic.filters import Selection, Stage, select
from napari_sam2.automatic.generate import LiveFilter, generate_masks
from napari_sam2.automatic.options import AutomaticOptions
from napari_sam2.automatic.proposing import Found, find_candidates, propose
from napari_sam2.automatic.result import AutomaticMask, AutomaticResult
from napari_sam2.automatic.surroundings import Surroundings

__all__ = [
    "AutomaticMask",
    "AutomaticOptions",
    "AutomaticResult",
    "Candidates",
    "Found",
    "LiveFilter",
    "Selection",
    "Stage",
    "Surroundings",
    "find_candidates",
    "generate_masks",
    "joined",
    "propose",
    "select",
]

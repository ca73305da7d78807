"""Automatic masks: everything on a frame without a click, filtered live, and a start for tracking."""

from napari_sam2.automatic.candidates import Candidates, joined
from napari_sam2.automatic.files import AutomaticReport, run_automatic
from napari_sam2.automatic.filters import Selection, Stage, select
from napari_sam2.automatic.generate import LiveFilter, generate_masks
from napari_sam2.automatic.options import AutomaticOptions
from napari_sam2.automatic.proposing import Found, find_candidates, propose
from napari_sam2.automatic.result import AutomaticMask, AutomaticResult
from napari_sam2.automatic.stack import generate_stack, lazy_labels
from napari_sam2.automatic.surroundings import Surroundings
from napari_sam2.automatic.tracking import add_newcomers, add_objects, track_everything

__all__ = [
    "AutomaticMask",
    "AutomaticOptions",
    "AutomaticReport",
    "AutomaticResult",
    "Candidates",
    "Found",
    "LiveFilter",
    "Selection",
    "Stage",
    "Surroundings",
    "add_newcomers",
    "add_objects",
    "find_candidates",
    "generate_masks",
    "generate_stack",
    "joined",
    "lazy_labels",
    "propose",
    "run_automatic",
    "select",
    "track_everything",
]

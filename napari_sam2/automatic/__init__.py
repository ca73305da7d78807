"""Automatic masks: everything on a frame without a click, filtered live, and a start for tracking.

Names are resolved when they are used: the options are read without loading torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = {
    "AutomaticMask": "result",
    "AutomaticOptions": "options",
    "AutomaticReport": "files",
    "AutomaticResult": "result",
    "Candidates": "candidates",
    "Found": "proposing",
    "LiveFilter": "generate",
    "Selection": "filters",
    "Stage": "filters",
    "Surroundings": "surroundings",
    "add_newcomers": "tracking",
    "add_objects": "tracking",
    "find_candidates": "proposing",
    "generate_masks": "generate",
    "generate_stack": "stack",
    "joined": "candidates",
    "lazy_labels": "stack",
    "propose": "proposing",
    "run_automatic": "files",
    "select": "filters",
    "track_everything": "tracking",
}

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


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

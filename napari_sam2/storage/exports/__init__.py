"""Masks in the formats that other tools read, one format a file; all stream and are atomic on disk.

Names are resolved when they are used: the list of formats loads neither numpy nor the writers' libraries.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_sam2.storage.exports.calibration import Calibration
    from napari_sam2.storage.exports.formats import FORMATS, ExportFormat, export_format
    from napari_sam2.storage.exports.from_project import project_results
    from napari_sam2.storage.exports.results import ObjectInfo, Results

__all__ = [
    "FORMATS",
    "Calibration",
    "ExportFormat",
    "ObjectInfo",
    "Results",
    "export_format",
    "project_results",
]

_MODULES = {
    "Calibration": "calibration",
    "FORMATS": "formats",
    "ExportFormat": "formats",
    "export_format": "formats",
    "ObjectInfo": "results",
    "Results": "results",
    "project_results": "from_project",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

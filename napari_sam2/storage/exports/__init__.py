"""Masks in the formats that other tools read, one format a file; all stream and are atomic on disk."""

from napari_sam2.storage.exports.calibration import Calibration
from napari_sam2.storage.exports.formats import FORMATS, ExportFormat, export_format
from napari_sam2.storage.exports.results import ObjectInfo, Results

__all__ = ["FORMATS", "Calibration", "ExportFormat", "ObjectInfo", "Results", "export_format"]

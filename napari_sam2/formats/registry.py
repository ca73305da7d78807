"""The table of export formats: their names, where they land, and who writes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_sam2.formats.atomic_output import Overwrite
    from napari_sam2.formats.tracking_results import TrackingResults


@dataclass(frozen=True)
class ExportFormat:
    """One format.

    Parameters
    ----------
    name : str
        What the user types.
    file_name : str
        Name of the file or folder that is written.
    title : str
        One line about it.
    writer : str
        ``module:function``; imported when first used, because the writers' libraries take a while to load.
    needs_frames : bool
        Whether the source's frames are read and not only the masks.
    package : str
        A Python package that it needs and that is not installed with napari-sam2; empty: none.
    """

    name: str
    file_name: str
    title: str
    writer: str
    needs_frames: bool = False
    package: str = ""

    @property
    def available(self) -> bool:
        """True if the package that it needs is installed."""
        return not self.package or find_spec(self.package) is not None

    def write(
        self, results: TrackingResults, path: Path, *, overwrite: Overwrite = False, **options: Any
    ) -> Path:
        """Write ``results`` to ``path``; errors are those of the format's writer."""
        if not self.available:
            raise ImportError(
                f"the format {self.name} needs the package {self.package}: pip install 'napari-sam2[lineage]'"
            )
        module, function = self.writer.split(":")
        write: Callable[..., Path] = getattr(import_module(f"napari_sam2.formats.{module}"), function)
        return write(results, Path(path), overwrite=overwrite, **options)


_ALL = (
    ExportFormat("tiff", "labels.tif", "label stack for Fiji and everything else", "label_tiff:write_tiff"),
    ExportFormat("ome-tiff", "labels.ome.tif", "label stack with OME metadata", "label_tiff:write_ome_tiff"),
    ExportFormat("ome-zarr", "labels.ome.zarr", "label pyramid, OME-Zarr 0.5", "ome_zarr:write_ome_zarr"),
    ExportFormat("coco", "coco.json", "COCO JSON, run-length masks and track ids", "coco:write_coco"),
    ExportFormat("ctc", "01_RES", "Cell Tracking Challenge result folder", "ctc:write_ctc"),
    ExportFormat("tracks", "tracks.csv", "centroids as napari Tracks", "tracks:write_tracks"),
    ExportFormat(
        "trackmate", "trackmate.xml", "outlines, links, divisions for TrackMate", "trackmate:write_trackmate"
    ),
    ExportFormat(
        "geff", "tracks.geff", "graph of tracks with divisions, GEFF", "geff:write_geff", package="geff"
    ),
    ExportFormat(
        "csv", "measurements.csv", "area, position, intensity, score", "measurements:write_measurements", True
    ),
    ExportFormat(
        "mp4", "overlay.mp4", "the video with the objects drawn on it", "overlay:write_overlay", True
    ),
    ExportFormat("davis", "davis", "DAVIS palette PNG images", "davis:write_davis"),
)
FORMATS = MappingProxyType({f.name: f for f in _ALL})


def export_format(name: str) -> ExportFormat:
    """Return a format by its name; ValueError lists the names there are."""
    if name not in FORMATS:
        raise ValueError(f"unknown export format {name!r}: use one of {', '.join(FORMATS)}")
    return FORMATS[name]

"""Writers of File > Save for labels: COCO, Cell Tracking Challenge, OME-Zarr, measurements, overlay videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Layer
from numpy.typing import NDArray

from napari_sam2.formats.registry import export_format
from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.masks import FrameMasks
from napari_sam2.objects import ObjectInfo
from napari_sam2.plugin.layers.frame_stack import calibration_of, frames_of
from napari_sam2.plugin.layers.geometry import Geometry
from napari_sam2.plugin.layers.image_layer import geometry_of
from napari_sam2.plugin.layers.metadata import PROJECT_KEY
from napari_sam2.storage.project import Project
from napari_sam2.storage.project_folder import is_project

Details = dict[str, Any]


def write_coco(path: str, data: Any, details: Details) -> list[str]:
    """Write labels as COCO JSON with run lengths and track ids."""
    return _write("coco", Path(path), data, details)


def write_ctc(path: str, data: Any, details: Details) -> list[str]:
    """Write labels as a result folder of the Cell Tracking Challenge; ``NAME.ctc`` becomes ``NAME_RES``."""
    target = Path(path)
    if target.suffix == ".ctc":
        target = target.with_name(f"{target.stem}_RES")
    return _write("ctc", target, data, details)


def write_ome_zarr(path: str, data: Any, details: Details) -> list[str]:
    """Write labels as an OME-Zarr pyramid."""
    return _write("ome-zarr", Path(path), data, details)


def write_measurements(path: str, data: Any, details: Details) -> list[str]:
    """Write area, position, perimeter and scores of every object on every frame as CSV."""
    return _write("csv", Path(path), data, details)


def write_overlay(path: str, layers: Sequence[tuple[Any, Details, str]]) -> list[str]:
    """Write the image with the objects drawn on it as a video."""
    images = [layer for layer in layers if layer[2] == "image"]
    labels = [layer for layer in layers if layer[2] == "labels"]
    if not images or len(labels) != 1:
        raise ValueError("an overlay needs an Image layer and one Labels layer: select both")
    return _write("mp4", Path(path), labels[0][0], labels[0][1], images)


def _write(
    name: str, path: Path, data: Any, details: Details, images: Sequence[tuple[Any, Details, str]] = ()
) -> list[str]:
    results = _results(data, details, images)
    # napari's dialog has asked whether to replace a file that is there.
    return [str(export_format(name).write(results, path, overwrite="confirmed" if path.is_file() else False))]


def _results(data: Any, details: Details, images: Sequence[tuple[Any, Details, str]]) -> TrackingResults:
    """Return labels as results; those of a project keep overlaps, names, colours and scores."""
    shape = tuple(int(n) for n in data.shape)
    if images:
        shown = [Layer.create(image, _without_metadata(meta), "image") for image, meta, _ in images]
        placed, geometry = shown[0], geometry_of(shown, [0.0] * shown[0].ndim)
        picture = frames_of(shown, geometry).frame
    else:
        placed, geometry = Layer.create(data, _placement(details), "labels"), _geometry(shape)
        picture = None
    saved = details.get("metadata", {}).get(PROJECT_KEY)
    calibration = calibration_of(placed, geometry)
    name = str(details.get("name", "labels"))
    if saved and is_project(saved):
        project = Project.open(saved, "r")
        objects = tuple(project.objects.values())
        return TrackingResults(
            project.size, project.frame_count, project.masks, objects, calibration, picture=picture, name=name
        )
    labels = _Labels(data, _geometry(shape))
    return TrackingResults(
        labels.size, labels.count, labels.masks, labels.objects(), calibration, picture=picture, name=name
    )


class _Labels:
    """A Labels layer as masks, frame by frame."""

    def __init__(self, data: Any, geometry: Geometry) -> None:
        self._data = data
        self._geometry = geometry
        self.size, self.count = geometry.size, geometry.n_frames

    def labels(self, frame: int) -> NDArray[Any]:
        index: list[Any] = [0] * self._geometry.ndim
        index[-2:] = [slice(None), slice(None)]
        if self._geometry.frame_axis is not None:
            index[self._geometry.frame_axis] = frame
        return np.asarray(self._data[tuple(index)])

    def objects(self) -> tuple[ObjectInfo, ...]:
        ids: set[int] = set()
        for frame in range(self.count):
            ids.update(int(i) for i in np.unique(self.labels(frame)) if i > 0)
        return tuple(ObjectInfo(i) for i in sorted(ids))

    def masks(self, frame: int) -> FrameMasks:
        labels = self.labels(frame)
        ids = tuple(int(i) for i in np.unique(labels) if i > 0)
        masks = np.stack([labels == i for i in ids]) if ids else np.zeros((0, *self.size), bool)
        scores = np.ones(len(ids), np.float32)
        return FrameMasks(frame, ids, masks, scores, scores.copy(), np.zeros(len(ids), bool))


def _geometry(shape: tuple[int, ...]) -> Geometry:
    long = [axis for axis, n in enumerate(shape[:-2]) if n > 1]
    if len(long) > 1:
        raise ValueError(
            f"labels with {len(shape)} axes {shape} cannot be written: save a part of them with "
            "only one axis beside y and x"
        )
    frame_axis = long[0] if long else (0 if len(shape) > 2 else None)
    return Geometry(shape, frame_axis, (0,) * len(shape))


def _without_metadata(details: Details) -> Details:
    return {k: v for k, v in details.items() if k != "metadata"}


def _placement(details: Details) -> Details:
    names = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
    return {k: v for k, v in details.items() if k in names}

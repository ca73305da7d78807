"""Reading videos frame by frame, and projects with everything that is in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_sam2.calibration import unit_symbol
from napari_sam2.frames.errors import SourceError
from napari_sam2.frames.extensions import VIDEO_ENDINGS
from napari_sam2.frames.open_source import open_source
from napari_sam2.frames.source import Source
from napari_sam2.plugin.layers.frame_array import FrameArray
from napari_sam2.plugin.layers.metadata import PROJECT_KEY
from napari_sam2.storage.project import Project
from napari_sam2.storage.project_layout import is_project

LayerData = tuple[Any, dict[str, Any], str]
Reader = Callable[[str | Sequence[str]], list[LayerData]]


def get_video_reader(path: str | Sequence[str]) -> Reader | None:
    """Return a reader for video files; None when a path is none."""
    paths = [path] if isinstance(path, str) else list(path)
    if not paths or not all(Path(p).suffix.lower() in VIDEO_ENDINGS and Path(p).is_file() for p in paths):
        return None
    return read_videos


def get_project_reader(path: str | Sequence[str]) -> Reader | None:
    """Return a reader for project folders (``NAME.sam2``); None when a path is none."""
    paths = [path] if isinstance(path, str) else list(path)
    return read_projects if paths and all(is_project(p) for p in paths) else None


def read_videos(path: str | Sequence[str]) -> list[LayerData]:
    """Open videos; a frame is decoded when it is looked at."""
    paths = [path] if isinstance(path, str) else list(path)
    return [_image_layer(open_source(p)) for p in paths]


def read_projects(path: str | Sequence[str]) -> list[LayerData]:
    """Open projects: the recording (where it can be found), and the masks.

    Opening the tracker on the recording goes on with the project.
    """
    paths = [path] if isinstance(path, str) else list(path)
    return [layer for p in paths for layer in _project_layers(Path(p))]


def _project_layers(path: Path) -> list[LayerData]:
    layers: list[LayerData] = []
    project = Project.open(path, "r")
    source = _source_of(project)
    shape, travel = (project.frame_count, *project.size), 0
    place: dict[str, Any] = {}
    if source is not None:
        image = _image_layer(source)
        image[1]["metadata"] = {PROJECT_KEY: str(path)}
        layers.append(image)
        place = {k: v for k, v in image[1].items() if k in ("scale", "axis_labels", "units")}
        options = source.options()
        if source.array.ndim != 3 or options.axis != 0:
            place = {}  # the masks have three axes, the recording others: they are shown side by side
    labels = FrameArray(shape, travel, project.labels.frame)
    metadata = {PROJECT_KEY: str(path)}
    layers.append((labels, {"name": f"{path.stem} masks", "metadata": metadata, **place}, "labels"))
    return layers


def _source_of(project: Project) -> Source | None:
    """Open the recording of a project; None when it was an array in memory or is not there any more."""
    path = project.source.path
    axes, series = (project.source.reading.get(name) for name in ("axes", "series"))
    if path is None:
        return None
    try:
        return open_source(
            path,
            axes=axes if isinstance(axes, str) else None,
            series=series if isinstance(series, str) else None,
        )
    except (SourceError, OSError):
        return None


def _image_layer(source: Source) -> LayerData:
    spatial = [i for i, letter in enumerate(source.axes) if not (letter == "s" and source.rgb)]
    channel = source.axes.index("c") if "c" in source.axes and not source.rgb else None
    shown = [i for i in spatial if i != channel]
    scale = [float(source.scale[i]) for i in shown]
    details: dict[str, Any] = {
        "name": Path(source.path).stem,
        "scale": [s if np.isfinite(s) and s > 0 else 1.0 for s in scale],
        "axis_labels": tuple(source.axes[i] for i in shown),
        "units": tuple(_known_unit(source.units[i]) for i in shown),
        "rgb": source.rgb,
    }
    if source.kind == "video":
        details["scale"] = [1.0] * len(shown)  # so that the slider counts frames
        details["units"] = ("pixel",) * len(shown)
    if source.rgb and source.array.dtype == np.uint8:
        details["contrast_limits"] = (0, 255)
    if channel is not None:
        details["channel_axis"] = channel
        del details["rgb"]
    return source.array, details, "image"


def _known_unit(unit: str) -> str:
    return unit if unit_symbol(unit) is not None else "pixel"

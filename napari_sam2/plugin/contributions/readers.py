"""Readers of videos and projects."""

from __future__ import annotations

import sys
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
from napari_sam2.storage.errors import ProjectDamagedError
from napari_sam2.storage.project import Project
from napari_sam2.storage.project_folder import is_project

LayerData = tuple[Any, dict[str, Any], str]
Reader = Callable[[str | Sequence[str]], list[LayerData]]


def get_video_reader(path: str | Sequence[str]) -> Reader | None:
    """Return a reader for video files; None if a path is something else."""
    paths = _paths(path)
    if not paths or not all(Path(p).suffix.lower() in VIDEO_ENDINGS and Path(p).is_file() for p in paths):
        return None
    return read_videos


def get_project_reader(path: str | Sequence[str]) -> Reader | None:
    """Return a reader for project folders (``NAME.sam2``); None if a path is something else."""
    paths = _paths(path)
    return read_projects if paths and all(is_project(p) for p in paths) else None


def read_videos(path: str | Sequence[str]) -> list[LayerData]:
    """Open videos; each frame is decoded when it is shown."""
    return [_image_layer(open_source(p)) for p in _paths(path)]


def read_projects(path: str | Sequence[str]) -> list[LayerData]:
    """Open the recording (if it is found) and the masks of projects.

    The tracker resumes the project when it is opened on the recording.
    """
    return [layer for p in _paths(path) for layer in _project_layers(Path(p))]


def _paths(path: str | Sequence[str]) -> list[str]:
    return [path] if isinstance(path, str) else list(path)


def _project_layers(path: Path) -> list[LayerData]:
    layers: list[LayerData] = []
    project = _opened(path)
    source = _source_of(project)
    placement: dict[str, Any] = {}
    if source is not None:
        image = _image_layer(source)
        image[1]["metadata"] = {PROJECT_KEY: str(path)}
        layers.append(image)
        placement = {k: v for k, v in image[1].items() if k in ("scale", "axis_labels", "units")}
        options = source.options()
        if source.array.ndim != 3 or options.axis != 0:
            placement = {}  # the masks have three axes, the recording has others
    labels = FrameArray((project.frame_count, *project.size), 0, project.labels.frame)
    metadata = {PROJECT_KEY: str(path)}
    layers.append((labels, {"name": f"{path.stem} masks", "metadata": metadata, **placement}, "labels"))
    return layers


def _opened(path: Path) -> Project:
    """Return a project, open for reading; one with a destroyed database is started again if the user wants it."""
    try:
        return Project.open(path, "r")
    except ProjectDamagedError as error:
        qt = sys.modules.get("qtpy.QtCore")
        if error.restorable is None or qt is None or qt.QCoreApplication.instance() is None:
            raise
        from napari_sam2.plugin.contributions.restore_dialog import wants_to_restore

        if not wants_to_restore(path.name, str(error)):
            raise
        Project.restore(path).close()
        return Project.open(path, "r")


def _source_of(project: Project) -> Source | None:
    """Return the recording of a project; None if it was an array in memory or is not found."""
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
        details["scale"] = [1.0] * len(shown)  # the slider counts frames
        details["units"] = ("pixel",) * len(shown)
    if source.rgb and source.array.dtype == np.uint8:
        details["contrast_limits"] = (0, 255)
    if channel is not None:
        details["channel_axis"] = channel
        del details["rgb"]
    return source.array, details, "image"


def _known_unit(unit: str) -> str:
    return unit if unit_symbol(unit) is not None else "pixel"

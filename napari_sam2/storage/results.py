"""A project's masks, objects and calibration, as the exports read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.calibration import Calibration
from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.frames.errors import SourceError
from napari_sam2.frames.open_source import image_files

if TYPE_CHECKING:
    from napari_sam2.storage.project import Project


def project_results(
    project: Project,
    *,
    intensity: Callable[[int], NDArray[Any]] | None = None,
    channels: tuple[str, ...] = (),
    picture: Callable[[int], NDArray[np.uint8]] | None = None,
) -> TrackingResults:
    """Return a project's masks, objects, scale and times for the exports.

    Parameters
    ----------
    project : Project
        Open for reading or writing, and kept open until the export is done.
    intensity, channels, picture
        How to read the recording, for measurements of intensities and for overlay videos; see :class:`TrackingResults`.
        A :class:`~napari_sam2.frames.FrameStack` has ``intensities`` and ``frame`` for them.
    """
    try:
        calibration = Calibration.from_json(project.source.calibration)
    except ValueError:
        calibration = Calibration()  # damaged: the masks are worth exporting without a scale
    path = project.source.path
    return TrackingResults(
        project.size,
        project.frame_count,
        project.masks,
        tuple(project.objects.values()),
        calibration,
        intensity,
        channels,
        picture,
        project.path.stem if path is None else Path(path).name,
        frame_names_of(project),
    )


def frame_names_of(project: Project) -> tuple[str, ...]:
    """Return the file names of a project's frames, where its source is a sequence of images that is still there."""
    source, options = project.source, project.source.reading.get("options")
    if source.path is None or (isinstance(options, Mapping) and options.get("axis", 0) != 0):
        return ()
    try:
        series = source.reading.get("series")
        files = image_files(source.path, series=series if isinstance(series, str | int) else None)
        names = tuple(Path(file).name for file in files)
    except (SourceError, OSError):
        return ()
    if isinstance(options, Mapping) and options.get("reverse"):
        names = names[::-1]
    return names if len(names) == project.frame_count else ()

"""What a session is opened with, read from the layers as they look now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_sam2.plugin.layers.frame_stack import calibration_of, frames_of
from napari_sam2.plugin.layers.geometry import Geometry
from napari_sam2.plugin.state import Preferences
from napari_sam2.plugin.worker.session_spec import SessionSpec


def session_spec_of(
    images: Sequence[Any],
    geometry: Geometry,
    preferences: Preferences,
    project: Path | None,
    project_required: bool,
    keep_contrast: bool,
) -> SessionSpec:
    """Find out everything from the layers, as they look now."""
    first = images[0]
    path = getattr(getattr(first, "source", None), "path", None)
    return SessionSpec(
        frames_of(images, geometry),
        str(first.name),
        None if path is None else str(path),
        calibration_of(first, geometry),
        preferences.model,
        preferences,
        project,
        project_required,
        keep_contrast,
    )

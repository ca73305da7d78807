"""What it takes to open a session: found out in the window's thread, used in the worker's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_sam2.frames.stack import FrameStack
from napari_sam2.storage.exports.calibration import Calibration
from napari_sam2.widgets.layers import calibration_of, frames_of
from napari_sam2.widgets.layers_geometry import Geometry
from napari_sam2.widgets.states import ModelChoice, Preferences
from napari_sam2.widgets.workbench import Workbench


@dataclass(frozen=True)
class BenchPlan:
    """How to open a session.

    Parameters
    ----------
    frames : FrameStack
        What the user sees, frame by frame.
    name : str
        Of the image; only for people.
    path : str or None
        The file that the image was read from.
    calibration : Calibration
        Scale, units, axis of travel.
    choice : ModelChoice
        Which network.
    preferences : Preferences
        Cache, autosave folder.
    project : Path or None
        The project folder; None: found by content in the autosave folder, or made there.
    project_required : bool
        False: when the named project cannot be used, another one is.
    keep_contrast : bool
        A project that is found again is gone on with as it was made, whatever the contrast is now.
    """

    frames: FrameStack
    name: str
    path: str | None
    calibration: Calibration
    choice: ModelChoice
    preferences: Preferences
    project: Path | None = None
    project_required: bool = True
    keep_contrast: bool = True


Opener = Callable[[BenchPlan, Callable[[int, int], None]], Workbench]


def plan_for(
    images: Sequence[Any],
    geometry: Geometry,
    preferences: Preferences,
    project: Path | None,
    project_required: bool,
    keep_contrast: bool,
) -> BenchPlan:
    """Find out everything from the layers, as they look now."""
    first = images[0]
    path = getattr(getattr(first, "source", None), "path", None)
    return BenchPlan(
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

"""What it takes to open a session: found out in the window's thread, used in the worker's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from napari_sam2.calibration import Calibration
from napari_sam2.frames.stack import FrameStack
from napari_sam2.plugin.state import ModelChoice, Preferences
from napari_sam2.plugin.worker.backend import SessionBackend


@dataclass(frozen=True)
class SessionSpec:
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


Opener = Callable[[SessionSpec, Callable[[int, int], None]], SessionBackend]

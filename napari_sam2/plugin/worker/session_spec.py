"""Parameters of a session, read from the layers, and the session that is opened with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.calibration import Calibration
from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.frames.stack import FrameStack
from napari_sam2.plugin.layers.frame_stack import calibration_of, frames_of
from napari_sam2.plugin.layers.geometry import Geometry
from napari_sam2.plugin.state import ModelChoice, Preferences, ProjectState

if TYPE_CHECKING:  # brings torch and zarr, which a window needs only with its first session
    from napari_sam2.storage.recorded_session import RecordedSession


@dataclass(frozen=True)
class SessionSpec:
    """Parameters of a session.

    Parameters
    ----------
    frames : FrameStack
        What the user sees, frame by frame.
    name : str
        Name of the image; only for people.
    path : str or None
        File that the image was read from.
    calibration : Calibration
        Scale, units and the name of the frame axis.
    choice : ModelChoice
        The network.
    preferences : Preferences
        Size of the cache, autosave folder.
    project : Path or None
        The project folder; None: found by content in the autosave folder, or made there.
    project_required : bool
        False: if the named project cannot be used, another one is.
    keep_contrast : bool
        True: a project that is found again keeps its own contrast, whatever the viewer shows now.
    restores : bool
        Start the named project, whose database is destroyed, again from its readable copies.
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
    restores: bool = False

    @classmethod
    def of_layers(
        cls,
        images: Sequence[Any],
        geometry: Geometry,
        preferences: Preferences,
        project: Path | None = None,
        project_required: bool = True,
        keep_contrast: bool = True,
    ) -> SessionSpec:
        """Return the parameters of a session on Image layers as they look now; see the class for the others."""
        path = getattr(getattr(images[0], "source", None), "path", None)
        return cls(
            frames_of(images, geometry),
            str(images[0].name),
            None if path is None else str(path),
            calibration_of(images[0], geometry),
            preferences.model,
            preferences,
            project,
            project_required,
            keep_contrast,
        )


@dataclass(frozen=True, eq=False)
class OpenedSession:
    """A session that is open, with what its owner needs beside it.

    Parameters
    ----------
    session : RecordedSession
        Belongs to the worker's thread; every verb saves before it returns.
    project : ProjectState
        Where everything is saved.
    labels : callable
        ``labels(frame)`` returns the saved label image, uint16 (H, W); any thread may call it, also after closing.
    results : callable
        ``results()`` returns what exports read.
    close : callable
        Writes what is left, and releases files and memory.
    """

    session: RecordedSession
    project: ProjectState
    labels: Callable[[int], NDArray[np.uint16]]
    results: Callable[[], TrackingResults]
    close: Callable[[], None]


Progress = Callable[[int, int], None]
Opener = Callable[[SessionSpec, Progress], OpenedSession]

"""Opening the session of some frames: the network, and the project that is found again by its content."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.frames.fingerprint import fingerprint as content_fingerprint
from napari_sam2.frames.options import FrameStackOptions
from napari_sam2.frames.stack import FrameStack
from napari_sam2.model.sam1.sam import Sam
from napari_sam2.model.sam2 import Sam2
from napari_sam2.model.weights.image_models import load_image_model
from napari_sam2.plugin.state import ModelChoice, ProjectState
from napari_sam2.plugin.worker.session_spec import OpenedSession, Progress, SessionSpec
from napari_sam2.session import SessionOptions
from napari_sam2.session.embedding_files import USUAL_MB
from napari_sam2.storage.errors import (
    ProjectDamagedError,
    ProjectError,
    ProjectLockedError,
    ProjectMismatchError,
)
from napari_sam2.storage.frames_fingerprint import frames_hash
from napari_sam2.storage.project import Project
from napari_sam2.storage.project_folder import discard
from napari_sam2.storage.recorded_session import RecordedSession
from napari_sam2.storage.results import project_results
from napari_sam2.storage.schema import SourceDescription
from napari_sam2.storage.sessions import describe_model, open_session

DEFAULT_FOLDER = "napari-sam2"


class LoadedModel:
    """The network that was loaded last."""

    def __init__(self) -> None:
        self._loaded: tuple[ModelChoice, Sam2 | Sam] | None = None

    def get(self, choice: ModelChoice, progress: Progress) -> Sam2 | Sam:
        """Return a network; it is loaded unless it was the last one."""
        if self._loaded is None or not _fits(choice, *self._loaded):
            self._loaded = None  # the memory of the old one is needed for the new one
            device: Any = choice.device
            size = choice.image_size
            model = load_image_model(choice.name, device=device, progress=progress, image_size=size)
            self._loaded = (choice, model)
        return self._loaded[1]


def _fits(choice: ModelChoice, before: ModelChoice, model: Sam2 | Sam) -> bool:
    """Return whether a network is what is asked for; its own size, said by a project, is not another one."""
    alike = replace(choice, image_size=before.image_size) == before
    return alike and choice.image_size in (before.image_size, model.config.image_size)


def open_backend(loaded: LoadedModel, spec: SessionSpec, progress: Progress) -> OpenedSession:
    """Load the network and open the project of these frames, or make one.

    Parameters
    ----------
    loaded : LoadedModel
        Holds the network between two sessions.
    spec : SessionSpec
        What to open.
    progress : callable
        ``progress(bytes_done, bytes_total)`` is called while the network is loaded; it may raise to cancel.

    Raises
    ------
    ProjectError, ValueError, OSError
        The project that the user named cannot be used, or the network cannot be loaded.
    """
    model = loaded.get(spec.choice, progress)
    progress(0, 0)
    search = _ProjectSearch(spec, model)
    return search.find() or search.create()


class _ProjectSearch:
    """Finds the project of some frames, or makes it."""

    def __init__(self, spec: SessionSpec, model: Sam2 | Sam) -> None:
        self._spec = spec
        self._model = model
        self._message = ""
        self._destroyed: Path | None = None
        chosen = spec.preferences.autosave_folder
        self._folder = Path(chosen).expanduser() if chosen else Path.home() / DEFAULT_FOLDER
        size = f"{spec.choice.image_size}px-" if spec.choice.image_size else ""
        self._key = f"{_content_key(spec.frames)}-{size}{_slug(Path(spec.choice.name).stem)}"

    def find(self) -> OpenedSession | None:
        """Open the named project, or the newest one of the same content that this network made."""
        for path in self._candidates():
            try:
                return self._open(path)
            except (ProjectError, ValueError) as error:
                if self._spec.project_required and path == self._spec.project:
                    raise
                self._note(error)
        return None

    def create(self) -> OpenedSession:
        """Make a new project; in a temporary folder if the right one cannot be written."""
        spec = self._spec
        name = f"{_slug(spec.name)}-{self._key}"
        named = spec.project if spec.project_required else None
        try:
            if named is None:
                self._folder.mkdir(parents=True, exist_ok=True)
            return self._session(self._created(named or _free(self._folder, name)), spec.frames, False)
        except (ProjectError, OSError) as error:
            if named is not None:
                raise
            folder = _TemporaryFolder()
            self._message = (
                f"Nothing is saved beyond this session, because the project folder cannot be written: {error}. "
                "Choose another autosave folder in the preferences."
            )
            path = folder.path / f"{name}.sam2"
            return self._session(self._created(path), spec.frames, False, folder)

    def _candidates(self) -> list[Path]:
        spec = self._spec
        named = [spec.project] if spec.project is not None and spec.project.exists() else []
        if spec.project is not None and spec.project_required:
            return named
        alike = self._folder.glob(f"*-{self._key}*.sam2") if self._folder.is_dir() else ()
        return [*named, *sorted(alike, key=_age, reverse=True)]

    def _note(self, error: Exception) -> None:
        """Remember why a project is not used, for the user to read."""
        if isinstance(error, ProjectDamagedError):
            self._destroyed = self._destroyed or error.restorable
        if isinstance(error, ProjectLockedError):
            self._message = f"A second project was begun, because {error}"
        elif isinstance(error, ProjectMismatchError) and not self._spec.keep_contrast:
            return  # that is what was asked for
        else:
            self._message = f"A new project was begun, because the old one cannot be used: {error}"

    def _open(self, path: Path) -> OpenedSession:
        spec = self._spec
        restores = spec.restores and path == spec.project
        project = Project.restore(path) if restores else Project.open(path, "a")
        try:
            frames = self._spec.frames
            saved = project.source.reading.get("options")
            if self._spec.keep_contrast and isinstance(saved, Mapping):
                frames = FrameStack(frames.array, FrameStackOptions.from_dict(saved))
        except BaseException:
            project.close()
            raise
        return self._session(project, frames, True)

    def _created(self, path: Path) -> Project:
        spec, frames = self._spec, self._spec.frames
        calibration = asdict(spec.calibration)
        reading = {"axes": None, "options": frames.options.to_dict()}
        source = SourceDescription(
            spec.path, frames_hash(frames), "array", reading, json.loads(json.dumps(calibration))
        )
        return Project.create(
            path,
            (len(frames), *frames.size),
            source=source,
            model=describe_model(self._model, spec.choice.name),
            options=asdict(self._options()),
        )

    def _session(
        self, project: Project, frames: FrameStack, resumed: bool, folder: _TemporaryFolder | None = None
    ) -> OpenedSession:
        spec = self._spec
        try:
            session = open_session(project, self._model, frames, self._options(), verify=resumed)
        except BaseException:
            project.close()
            raise
        project.store.defer()
        interrupted = None if session.pending is None else session.pending.done
        named = spec.project is not None and spec.project_required
        return OpenedSession(
            session,
            ProjectState(
                project.path, resumed, interrupted, folder is not None, self._message, self._destroyed
            ),
            _SavedLabels(project, folder).read,
            partial(_results, project, frames, spec),
            partial(_close, session, discard_unused=not named),
        )

    def _options(self) -> SessionOptions:
        spec = self._spec
        precision: Any = spec.choice.precision
        return SessionOptions(
            precision=precision,
            # A single image is resized as the reference's image predictor does it.
            resize="bilinear" if len(spec.frames) == 1 else "bicubic",
            feature_cache_mb=spec.preferences.cache_mb,
            embedding_cache_mb=USUAL_MB if isinstance(self._model, Sam) else 0,
        )


class _SavedLabels:
    """Reads labels of a project; refers neither to session nor network, so that a layer keeps none of them alive."""

    def __init__(self, project: Project, folder: _TemporaryFolder | None) -> None:
        self._project = project
        self._folder = folder  # lives as long as something shows what is in it

    def read(self, frame: int) -> NDArray[np.uint16]:
        """Return the labels (H, W) of a frame."""
        return self._project.labels.frame(frame)


class _TemporaryFolder:
    """A folder that is deleted with the last reference to it."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="napari-sam2-"))
        weakref.finalize(self, shutil.rmtree, self.path, True)


def _results(project: Project, frames: FrameStack, spec: SessionSpec) -> TrackingResults:
    """Return masks and objects of a project for the exports, with the scale and name of the image as it is opened."""
    found = project_results(project, intensity=lambda t: frames.intensities(t, 0), picture=frames.frame)
    return replace(found, calibration=spec.calibration, name=spec.name)


def _close(session: RecordedSession, discard_unused: bool) -> None:
    """Close a session and its project; delete the project if nothing was done in it."""
    project = session.project
    used = session.prompts or session.objects or session.history.steps or session.tracked_frames()
    unused = discard_unused and not used and not (project.path / "exports").exists()
    try:
        session.close()
    finally:
        project.close()
    if unused:
        discard(project.path)


def _content_key(frames: FrameStack) -> str:
    """Return 12 digits that identify the pixels and the axis of the frames, whatever their contrast."""
    options = frames.options
    way = (options.axis, options.plane, options.fixed, options.channel_axis, options.rgb, options.reverse)
    array: Any = frames.array
    parts = array.arrays if hasattr(array, "arrays") else [array]
    content = "|".join(content_fingerprint(part) for part in parts)
    return hashlib.sha256(f"{content}|{way}".encode()).hexdigest()[:12]


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40].lower() or "image"


def _free(folder: Path, name: str) -> Path:
    path = folder / f"{name}.sam2"
    number = 2
    while path.exists():
        path = folder / f"{name}-{number}.sam2"
        number += 1
    return path


def _age(path: Path) -> float:
    return max((p.stat().st_mtime for p in (path, *path.iterdir())), default=0.0)

"""Opening the session of some frames: the network, and the project that is found again by content."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from napari_sam2.frames.fingerprint import fingerprint as content_fingerprint
from napari_sam2.frames.options import FrameStackOptions
from napari_sam2.frames.stack import FrameStack
from napari_sam2.model.sam2 import Sam2
from napari_sam2.model.weights.checkpoints import load_model
from napari_sam2.plugin.state import ModelChoice
from napari_sam2.plugin.worker.project_backend import ProjectBackend, TemporaryFolder
from napari_sam2.plugin.worker.session_spec import SessionSpec
from napari_sam2.session import SessionOptions
from napari_sam2.storage.errors import ProjectError, ProjectLockedError, ProjectMismatchError
from napari_sam2.storage.frames_fingerprint import frames_hash
from napari_sam2.storage.project import Project
from napari_sam2.storage.schema import SourceDescription
from napari_sam2.storage.sessions import describe_model, open_session

DEFAULT_FOLDER = "napari-sam2"


class BackendOpener:
    """Opens workbenches, and keeps the network that it loaded last."""

    def __init__(self) -> None:
        self._loaded: tuple[ModelChoice, Sam2] | None = None

    def __call__(self, plan: SessionSpec, progress: Callable[[int, int], None]) -> ProjectBackend:
        """Load the network (unless it is the one of last time) and open the project of these frames.

        Parameters
        ----------
        plan : BenchPlan
            What to open.
        progress : callable
            Called with (bytes done, bytes in total); may raise to cancel.
        """
        model = self._model(plan.choice, progress)
        progress(0, 0)
        search = ProjectSearch(plan, model)
        return search.found() or search.made()

    def _model(self, choice: ModelChoice, progress: Callable[[int, int], None]) -> Sam2:
        if self._loaded is None or self._loaded[0] != choice:
            self._loaded = None  # the memory of the old one is needed for the new one
            device: Any = choice.device
            self._loaded = (choice, load_model(choice.name, device=device, progress=progress))
        return self._loaded[1]


class ProjectSearch:
    """Finds the project of some frames, or makes it."""

    def __init__(self, plan: SessionSpec, model: Sam2) -> None:
        self._plan = plan
        self._model = model
        self._message = ""
        chosen = plan.preferences.autosave_folder
        self._folder = Path(chosen).expanduser() if chosen else Path.home() / DEFAULT_FOLDER
        self._key = f"{_content_key(plan.frames)}-{_slug(Path(plan.choice.name).stem)}"

    def found(self) -> ProjectBackend | None:
        """Go on with the named project, or the newest one of the same content that this network made."""
        for path in self._candidates():
            try:
                return self._opened(path)
            except (ProjectError, ValueError) as error:
                if self._is_named(path):
                    raise
                self._note(error)
        return None

    def made(self) -> ProjectBackend:
        """Make a new project; in a temporary folder when the right one cannot be written."""
        plan = self._plan
        name = f"{_slug(plan.name)}-{self._key}"
        named = plan.project if plan.project_required else None
        try:
            if named is None:
                self._folder.mkdir(parents=True, exist_ok=True)
            return self._session(self._created(named or _free(self._folder, name)), plan.frames, False, None)
        except (ProjectError, OSError) as error:
            if named is not None:
                raise
            folder = TemporaryFolder()
            self._message = (
                f"Nothing is saved beyond this session, because the project folder cannot be written: {error}. "
                "Choose another autosave folder in the preferences."
            )
            path = folder.path / f"{name}.sam2"
            return self._session(self._created(path), plan.frames, False, folder)

    def _candidates(self) -> list[Path]:
        plan = self._plan
        named = [plan.project] if plan.project is not None and plan.project.exists() else []
        if plan.project is not None and plan.project_required:
            return named
        alike = self._folder.glob(f"*-{self._key}*.sam2") if self._folder.is_dir() else ()
        return [*named, *sorted(alike, key=_age, reverse=True)]

    def _is_named(self, path: Path) -> bool:
        return self._plan.project_required and path == self._plan.project

    def _note(self, error: Exception) -> None:
        """Remember why a project is not used, for the user to read."""
        if isinstance(error, ProjectLockedError):
            self._message = f"A second project was begun, because {error}"
        elif isinstance(error, ProjectMismatchError) and not self._plan.keep_contrast:
            return  # that is what was asked for
        else:
            self._message = f"A new project was begun, because the old one cannot be used: {error}"

    def _opened(self, path: Path) -> ProjectBackend:
        project = Project.open(path, "a")
        try:
            frames = self._plan.frames
            saved = project.source.reading.get("options")
            if self._plan.keep_contrast and isinstance(saved, Mapping):
                frames = FrameStack(frames.array, FrameStackOptions.from_dict(saved))
            return self._session(project, frames, True, None)
        except BaseException:
            project.close()
            raise

    def _created(self, path: Path) -> Project:
        plan, frames = self._plan, self._plan.frames
        calibration = asdict(plan.calibration)
        reading = {"axes": None, "options": frames.options.to_dict()}
        source = SourceDescription(
            plan.path, frames_hash(frames), "array", reading, json.loads(json.dumps(calibration))
        )
        return Project.create(
            path,
            (len(frames), *frames.size),
            source=source,
            model=describe_model(self._model, plan.choice.name),
            options=asdict(self._options()),
        )

    def _session(
        self,
        project: Project,
        frames: FrameStack,
        resumed: bool,
        folder: TemporaryFolder | None,
    ) -> ProjectBackend:
        try:
            session = open_session(project, self._model, frames, self._options(), verify=resumed)
        except BaseException:
            project.close()
            raise
        return ProjectBackend(self._plan, session, frames, resumed, self._message, folder)

    def _options(self) -> SessionOptions:
        plan = self._plan
        precision: Any = plan.choice.precision
        return SessionOptions(
            precision=precision,
            # A single image is resized as the reference's image predictor does it.
            resize="bilinear" if len(plan.frames) == 1 else "bicubic",
            feature_cache_mb=plan.preferences.cache_mb,
        )


def _content_key(frames: FrameStack) -> str:
    """Return 12 digits that name the pixels and the way they are travelled, whatever their contrast."""
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

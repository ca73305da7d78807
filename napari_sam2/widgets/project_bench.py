"""The real workbench: a recorded session in a project folder that is found again by the image's content."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.frames.fingerprint import fingerprint as content_fingerprint
from napari_sam2.frames.options import FrameStackOptions
from napari_sam2.frames.stack import FrameStack
from napari_sam2.masks import FrameMasks, compose_labels
from napari_sam2.model.checkpoints import load_model
from napari_sam2.model.sam2 import Sam2
from napari_sam2.prompts import Prompt
from napari_sam2.session import Alternatives, SessionOptions
from napari_sam2.storage.errors import ProjectError, ProjectLockedError, ProjectMismatchError
from napari_sam2.storage.exports.results import ObjectInfo, Results
from napari_sam2.storage.fingerprint import fingerprint
from napari_sam2.storage.project import Project
from napari_sam2.storage.recorded import RecordedSession
from napari_sam2.storage.schema import SourceDescription
from napari_sam2.storage.session_opening import describe_model, open_session
from napari_sam2.widgets.bench_plan import BenchPlan
from napari_sam2.widgets.states import HistoryState, ModelChoice
from napari_sam2.widgets.workbench import Interrupted, PromptKey

DEFAULT_FOLDER = "napari-sam2"


class ProjectBench:
    """A recorded session as the worker uses it; see :class:`Workbench` for the methods."""

    def __init__(
        self,
        plan: BenchPlan,
        session: RecordedSession,
        frames: FrameStack,
        resumed: bool,
        message: str,
        folder: _TemporaryFolder | None,
    ) -> None:
        self._plan = plan
        self._session = session
        self._frames = frames
        self._folder = folder
        self.resumed = resumed
        self.message = message

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self._session.project.frame_count

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames."""
        return self._session.size

    @property
    def path(self) -> Path | None:
        """Where the project is."""
        return self._session.project.path

    @property
    def temporary(self) -> bool:
        """Whether the project is deleted when nothing shows it any more."""
        return self._folder is not None

    @property
    def interrupted(self) -> Interrupted | None:
        """A propagation that did not reach its end; None when there is none."""
        run = self._session.pending
        if run is None:
            return None
        return Interrupted(run.done, run.next_frame, run.stop, run.reverse, run.objects)

    @property
    def runs_on(self) -> tuple[str, str]:
        """Device and precision that are used."""
        compute = self._session.session.compute
        return str(compute.device), str(compute.autocast or "float32").removeprefix("torch.")

    @property
    def prompts(self) -> Mapping[PromptKey, Prompt]:
        """All prompts by (frame, object id)."""
        return self._session.prompts

    @property
    def objects(self) -> Mapping[int, ObjectInfo]:
        """All objects with names and colours."""
        return self._session.objects

    @property
    def history(self) -> HistoryState:
        """What can be undone and redone."""
        return HistoryState(self._session.undo_label or "", self._session.redo_label or "")

    @property
    def model(self) -> Sam2:
        """The network."""
        return self._session.session.compute.model

    def picture(self, frame: int) -> NDArray[np.uint8]:
        """Return a frame as the model sees it, uint8 (H, W, 3)."""
        return self._frames.frame(frame)

    def set_prompt(self, frame: int, object_id: int, prompt: Prompt) -> FrameMasks:
        """Say all there is to say about one object on one frame; returns all masks of this frame."""
        if object_id not in self._session.session.object_ids:
            self._session.session.restore_object(object_id)
        self._session.set_prompt(frame, object_id, prompt)
        return self.masks(frame)

    def clear_prompt(self, frame: int, object_id: int) -> FrameMasks:
        """Take back what was said; returns all masks of this frame."""
        self._session.clear_prompt(frame, object_id)
        return self.masks(frame)

    def put_object(self, info: ObjectInfo) -> None:
        """Add an object, or change its name and colour."""
        if info.object_id not in self._session.objects:
            self._session.add_object(info.object_id, info.name, info.color)
            return
        with self._session.history.action(f"Change {info.title}"):
            self._session.project.put_object(info.object_id, info.name, info.color)

    def remove_objects(self, object_ids: Iterable[int]) -> None:
        """Remove objects with all they have, as one step of undo."""
        ids = list(object_ids)
        if not ids:
            return
        inner = self._session.session
        title = f"object {ids[0]}" if len(ids) == 1 else f"{len(ids)} objects"
        with self._session.history.action(f"Remove {title}"):
            for object_id in ids:
                if object_id in inner.object_ids:
                    inner.remove_object(object_id)
                self._session.history.remove_object(object_id)

    def propagate(
        self, start: int | None, stop: int | None, reverse: bool, objects: Iterable[int] | None
    ) -> Iterator[FrameMasks]:
        """Carry objects through time, as one step of undo; yields all masks of each visited frame."""
        steps: Any = self._session.propagate(start, stop, reverse, objects)
        with closing(steps):
            for found in steps:
                others = set(self._session.objects) - set(found.object_ids)
                yield self.masks(found.frame) if others else found

    def masks(self, frame: int) -> FrameMasks:
        """Return all masks of a frame."""
        return self._session.masks(frame)

    @property
    def labels(self) -> Callable[[int], NDArray[np.uint16]]:
        """``labels(frame)`` gives the label image (H, W); any thread may ask, also after closing."""
        return _SavedLabels(self._session.project, self._folder).read

    def tracked_frames(self) -> Iterable[int]:
        """Return the frames with any result, in order."""
        return self._session.project.frames()

    def alternatives(self, frame: int, object_id: int) -> Alternatives:
        """Return the masks that the network offered for a prompt."""
        return self._session.alternatives(frame, object_id)

    def warm(self, frame: int) -> None:
        """Compute the image features of a frame ahead of time."""
        self._session.session.features.get(frame)

    def undo(self) -> str:
        """Take back the last step; returns its label."""
        return self._session.undo()

    def redo(self) -> str:
        """Do the last undone step again; returns its label."""
        return self._session.redo()

    def results(self) -> Results:
        """Return what the exports read."""
        project, frames = self._session.project, self._frames
        return Results(
            project.size,
            project.frame_count,
            project.masks,
            tuple(project.objects.values()),
            self._plan.calibration,
            lambda frame: frames.intensities(frame, 0),
            (),
            frames.frame,
            self._plan.name,
        )

    def close(self) -> None:
        """Write what is left, and let go of files and memory."""
        try:
            self._session.close()
        finally:
            self._session.project.close()


class _SavedLabels:
    """Reads labels of a project; knows neither session nor network, so that a layer keeps none of them alive."""

    def __init__(self, project: Project, folder: _TemporaryFolder | None) -> None:
        self._project = project
        self._folder = folder  # lives as long as something shows what is in it

    def read(self, frame: int) -> NDArray[np.uint16]:
        if frame in self._project.labels.stale:  # composed here, so that only the worker's thread ever writes
            return compose_labels(self._project.masks(frame))
        return self._project.labels.frame(frame)


class _TemporaryFolder:
    """A folder that is deleted when nobody uses it any more."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="napari-sam2-"))
        weakref.finalize(self, shutil.rmtree, self.path, True)


class BenchOpener:
    """Opens workbenches, and keeps the network that it loaded last."""

    def __init__(self) -> None:
        self._loaded: tuple[ModelChoice, Sam2] | None = None

    def __call__(self, plan: BenchPlan, progress: Callable[[int, int], None]) -> ProjectBench:
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
        search = _Search(plan, model)
        return search.found() or search.made()

    def _model(self, choice: ModelChoice, progress: Callable[[int, int], None]) -> Sam2:
        if self._loaded is None or self._loaded[0] != choice:
            self._loaded = None  # the memory of the old one is needed for the new one
            device: Any = choice.device
            self._loaded = (choice, load_model(choice.name, device=device, progress=progress))
        return self._loaded[1]


class _Search:
    """Finds the project of some frames, or makes it."""

    def __init__(self, plan: BenchPlan, model: Sam2) -> None:
        self._plan = plan
        self._model = model
        self._message = ""
        chosen = plan.preferences.autosave_folder
        self._folder = Path(chosen).expanduser() if chosen else Path.home() / DEFAULT_FOLDER
        self._key = f"{_content_key(plan.frames)}-{_slug(Path(plan.choice.name).stem)}"

    def found(self) -> ProjectBench | None:
        """Go on with the named project, or the newest one of the same content that this network made."""
        for path in self._candidates():
            try:
                return self._opened(path)
            except (ProjectError, ValueError) as error:
                if self._is_named(path):
                    raise
                self._note(error)
        return None

    def made(self) -> ProjectBench:
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
            folder = _TemporaryFolder()
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

    def _opened(self, path: Path) -> ProjectBench:
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
            plan.path, fingerprint(frames), "array", reading, json.loads(json.dumps(calibration))
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
        folder: _TemporaryFolder | None,
    ) -> ProjectBench:
        try:
            session = open_session(project, self._model, frames, self._options(), verify=resumed)
        except BaseException:
            project.close()
            raise
        return ProjectBench(self._plan, session, frames, resumed, self._message, folder)

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

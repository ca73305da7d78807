"""The real workbench: a recorded session in a project folder that is found again by the image's content."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.frames.stack import FrameStack
from napari_sam2.masks import FrameMasks, compose_labels
from napari_sam2.model.sam2 import Sam2
from napari_sam2.objects import ObjectInfo
from napari_sam2.plugin.state import HistoryState, UndoGroup, UndoStep
from napari_sam2.plugin.worker.backend import InterruptedRun
from napari_sam2.plugin.worker.session_spec import SessionSpec
from napari_sam2.prompts import Prompt, PromptKey
from napari_sam2.session import Alternatives
from napari_sam2.storage.discard import discard
from napari_sam2.storage.project import Project
from napari_sam2.storage.recorded_session import RecordedSession


class ProjectBackend:
    """A recorded session as the worker uses it; see :class:`Workbench` for the methods."""

    def __init__(
        self,
        plan: SessionSpec,
        session: RecordedSession,
        frames: FrameStack,
        resumed: bool,
        message: str,
        folder: TemporaryFolder | None,
    ) -> None:
        self._plan = plan
        self._session = session
        self._frames = frames
        self._folder = folder
        self._done = (0, 0)  # number of the last gesture, and of the step it made
        session.project.store.defer()
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
    def interrupted(self) -> InterruptedRun | None:
        """A propagation that did not reach its end; None when there is none."""
        run = self._session.pending
        if run is None:
            return None
        return InterruptedRun(run.done, run.next_frame, run.stop, run.reverse, run.objects)

    @property
    def runs_on(self) -> tuple[str, str]:
        """Device and precision that are used."""
        runner = self._session.session.runner
        return str(runner.device), str(runner.autocast or "float32").removeprefix("torch.")

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
        history = self._session.history
        return HistoryState(tuple(UndoStep(*step) for step in history.steps), history.applied)

    @contextmanager
    def step(self, gesture: UndoGroup) -> Iterator[None]:
        """Make everything inside one step of undo, together with what was done of the same gesture just before."""
        with self._session.step(gesture.label, self._joins(gesture)):
            yield
        self._done = (gesture.number, self._top)

    def _joins(self, gesture: UndoGroup) -> bool:
        return gesture.number != 0 and self._done == (gesture.number, self._top)

    @property
    def _top(self) -> int:
        history = self._session.history
        return history.steps[history.applied - 1][0] if history.applied else 0

    @property
    def model(self) -> Sam2:
        """The network."""
        return self._session.session.runner.model

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
        """Add an object, or change its name and colour, lock or unlock it."""
        if info.object_id not in self._session.objects:
            self._session.session.restore_object(info.object_id)
        self._session.history.put_object(info)

    def remove_objects(self, object_ids: Iterable[int]) -> None:
        """Remove objects with all they have."""
        for object_id in object_ids:
            self._session.remove_object(object_id)

    def propagate(
        self,
        start: int | None,
        stop: int | None,
        reverse: bool,
        objects: Iterable[int] | None,
        gesture: UndoGroup,
        joins: bool,
    ) -> Iterator[FrameMasks]:
        """Carry objects through time, as one step of undo; yields all masks of each visited frame."""
        joins = joins or self._joins(gesture)
        steps: Any = self._session.propagate(start, stop, reverse, objects, gesture.label, joins)
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
        return SavedLabels(self._session.project, self._folder).read

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

    def results(self) -> TrackingResults:
        """Return what the exports read."""
        project, frames = self._session.project, self._frames
        return TrackingResults(
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

    def tidy(self) -> None:
        """Write what could wait until nobody waits for an answer."""
        self._session.project.store.tidy()

    def close(self) -> None:
        """Write what is left, and let go of files and memory; a project in which nothing was done is taken away."""
        project, unused = self._session.project, self._is_unused()
        try:
            self._session.close()
        finally:
            project.close()
        if unused:
            discard(project.path)

    def _is_unused(self) -> bool:
        if self._plan.project is not None and self._plan.project_required:
            return False  # it was asked for by name
        done = self.prompts or self.objects or self.history.steps or list(self.tracked_frames())
        return not done and not (self._session.project.path / "exports").exists()


class SavedLabels:
    """Reads labels of a project; knows neither session nor network, so that a layer keeps none of them alive."""

    def __init__(self, project: Project, folder: TemporaryFolder | None) -> None:
        self._project = project
        self._folder = folder  # lives as long as something shows what is in it

    def read(self, frame: int) -> NDArray[np.uint16]:
        """Return the labels (H, W) of a frame."""
        if frame in self._project.labels.stale:  # composed here, so that only the worker's thread ever writes
            return compose_labels(self._project.masks(frame))
        return self._project.labels.frame(frame)


class TemporaryFolder:
    """A folder that is deleted when nobody uses it any more."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="napari-sam2-"))
        weakref.finalize(self, shutil.rmtree, self.path, True)

"""What a controller does with the worker's answers."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from napari_sam2.plugin.controller.context import ControllerContext
from napari_sam2.plugin.controller.objects import Objects
from napari_sam2.plugin.controller.progress import PropagationProgress
from napari_sam2.plugin.controller.prompts import Prompts
from napari_sam2.plugin.controller.results import ResultsLayer
from napari_sam2.plugin.controller.timeline import Timeline
from napari_sam2.plugin.state import HistoryState, ModelChoice, ModelState, ProjectState
from napari_sam2.plugin.worker.backend import InterruptedRun
from napari_sam2.plugin.worker.replies import (
    CallResult,
    FactsLoaded,
    FrameResult,
    FrameTracked,
    ModelLoading,
    PromptResult,
    PropagationPhase,
    RequestFailed,
    SessionOpened,
    StateReset,
)
from napari_sam2.plugin.worker.requests import (
    GetAlternatives,
    Open,
    Propagate,
    RemoveObjects,
    Reply,
    UndoRedo,
)
from napari_sam2.session import Alternatives


class ReplyHandler:
    """Takes answers to where they belong; a part of a controller.

    Attributes
    ----------
    model, history, project
        The newest snapshots.
    opening : int
        Generation of the newest opening; answers of older sessions are dropped.
    interrupted : Interrupted or None
        A propagation of an earlier window that did not reach its end.
    keep_contrast : bool
        Whether a project that is found again decides about the contrast.
    """

    def __init__(
        self,
        desk: ControllerContext,
        timeline: Timeline,
        objects: Objects,
        prompts: Prompts,
        results: ResultsLayer,
        progress: PropagationProgress,
    ) -> None:
        self._desk = desk
        self._timeline = timeline
        self._objects = objects
        self._prompts = prompts
        self._results = results
        self._progress = progress
        self.model = ModelState()
        self.history = HistoryState()
        self.project = ProjectState()
        self.opening = 0
        self.interrupted: InterruptedRun | None = None
        self.keep_contrast = True

    def loading(self, choice: ModelChoice) -> None:
        """Say that a model is loaded."""
        self._tell_model(ModelState(choice.name, "loading", choice.device, choice.precision))

    def take(self, reply: Reply | Callable[[], None]) -> None:
        """Take over one answer, or do what was left to be done here."""
        if not isinstance(reply, Reply):
            reply()
            return
        if reply.request is not None and reply.generation < self.opening:
            self._drop(reply)
            return
        answer = reply.answer
        match answer:
            case ModelLoading():
                self._tell_model(replace(self.model, bytes_done=answer.done, bytes_total=answer.total))
            case SessionOpened():
                self._opened(answer, reply.generation)
            case PromptResult():
                self._tell_history(answer.history)
                if not self._prompts.is_stale(answer.key, reply.generation):
                    self._show(answer.shown)
            case FrameTracked():
                self._show(answer.shown)
                self._progress.stepped(answer)
            case PropagationPhase():
                self._tell_history(answer.history)
                self._progress.marched(answer)
                if answer.phase not in ("running", "paused"):
                    self._objects.tell()
            case StateReset():
                self._restated(answer, isinstance(reply.request, (UndoRedo, RemoveObjects)), reply.generation)
                self._arrived(reply)
            case FactsLoaded():
                self._surveyed(answer)
            case HistoryState():
                self._tell_history(answer)
            case Alternatives():
                if isinstance(reply.request, GetAlternatives):
                    self._prompts.choose((reply.request.frame, reply.request.object_id), answer)
            case CallResult():
                self._settle(reply.generation, answer.value, None)
            case RequestFailed():
                self._failed(reply, answer)

    def drop_futures(self) -> None:
        """Tell everybody who waits that no answer will come."""
        for generation in list(self._desk.futures):
            self._settle(generation, None, RuntimeError("the session was closed"))

    # -- inside ------------------------------------------------------------------------------------------

    def _opened(self, opened: SessionOpened, generation: int) -> None:
        desk = self._desk
        device, precision = opened.runs_on
        self._tell_model(replace(self.model, phase="ready", device=device, precision=precision, message=""))
        self.interrupted = opened.interrupted
        at = None if opened.interrupted is None else opened.interrupted.done
        self.project = ProjectState(opened.path, opened.resumed, at, opened.temporary, opened.message)
        desk.events.project.emit(self.project)
        self._timeline.forget()
        self._results.open(opened.read, opened.path)
        self._prompts.opened(opened.path)
        infos = {**self._objects.infos, **opened.state_reset.objects}
        known = opened.state_reset.objects
        desk.ready = True
        for object_id, info in self._objects.infos.items():
            if object_id not in known and (info.name or info.color or info.locked):
                self._objects.announce(object_id)
        self._restated(replace(opened.state_reset, objects=infos), False, generation)
        desk.worker.survey()

    def _restated(self, told: StateReset, overwrite: bool, generation: int) -> None:
        self._objects.adopt(told.objects, generation)
        self._prompts.restate(told.prompts, overwrite, generation)
        self._results.forget()
        self._show(told.shown)
        self._tell_history(told.history)
        self._timeline.set_prompted(self._prompts.frames_by_object())
        if overwrite:
            self._desk.worker.survey()
        self._desk.events.results.emit(-1)

    def _surveyed(self, told: FactsLoaded) -> None:
        if told.first:
            self._timeline.forget()
            self._timeline.set_prompted(self._prompts.frames_by_object())
        self._timeline.put(told.facts)
        if any(fact.area for fact in told.facts):
            self._results.ensure_layer()  # also when nothing is seen on the frame that is shown
        if told.finished:
            self._objects.tell()

    def _show(self, shown: FrameResult) -> None:
        self._results.put(shown.frame, shown.labels)
        self._timeline.put_frame(shown.frame, shown.facts)
        self._desk.events.results.emit(shown.frame)

    def _failed(self, reply: Reply, failed: RequestFailed) -> None:
        request = reply.request
        self._arrived(reply)
        if isinstance(request, Open):
            self._tell_model(replace(self.model, phase="failed", message=failed.message))
        elif isinstance(request, Propagate):
            self._progress.failed()
        else:
            self._results.forget()  # what is shown may be ahead of what is saved
        if not self._settle(reply.generation, None, RuntimeError(failed.message)):
            self._desk.report(failed.title, failed.message, failed.details)

    def _drop(self, reply: Reply) -> None:
        """Let go of an answer of a session that is no more."""
        if isinstance(reply.answer, PropagationPhase) and reply.answer.phase not in ("running", "paused"):
            self._progress.marched(reply.answer)
        self._arrived(reply)
        self._settle(reply.generation, None, RuntimeError("the session was opened anew meanwhile: ask again"))

    def _settle(self, generation: int, value: Any, error: Exception | None) -> bool:
        """Answer who waits; False when nobody does."""
        future: Future[Any] | None = self._desk.futures.get(generation)
        if future is None or (error is None and value is None and generation not in self._desk.futures):
            return False
        del self._desk.futures[generation]
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)
        return True

    def _tell_model(self, state: ModelState) -> None:
        if state != self.model:
            self.model = state
            self._desk.events.model.emit(state)

    def _tell_history(self, state: HistoryState) -> None:
        if state != self.history:
            self.history = state
            if not self._desk.travelling:  # who shows a list of steps is ahead of these answers
                self._desk.events.history.emit(state)

    def _arrived(self, reply: Reply) -> None:
        """Tell the history, also unchanged, when the last undo or redo was answered."""
        if isinstance(reply.request, UndoRedo):
            self._desk.travelling -= 1
            if not self._desk.travelling:
                self._desk.events.history.emit(self.history)

"""Replies of the worker, dispatched by type to the parts of the controller that they concern."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_sam2.plugin.controller.context import ControllerContext
from napari_sam2.plugin.controller.objects import Objects
from napari_sam2.plugin.controller.prompts import Prompts
from napari_sam2.plugin.controller.propagation import PropagationProgress
from napari_sam2.plugin.controller.results import ResultsLayer
from napari_sam2.plugin.controller.timeline import Timeline
from napari_sam2.plugin.state import HistoryState
from napari_sam2.plugin.worker.replies import (
    AlternativesFound,
    CallResult,
    FactsLoaded,
    FrameTracked,
    ModelLoading,
    OpeningFailed,
    PromptResult,
    PropagationFailed,
    PropagationPhase,
    Reply,
    RequestFailed,
    SessionOpened,
    StateReset,
)

if TYPE_CHECKING:
    from napari_sam2.storage.schema import PendingRun


class ReplyHandler:
    """Handles replies; what concerns one part alone goes to that part, what concerns several is done here.

    Attributes
    ----------
    handlers : dict
        ``handlers[type(answer)](answer, generation)`` handles an answer.
    interrupted : PendingRun or None
        A propagation of an earlier session that did not reach its end.
    """

    def __init__(
        self,
        context: ControllerContext,
        timeline: Timeline,
        objects: Objects,
        prompts: Prompts,
        results: ResultsLayer,
        progress: PropagationProgress,
    ) -> None:
        self._context = context
        self._session, self._state = context.session, context.state
        self._timeline = timeline
        self._objects = objects
        self._prompts = prompts
        self._results = results
        self._progress = progress
        self.interrupted: PendingRun | None = None
        self.handlers: dict[type, Callable[[Any, int], None]] = {
            ModelLoading: self._on_loading,
            SessionOpened: self._on_opened,
            PromptResult: prompts.on_result,
            AlternativesFound: prompts.on_alternatives,
            FrameTracked: self._on_frame,
            PropagationPhase: self._on_phase,
            StateReset: self._on_reset,
            FactsLoaded: self._on_facts,
            HistoryState: lambda history, _: self._state.set_history(history),
            CallResult: lambda result, generation: self._session.finish_call(generation, result.value),
            OpeningFailed: self._on_opening_failed,
            PropagationFailed: self._on_propagation_failed,
            RequestFailed: self._on_request_failed,
        }

    def drop(self, reply: Reply) -> None:
        """Drop a reply of an older session, but end what waits for it."""
        phase = reply.answer
        if isinstance(phase, PropagationPhase) and phase.phase not in ("running", "paused"):
            self._progress.on_phase(phase)
        self._session.fail_call(reply.generation, "the session was opened anew meanwhile: ask again")

    def _on_loading(self, loading: ModelLoading, generation: int) -> None:
        model = replace(self._state.model, bytes_done=loading.done, bytes_total=loading.total)
        self._state.set_model(model)

    def _on_opened(self, opened: SessionOpened, generation: int) -> None:
        state, context = self._state, self._context
        device, precision, side = opened.runs_on
        ready = replace(state.model, phase="ready", device=device, precision=precision, message="")
        state.set_model(
            replace(
                ready,
                image_size=side,
                frame_by_frame=opened.frame_by_frame,
                finds_instances=opened.finds_instances,
            )
        )
        self.interrupted = opened.interrupted
        state.set_project(opened.project)
        self._timeline.forget()
        self._results.open(opened)
        self._prompts.read_layers_of(opened.project.path)
        # Objects that were named, coloured or locked while there was no session are sent now; those that have prompts
        # alone come with their prompts.
        infos, known = self._objects.infos, opened.state.objects
        self._session.ready = True
        for object_id, info in infos.items():
            if object_id not in known and (info.name or info.color or info.locked):
                self._objects.send(object_id)
        self._reset(replace(opened.state, objects={**infos, **known}), generation, overwrite=False)
        context.session.worker.load_facts()

    def _on_reset(self, reset: StateReset, generation: int) -> None:
        self._reset(reset, generation, overwrite=True)

    def _reset(self, reset: StateReset, generation: int, overwrite: bool) -> None:
        """Replace objects, prompts and results; ``overwrite``: also the marks on the user's layers."""
        self._objects.reset(reset.objects, generation)
        self._prompts.reset(reset.prompts, overwrite, generation)
        self._results.forget()
        self._results.put(reset.shown)
        self._state.set_history(reset.history)
        self._timeline.set_prompted(self._prompts.frames_by_object())
        if overwrite:
            self._session.worker.load_facts()
        self._context.events.results.emit(-1)

    def _on_frame(self, tracked: FrameTracked, generation: int) -> None:
        self._results.put(tracked.shown)
        self._progress.on_frame(tracked)

    def _on_phase(self, phase: PropagationPhase, generation: int) -> None:
        self._state.set_history(phase.history)
        self._progress.on_phase(phase)
        if phase.phase not in ("running", "paused"):
            self._objects.emit()

    def _on_facts(self, loaded: FactsLoaded, generation: int) -> None:
        if loaded.first:
            self._timeline.forget()
            self._timeline.set_prompted(self._prompts.frames_by_object())
        self._timeline.put(loaded.facts)
        if any(fact.area for fact in loaded.facts):
            self._results.ensure_layer()  # also when there is nothing on the frame that is shown
        if loaded.finished:
            self._objects.emit()

    def _on_opening_failed(self, failed: OpeningFailed, generation: int) -> None:
        self._state.set_project(replace(self._state.project, destroyed=failed.destroyed))
        self._state.set_model(replace(self._state.model, phase="failed", message=failed.message))
        self._context.report(failed.title, failed.message, failed.details)

    def _on_propagation_failed(self, failed: PropagationFailed, generation: int) -> None:
        self._progress.fail()
        self._context.report(failed.title, failed.message, failed.details)

    def _on_request_failed(self, failed: RequestFailed, generation: int) -> None:
        self._results.forget()  # what is shown may be ahead of what is saved
        if not self._session.fail_call(generation, failed.message):
            self._context.report(failed.title, failed.message, failed.details)

"""The controller: what the buttons do, what scripts do, and what everybody is told. No widgets inside."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_sam2.plugin.controller.context import ControllerContext
from napari_sam2.plugin.controller.events import ControllerEvents
from napari_sam2.plugin.controller.objects import Objects
from napari_sam2.plugin.controller.progress import PropagationProgress, label_of, legs_of
from napari_sam2.plugin.controller.prompts import Prompts
from napari_sam2.plugin.controller.reply_handler import ReplyHandler
from napari_sam2.plugin.controller.results import ResultsLayer
from napari_sam2.plugin.controller.session_spec import session_spec_of
from napari_sam2.plugin.controller.status import StatusLine
from napari_sam2.plugin.controller.timeline import Timeline
from napari_sam2.plugin.controller.viewer_events import ViewerEvents, wire
from napari_sam2.plugin.layers.geometry import Geometry
from napari_sam2.plugin.layers.image_layer import geometry_of
from napari_sam2.plugin.state import (
    Direction,
    HistoryState,
    ModelChoice,
    ModelState,
    Preferences,
    ProjectState,
    PropagationState,
    Status,
)
from napari_sam2.plugin.worker.reply_queue import ReplyQueue
from napari_sam2.plugin.worker.requests import Open, Propagate, Reply
from napari_sam2.plugin.worker.session_spec import Opener
from napari_sam2.plugin.worker.session_worker import SessionWorker


class Controller:
    """Everything that can be done with one image, with or without a window.

    Made by :func:`open_tracker`, which gives every dock and script the same one for the same image. Its parts
    are ``objects``, ``prompts``, ``timeline`` and ``results``; what happens is told by ``events``, always in the
    thread that owns it. Verbs return at once: a thread of its own does the work. Everything is saved as it goes.

    Parameters
    ----------
    viewer : Viewer or ViewerModel
        Where the image is shown.
    images : sequence of Image layers
        One layer, or the channels of one picture.
    opener : callable
        Opens the session, in the worker's thread.
    preferences : Preferences
        Model, device, cache, autosave folder …
    travel_axis : int, optional
        Which axis of the layer is travelled; by default time, else the first.
    project : path, optional
        The project folder; by default one in the autosave folder that is found again by the image's content.
    project_required : bool
        False: when it cannot be used, go on as if it had not been named, and say so.
    """

    def __init__(
        self,
        viewer: Any,
        images: Sequence[Any],
        opener: Opener,
        preferences: Preferences | None = None,
        travel_axis: int | None = None,
        project: Path | None = None,
        project_required: bool = True,
    ) -> None:
        preferences = preferences or Preferences()
        geometry = geometry_of(images, viewer.dims.point, travel_axis)
        self.mailbox: ReplyQueue[Reply | Callable[[], None]] = ReplyQueue()
        self.events = ControllerEvents()
        worker = SessionWorker(self.mailbox.post, self.mailbox.nudge)
        self._desk = ControllerContext(
            viewer, tuple(images), geometry, self.events, worker, preferences, self.mailbox.post
        )
        self.timeline = Timeline(self._desk)
        self.objects = Objects(self._desk, self.timeline)
        self.results = ResultsLayer(self._desk, self.objects)
        self.prompts = Prompts(self._desk, self.objects, self.results.mask)
        self._opener = opener
        self._project = project
        self._project_required = project_required
        self._progress = PropagationProgress(self._desk)
        self._replies = ReplyHandler(
            self._desk, self.timeline, self.objects, self.prompts, self.results, self._progress
        )
        self._line = StatusLine(self._desk, self._replies, self._progress, self.prompts)
        self.give_way = worker.give_way  # for whoever drives this from an event loop
        self.bridge: object = None  # what drives the mailbox, when there is a window
        self._watch = ViewerEvents(
            self._desk,
            self.prompts,
            self.results,
            self._progress,
            self._line,
            lambda: self.close(timeout=2.0),
            self._on_pixels_replaced,
        )
        wire(self._desk, self.timeline, self.objects, self.prompts, self.results)
        self._watch.look()
        self.load_model(preferences.model.name, preferences.model.device, preferences.model.precision)

    # -- what is known -----------------------------------------------------------------------------------

    @property
    def viewer(self) -> Any:
        """Where the image is shown."""
        return self._desk.viewer

    @property
    def image(self) -> Any:
        """The Image layer (of several channels the first)."""
        return self._desk.image

    @property
    def images(self) -> tuple[Any, ...]:
        """All Image layers."""
        return self._desk.images

    @property
    def geometry(self) -> Geometry:
        """How the image is seen as frames."""
        return self._desk.geometry

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self._desk.geometry.n_frames

    @property
    def frame(self) -> int:
        """The frame that the viewer shows. Can be set."""
        return self._desk.frame

    @frame.setter
    def frame(self, frame: int) -> None:
        if not 0 <= frame < self.n_frames:
            raise ValueError(f"there is no frame {frame}: there are frames 0 to {self.n_frames - 1}")
        self._desk.show(frame)

    @property
    def preferences(self) -> Preferences:
        """What the user prefers. Can be set; model and folder count from the next opening on."""
        return self._desk.preferences

    @preferences.setter
    def preferences(self, preferences: Preferences) -> None:
        self._desk.preferences = preferences
        self._watch.look()

    @property
    def model(self) -> ModelState:
        """Which network runs, or how far its loading is."""
        return self._replies.model

    @property
    def propagation(self) -> PropagationState:
        """How far a propagation is."""
        return self._progress.state

    @property
    def history(self) -> HistoryState:
        """What can be undone and redone."""
        return self._replies.history

    @property
    def project(self) -> ProjectState:
        """Where everything is saved."""
        return self._replies.project

    @property
    def status(self) -> Status:
        """One line about everything."""
        return self._line.state

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self._desk.closed

    # -- model and frames --------------------------------------------------------------------------------

    def load_model(self, name: str, device: str = "auto", precision: str = "auto") -> None:
        """Load a network (without blocking) and open a session with it; arguments as :class:`ModelChoice` has them.

        Prompts stay; results made by another network stay in its own project and come back with it.
        """
        choice = ModelChoice(str(name), device, precision)
        if self.model.name not in ("", choice.name):
            self._project = None  # a project belongs to the network that made it
        self._desk.preferences = replace(self._desk.preferences, model=choice)
        self._replies.loading(choice)
        self._open()

    def cancel_loading(self) -> None:
        """Give up a download or the loading of a model."""
        self._desk.worker.cancel_opening()

    def set_travel_axis(self, axis: int) -> None:
        """Travel along another axis (time, z …): another project, because these are other frames."""
        self._rebase(geometry_of(self.images, self.viewer.dims.point, axis))

    def follow_plane(self) -> None:
        """Work at the position on the other axes (z …) that the viewer shows now: another project."""
        self._rebase(geometry_of(self.images, self.viewer.dims.point, self.geometry.frame_axis))

    def refresh_contrast(self) -> None:
        """Let the model see what the viewer shows now: contrast, gamma, colours. Results so far stay saved."""
        self._replies.keep_contrast = False
        self._open()

    # -- verbs -------------------------------------------------------------------------------------------

    def propagate(
        self,
        direction: Direction = "forward",
        start: int | None = None,
        stop: int | None = None,
        count: int | None = None,
        objects: Iterable[int] | None = None,
    ) -> None:
        """Carry objects through time. What still answers the prompts is passed over quickly.

        Parameters
        ----------
        direction : {"forward", "backward", "both"}
            Both: first forward.
        start, stop : int, optional
            By default from the first prompt (backward: the last one) to the end, included. For both: the range.
        count : int, optional
            So many frames from the one that is shown, instead of ``start`` and ``stop``.
        objects : iterable of int, optional
            By default all that have prompts. Locked ones are left as they are.
        """
        legs = legs_of(direction, start, stop, count, self.frame, self.n_frames - 1)
        wanted = None if objects is None else tuple(dict.fromkeys(objects))
        for object_id in wanted or ():
            if object_id not in self.objects:
                raise ValueError(f"object {object_id} does not exist; there are {list(self.objects.ids)}")
        self._desk.require_session()
        gesture = self._desk.gesture(label_of(direction))
        request = Propagate(legs, wanted, tuple(sorted(self.objects.locked)), direction, gesture)
        self.prompts.send()
        self._progress.begin(direction)
        self._desk.submit(request)

    def stop(self) -> None:
        """Stop a propagation between two frames; everything that is done stays."""
        self._progress.stopping()
        self._desk.worker.stop_propagation()

    def resume(self) -> None:
        """Go on with a propagation that was stopped or killed in an earlier window (``project.interrupted_at``)."""
        rest = self._replies.interrupted
        if rest is None:
            raise ValueError("there is nothing to resume: no propagation was interrupted")
        objects = None if rest.objects is None else tuple(i for i in rest.objects if i in self.objects)
        self.propagate("backward" if rest.reverse else "forward", rest.start, rest.stop, objects=objects)

    def ask(self, title: str, function: Callable[[Any], Any]) -> Future[Any]:
        """Run ``function(workbench)`` in the thread that owns the session, between clicks; see :class:`Workbench`.

        Parameters
        ----------
        title : str
            What is tried, for error messages.
        function : callable
            Must be short: prompts wait while it runs.
        """
        return self._desk.ask(title, function)

    def undo(self, steps: int = 1) -> None:
        """Take back the last change (or some) of prompts, objects or results; see ``history`` for what it is."""
        self._desk.travel(-steps)

    def redo(self, steps: int = 1) -> None:
        """Do the last change (or some) that was taken back again."""
        self._desk.travel(steps)

    def gesture(self, label: str) -> AbstractContextManager[None]:
        """Make everything that is asked for in a ``with`` block one step of undo with this label."""
        return self._desk.gesturing(label)

    def go_to_doubt(
        self, step: int = 1, objects: Iterable[int] | None = None, threshold: float = 0.5
    ) -> bool:
        """Show the next (1) or previous (-1) doubtful frame and make the object active; False: there is none."""
        found = self.timeline.next_doubtful(objects, step, threshold)
        if found is None:
            return False
        frame, object_id = found
        self.objects.select([object_id])
        self._desk.show(frame)
        return True

    # -- time --------------------------------------------------------------------------------------------

    def process(self, seconds: float = math.inf) -> None:
        """Take over what the worker answered, for so many seconds; called by the window when there is something new."""
        end = time.monotonic() + seconds
        while not self._desk.closed and (reply := self.mailbox.take()) is not None:
            self._replies.take(reply)
            if time.monotonic() > end:
                break
        if not self._desk.closed:
            self._line.tell()

    def wait(self, timeout: float = 300.0, until: Callable[[], bool] | Future[Any] | None = None) -> Any:
        """Wait, for scripts and tests, until everything that was asked for is answered.

        Parameters
        ----------
        timeout : float
            Seconds; then TimeoutError is raised. RuntimeError: the controller was closed meanwhile.
        until : callable or Future, optional
            Wait until it returns True, or is done (then its result is returned), instead.
        """
        done = until.done if isinstance(until, Future) else until or self._is_quiet
        process_until(self, done, timeout)
        return until.result() if isinstance(until, Future) else None

    def close(self, timeout: float = 30.0) -> None:
        """End the session; everything is saved, layers stay. Nothing happens when it is closed already.

        A frame that is being computed is waited for, ``timeout`` seconds at most.
        """
        if self._desk.closed:
            return
        self._watch.close()
        self._desk.ready = False
        self.results.cancel_exports()
        self._desk.worker.close(timeout)
        self.process()
        self._desk.closed = True
        self.prompts.close()
        self.results.close()
        self._replies.drop_futures()
        self._line.close()
        self.events.closed.emit()

    # -- inside ------------------------------------------------------------------------------------------

    def _open(self) -> None:
        desk = self._desk
        desk.ready = False
        plan = session_spec_of(
            desk.images,
            desk.geometry,
            desk.preferences,
            self._project,
            self._project_required,
            self._replies.keep_contrast,
        )
        opener = self._opener
        self._replies.keep_contrast = True
        self._replies.opening = desk.worker.submit(Open(lambda progress: opener(plan, progress), desk.frame))
        self._line.tell()

    def _rebase(self, geometry: Geometry) -> None:
        if geometry == self._desk.geometry:
            return
        self._desk.geometry = geometry
        self._desk.ready = False
        self._project = None
        self.objects.adopt({})
        self.timeline.rebase()
        self.results.rebase()
        self.prompts.rebase()
        self._open()

    def _is_quiet(self) -> bool:
        return (
            self._desk.worker.pending == 0 and not len(self.mailbox) and self._progress.state.phase == "idle"
        )

    def _on_pixels_replaced(self) -> None:
        """Open again: other frames are another project."""
        same_axes = self.image.ndim == self.geometry.ndim
        try:
            axis = self.geometry.frame_axis if same_axes else None
            geometry = geometry_of(self.images, self.viewer.dims.point, axis)
        except (ValueError, TypeError) as error:
            self._desk.report("The image changed", str(error))
            return
        if geometry.shape != self._desk.geometry.shape:
            self._rebase(geometry)
        else:
            self._project = None
            self.results.open(None)
            self.timeline.forget()
            self._open()


_NAP_SECONDS = 0.02


def process_until(controller: Controller, done: Callable[[], bool], timeout: float) -> None:
    """Take over answers until ``done()``; TimeoutError after ``timeout`` seconds, RuntimeError when it was closed."""
    end = time.monotonic() + timeout
    controller.process()
    while not done():
        if controller.closed:
            raise RuntimeError("this controller is closed")
        if time.monotonic() > end:
            status = controller.status
            raise TimeoutError(f"no answer within {timeout:g} seconds: {status.message or status}")
        controller.mailbox.wait(_NAP_SECONDS)
        controller.process()

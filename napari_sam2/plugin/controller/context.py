"""Context of the parts of a controller: the image, the session, and the newest snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from traceback import format_exception
from typing import TYPE_CHECKING, Any

from napari_sam2.plugin.controller.events import ControllerEvents
from napari_sam2.plugin.layers.geometry import Geometry
from napari_sam2.plugin.layers.navigation import frame_shown, show_frame
from napari_sam2.plugin.state import (
    ErrorReport,
    HistoryState,
    ModelState,
    Preferences,
    ProjectState,
    PropagationState,
    Status,
    UndoGroup,
)
from napari_sam2.plugin.worker.replies import Reply
from napari_sam2.plugin.worker.reply_queue import ReplyQueue
from napari_sam2.plugin.worker.requests import Call, Open, Request
from napari_sam2.plugin.worker.session_worker import SessionWorker

if TYPE_CHECKING:
    from napari_sam2.storage.recorded_session import RecordedSession

_NO_SESSION = "there is no session yet: wait until the model is loaded"


@dataclass
class ImageView:
    """The image in its viewer, seen as frames.

    Parameters
    ----------
    viewer : Viewer or ViewerModel
        Where the image is shown.
    images : tuple of Image layers
        Channels of one picture; the first one gives the place.
    geometry : Geometry
        Division of the image into frames.
    """

    viewer: Any
    images: tuple[Any, ...]
    geometry: Geometry

    @property
    def image(self) -> Any:
        """The layer that gives the place."""
        return self.images[0]

    @property
    def frame(self) -> int:
        """The frame that is shown."""
        return frame_shown(self.viewer, self.image, self.geometry)

    def show(self, frame: int) -> None:
        """Show a frame."""
        show_frame(self.viewer, self.image, self.geometry, frame)


class SessionClient:
    """The session, as the thread of the window sees it: requests, and who waits for their replies.

    Attributes
    ----------
    replies : ReplyQueue
        Replies of the worker, and functions that are to be called in the owner's thread.
    worker : SessionWorker
        Owns the session.
    ready : bool
        Whether there is a session that can be asked.
    closed : bool
        Whether there will never be one again.
    opening : int
        Generation of the newest opening; replies of older sessions are dropped.
    """

    def __init__(self) -> None:
        self.replies: ReplyQueue[Reply | Callable[[], None]] = ReplyQueue()
        self.worker = SessionWorker(self.replies.post, self.replies.nudge)
        self.ready = self.closed = False
        self.opening = 0
        self._futures: dict[int, Future[Any]] = {}
        self._group: UndoGroup | None = None
        self._group_numbers = count(1)

    def open(self, request: Open) -> None:
        """Open a session, in place of the one before."""
        self.ready = False
        self.opening = self.worker.submit(request)

    def submit(self, request: Request[Any]) -> int:
        """Submit a request; without a session nothing happens (-1): prompts and objects are sent when it is open."""
        return self.worker.submit(request) if self.ready else -1

    @property
    def pending(self) -> int:
        """Requests that are not answered yet, and replies that are not handled yet."""
        # in this order: a reply is queued before its request is over
        return self.worker.pending + len(self.replies)

    def require(self) -> None:
        """Raise RuntimeError if there is no session that can be asked."""
        if self.closed:
            raise RuntimeError("this controller is closed: open the image again")
        if not self.ready:
            raise RuntimeError(_NO_SESSION)

    def call(self, name: str, function: Callable[[RecordedSession], Any]) -> Future[Any]:
        """Call ``function(session)`` in the worker's thread; the future is done in this thread."""
        future: Future[Any] = Future()
        generation = self.submit(Call(name, function))
        if generation < 0:
            future.set_exception(RuntimeError(_NO_SESSION))
        else:
            self._futures[generation] = future
        return future

    def finish_call(self, generation: int, value: Any) -> None:
        """Set the result of a call."""
        future = self._futures.pop(generation, None)
        if future is not None:
            future.set_result(value)

    def fail_call(self, generation: int, message: str) -> bool:
        """Set the error of a call; False if the request was no call."""
        future = self._futures.pop(generation, None)
        if future is not None:
            future.set_exception(RuntimeError(message))
        return future is not None

    def close(self) -> None:
        """Set an error for all calls; they will never be answered."""
        self.closed = True
        for generation in list(self._futures):
            self.fail_call(generation, "the session was closed")

    def new_group(self, label: str) -> UndoGroup:
        """Return a group of undo for what the user does now: a new one, or the one around it."""
        return self._group or UndoGroup(label, next(self._group_numbers))

    @contextmanager
    def undo_group(self, label: str) -> Iterator[None]:
        """Make everything that is asked for inside one step of undo; the outermost group gives the label."""
        before = self._group
        self._group = self.new_group(label)
        try:
            yield
        finally:
            self._group = before


class ControllerState:
    """The newest snapshots; every change is emitted.

    Attributes
    ----------
    pending_undos : set of int
        Generations of undos and redos that are not answered yet. Meanwhile ``events.history`` is silent: whoever
        shows a list of steps is ahead of the replies.
    """

    def __init__(self, events: ControllerEvents, status: Status) -> None:
        self.events = events
        self.model = ModelState()
        self.history = HistoryState()
        self.project = ProjectState()
        self.propagation = PropagationState()
        self.status = status
        self.pending_undos: set[int] = set()

    def set_model(self, model: ModelState) -> None:
        """Replace the state of the network."""
        if model != self.model:
            self.model = model
            self.events.model.emit(model)

    def set_project(self, project: ProjectState) -> None:
        """Replace the place of saving; emitted with every session that is opened."""
        self.project = project
        self.events.project.emit(project)

    def set_propagation(self, propagation: PropagationState) -> None:
        """Replace the progress of a propagation."""
        if propagation != self.propagation:
            self.propagation = propagation
            self.events.propagation.emit(propagation)

    def set_status(self, status: Status) -> None:
        """Replace the status line."""
        if status != self.status:
            self.status = status
            self.events.status.emit(status)

    def set_history(self, history: HistoryState) -> None:
        """Replace the steps of undo."""
        if history != self.history:
            self.history = history
            if not self.pending_undos:
                self.events.history.emit(history)

    def finish_undo(self, generation: int) -> None:
        """Emit the history, also if it did not change, when the last undo or redo was answered."""
        if generation in self.pending_undos:
            self.pending_undos.remove(generation)
            if not self.pending_undos:
                self.events.history.emit(self.history)


@dataclass
class ControllerContext:
    """Image, session, state and preferences, which the parts of a controller share."""

    view: ImageView
    session: SessionClient
    state: ControllerState
    preferences: Preferences

    @property
    def events(self) -> ControllerEvents:
        """Signals of the controller."""
        return self.state.events

    def report(self, title: str, message: str, details: str = "") -> None:
        """Emit an error for the user."""
        self.events.error.emit(ErrorReport(title, message, details))

    @contextmanager
    def attempt(self, title: str) -> Iterator[None]:
        """Report errors inside a ``with`` block: for events of layers, and for what must go on to its end."""
        try:
            yield
        except Exception as error:
            with suppress(Exception):  # whoever listens may be the one that fails
                self.report(title, str(error) or type(error).__name__, "".join(format_exception(error)))

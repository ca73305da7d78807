"""What a controller tells, and what its parts share."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from psygnal import Signal, SignalGroup

from napari_sam2.widgets.layers import frame_shown, show_frame
from napari_sam2.widgets.layers_geometry import Geometry
from napari_sam2.widgets.requests import Call, Request
from napari_sam2.widgets.states import (
    ErrorReport,
    ExportState,
    HistoryState,
    ModelState,
    Preferences,
    ProjectState,
    PropagationState,
    Status,
)
from napari_sam2.widgets.worker import SessionWorker


class ControllerEvents(SignalGroup):
    """Signals of a controller; all come in the thread that owns it (in napari: the window's).

    status : Status
        One line about everything.
    model : ModelState
        Loading, loaded, failed.
    objects : tuple of ObjectState
        The table of objects, whenever anything in it changed (also the active and selected ones).
    prompts : frozenset of (frame, object id)
        Prompts that were added, changed or taken back.
    results : int
        Results on this frame are new; -1: on any frame.
    timeline : frozenset of int
        Objects whose row of the timeline changed.
    propagation : PropagationState
        Progress.
    history : HistoryState
        What can be undone.
    project : ProjectState
        Where everything is saved.
    export : ExportState
        Progress of writing a file.
    error : ErrorReport
        Something went wrong; show it, the session goes on.
    closed : no argument
        The controller is of no use any more.
    """

    status = Signal(Status)
    model = Signal(ModelState)
    objects = Signal(tuple)
    prompts = Signal(frozenset)
    results = Signal(int)
    timeline = Signal(frozenset)
    propagation = Signal(PropagationState)
    history = Signal(HistoryState)
    project = Signal(ProjectState)
    export = Signal(ExportState)
    error = Signal(ErrorReport)
    closed = Signal()


@dataclass
class Desk:
    """What the parts of a controller share.

    Parameters
    ----------
    viewer : Viewer or ViewerModel
        Where the image is shown.
    images : tuple of Image layers
        Channels of one picture; the first one gives the place.
    geometry : Geometry
        How it is seen as frames.
    events : ControllerEvents
        What is told.
    worker : SessionWorker
        Who owns the session.
    preferences : Preferences
        What the user prefers.
    ready : bool
        Whether there is a session that can be asked.
    post : callable
        Leaves a note for the owner's thread, from any thread; it is called there.
    futures : dict of int to Future
        Who waits for which generation.
    """

    viewer: Any
    images: tuple[Any, ...]
    geometry: Geometry
    events: ControllerEvents
    worker: SessionWorker
    preferences: Preferences
    post: Callable[[Callable[[], None]], None]
    ready: bool = False
    futures: dict[int, Future[Any]] = field(default_factory=dict)

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

    def submit(self, request: Request) -> int:
        """Ask the session for something; without one nothing happens (-1): what is said is sent when it is there."""
        return self.worker.submit(request) if self.ready else -1

    def ask(self, name: str, function: Callable[[Any], Any]) -> Future[Any]:
        """Run ``function(workbench)`` in the worker's thread; the future is done in this thread."""
        future: Future[Any] = Future()
        generation = self.submit(Call(name, function))
        if generation < 0:
            future.set_exception(RuntimeError("there is no session yet: wait until the model is loaded"))
        else:
            self.futures[generation] = future
        return future

    def report(self, title: str, message: str, details: str = "") -> None:
        """Tell the user that something went wrong."""
        self.events.error.emit(ErrorReport(title, message, details))

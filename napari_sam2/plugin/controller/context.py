"""What a controller tells, and what its parts share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from napari_sam2.plugin.controller.events import ControllerEvents
from napari_sam2.plugin.layers.geometry import Geometry
from napari_sam2.plugin.layers.navigation import frame_shown, show_frame
from napari_sam2.plugin.state import (
    ErrorReport,
    Preferences,
    UndoGroup,
)
from napari_sam2.plugin.worker.requests import Call, Request, UndoRedo
from napari_sam2.plugin.worker.session_worker import SessionWorker


@dataclass
class ControllerContext:
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
    travelling : int
        Undos and redos that are not answered yet.
    closed : bool
        Whether it is over.
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
    travelling: int = 0
    closed: bool = False
    _gesture: UndoGroup | None = None
    _gestures: Iterator[int] = field(default_factory=lambda: count(1))

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

    def gesture(self, label: str) -> UndoGroup:
        """Return what the user does now: a gesture of its own, or the one around it."""
        return self._gesture or UndoGroup(label, next(self._gestures))

    @contextmanager
    def gesturing(self, label: str) -> Iterator[None]:
        """Make everything that is asked for inside one step of undo; the outermost one gives the label."""
        before = self._gesture
        self._gesture = self.gesture(label)
        try:
            yield
        finally:
            self._gesture = before

    def travel(self, steps: int) -> None:
        """Undo (negative) or redo steps."""
        self.require_session()
        if steps:
            self.travelling += 1
            self.submit(UndoRedo(steps, self.frame))

    def require_session(self) -> None:
        """Raise RuntimeError when there is no session that can be asked."""
        if self.closed:
            raise RuntimeError("this controller is closed: open the image again")
        if not self.ready:
            raise RuntimeError("there is no session yet: wait until the model is loaded")

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

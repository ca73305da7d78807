"""The controller: everything that buttons and scripts do with one image. No widgets inside."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam2.plugin.controller.context import (
    ControllerContext,
    ControllerState,
    ImageView,
    SessionClient,
)
from napari_sam2.plugin.controller.events import ControllerEvents
from napari_sam2.plugin.controller.objects import Objects
from napari_sam2.plugin.controller.prompts import Prompts
from napari_sam2.plugin.controller.propagation import PropagationProgress, frame_ranges, label_of
from napari_sam2.plugin.controller.reply_handler import ReplyHandler
from napari_sam2.plugin.controller.results import ResultsLayer
from napari_sam2.plugin.controller.review import LineageVerbs, ReviewVerbs
from napari_sam2.plugin.controller.status import status_of
from napari_sam2.plugin.controller.timeline import Timeline
from napari_sam2.plugin.layers.connections import Connections
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
from napari_sam2.plugin.worker.replies import Reply
from napari_sam2.plugin.worker.reply_queue import ReplyQueue
from napari_sam2.plugin.worker.requests import Open, Propagate, StopPropagation, UndoRedo
from napari_sam2.plugin.worker.session_spec import Opener, SessionSpec

if TYPE_CHECKING:
    from napari_sam2.storage.recorded_session import RecordedSession

_POLL_SECONDS = 0.02


class Controller:
    """Everything that can be done with one image, with or without a window.

    Made by :func:`open_tracker`, which returns the same one to every dock and script for the same image. Its parts
    are ``objects``, ``prompts``, ``timeline``, ``review``, ``lineage`` and ``results``; ``events`` emits what happens,
    always in the thread that owns the controller. All verbs return at once: the work is done in another thread.
    Everything is saved as it is made.

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
    frame_axis : int, optional
        Axis of the layer that counts frames; by default time, else the first.
    project : path, optional
        The project folder; by default one in the autosave folder that is found again by the image's content.
    project_required : bool
        False: if it cannot be used, go on as if it had not been named, with a message.
    drive : callable, optional
        Called once with the controller; makes what calls :meth:`process` from an event loop. Without it only
        :meth:`wait` does.

    Attributes
    ----------
    bridge : object
        What ``drive`` returned.
    """

    def __init__(
        self,
        viewer: Any,
        images: Sequence[Any],
        opener: Opener,
        preferences: Preferences | None = None,
        frame_axis: int | None = None,
        project: Path | None = None,
        project_required: bool = True,
        drive: Callable[[Controller], object] | None = None,
    ) -> None:
        preferences = preferences or Preferences()
        view = ImageView(viewer, tuple(images), geometry_of(images, viewer.dims.point, frame_axis))
        self.events = ControllerEvents()
        state = ControllerState(self.events, Status(n_frames=view.geometry.n_frames, frame=view.frame))
        self._context = context = ControllerContext(view, SessionClient(), state, preferences)
        self._view, self._session, self._state = view, context.session, state
        self.timeline = Timeline(context)
        # Objects and results come before prompts, and call them only when something is deleted or painted.
        self.objects = Objects(context, self.timeline, lambda ids: self.prompts.forget_objects(ids))
        self.results = ResultsLayer(
            context, self.objects, self.timeline, lambda *painted: self.prompts.pin_mask(*painted)
        )
        self.prompts = Prompts(context, self.objects, self.results)
        self.review = ReviewVerbs(context, self.objects)
        self.lineage = LineageVerbs(context, self.objects)
        self._progress = PropagationProgress(context)
        self._handler = ReplyHandler(
            context, self.timeline, self.objects, self.prompts, self.results, self._progress
        )
        self._opener = opener
        self._project = project
        self._project_required = project_required
        self._connections = Connections()
        self._connections.add(viewer.dims.events, "point", self._on_moved)
        self._connections.add(viewer.layers.events, "removed", self._on_layer_removed)
        for image in images:
            self._connections.add(image.events, "data", self._on_pixels_replaced)
        self.events.objects.connect(self._on_objects)
        self.events.prompts.connect(self._on_prompts)
        self._encode_around()
        self.load_model(*astuple(preferences.model))
        self.bridge = None if drive is None else drive(self)

    # -- what is known -----------------------------------------------------------------------------------

    @property
    def viewer(self) -> Any:
        """Where the image is shown."""
        return self._view.viewer

    @property
    def image(self) -> Any:
        """The Image layer (of several channels the first)."""
        return self._view.image

    @property
    def images(self) -> tuple[Any, ...]:
        """All Image layers."""
        return self._view.images

    @property
    def geometry(self) -> Geometry:
        """Division of the image into frames."""
        return self._view.geometry

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self._view.geometry.n_frames

    @property
    def frame(self) -> int:
        """The frame that the viewer shows. Can be set."""
        return self._view.frame

    @frame.setter
    def frame(self, frame: int) -> None:
        if not 0 <= frame < self.n_frames:
            raise ValueError(f"there is no frame {frame}: there are frames 0 to {self.n_frames - 1}")
        self._view.show(frame)

    @property
    def preferences(self) -> Preferences:
        """Preferences of the user. Can be set; model and folder count from the next opening on."""
        return self._context.preferences

    @preferences.setter
    def preferences(self, preferences: Preferences) -> None:
        self._context.preferences = preferences
        self._encode_around()

    @property
    def model(self) -> ModelState:
        """The network, and the progress of its loading."""
        return self._state.model

    @property
    def propagation(self) -> PropagationState:
        """Progress of a propagation."""
        return self._state.propagation

    @property
    def history(self) -> HistoryState:
        """Steps that can be undone and redone."""
        return self._state.history

    @property
    def project(self) -> ProjectState:
        """Where everything is saved."""
        return self._state.project

    @property
    def status(self) -> Status:
        """One line about everything."""
        return self._state.status

    @property
    def closed(self) -> bool:
        """True after :meth:`close`."""
        return self._session.closed

    @property
    def replies(self) -> ReplyQueue[Reply | Callable[[], None]]:
        """Replies that :meth:`process` has to handle; an event loop sets their ``wake``."""
        return self._session.replies

    # -- model and frames --------------------------------------------------------------------------------

    def load_model(
        self, name: str, device: str = "auto", precision: str = "auto", image_size: int | None = None
    ) -> None:
        """Load a network (without blocking) and open a session with it; arguments as for :class:`ModelChoice`.

        Prompts stay; results made by another network stay in its own project and come back with it.
        """
        choice, before = ModelChoice(str(name), device, precision, image_size), self.preferences.model
        if self.model.name and (before.name, before.image_size) != (choice.name, image_size):
            self._project = None  # a project belongs to the network that made it
        self._context.preferences = replace(self._context.preferences, model=choice)
        self._state.set_model(ModelState(choice.name, "loading", device, precision, image_size))
        self._open()

    def hand_over(self, name: str, device: str = "auto", precision: str = "auto") -> None:
        """Load another network, and let the masks on prompted frames be the prompts that it tracks.

        For masks of a Segment Anything 1 that SAM 2 is to track. What the first network made stays in its own project.

        Parameters
        ----------
        name, device, precision : str
            As for :meth:`load_model`.
        """
        frames = sorted({frame for frame, _ in self.prompts.all})

        def switch(done: Future[Any]) -> None:
            if done.exception() is not None:
                self._context.report("Handing the masks over", str(done.exception()))
                return
            self.load_model(name, device, precision)
            for masks in done.result():
                prompted = self.prompts.on_frame(masks.frame)
                found = {i: masks.of(i) for i in masks.object_ids if i in prompted}
                self.prompts.set_masks(found, masks.frame)

        asked = self.ask("Handing the masks over", lambda session: [session.masks(f) for f in frames])
        asked.add_done_callback(switch)

    def cancel_loading(self) -> None:
        """Give up a download or the loading of a model."""
        self._session.worker.cancel_opening()

    def lower_priority(self) -> None:
        """Let the thread of the window go first when both want the processor."""
        self._session.worker.lower_priority()

    def set_frame_axis(self, axis: int) -> None:
        """Take another axis (time, z …) as frames: another project, because these are other frames."""
        self._rebase(geometry_of(self.images, self.viewer.dims.point, axis))

    def follow_plane(self) -> None:
        """Work at the position on the other axes (z …) that the viewer shows now: another project."""
        self._rebase(geometry_of(self.images, self.viewer.dims.point, self.geometry.frame_axis))

    def refresh_contrast(self) -> None:
        """Let the model see what the viewer shows now: contrast, gamma, colours. Results so far stay saved."""
        self._open(keep_contrast=False)

    def restore_project(self) -> None:
        """Start the project with the destroyed database again, from its prompts, objects and settings.

        Its masks have to be tracked again. The destroyed database stays beside the new one.
        """
        if self.project.destroyed is not None:
            self._project = self.project.destroyed
            self._state.set_model(replace(self.model, phase="loading", message=""))
            self._open(restores=True)

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
        ranges = frame_ranges(direction, start, stop, count, self.frame, self.n_frames - 1)
        wanted = None if objects is None else tuple(dict.fromkeys(objects))
        for object_id in wanted or ():
            if object_id not in self.objects:
                raise ValueError(f"object {object_id} does not exist; there are {list(self.objects.ids)}")
        self._session.require()
        group = self._session.new_group(label_of(direction))
        request = Propagate(ranges, wanted, tuple(sorted(self.objects.locked)), direction, group)
        self.prompts.send()
        self._progress.begin(direction)
        self._session.submit(request)

    def stop(self) -> None:
        """Stop a propagation between two frames; everything that is done stays."""
        if self.propagation.phase != "idle":
            self._progress.stop()
            self._session.worker.submit(StopPropagation())

    def resume(self) -> None:
        """Go on with a propagation that was stopped or killed in an earlier window (``project.interrupted_at``)."""
        rest = self._handler.interrupted
        if rest is None:
            raise ValueError("there is nothing to resume: no propagation was interrupted")
        objects = None if rest.objects is None else tuple(i for i in rest.objects if i in self.objects)
        direction: Direction = "backward" if rest.reverse else "forward"
        self.propagate(direction, rest.next_frame, rest.stop, objects=objects)

    def ask(self, title: str, function: Callable[[RecordedSession], Any]) -> Future[Any]:
        """Call ``function(session)`` in the thread that owns the session, between clicks.

        Parameters
        ----------
        title : str
            What is tried, for error messages.
        function : callable
            Gets the :class:`~napari_sam2.storage.RecordedSession`; it must be short, because prompts wait.
        """
        return self._session.call(title, function)

    def undo(self, steps: int = 1) -> None:
        """Undo the last change (or some) of prompts, objects or results; see ``history`` for what it is."""
        self._undo_redo(-steps)

    def redo(self, steps: int = 1) -> None:
        """Redo the last change (or some) that was undone."""
        self._undo_redo(steps)

    def undo_group(self, label: str) -> AbstractContextManager[None]:
        """Make everything that is asked for in a ``with`` block one step of undo with this label."""
        return self._session.undo_group(label)

    def go_to_uncertain(
        self, step: int = 1, objects: Iterable[int] | None = None, threshold: float = 0.5
    ) -> bool:
        """Show the next (1) or previous (-1) uncertain frame and make the object active; False: there is none."""
        found = self.timeline.next_uncertain(objects, step, threshold)
        if found is None:
            return False
        frame, object_id = found
        self.objects.select([object_id])
        self._view.show(frame)
        return True

    # -- time --------------------------------------------------------------------------------------------

    def process(self, seconds: float = math.inf) -> None:
        """Handle the replies of the worker, for so many seconds; the window calls it when there are some."""
        end = time.monotonic() + seconds
        while not self.closed and (item := self.replies.take()) is not None:
            if not isinstance(item, Reply):
                item()
            elif item.generation < self._session.opening:
                self._handler.drop(item)
            else:
                self._handler.handlers[type(item.answer)](item.answer, item.generation)
            if isinstance(item, Reply):
                self._state.finish_undo(item.generation)
            if time.monotonic() > end:
                break
        if not self.closed:
            self._update_status()

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
        end = time.monotonic() + timeout
        self.process()
        while not done():
            if self.closed:
                raise RuntimeError("this controller is closed")
            if time.monotonic() > end:
                raise TimeoutError(
                    f"no answer within {timeout:g} seconds: {self.status.message or self.status}"
                )
            self.replies.wait(_POLL_SECONDS)
            self.process()
        return until.result() if isinstance(until, Future) else None

    def close(self, timeout: float = 30.0) -> None:
        """End the session; everything is saved, layers stay. Nothing happens when it is closed already.

        A frame that is being computed is waited for, ``timeout`` seconds at most. An error on the way is reported
        (``events.error``), and closing goes on.
        """
        if self.closed:
            return
        self._session.ready = False
        message = "The session is closed; everything is saved."
        closed = replace(self.status, phase="closed", message=message)
        for action in (
            self._connections.close,
            self.results.cancel_exports,
            partial(self._session.worker.close, timeout),
            self._process_all,
            self._session.close,
            self.prompts.close,
            self.results.close,
            partial(self._state.set_status, closed),
            self.events.closed.emit,
        ):
            with self._context.attempt("Closing"):
                action()

    # -- inside ------------------------------------------------------------------------------------------

    def _process_all(self) -> None:
        while len(self.replies):
            with self._context.attempt("Closing"):  # a reply that fails ends `process`
                self.process()

    def _open(self, keep_contrast: bool = True, restores: bool = False) -> None:
        """Open a session on the image as it looks now."""
        spec = SessionSpec.of_layers(
            self.images,
            self.geometry,
            self.preferences,
            self._project,
            self._project_required,
            keep_contrast,
        )
        spec = replace(spec, restores=restores)
        opener = self._opener
        self._session.open(Open(lambda progress: opener(spec, progress), self.frame))
        self._update_status()

    def _rebase(self, geometry: Geometry) -> None:
        """Start again with other frames."""
        if geometry == self.geometry:
            return
        self._view.geometry = geometry
        self._session.ready = False
        self._project = None
        self.objects.reset({})
        self.timeline.rebase()
        self.results.rebase()
        self.prompts.rebase()
        self._open()

    def _undo_redo(self, steps: int) -> None:
        self._session.require()
        if steps:
            self._state.pending_undos.add(self._session.submit(UndoRedo(steps, self.frame)))

    def _encode_around(self) -> None:
        """Let the worker encode the shown frame and its neighbours while there is nothing else to do."""
        ahead, frame = self.preferences.encode_ahead, self.frame
        around = [frame] if ahead else []
        for distance in range(1, ahead + 1):
            around += [frame + distance, frame - distance]
        self._session.worker.encode_around(tuple(f for f in around if 0 <= f < self.n_frames))

    def _update_status(self) -> None:
        self._state.set_status(status_of(self._context, bool(self.prompts.all)))

    def _is_quiet(self) -> bool:
        return not self._session.pending and self.propagation.phase == "idle"

    # -- what happens elsewhere --------------------------------------------------------------------------

    def _on_objects(self, states: object) -> None:
        self.prompts.set_defaults()
        self.prompts.restyle()
        self.prompts.send()  # of objects that were unlocked
        self.results.restyle()

    def _on_prompts(self, keys: object) -> None:
        self.timeline.set_prompted(self.prompts.frames_by_object())
        self.objects.emit()

    def _on_moved(self, event: Any = None) -> None:
        self._progress.on_moved(self.frame)
        self._encode_around()
        self._update_status()

    def _on_layer_removed(self, event: Any) -> None:
        layer = event.value
        if any(layer is image for image in self.images):
            self.close(timeout=2.0)
            return
        with self._context.attempt("Deleting a layer"):
            if not self.results.layer_removed(layer):
                self.prompts.layer_removed(layer)

    def _on_pixels_replaced(self, event: Any = None) -> None:
        """Open again: other pixels are another project."""
        same_axes = self.image.ndim == self.geometry.ndim
        try:
            axis = self.geometry.frame_axis if same_axes else None
            geometry = geometry_of(self.images, self.viewer.dims.point, axis)
        except (ValueError, TypeError) as error:
            self._context.report("The image changed", str(error))
            return
        if geometry.shape != self.geometry.shape:
            self._rebase(geometry)
        else:
            self._project = None
            self.results.leave()
            self.timeline.forget()
            self._open()

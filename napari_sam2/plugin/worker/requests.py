"""Requests to the worker: frozen, each performs itself and names the type of its reply."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar

from napari_sam2.objects import ObjectInfo
from napari_sam2.plugin.state import Direction, HistoryState, UndoGroup
from napari_sam2.plugin.worker.replies import (
    AlternativesFound,
    CallResult,
    FrameResult,
    OpeningFailed,
    PromptResult,
    PropagationFailed,
    PropagationPhase,
    RequestFailed,
    SessionOpened,
    StateReset,
    history_of,
)
from napari_sam2.plugin.worker.session_spec import OpenedSession, Progress
from napari_sam2.prompts import Prompt

if TYPE_CHECKING:
    from napari_sam2.storage.recorded_session import RecordedSession
    from napari_sam2.storage.review import Review

_PROMPT, _TRACK = UndoGroup("Prompt"), UndoGroup("Track")
Answer = TypeVar("Answer", covariant=True)


class SessionHost(Protocol):
    """The worker, as its requests see it."""

    @property
    def session(self) -> RecordedSession:
        """The session; RuntimeError if none is open."""
        ...

    def open(self, opener: Callable[[Progress], OpenedSession]) -> OpenedSession:
        """Close the session, and open another one."""
        ...

    def begin_run(self, request: Propagate) -> PropagationPhase:
        """Begin a propagation; its frames follow one by one while nothing else is asked for."""
        ...

    def stop_run(self) -> PropagationPhase:
        """Stop the propagation, if there is one."""
        ...

    def prompt_changed(self, frame: int, object_id: int) -> None:
        """Visit the frames again that depend on a prompt, if the propagation was there already."""
        ...


@dataclass(frozen=True)
class Request(ABC, Generic[Answer]):
    """Something for the worker to do.

    Attributes
    ----------
    interrupts : {"", "pause", "stop"}
        What it does to a propagation that is going on.
    kept_on_close : bool
        Whether it is performed even if the worker is being closed.
    failure : type
        Its reply when it fails.
    """

    interrupts: ClassVar[Literal["", "pause", "stop"]] = ""
    kept_on_close: ClassVar[bool] = False
    failure: ClassVar[type[RequestFailed]] = RequestFailed

    @property
    def key(self) -> Hashable | None:
        """A newer request of the same key supersedes a queued one; None: it is never superseded."""
        return None

    @property
    @abstractmethod
    def title(self) -> str:
        """A few words for error messages: what is tried."""

    @abstractmethod
    def perform(self, host: SessionHost) -> Answer:
        """Do it in the worker's thread, and return the reply."""


@dataclass(frozen=True)
class SetPrompt(Request[PromptResult]):
    """Replace the prompt of one object on one frame; None removes it."""

    interrupts = "pause"
    kept_on_close = True
    frame: int
    object_id: int
    prompt: Prompt | None
    group: UndoGroup = _PROMPT

    @property
    def key(self) -> Hashable | None:
        """Of a frame and object only the newest prompt matters."""
        return ("prompt", self.frame, self.object_id)

    @property
    def title(self) -> str:
        """The object and the frame."""
        return f"Prompting object {self.object_id} on frame {self.frame}"

    def perform(self, host: SessionHost) -> PromptResult:
        """Decode the prompt; one that was superseded before it was asked for has nothing to remove."""
        session, key = host.session, (self.frame, self.object_id)
        if self.prompt is not None or key in session.prompts:
            with session.step(self.group.label, group=self.group.number):
                if self.prompt is None:
                    session.clear_prompt(*key)
                else:
                    session.set_prompt(*key, self.prompt)
            host.prompt_changed(*key)
        return PromptResult(key, FrameResult.of(session.masks(self.frame)), history_of(session))


@dataclass(frozen=True)
class PutObjects(Request[HistoryState]):
    """Add objects, or change their names, colours and locks."""

    interrupts = "pause"
    kept_on_close = True
    infos: tuple[ObjectInfo, ...]
    group: UndoGroup

    @property
    def title(self) -> str:
        """The label of its step of undo."""
        return self.group.label

    def perform(self, host: SessionHost) -> HistoryState:
        """Save what is new; without a difference there is no step of undo."""
        session = host.session
        known = session.objects
        new = [info for info in self.infos if known.get(info.object_id) != info]
        if new:
            with session.step(self.group.label, group=self.group.number):
                for info in new:
                    session.put_object(info)
        return history_of(session)


@dataclass(frozen=True)
class RemoveObjects(Request[StateReset]):
    """Remove objects with their prompts and masks."""

    interrupts = "pause"
    kept_on_close = True
    object_ids: tuple[int, ...]
    frame: int
    group: UndoGroup

    @property
    def title(self) -> str:
        """The label of its step of undo."""
        return self.group.label

    def perform(self, host: SessionHost) -> StateReset:
        """Remove them; objects that the session does not have are skipped."""
        session = host.session
        known = [i for i in self.object_ids if i in session.objects]
        if known:
            with session.step(self.group.label, group=self.group.number):
                for object_id in known:
                    session.remove_object(object_id)
        return StateReset.of(session, self.frame)


@dataclass(frozen=True)
class Decide(Request[StateReset]):
    """Decide something about objects in the review; ``decision`` gets the session's review."""

    interrupts = "stop"
    kept_on_close = True
    decision: Callable[[Review], object]
    frame: int
    group: UndoGroup

    @property
    def title(self) -> str:
        """The label of its step of undo."""
        return self.group.label

    def perform(self, host: SessionHost) -> StateReset:
        """Decide it, and return what is known then."""
        session = host.session
        with session.step(self.group.label, group=self.group.number):
            self.decision(session.review)
        return StateReset.of(session, self.frame)


@dataclass(frozen=True)
class UndoRedo(Request[StateReset]):
    """Undo so many steps (negative), or redo them (positive)."""

    interrupts = "stop"
    steps: int
    frame: int

    @property
    def title(self) -> str:
        """The direction."""
        return "Undo" if self.steps < 0 else "Redo"

    def perform(self, host: SessionHost) -> StateReset:
        """Undo or redo as many steps as there are; ValueError if there is none."""
        session = host.session
        history = history_of(session)
        available = history.applied if self.steps < 0 else len(history.steps) - history.applied
        if not available:
            raise ValueError(f"there is nothing to {self.title.lower()}")
        for _ in range(min(abs(self.steps), available)):
            session.undo() if self.steps < 0 else session.redo()
        return StateReset.of(session, self.frame)


@dataclass(frozen=True)
class GetAlternatives(Request[AlternativesFound]):
    """Compute the masks that the network offers for a prompt."""

    title = "Looking for alternative masks"
    frame: int
    object_id: int

    def perform(self, host: SessionHost) -> AlternativesFound:
        """Return them."""
        key = (self.frame, self.object_id)
        return AlternativesFound(key, host.session.alternatives(*key))


@dataclass(frozen=True)
class Call(Request[CallResult]):
    """Call a function with the session, in the worker's thread."""

    name: str
    function: Callable[[RecordedSession], Any]

    @property
    def title(self) -> str:
        """The name."""
        return self.name

    def perform(self, host: SessionHost) -> CallResult:
        """Return what the function returns."""
        return CallResult(self.function(host.session))


@dataclass(frozen=True)
class Open(Request[SessionOpened]):
    """Open a session; the one before is closed first."""

    title = "Opening the session"
    key = "open"
    interrupts = "stop"
    failure = OpeningFailed
    opener: Callable[[Progress], OpenedSession]
    frame: int

    def perform(self, host: SessionHost) -> SessionOpened:
        """Open it."""
        opened = host.open(self.opener)
        session = opened.session
        state = StateReset.of(session, min(self.frame, session.n_frames - 1))
        return SessionOpened(
            opened.labels,
            opened.results,
            opened.project,
            session.pending,
            session.runs_on,
            state,
            session.frame_by_frame,
            session.finds_instances,
        )


@dataclass(frozen=True)
class FrameRange:
    """Frames to visit, both ends included; None for the first prompt and for the end of the video."""

    start: int | None
    stop: int | None
    reverse: bool


@dataclass(frozen=True)
class Propagate(Request[PropagationPhase]):
    """Carry objects through time.

    Parameters
    ----------
    ranges : tuple of FrameRange
        One after the other.
    objects : tuple of int or None
        None: all that have prompts.
    excluded : tuple of int
        Locked objects.
    direction : str
        As asked for, to be shown.
    group : UndoGroup
        Its step of undo.
    """

    title = "Propagating"
    key = "propagation"  # only one at a time
    interrupts = "stop"
    failure = PropagationFailed
    ranges: tuple[FrameRange, ...]
    objects: tuple[int, ...] | None
    excluded: tuple[int, ...]
    direction: Direction
    group: UndoGroup = _TRACK

    def perform(self, host: SessionHost) -> PropagationPhase:
        """Begin; ValueError if there is nothing to propagate."""
        return host.begin_run(self)


@dataclass(frozen=True)
class StopPropagation(Request[PropagationPhase]):
    """Stop the propagation between two frames; one that is queued is superseded."""

    title = "Stopping"
    key = "propagation"  # that of a propagation: the newest of both counts

    def perform(self, host: SessionHost) -> PropagationPhase:
        """Stop it."""
        return host.stop_run()

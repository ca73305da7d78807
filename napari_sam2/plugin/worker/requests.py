"""What the worker is asked for, and what it answers: frozen, numbered by generation."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from napari_sam2.objects import ObjectInfo
from napari_sam2.plugin.state import Direction, HistoryState, UndoGroup
from napari_sam2.plugin.worker.backend import SessionBackend
from napari_sam2.plugin.worker.replies import (
    CallResult,
    FrameResult,
    PromptResult,
    StateReset,
    state_reset,
)
from napari_sam2.prompts import Prompt
from napari_sam2.session import Alternatives

_PROMPT, _TRACK = UndoGroup("Prompt"), UndoGroup("Track")


@dataclass(frozen=True, eq=False)
class Reply:
    """An answer with the request that it belongs to.

    Parameters
    ----------
    request : Request or None
        None: nobody asked (the worker itself failed).
    generation : int
        Number of the request; higher is newer.
    answer : object
        One of the answers of this file.
    """

    request: Request | None
    generation: int
    answer: object


# -- requests --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """Something for the worker to do."""

    @property
    def key(self) -> Hashable | None:
        """A newer request of the same key supersedes a queued one; None: never superseded."""
        return None

    @property
    def title(self) -> str:
        """What is tried, for error messages."""
        return "Working"


@dataclass(frozen=True)
class SetPrompt(Request):
    """Say (or, with None, take back) all there is to say about one object on one frame."""

    frame: int
    object_id: int
    prompt: Prompt | None
    gesture: UndoGroup = _PROMPT

    @property
    def key(self) -> Hashable | None:
        """Of a frame and object only the newest prompt matters."""
        return ("prompt", self.frame, self.object_id)

    @property
    def title(self) -> str:
        """What is tried."""
        return f"Prompting object {self.object_id} on frame {self.frame}"

    def perform(self, bench: SessionBackend) -> PromptResult:
        """Return the answer."""
        key = (self.frame, self.object_id)
        if self.prompt is None and key not in bench.prompts:  # superseded before it was asked
            found = bench.masks(self.frame)
        else:
            with bench.step(self.gesture):
                prompt = self.prompt
                found = bench.clear_prompt(*key) if prompt is None else bench.set_prompt(*key, prompt)
        return PromptResult(key, self.prompt, FrameResult.of(found), bench.history)


@dataclass(frozen=True)
class PutObjects(Request):
    """Add objects, or change their names and colours, lock or unlock them."""

    infos: tuple[ObjectInfo, ...]
    gesture: UndoGroup

    @property
    def title(self) -> str:
        """What is tried."""
        return self.gesture.label

    def perform(self, bench: SessionBackend) -> HistoryState:
        """Do what is not so already."""
        known = bench.objects
        new = [info for info in self.infos if known.get(info.object_id) != info]
        if new:
            with bench.step(self.gesture):
                for info in new:
                    bench.put_object(info)
        return bench.history


@dataclass(frozen=True)
class RemoveObjects(Request):
    """Remove objects with all they have."""

    object_ids: tuple[int, ...]
    frame: int
    gesture: UndoGroup

    @property
    def title(self) -> str:
        """What is tried."""
        return self.gesture.label

    def perform(self, bench: SessionBackend) -> StateReset:
        """Do it; objects that the session has never heard of are passed over."""
        known = [i for i in self.object_ids if i in bench.objects]
        if known:
            with bench.step(self.gesture):
                bench.remove_objects(known)
        return state_reset(bench, "removed", self.frame)


@dataclass(frozen=True)
class UndoRedo(Request):
    """Undo so many steps (negative), or redo them (positive)."""

    steps: int
    frame: int

    @property
    def title(self) -> str:
        """What is tried."""
        return "Undo" if self.steps < 0 else "Redo"

    def perform(self, bench: SessionBackend) -> StateReset:
        """Do as many as there are; ValueError when there is none."""
        history, label = bench.history, ""
        there = history.applied if self.steps < 0 else len(history.steps) - history.applied
        if not there:
            raise ValueError(f"there is nothing to {self.title.lower()}")
        for _ in range(min(abs(self.steps), there)):
            label = bench.undo() if self.steps < 0 else bench.redo()
        return state_reset(bench, label, self.frame)


@dataclass(frozen=True)
class GetAlternatives(Request):
    """Ask for the masks that the network offered for a prompt."""

    frame: int
    object_id: int

    @property
    def title(self) -> str:
        """What is tried."""
        return "Looking for alternative masks"

    def perform(self, bench: SessionBackend) -> Alternatives:
        """Return the answer."""
        return bench.alternatives(self.frame, self.object_id)


@dataclass(frozen=True)
class Call(Request):
    """Run a function with the session, in the worker's thread: exports, tracks, measurements."""

    name: str
    function: Callable[[SessionBackend], Any]

    @property
    def title(self) -> str:
        """What is tried."""
        return self.name

    def perform(self, bench: SessionBackend) -> CallResult:
        """Run it."""
        return CallResult(self.function(bench))


@dataclass(frozen=True)
class Open(Request):
    """Open a session; the one before is closed first."""

    opener: Callable[[Callable[[int, int], None]], SessionBackend]
    frame: int

    @property
    def key(self) -> Hashable | None:
        """Only the newest counts."""
        return "open"

    @property
    def title(self) -> str:
        """What is tried."""
        return "Opening the session"


@dataclass(frozen=True)
class FrameRange:
    """A way to go: both ends included, None for the first prompt and for the end."""

    start: int | None
    stop: int | None
    reverse: bool


@dataclass(frozen=True)
class Propagate(Request):
    """Carry objects through time.

    Parameters
    ----------
    legs : tuple of Leg
        One after the other.
    objects : tuple of int or None
        None: all that have prompts.
    excluded : tuple of int
        Not these (they are locked).
    direction : str
        As asked for, to be shown.
    gesture : Gesture
        What undo calls it.
    """

    legs: tuple[FrameRange, ...]
    objects: tuple[int, ...] | None
    excluded: tuple[int, ...]
    direction: Direction
    gesture: UndoGroup = _TRACK

    @property
    def key(self) -> Hashable | None:
        """Only one at a time."""
        return "propagate"

    @property
    def title(self) -> str:
        """What is tried."""
        return "Propagating"

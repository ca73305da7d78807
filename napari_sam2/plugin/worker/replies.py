"""Replies of the worker."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.masks import FrameMasks, compose_labels
from napari_sam2.objects import ObjectInfo
from napari_sam2.plugin.state import HistoryState, ProjectState, UndoStep
from napari_sam2.prompts import Prompt, PromptKey
from napari_sam2.review import FrameFact, facts_of
from napari_sam2.session import Alternatives

if TYPE_CHECKING:
    from napari_sam2.storage.recorded_session import RecordedSession
    from napari_sam2.storage.schema import PendingRun


@dataclass(frozen=True, eq=False)
class Reply:
    """A reply with the number of the request that it answers; higher is newer."""

    generation: int
    answer: object


@dataclass(frozen=True, eq=False)
class FrameResult:
    """Results of one frame, ready to be shown.

    Parameters
    ----------
    frame : int
        Frame index.
    labels : ndarray of uint16, shape (H, W)
        All objects, composed.
    facts : tuple of FrameFact
        Scores, area and centroid of each object.
    """

    frame: int
    labels: NDArray[np.uint16]
    facts: tuple[FrameFact, ...]

    @classmethod
    def of(cls, found: FrameMasks) -> FrameResult:
        """Compose and measure masks."""
        return cls(found.frame, compose_labels(found), facts_of(found))


@dataclass(frozen=True, eq=False)
class PromptResult:
    """Result of one prompt, or of its removal."""

    key: PromptKey
    shown: FrameResult
    history: HistoryState


@dataclass(frozen=True, eq=False)
class AlternativesFound:
    """Masks that the network offers for a prompt."""

    key: PromptKey
    alternatives: Alternatives


@dataclass(frozen=True, eq=False)
class StateReset:
    """All prompts and objects, after they changed as a whole: opening, undo, redo, removal of objects.

    Parameters
    ----------
    prompts, objects : mapping
        All of them.
    history : HistoryState
        Steps of undo.
    shown : FrameResult
        Results of the frame that the viewer shows.
    """

    prompts: Mapping[PromptKey, Prompt]
    objects: Mapping[int, ObjectInfo]
    history: HistoryState
    shown: FrameResult

    @classmethod
    def of(cls, session: RecordedSession, frame: int) -> StateReset:
        """Return the state of a session."""
        shown = FrameResult.of(session.masks(frame))
        return cls(dict(session.prompts), dict(session.objects), history_of(session), shown)


@dataclass(frozen=True, eq=False)
class SessionOpened:
    """The session is open; see :class:`OpenedSession` for ``labels`` and ``results``.

    Parameters
    ----------
    interrupted : PendingRun or None
        A propagation of an earlier session that did not reach its end.
    runs_on : (str, str, int)
        Device, precision, and side of the network's input in pixels.
    frame_by_frame, finds_instances : bool
        See :class:`ModelState`.
    """

    labels: Callable[[int], NDArray[np.uint16]]
    results: Callable[[], TrackingResults]
    project: ProjectState
    interrupted: PendingRun | None
    runs_on: tuple[str, str, int]
    state: StateReset
    frame_by_frame: bool = False
    finds_instances: bool = False


@dataclass(frozen=True)
class ModelLoading:
    """Bytes of a download; 0 in total if unknown."""

    done: int
    total: int


@dataclass(frozen=True, eq=False)
class FactsLoaded:
    """Facts of frames that were tracked in an earlier session; ``first``: earlier facts are void."""

    facts: tuple[FrameFact, ...]
    first: bool
    finished: bool


@dataclass(frozen=True, eq=False)
class FrameTracked:
    """One frame of a propagation."""

    shown: FrameResult
    done: int
    total: int


@dataclass(frozen=True)
class PropagationPhase:
    """A propagation started, paused, went on or ended: "running", "paused", "finished", "stopped", "failed"."""

    phase: str
    done: int
    total: int
    history: HistoryState


@dataclass(frozen=True, eq=False)
class CallResult:
    """Value that a :class:`Call` returned."""

    value: Any


@dataclass(frozen=True)
class RequestFailed:
    """An exception in the worker's thread."""

    title: str
    message: str
    details: str

    @classmethod
    def of(cls, title: str, error: Exception) -> Self:
        """Return the reply for an exception."""
        message = str(error).strip() or type(error).__name__
        return cls(title, message, "".join(traceback.format_exception(error)))


@dataclass(frozen=True)
class OpeningFailed(RequestFailed):
    """A session could not be opened, perhaps because the database of its project is destroyed."""

    destroyed: Path | None = None

    @classmethod
    def of(cls, title: str, error: Exception) -> Self:
        """Return the reply for an exception."""
        return replace(super().of(title, error), destroyed=getattr(error, "restorable", None))


class PropagationFailed(RequestFailed):
    """A propagation could not begin, or broke off."""


def history_of(session: RecordedSession) -> HistoryState:
    """Return the steps of undo; a propagation that is going on is the last one."""
    history = session.history
    return HistoryState(tuple(UndoStep(*step) for step in history.steps), history.applied)

"""What the worker sends back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.masks import FrameMasks, compose_labels, mask_box
from napari_sam2.objects import ObjectInfo
from napari_sam2.plugin.state import FrameFact, HistoryState
from napari_sam2.plugin.worker.backend import InterruptedRun, SessionBackend
from napari_sam2.prompts import Prompt, PromptKey

# -- answers ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class FrameResult:
    """Results of one frame, ready to be shown.

    Parameters
    ----------
    frame : int
        Which frame.
    labels : ndarray of uint16, shape (H, W)
        All objects, composed.
    facts : tuple of FrameFact
        What is known of each object.
    """

    frame: int
    labels: NDArray[np.uint16]
    facts: tuple[FrameFact, ...]

    @classmethod
    def of(cls, found: FrameMasks) -> FrameResult:
        """Compose and measure."""
        return cls(found.frame, compose_labels(found), facts_of(found))


@dataclass(frozen=True, eq=False)
class PromptResult:
    """The answer to one prompt (None: it was taken back)."""

    key: PromptKey
    prompt: Prompt | None
    shown: FrameResult
    history: HistoryState


@dataclass(frozen=True, eq=False)
class StateReset:
    """Everything the user said, after it changed as a whole: opening, undo, redo, removal of objects.

    Parameters
    ----------
    action : str
        What happened.
    prompts, objects : mapping
        All of them.
    history : HistoryState
        What can be undone now.
    shown : FrameAnswer
        The frame that the viewer shows.
    """

    action: str
    prompts: Mapping[PromptKey, Prompt]
    objects: Mapping[int, ObjectInfo]
    history: HistoryState
    shown: FrameResult


@dataclass(frozen=True, eq=False)
class SessionOpened:
    """The session is there; ``read(frame)`` gives its saved labels and may be called from any thread."""

    read: Callable[[int], NDArray[np.uint16]]
    path: Path | None
    resumed: bool
    temporary: bool
    interrupted: InterruptedRun | None
    message: str
    runs_on: tuple[str, str]
    state_reset: StateReset


@dataclass(frozen=True)
class ModelLoading:
    """Bytes of a download; 0 in total when unknown."""

    done: int
    total: int


@dataclass(frozen=True, eq=False)
class FactsLoaded:
    """Facts about frames whose results are older than this window; ``first``: all earlier facts are void."""

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
    """What a :class:`Call` returned."""

    value: Any


@dataclass(frozen=True)
class RequestFailed:
    """An exception of the worker's thread."""

    title: str
    message: str
    details: str


def state_reset(bench: SessionBackend, action: str, frame: int) -> StateReset:
    """Say everything again."""
    shown = FrameResult.of(bench.masks(frame))
    return StateReset(action, dict(bench.prompts), dict(bench.objects), bench.history, shown)


def facts_of(found: FrameMasks) -> tuple[FrameFact, ...]:
    """Measure what the timeline shows of every mask of a frame."""
    facts = []
    for row, object_id in enumerate(found.object_ids):
        area, center = _area_and_center(found.masks[row])
        facts.append(
            FrameFact(
                object_id,
                found.frame,
                bool(found.prompted[row]),
                float(found.object_scores[row]),
                float(found.predicted_ious[row]),
                area,
                center,
            )
        )
    return tuple(facts)


def _area_and_center(mask: NDArray[np.bool_]) -> tuple[int, tuple[float, float] | None]:
    box = mask_box(mask)
    if box is None:
        return 0, None
    x0, y0, x1, y1 = box
    crop = mask[y0:y1, x0:x1]
    columns, rows = crop.sum(0), crop.sum(1)
    area = int(columns.sum())
    x = float((columns * np.arange(len(columns))).sum() / area) + x0
    y = float((rows * np.arange(len(rows))).sum() / area) + y0
    return area, (x, y)

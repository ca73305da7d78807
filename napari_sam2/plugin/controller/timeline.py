"""Facts about every object on every frame: prompted, present, uncertain; and where to look next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_sam2.plugin.controller.context import ControllerContext
from napari_sam2.review import FrameFact, ObjectFacts, frame_uncertainty, next_uncertain, uncertain_peaks


@dataclass(frozen=True, eq=False)
class TimelineRow:
    """One object over all frames; arrays of length T that must not be changed.

    Parameters
    ----------
    object_id : int
        Which object.
    known : ndarray of bool
        Frames with a result.
    present : ndarray of bool
        Frames on which it is seen.
    prompted : ndarray of bool
        Frames with a prompt.
    object_scores, predicted_ious : ndarray of float32
        NaN where unknown.
    areas : ndarray of float32
        Pixels; NaN where unknown.
    uncertainty : ndarray of float64
        0 (certain) to 1.
    """

    object_id: int
    known: NDArray[np.bool_]
    present: NDArray[np.bool_]
    prompted: NDArray[np.bool_]
    object_scores: NDArray[np.float32]
    predicted_ious: NDArray[np.float32]
    areas: NDArray[np.float32]
    uncertainty: NDArray[np.float64]


class Timeline:
    """Facts about all objects on all frames; a part of a controller."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._count = context.view.geometry.n_frames
        self._facts: dict[int, ObjectFacts] = {}
        self._uncertainty: dict[int, NDArray[np.float64]] = {}  # as far as it was asked for

    @property
    def n_frames(self) -> int:
        """Length of every row."""
        return self._count

    def row(self, object_id: int) -> TimelineRow:
        """Return one object's row; an object without results has an empty one."""
        facts = self._facts.get(object_id) or ObjectFacts(self._count)
        if object_id not in self._uncertainty:
            self._uncertainty[object_id] = frame_uncertainty(facts)
        return TimelineRow(
            object_id,
            facts.known,
            facts.seen,
            facts.prompted,
            facts.object_scores,
            facts.predicted_ious,
            facts.areas,
            self._uncertainty[object_id],
        )

    def uncertainty(self, object_ids: Iterable[int] | None = None) -> NDArray[np.float64]:
        """Return the highest uncertainty of some (or all) objects on each frame, (T,)."""
        ids = self._facts if object_ids is None else [i for i in object_ids if i in self._facts]
        total = np.zeros(self._count)
        for object_id in ids:
            np.maximum(total, self.row(object_id).uncertainty, out=total)
        return total

    def uncertain_frames(
        self, object_ids: Iterable[int] | None = None, threshold: float = 0.5
    ) -> tuple[int, ...]:
        """Return the most uncertain frame of each uncertain stretch, in order."""
        return tuple(uncertain_peaks(self.uncertainty(object_ids), threshold))

    def next_uncertain(
        self, object_ids: Iterable[int] | None = None, step: int = 1, threshold: float = 0.5
    ) -> tuple[int, int] | None:
        """Find the next (``step`` 1) or previous (-1) uncertain frame from where the viewer is.

        Returns
        -------
        (frame, object_id) or None
            The object that is most uncertain there.
        """
        ids = tuple(self._facts) if object_ids is None else tuple(object_ids)
        frame = next_uncertain(self.uncertainty(ids), self._context.view.frame, step, threshold)
        if frame is None:
            return None
        return frame, max(ids, key=lambda i: self.row(i).uncertainty[frame])

    # -- for the controller ------------------------------------------------------------------------------

    def put_frame(self, frame: int, facts: Iterable[FrameFact]) -> None:
        """Replace all facts of a frame; objects that are not among them have no result there."""
        named = self._put(facts)
        for object_id, known in self._facts.items():
            if object_id not in named and known.clear(frame):
                self._uncertainty.pop(object_id, None)
        self._context.events.timeline.emit(frozenset(self._facts))

    def put(self, facts: Iterable[FrameFact]) -> None:
        """Add facts of many frames."""
        named = self._put(facts)
        if named:
            self._context.events.timeline.emit(frozenset(named))

    def set_prompted(self, prompted: dict[int, list[int]]) -> None:
        """Set which frames of which objects have prompts."""
        changed = set()
        for object_id in {*prompted, *self._facts}:
            flags = np.zeros(self._count, bool)
            flags[prompted.get(object_id, [])] = True
            facts = self._of(object_id)
            if not np.array_equal(flags, facts.prompted):
                facts.prompted = flags
                self._uncertainty.pop(object_id, None)
                changed.add(object_id)
        if changed:
            self._context.events.timeline.emit(frozenset(changed))

    def forget(self, object_ids: Iterable[int] | None = None) -> None:
        """Drop the facts of some objects, or of all."""
        ids = tuple(self._facts) if object_ids is None else tuple(object_ids)
        for object_id in ids:
            self._facts.pop(object_id, None)
            self._uncertainty.pop(object_id, None)
        self._context.events.timeline.emit(frozenset(ids))

    def rebase(self) -> None:
        """Start again with other frames."""
        self._count = self._context.view.geometry.n_frames
        self.forget()
        self._uncertainty.clear()

    def _put(self, facts: Iterable[FrameFact]) -> set[int]:
        named = set()
        for fact in facts:
            self._of(fact.object_id).put(fact)
            self._uncertainty.pop(fact.object_id, None)
            named.add(fact.object_id)
        return named

    def _of(self, object_id: int) -> ObjectFacts:
        return self._facts.setdefault(object_id, ObjectFacts(self._count))

"""A propagation that can be paused for prompts and goes on where they made a difference."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from napari_sam2.masks import FrameMasks
from napari_sam2.plugin.worker.backend import SessionBackend
from napari_sam2.plugin.worker.requests import FrameRange, Propagate

_ON = ", and tracking on"


class PropagationRun:
    """One propagation, step by step, in the worker's thread.

    Parameters
    ----------
    request : Propagate
        What was asked for.
    generation : int
        Its number.
    bench : Workbench
        The session.

    Attributes
    ----------
    total : int
        Frames that are done or still to do.

    Raises
    ------
    ValueError
        When no object can be propagated, or a leg goes the wrong way.
    """

    def __init__(self, request: Propagate, generation: int, bench: SessionBackend) -> None:
        self.request = request
        self.generation = generation
        self._bench = bench
        self._legs = deque(self._resolved(leg) for leg in request.legs)
        self._finished: list[FrameRange] = []
        self._position: int | None = None
        self._steps: Iterator[FrameMasks] | None = None
        self._number = 0  # of its step of undo, as far as it is one of its own
        self._began = self._told = False
        self.is_fresh = False  # whether the last step was the first of a stretch: the history changed
        self._visited: set[int] = set()
        self.total = len(self._planned())

    @property
    def done(self) -> int:
        """Frames that are done: each counts once, however often it is visited."""
        return len(self._visited)

    def step(self) -> FrameMasks | None:
        """Do one frame; None when all is done."""
        while self._legs:
            if self._steps is None:
                self._steps = self._begin()
            found = None
            if self._steps is not None:
                found = next(self._steps, None)
                self.is_fresh = self._note_step()
            if found is not None:
                self._position = found.frame
                self._visited.add(found.frame)
                return found
            self.pause()
            self._finished.append(self._legs.popleft())
            self._position = None
            self.total = len(self._visited | self._planned())
        return None

    def pause(self) -> None:
        """Close what is open, between two frames; the next step goes on."""
        steps, self._steps = self._steps, None
        close = getattr(steps, "close", None)
        if close is not None:
            close()

    def prompted(self, frame: int, object_id: int) -> None:
        """Say that a prompt changed: what was visited already and depends on it is visited again."""
        self.pause()
        for leg in self._finished:
            if _contains(leg, frame):
                again = FrameRange(self._reach(leg, frame, object_id), leg.stop, leg.reverse)
                if again not in self._legs:
                    self._legs.append(again)
                    self._visited -= _frames(again)
        if self._legs and self._position is not None:
            leg = self._legs[0]
            start = self._reach(leg, frame, object_id) if _contains(leg, frame) else self._position
            if _is_before(leg, start, self._position):
                self._legs[0] = FrameRange(start, leg.stop, leg.reverse)
                self._position = None
                self._visited -= _frames(self._legs[0])
        self.total = len(self._visited | self._planned())

    def _planned(self) -> set[int]:
        return set[int]().union(*(_frames(leg) for leg in self._legs))

    def _begin(self) -> Iterator[FrameMasks] | None:
        objects = self._objects()
        leg = self._legs[0]
        start = leg.start
        if self._position is not None:  # after a pause: the next frame
            start = self._position + (-1 if leg.reverse else 1)
            if not _is_before(leg, start, _stop(leg)) and start != _stop(leg):
                return None
        if not objects:  # all of them were removed, or their prompts were
            return None
        history = self._bench.history
        label, joins = self.request.gesture.label, self._began and history.can_undo
        if joins:
            # What was done meanwhile, and the tracking that follows from it, are one step.
            label = history.undo_label
            if history.steps[history.applied - 1].number != self._number and not label.endswith(_ON):
                label += _ON
        self._told = False
        gesture = replace(self.request.gesture, label=label)
        return self._bench.propagate(start, leg.stop, leg.reverse, objects, gesture, joins)

    def _note_step(self) -> bool:
        """Look, after the first frame of a stretch, which step of undo it is."""
        if self._told:
            return False
        history = self._bench.history
        if not self._began and history.applied:  # it may be too large to be undone
            self._number = history.steps[history.applied - 1].number
        self._began = self._told = True
        return True

    def _objects(self) -> list[int]:
        prompted = dict.fromkeys(object_id for _, object_id in self._bench.prompts)
        wanted: Iterable[int] = prompted if self.request.objects is None else self.request.objects
        return [i for i in wanted if i in prompted and i not in self.request.excluded]

    def _resolved(self, leg: FrameRange) -> FrameRange:
        objects = self._objects()
        frames = [frame for frame, object_id in self._bench.prompts if object_id in objects]
        if not frames:
            raise ValueError("there is nothing to propagate: click on an object first, on any frame")
        last = self._bench.n_frames - 1
        start = leg.start if leg.start is not None else (max(frames) if leg.reverse else min(frames))
        stop = leg.stop if leg.stop is not None else (0 if leg.reverse else last)
        start, stop = min(max(start, 0), last), min(max(stop, 0), last)
        if (stop > start) if leg.reverse else (stop < start):
            way = "backward" if leg.reverse else "forward"
            raise ValueError(f"cannot go {way} from frame {start} to frame {stop}: choose another range")
        return FrameRange(start, stop, leg.reverse)

    def _reach(self, leg: FrameRange, frame: int, object_id: int) -> int:
        """Return from where on a leg has to be visited again.

        A result answers the prompts on both its sides, so this begins at the object's prompt before; without
        one it begins here, because nothing is looked for before the first prompt.
        """
        own = [f for f, i in self._bench.prompts if i == object_id]
        before = [f for f in own if _is_before(leg, f, frame)]
        if not before:
            return frame
        nearest = min(before) if leg.reverse else max(before)
        return _start(leg) if _is_before(leg, nearest, _start(leg)) else nearest


def _start(leg: FrameRange) -> int:
    assert leg.start is not None
    return leg.start


def _stop(leg: FrameRange) -> int:
    assert leg.stop is not None
    return leg.stop


def _frames(leg: FrameRange) -> set[int]:
    low, high = sorted((_start(leg), _stop(leg)))
    return set(range(low, high + 1))


def _contains(leg: FrameRange, frame: int) -> bool:
    low, high = sorted((_start(leg), _stop(leg)))
    return low <= frame <= high


def _is_before(leg: FrameRange, frame: int, other: int) -> bool:
    """Whether the leg comes to ``frame`` before it comes to ``other``."""
    return frame > other if leg.reverse else frame < other

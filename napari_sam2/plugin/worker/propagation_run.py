"""A propagation that can be paused for prompts and goes on where they made a difference."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from napari_sam2.masks import FrameMasks
from napari_sam2.plugin.worker.replies import history_of
from napari_sam2.plugin.worker.requests import FrameRange, Propagate

if TYPE_CHECKING:
    from napari_sam2.storage.recorded_session import RecordedSession

_ON = ", and tracking on"


class PropagationRun:
    """One propagation, frame by frame, in the worker's thread.

    Parameters
    ----------
    request : Propagate
        What was asked for.
    generation : int
        Its number.
    session : RecordedSession
        The session.

    Attributes
    ----------
    total : int
        Frames that are done or still to do.
    history_changed : bool
        Whether the last frame was the first one since the beginning or a pause.

    Raises
    ------
    ValueError
        When no object can be propagated, or a range goes the wrong way.
    """

    def __init__(self, request: Propagate, generation: int, session: RecordedSession) -> None:
        self.request = request
        self.generation = generation
        self._session = session
        self._ranges = deque(self._resolved(asked) for asked in request.ranges)
        self._finished: list[FrameRange] = []
        self._position: int | None = None
        self._frames: Iterator[FrameMasks] | None = None
        self._step_number = 0  # of its step of undo, as far as it is one of its own
        self._began = self._noted = False
        self.history_changed = False
        self._visited: set[int] = set()
        self.total = len(self._planned())

    @property
    def done(self) -> int:
        """Frames that are done: each counts once, however often it is visited."""
        return len(self._visited)

    def advance(self) -> FrameMasks | None:
        """Visit one frame, and return the masks of all objects there; None when all is done."""
        while self._ranges:
            if self._frames is None:
                self._frames = self._begin()
            found = None
            if self._frames is not None:
                found = next(self._frames, None)
                self.history_changed = self._note_step()
            if found is not None:
                self._position = found.frame
                self._visited.add(found.frame)
                # What is shown of a frame is all of it, also the objects that are not tracked.
                others = set(self._session.objects) - set(found.object_ids)
                return self._session.masks(found.frame) if others else found
            self.pause()
            self._finished.append(self._ranges.popleft())
            self._position = None
            self.total = len(self._visited | self._planned())
        return None

    def pause(self) -> None:
        """Close what is open, between two frames; :meth:`advance` goes on."""
        frames, self._frames = self._frames, None
        close = getattr(frames, "close", None)
        if close is not None:
            close()

    def prompt_changed(self, frame: int, object_id: int) -> None:
        """Visit again what was visited already and depends on a prompt that changed."""
        self.pause()
        for finished in self._finished:
            if _contains(finished, frame):
                again = FrameRange(self._reach(finished, frame, object_id), finished.stop, finished.reverse)
                if again not in self._ranges:
                    self._ranges.append(again)
                    self._visited -= _frames(again)
        if self._ranges and self._position is not None:
            now = self._ranges[0]
            start = self._reach(now, frame, object_id) if _contains(now, frame) else self._position
            if _is_before(now, start, self._position):
                self._ranges[0] = FrameRange(start, now.stop, now.reverse)
                self._position = None
                self._visited -= _frames(self._ranges[0])
        self.total = len(self._visited | self._planned())

    def _planned(self) -> set[int]:
        return set[int]().union(*(_frames(planned) for planned in self._ranges))

    def _begin(self) -> Iterator[FrameMasks] | None:
        """Begin or go on with the first range; None when nothing of it is left."""
        objects = self._objects()
        now = self._ranges[0]
        start = now.start
        if self._position is not None:  # after a pause: the next frame
            start = self._position + (-1 if now.reverse else 1)
            if not _is_before(now, start, _stop(now)) and start != _stop(now):
                return None
        if not objects:  # all of them were removed, or their prompts were
            return None
        history = history_of(self._session)
        label, group = self.request.group.label, self.request.group.number
        joins = self._began and history.can_undo
        if joins:
            # What was done meanwhile, and the tracking that follows from it, are one step.
            label = history.undo_label
            own = history.steps[history.applied - 1].number == self._step_number
            if not own and not label.endswith(_ON):
                label += _ON
        self._noted = False
        return self._session.propagate(start, now.stop, now.reverse, objects, label, joins, group)

    def _note_step(self) -> bool:
        """Note, after the first frame since the beginning or a pause, which step of undo it is."""
        if self._noted:
            return False
        history = history_of(self._session)
        if not self._began and history.applied:  # it may be too large to be undone
            self._step_number = history.steps[history.applied - 1].number
        self._began = self._noted = True
        return True

    def _objects(self) -> list[int]:
        prompted = dict.fromkeys(object_id for _, object_id in self._session.prompts)
        wanted: Iterable[int] = prompted if self.request.objects is None else self.request.objects
        return [i for i in wanted if i in prompted and i not in self.request.excluded]

    def _resolved(self, asked: FrameRange) -> FrameRange:
        objects = self._objects()
        frames = [frame for frame, object_id in self._session.prompts if object_id in objects]
        if not frames:
            raise ValueError("there is nothing to propagate: click on an object first, on any frame")
        last = self._session.n_frames - 1
        start = asked.start if asked.start is not None else (max(frames) if asked.reverse else min(frames))
        stop = asked.stop if asked.stop is not None else (0 if asked.reverse else last)
        start, stop = min(max(start, 0), last), min(max(stop, 0), last)
        if (stop > start) if asked.reverse else (stop < start):
            way = "backward" if asked.reverse else "forward"
            raise ValueError(f"cannot go {way} from frame {start} to frame {stop}: choose another range")
        return FrameRange(start, stop, asked.reverse)

    def _reach(self, within: FrameRange, frame: int, object_id: int) -> int:
        """Return from where on a range has to be visited again.

        A result answers the prompts on both its sides, so this begins at the object's prompt before; without
        one it begins here, because nothing is looked for before the first prompt.
        """
        own = [f for f, i in self._session.prompts if i == object_id]
        before = [f for f in own if _is_before(within, f, frame)]
        if not before:
            return frame
        nearest = min(before) if within.reverse else max(before)
        return _start(within) if _is_before(within, nearest, _start(within)) else nearest


def _start(frames: FrameRange) -> int:
    assert frames.start is not None
    return frames.start


def _stop(frames: FrameRange) -> int:
    assert frames.stop is not None
    return frames.stop


def _frames(frames: FrameRange) -> set[int]:
    low, high = sorted((_start(frames), _stop(frames)))
    return set(range(low, high + 1))


def _contains(frames: FrameRange, frame: int) -> bool:
    low, high = sorted((_start(frames), _stop(frames)))
    return low <= frame <= high


def _is_before(frames: FrameRange, frame: int, other: int) -> bool:
    """Return True if ``frame`` is visited before ``other``."""
    return frame > other if frames.reverse else frame < other

"""One thread owns the session: a queue of frozen requests in, numbered replies out."""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

from napari_sam2.plugin.state import FrameFact, HistoryState
from napari_sam2.plugin.worker.backend import SessionBackend
from napari_sam2.plugin.worker.propagation_run import PropagationRun
from napari_sam2.plugin.worker.replies import (
    FactsLoaded,
    FrameResult,
    FrameTracked,
    ModelLoading,
    PropagationPhase,
    RequestFailed,
    SessionOpened,
    facts_of,
    state_reset,
)
from napari_sam2.plugin.worker.requests import (
    Call,
    GetAlternatives,
    Open,
    Propagate,
    PutObjects,
    RemoveObjects,
    Reply,
    Request,
    SetPrompt,
    UndoRedo,
)

_QUIET_SECONDS = 0.15  # a scrubbing hand is faster than this; a resting one gets its frames encoded
_SURVEY_FRAMES = 16
_NICE = 4
_log = logging.getLogger(__name__)


class OpeningCancelled(RuntimeError):
    """The user cancelled while a model was loaded."""


@dataclass
class _Queue:
    """What is shared between the threads, guarded by ``changed``."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    requests: deque[tuple[int, Request]] = field(default_factory=deque)
    generation: int = 0
    busy: bool = False
    closing: bool = False
    stop: bool = False
    cancelled: int = 0
    survey: bool = False
    around: tuple[int, ...] = ()


class SessionWorker:
    """Runs a session in one thread.

    Parameters
    ----------
    post : callable
        Takes replies, in the worker's thread; must return at once (a mailbox does).
    rested : callable, optional
        Called in the worker's thread when a request is over: only then it is no longer pending.
    """

    def __init__(self, post: Callable[[Reply], None], rested: Callable[[], None] | None = None) -> None:
        self._post = post
        self._rested = rested
        self._queue = _Queue()
        self._bench: SessionBackend | None = None
        self._march: PropagationRun | None = None
        self._survey: Iterator[int] | None = None
        self._paused = False
        self._untidy = False
        # Frames that were encoded ahead lately; older ones may have left the cache.
        self._warmed: deque[int] = deque(maxlen=8)
        self._thread = threading.Thread(target=self._run, name="napari-sam2 session", daemon=True)
        self._thread.start()

    # -- called by the owner -----------------------------------------------------------------------------

    def submit(self, request: Request) -> int:
        """Ask for something; returns the request's generation. Queued requests of the same key are superseded."""
        queue = self._queue
        with queue.changed:
            if queue.closing:
                raise RuntimeError("this session is closed")
            queue.generation += 1
            if request.key is not None:
                queue.requests = deque(item for item in queue.requests if item[1].key != request.key)
            queue.requests.append((queue.generation, request))
            if isinstance(request, Propagate):
                queue.stop = False
            queue.changed.notify_all()
            return queue.generation

    def stop_propagation(self) -> None:
        """Ask a propagation to stop between two frames, and forget queued ones."""
        with self._queue.changed:
            self._queue.stop = True
            kept = (item for item in self._queue.requests if not isinstance(item[1], Propagate))
            self._queue.requests = deque(kept)
            self._queue.changed.notify_all()

    def cancel_opening(self) -> None:
        """Ask the opening that goes on (or waits) to give up."""
        with self._queue.changed:
            self._queue.cancelled = self._queue.generation

    def look_at(self, frames: tuple[int, ...]) -> None:
        """Say which frames to encode, most wanted first, while there is nothing else to do."""
        with self._queue.changed:
            self._queue.around = frames
            self._queue.changed.notify_all()

    def survey(self) -> None:
        """Ask for the facts of all frames that have results, while there is nothing more urgent to do."""
        with self._queue.changed:
            self._queue.survey = True
            self._queue.changed.notify_all()

    @property
    def pending(self) -> int:
        """Requests that are not answered yet."""
        with self._queue.changed:
            return len(self._queue.requests) + self._queue.busy

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def give_way(self) -> None:
        """Let a window go first when both want the processor (Linux: threads of torch that come later follow)."""
        if sys.platform == "linux" and self._thread.native_id is not None:
            with suppress(OSError):
                nice = os.getpriority(os.PRIO_PROCESS, 0) + _NICE
                os.setpriority(os.PRIO_PROCESS, self._thread.native_id, nice)

    def close(self, timeout: float = 30.0) -> bool:
        """Answer queued prompts, stop, close the session; False when the thread did not end in time."""
        queue = self._queue
        with queue.changed:
            queue.closing = queue.stop = True
            queue.cancelled = queue.generation
            kept = (
                item for item in queue.requests if isinstance(item[1], (SetPrompt, PutObjects, RemoveObjects))
            )
            queue.requests = deque(kept)
            queue.changed.notify_all()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # -- in the thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        finally:
            self._close_bench(None, 0)

    def _turn(self) -> bool:
        """Do the most urgent thing; False when the thread is to end."""
        item, stop = self._take()
        if stop and self._march is not None:
            self._end_march("stopped")
        if item is not None:
            self._answer(*item)
        elif self._queue.closing:
            return False
        elif self._march is not None:
            self._step()
        elif self._queue.survey or self._survey is not None:
            self._survey_some()
        else:
            self._idle()
        return True

    def _take(self) -> tuple[tuple[int, Request] | None, bool]:
        queue = self._queue
        with queue.changed:
            stop, queue.stop = queue.stop, queue.closing
            queue.busy = bool(queue.requests)
            return (queue.requests.popleft() if queue.requests else None), stop

    def _answer(self, generation: int, request: Request) -> None:
        try:
            self._perform(generation, request)
        except Exception as error:
            self._fail(request, generation, error)
        finally:
            with self._queue.changed:
                self._queue.busy = False
            if self._rested is not None:
                self._rested()

    def _perform(self, generation: int, request: Request) -> None:
        if isinstance(request, Open):
            self._open(generation, request)
            return
        bench = self._bench
        if bench is None:
            raise RuntimeError("there is no session: choose a model that can be loaded first")
        if isinstance(request, Propagate):
            if self._march is not None:
                self._end_march("stopped")
            self._tidy()
            self._march = PropagationRun(request, generation, bench)
            self._tell_march("running")
            return
        if not isinstance(request, (GetAlternatives, Call)):
            self._pause_march(stop=isinstance(request, UndoRedo))
        self._untidy = True
        answer = request.perform(bench)  # type: ignore[attr-defined]
        if self._march is not None and isinstance(request, SetPrompt):
            self._march.prompted(request.frame, request.object_id)
        self._post(Reply(request, generation, answer))

    def _open(self, generation: int, request: Open) -> None:
        self._close_bench(request, generation)
        self._warmed.clear()

        def progress(done: int, total: int) -> None:
            if self._queue.cancelled >= generation:
                raise OpeningCancelled("loading was cancelled: choose a model to go on")
            self._post(Reply(request, generation, ModelLoading(done, total)))

        progress(0, 0)
        bench = request.opener(progress)
        self._bench = bench
        frame = min(request.frame, bench.n_frames - 1)
        answer = SessionOpened(
            bench.labels,
            bench.path,
            bench.resumed,
            bench.temporary,
            bench.interrupted,
            bench.message,
            bench.runs_on,
            state_reset(bench, "opened", frame),
        )
        self._post(Reply(request, generation, answer))

    def _close_bench(self, request: Request | None, generation: int) -> None:
        if self._march is not None:
            self._end_march("stopped")
        bench, self._bench, self._survey = self._bench, None, None
        if bench is not None:
            try:
                bench.close()
            except Exception as error:
                self._fail(request, generation, error)

    # -- propagation -------------------------------------------------------------------------------------

    def _step(self) -> None:
        march = self._march
        assert march is not None
        if self._paused:
            self._tell_march("running")
        try:
            found = march.step()
        except Exception as error:
            self._end_march("failed")
            self._fail(march.request, march.generation, error)
            return
        if found is None:
            self._end_march("finished")
            return
        if march.is_fresh and self._bench is not None:
            self._post(Reply(march.request, march.generation, self._bench.history))
        stepped = FrameTracked(FrameResult.of(found), march.done, march.total)
        self._post(Reply(march.request, march.generation, stepped))

    def _pause_march(self, stop: bool) -> None:
        if self._march is None:
            return
        if stop:
            self._end_march("stopped")
            return
        self._march.pause()
        if not self._paused:
            self._tell_march("paused")

    def _end_march(self, phase: str) -> None:
        march = self._march
        assert march is not None
        try:
            march.pause()
        except Exception as error:
            self._fail(march.request, march.generation, error)
        self._tell_march(phase)
        self._march = None

    def _tell_march(self, phase: str) -> None:
        march, bench = self._march, self._bench
        assert march is not None
        self._paused = phase == "paused"
        history = bench.history if bench is not None else HistoryState()
        self._post(
            Reply(march.request, march.generation, PropagationPhase(phase, march.done, march.total, history))
        )

    # -- while there is nothing urgent -------------------------------------------------------------------

    def _survey_some(self) -> None:
        """Measure a few frames that were tracked before this window was there."""
        bench = self._bench
        with self._queue.changed:
            restart, self._queue.survey = self._queue.survey, False
        if bench is None:
            self._survey = None
            return
        facts: list[FrameFact] = []
        try:
            if restart or self._survey is None:
                self._survey = iter(tuple(bench.tracked_frames()))
            frames = tuple(islice(self._survey, _SURVEY_FRAMES))
            for frame in frames:
                facts += facts_of(bench.masks(frame))
        except Exception as error:
            self._survey = None
            self._fail(None, 0, error, "Reading saved results")
            return
        finished = len(frames) < _SURVEY_FRAMES
        if finished:
            self._survey = None
        self._post(Reply(None, 0, FactsLoaded(tuple(facts), restart, finished)))

    def _idle(self) -> None:
        """Wait; when it stays quiet, encode the frames around the shown one."""
        queue = self._queue
        with queue.changed:
            around = tuple(f for f in queue.around if f not in self._warmed)
            waits = self._bench is not None and (self._untidy or around)
            # Entries are never waited for with a stale decision: whoever changes the queue notifies.
            woken = queue.changed.wait_for(
                lambda: self._is_wanted(around), timeout=_QUIET_SECONDS if waits else None
            )
        if woken or self._bench is None:
            return
        self._tidy()
        if not around:
            return
        try:
            self._bench.warm(around[0])
        except Exception as error:
            # Nobody asked: the same error comes, with its reason, when the frame is really needed.
            _log.debug("frame %d could not be encoded ahead: %s", around[0], error)
        self._warmed.append(around[0])

    def _tidy(self) -> None:
        bench = self._bench
        if bench is not None and self._untidy:
            self._untidy = False
            try:
                bench.tidy()
            except Exception as error:
                self._fail(None, 0, error, "Saving")

    def _is_wanted(self, around: tuple[int, ...]) -> bool:
        queue = self._queue
        return bool(
            queue.requests
            or queue.closing
            or queue.survey
            or tuple(f for f in queue.around if f not in self._warmed) != around
        )

    def _fail(
        self, request: Request | None, generation: int, error: Exception, title: str = "Working"
    ) -> None:
        details = "".join(traceback.format_exception(error))
        message = str(error).strip() or type(error).__name__
        self._post(
            Reply(request, generation, RequestFailed(request.title if request else title, message, details))
        )

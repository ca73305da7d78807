"""The one thread that owns the session: a queue of frozen requests in, numbered replies out."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from napari_sam2.plugin.state import HistoryState
from napari_sam2.plugin.worker.propagation_run import PropagationRun
from napari_sam2.plugin.worker.replies import (
    FactsLoaded,
    FrameResult,
    FrameTracked,
    ModelLoading,
    PropagationFailed,
    PropagationPhase,
    Reply,
    RequestFailed,
    history_of,
)
from napari_sam2.plugin.worker.requests import Propagate, Request
from napari_sam2.plugin.worker.session_spec import OpenedSession, Progress
from napari_sam2.review import FrameFact, facts_of

if TYPE_CHECKING:
    from napari_sam2.storage.recorded_session import RecordedSession

_QUIET_SECONDS = 0.15  # longer than the pauses of a scrubbing hand: only where it rests frames are encoded
_SURVEY_FRAMES = 16
_NICE = 4
_log = logging.getLogger(__name__)


class OpeningCancelled(RuntimeError):
    """The user cancelled while a model was loaded."""


@dataclass
class _Queue:
    """State that the threads share, guarded by ``changed``."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    requests: deque[tuple[int, Request[Any]]] = field(default_factory=deque)
    generation: int = 0
    busy: bool = False
    closing: bool = False
    cancelled: int = 0
    survey: bool = False
    around: tuple[int, ...] = ()


class SessionWorker:
    """Runs a session in one thread.

    Parameters
    ----------
    post : callable
        Takes replies, in the worker's thread; it must return at once (see :class:`ReplyQueue`).
    on_done : callable, optional
        Called in the worker's thread when a request is over: only then it is no longer pending.
    """

    def __init__(self, post: Callable[[Reply], None], on_done: Callable[[], None] = lambda: None) -> None:
        self._post = post
        self._on_done = on_done
        self._queue = _Queue()
        self._opened: OpenedSession | None = None
        self._generation = 0  # of the request that is performed
        self._session_generation = 0
        self._run: PropagationRun | None = None
        self._paused = False
        self._survey: Iterator[int] | None = None
        self._writes_deferred = False
        # Frames that were encoded ahead lately; older ones may have left the cache.
        self._encoded: deque[int] = deque(maxlen=8)
        self._thread = threading.Thread(target=self._work, name="napari-sam2 session", daemon=True)
        self._thread.start()

    # -- called by the owner -----------------------------------------------------------------------------

    def submit(self, request: Request[Any]) -> int:
        """Queue a request and return its generation; queued requests of the same key are superseded."""
        queue = self._queue
        with queue.changed:
            if queue.closing:
                raise RuntimeError("this session is closed")
            queue.generation += 1
            if request.key is not None:
                queue.requests = deque(item for item in queue.requests if item[1].key != request.key)
            queue.requests.append((queue.generation, request))
            queue.changed.notify_all()
            return queue.generation

    def cancel_opening(self) -> None:
        """Let the opening that goes on (or waits) fail."""
        with self._queue.changed:
            self._queue.cancelled = self._queue.generation

    def encode_around(self, frames: tuple[int, ...]) -> None:
        """Encode frames, most wanted first, while there is nothing else to do."""
        with self._queue.changed:
            self._queue.around = frames
            self._queue.changed.notify_all()

    def load_facts(self) -> None:
        """Measure all frames that have results, while there is nothing more urgent to do."""
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
        """True while the thread runs."""
        return self._thread.is_alive()

    def lower_priority(self) -> None:
        """Let a window go first when both want the processor (Linux: threads of torch that come later follow)."""
        if sys.platform == "linux" and self._thread.native_id is not None:
            with suppress(OSError):
                nice = os.getpriority(os.PRIO_PROCESS, 0) + _NICE
                os.setpriority(os.PRIO_PROCESS, self._thread.native_id, nice)

    def close(self, timeout: float = 30.0) -> bool:
        """Perform queued requests that would be lost, and close the session; False after ``timeout`` seconds."""
        queue = self._queue
        with queue.changed:
            queue.closing = True
            queue.cancelled = queue.generation
            queue.requests = deque(item for item in queue.requests if item[1].kept_on_close)
            queue.changed.notify_all()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # -- called by requests, in the thread ---------------------------------------------------------------

    @property
    def session(self) -> RecordedSession:
        """The session; RuntimeError if none is open."""
        if self._opened is None:
            raise RuntimeError("there is no session: choose a model that can be loaded first")
        return self._opened.session

    def open(self, opener: Callable[[Progress], OpenedSession]) -> OpenedSession:
        """Close the session, and open another one."""
        generation = self._session_generation = self._generation
        self._close_session()
        self._encoded.clear()

        def progress(done: int, total: int) -> None:
            if self._queue.cancelled >= generation:
                raise OpeningCancelled("loading was cancelled: choose a model to go on")
            self._post(Reply(generation, ModelLoading(done, total)))

        progress(0, 0)  # an opening that was cancelled while it waited does not even begin
        self._opened = opener(progress)
        return self._opened

    def begin_run(self, request: Propagate) -> PropagationPhase:
        """Begin a propagation; its frames follow one by one while nothing else is asked for."""
        session = self.session
        self._write_deferred()  # there will be no quiet moment for it while frames are tracked
        self._run = PropagationRun(request, self._generation, session)
        self._paused = False
        return self._phase("running")

    def stop_run(self) -> PropagationPhase:
        """Stop the propagation, if there is one."""
        if self._run is not None:
            self._run.pause()
        phase = self._phase("stopped")
        self._run = None
        return phase

    def prompt_changed(self, frame: int, object_id: int) -> None:
        """Visit the frames again that depend on a prompt, if the propagation was there already."""
        if self._run is not None:
            self._run.prompt_changed(frame, object_id)

    # -- in the thread -----------------------------------------------------------------------------------

    def _work(self) -> None:
        """Do what is most urgent, until the worker is closed."""
        try:
            while True:
                item = self._next_request()
                if item is not None:
                    self._generation, request = item
                    try:
                        self._interrupt_run(request)
                        answer = request.perform(self)
                    except Exception as error:
                        answer = request.failure.of(request.title, error)
                    self._post(Reply(self._generation, answer))
                    self._note_done()
                elif self._queue.closing:  # after the requests that close() left in the queue
                    break
                elif self._run is not None:
                    self._advance()
                elif self._queue.survey or self._survey is not None:
                    self._load_some_facts()
                else:
                    self._idle()
        finally:
            self._close_session()

    def _next_request(self) -> tuple[int, Request[Any]] | None:
        queue = self._queue
        with queue.changed:
            queue.busy = bool(queue.requests)
            return queue.requests.popleft() if queue.requests else None

    def _note_done(self) -> None:
        self._writes_deferred = True
        with self._queue.changed:
            self._queue.busy = False
        self._on_done()

    def _close_session(self) -> None:
        if self._run is not None:
            self._end_run("stopped")
        opened, self._opened, self._survey = self._opened, None, None
        if opened is not None:
            try:
                opened.close()
            except Exception as error:
                self._report("Closing the session", error)

    # -- propagation -------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Track one frame."""
        run = self._run
        assert run is not None
        if self._paused:
            self._paused = False
            self._post(Reply(run.generation, self._phase("running")))
        try:
            found = run.advance()
        except Exception as error:
            self._end_run("failed")
            self._post(Reply(run.generation, PropagationFailed.of(run.request.title, error)))
            return
        if found is None:
            self._end_run("finished")
            return
        if run.history_changed:
            self._post(Reply(run.generation, history_of(self.session)))
        self._post(Reply(run.generation, FrameTracked(FrameResult.of(found), run.done, run.total)))

    def _interrupt_run(self, request: Request[Any]) -> None:
        run = self._run
        if run is None or not request.interrupts:
            return
        if request.interrupts == "stop":
            self._end_run("stopped")
            return
        run.pause()
        if not self._paused:
            self._paused = True
            self._post(Reply(run.generation, self._phase("paused")))

    def _end_run(self, phase: str) -> None:
        run = self._run
        assert run is not None
        try:
            run.pause()
        except Exception as error:
            self._report(run.request.title, error)
        self._post(Reply(run.generation, self._phase(phase)))
        self._run = None

    def _phase(self, phase: str) -> PropagationPhase:
        run, opened = self._run, self._opened
        done, total = (0, 0) if run is None else (run.done, run.total)
        history = HistoryState() if opened is None else history_of(opened.session)
        return PropagationPhase(phase, done, total, history)

    # -- while there is nothing urgent -------------------------------------------------------------------

    def _load_some_facts(self) -> None:
        """Measure a few frames that were tracked in an earlier session."""
        with self._queue.changed:
            restart, self._queue.survey = self._queue.survey, False
        if self._opened is None:
            self._survey = None
            return
        session = self._opened.session
        facts: list[FrameFact] = []
        try:
            if restart or self._survey is None:
                self._survey = iter(session.tracked_frames())
            frames = tuple(islice(self._survey, _SURVEY_FRAMES))
            for frame in frames:
                facts += facts_of(session.masks(frame))
        except Exception as error:
            self._survey = None
            self._report("Reading saved results", error)
            return
        finished = len(frames) < _SURVEY_FRAMES
        if finished:
            self._survey = None
        self._post(Reply(self._session_generation, FactsLoaded(tuple(facts), restart, finished)))

    def _idle(self) -> None:
        """Wait; when it stays quiet, write what was deferred and encode the frames around the shown one."""
        queue = self._queue
        with queue.changed:
            around = self._to_encode()
            waits = self._opened is not None and (self._writes_deferred or around)
            # Whoever changes the queue notifies, so no decision that is made here grows old.
            woken = queue.changed.wait_for(
                lambda: queue.requests or queue.closing or queue.survey or self._to_encode() != around,
                timeout=_QUIET_SECONDS if waits else None,
            )
        if woken or self._opened is None:
            return
        self._write_deferred()
        if not around:
            return
        try:
            self._opened.session.encode(around[0])
        except Exception as error:
            # Nobody asked: the same error comes, with its reason, when the frame is really needed.
            _log.debug("frame %d could not be encoded ahead: %s", around[0], error)
        self._encoded.append(around[0])

    def _to_encode(self) -> tuple[int, ...]:
        return tuple(frame for frame in self._queue.around if frame not in self._encoded)

    def _write_deferred(self) -> None:
        if self._opened is not None and self._writes_deferred:
            self._writes_deferred = False
            try:
                self._opened.session.write_deferred()
            except Exception as error:
                self._report("Saving", error)

    def _report(self, title: str, error: Exception) -> None:
        """Post an error that answers no request."""
        self._post(Reply(self._session_generation, RequestFailed.of(title, error)))

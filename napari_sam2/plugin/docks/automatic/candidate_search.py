"""Search for candidates batch by batch, between the user's clicks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.automatic import AutomaticOptions, CandidateBuffer, Candidates, FrameCandidates, propose
from napari_sam2.plugin.controller.controller import Controller

if TYPE_CHECKING:
    from napari_sam2.storage.recorded_session import RecordedSession


class CandidateSearch:
    """One search on one frame.

    The session's thread is asked for one batch after the other, so that a click meanwhile is answered after the
    batch, and stopping takes no longer than one.

    Parameters
    ----------
    controller : Controller
        Whose network, frames and thread are used.
    frame : int
        Which frame.
    options : AutomaticOptions
        How it is searched.
    region : ndarray of bool, shape (H, W), optional
        Only points inside are asked.
    on_found : callable
        ``on_found(candidates, done, total)`` after every batch, with all candidates so far.
    on_end : callable
        ``on_end(error)`` once; empty text when it is complete or was stopped.
    """

    def __init__(
        self,
        controller: Controller,
        frame: int,
        options: AutomaticOptions,
        region: NDArray[np.bool_] | None,
        on_found: Callable[[Candidates, int, int], None],
        on_end: Callable[[str], None],
    ) -> None:
        self.frame = frame
        self._controller = controller
        self._options = options
        self._region = region
        self._on_found = on_found
        self._on_end = on_end
        self._steps: Iterator[FrameCandidates] | None = None
        self._buffer: CandidateBuffer | None = None
        self._over = False

    def start(self) -> None:
        """Ask for the first batch."""
        self._ask()

    def stop(self) -> None:
        """Ask for no more; what was found stays."""
        self._end("")

    # -- inside ------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        self._controller.ask("Finding masks", self._step).add_done_callback(self._took)

    def _step(self, session: RecordedSession) -> FrameCandidates | None:
        """Find one batch; in the session's thread."""
        if self._over:
            return None
        if self._steps is None:
            picture = session.frames.frame(self.frame)
            self._steps = propose(session.model, picture, self._options, self._region)
        return next(self._steps, None)

    def _took(self, done: Future[Any]) -> None:
        if self._over:
            return
        error = done.exception()
        if error is not None:
            self._end(str(error))
            return
        found: FrameCandidates | None = done.result()
        if found is None:
            self._end("")
            return
        if self._buffer is None:
            self._buffer = CandidateBuffer(found.candidates.size, self._options)
        self._buffer.add(found.candidates)
        self._on_found(self._buffer.candidates, found.done, found.total)
        if not self._over:
            self._ask()

    def _end(self, error: str) -> None:
        if not self._over:
            self._over, self._steps = True, None
            self._on_end(error)

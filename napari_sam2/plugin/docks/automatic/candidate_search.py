"""A search for candidates in batches, between the user's clicks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.automatic import AutomaticOptions, CandidateBuffer, Candidates, FrameCandidates, propose
from napari_sam2.automatic.instances import find_instances
from napari_sam2.model.sam1.sam import Sam
from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.session.image import ImageSession

if TYPE_CHECKING:
    from napari_sam2.storage.recorded_session import RecordedSession


class CandidateSearch:
    """One search on one frame.

    Each batch is a request of its own to the session's thread: clicks are answered between two batches, and
    stopping takes no longer than one.

    Parameters
    ----------
    controller : Controller
        Gives network, frames and thread.
    frame : int
        Frame to search.
    options : AutomaticOptions
        Points and filters.
    region : ndarray of bool, shape (H, W), optional
        Only points inside are searched.
    instances : bool
        Use micro-sam's decoder, which finds everything in one batch, instead of points.
    on_found : callable
        ``on_found(candidates, done, total)`` after every batch, with all candidates so far.
    on_end : callable
        ``on_end(error)`` once; empty if the search is complete or was stopped.
    """

    def __init__(
        self,
        controller: Controller,
        frame: int,
        options: AutomaticOptions,
        region: NDArray[np.bool_] | None,
        instances: bool,
        on_found: Callable[[Candidates, int, int], None],
        on_end: Callable[[str], None],
    ) -> None:
        self.frame = frame
        self._controller = controller
        self._options = options
        self._region = region
        self._instances = instances
        self._on_found = on_found
        self._on_end = on_end
        self._batches: Iterator[FrameCandidates] | None = None
        self._buffer: CandidateBuffer | None = None
        self._ended = False

    def start(self) -> None:
        """Request the first batch."""
        self._request_batch()

    def stop(self) -> None:
        """Request no more batches; candidates found so far stay."""
        self._end("")

    # -- inside ------------------------------------------------------------------------------------------

    def _request_batch(self) -> None:
        self._controller.ask("Finding masks", self._next_batch).add_done_callback(self._on_batch)

    def _next_batch(self, session: RecordedSession) -> FrameCandidates | None:
        """Return the next batch; runs in the session's thread."""
        if self._ended:
            return None
        if self._batches is None:
            self._batches = self._found(session)
        return next(self._batches, None)

    def _found(self, session: RecordedSession) -> Iterator[FrameCandidates]:
        frame = session.frames.frame(self.frame)
        model = session.model
        # With the options of the session: embeddings of a Segment Anything 1 are not computed twice.
        image = ImageSession(model, session.options) if isinstance(model, Sam) else model
        if not self._instances:
            yield from propose(image, frame, self._options, self._region)
        elif isinstance(image, ImageSession):
            yield FrameCandidates(find_instances(image, frame, self._options), 1, 1)

    def _on_batch(self, done: Future[Any]) -> None:
        if self._ended:
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
        if not self._ended:
            self._request_batch()

    def _end(self, error: str) -> None:
        if not self._ended:
            self._ended, self._batches = True, None
            self._on_end(error)

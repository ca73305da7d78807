"""Writing files in the background, with progress, in threads that only read the project."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.plugin.controller.context import SessionClient
from napari_sam2.plugin.controller.events import ControllerEvents
from napari_sam2.plugin.state import ExportState

Write = Callable[[TrackingResults], Path]


class ExportCancelled(RuntimeError):
    """The user cancelled the writing of a file; what was half written is removed."""


class Exporter:
    """Writes files one after the other or at once; a part of a controller.

    Parameters
    ----------
    session : SessionClient
        Calls back in the owner's thread.
    events : ControllerEvents
        Gets the progress.
    """

    def __init__(self, session: SessionClient, events: ControllerEvents) -> None:
        self._session = session
        self._events = events
        self._cancelled = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, name: str, results: TrackingResults, write: Write) -> Future[Path]:
        """Call ``write(results)`` in a thread of its own; the future is done in the owner's thread."""
        future: Future[Path] = Future()
        self._cancelled.clear()
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(
            target=self._run, args=(name, results, write, future), name="napari-sam2 export", daemon=True
        )
        self._threads.append(thread)
        thread.start()
        return future

    def cancel(self) -> None:
        """Stop writing after the frame that is being written, and wait for that."""
        self._cancelled.set()
        for thread in self._threads:
            thread.join(10)

    def _run(self, name: str, results: TrackingResults, write: Write, future: Future[Path]) -> None:
        total = results.n_frames

        def on_frame(frame: int) -> None:
            if self._cancelled.is_set():
                raise ExportCancelled(f"writing {name} was cancelled: nothing of it was kept")
            self._emit(ExportState(name, "running", min(frame + 1, total), total))

        try:
            path = write(results.watched(on_frame))
        except ExportCancelled as error:
            self._finish(ExportState(name, "cancelled", 0, total), future, error)
        except Exception as error:
            self._finish(ExportState(name, "failed", 0, total), future, error)
        else:
            self._finish(ExportState(name, "finished", total, total), future, path)

    def _emit(self, state: ExportState) -> None:
        self._session.replies.post(lambda: self._events.export.emit(state))

    def _finish(self, state: ExportState, future: Future[Path], outcome: Any) -> None:
        def finish() -> None:
            self._events.export.emit(state)
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        self._session.replies.post(finish)

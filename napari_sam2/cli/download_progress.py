"""Progress of a download of weights."""

from __future__ import annotations

from napari_sam2.cli.console import Console
from napari_sam2.cli.progress import Progress

MEGABYTE = 10**6


class DownloadProgress:
    """Reports bytes as megabytes, now and then.

    Parameters
    ----------
    console : Console
        Where to report.
    name : str
        What is downloaded.
    """

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name
        self._progress: Progress | None = None

    def __call__(self, done: int, total: int) -> None:
        """Take the numbers of bytes."""
        if self._progress is None:
            self._console.note(f"downloading {self._name} ({total / MEGABYTE:.0f} MB), once")
            self._progress = Progress(
                self._console, f"downloading {self._name}", total, unit="MB", per=MEGABYTE
            )
        self._progress.advance_to(done)
        if done >= total:
            self._progress.finish()

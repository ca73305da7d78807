"""One running ffmpeg that takes frames, in order, and writes them into a video."""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from napari_sam2.frames.errors import SourceError
from napari_sam2.frames.video import ffmpeg


class FrameEncoder:
    """A context that writes an MP4 (H.264); frame sides must be even.

    Parameters
    ----------
    path : Path
        The file; replaced when it is there.
    size : tuple of int
        (height, width) of the frames.
    rate : float
        Frames per second.
    comment : str
        Stands in the file's metadata.

    Raises
    ------
    SourceError
        If ffmpeg can't be started, can't encode, or takes no frame for ``FRAME_SECONDS``.
    """

    def __init__(self, path: Path, size: tuple[int, int], rate: float, comment: str = "") -> None:
        self._path = path
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the context
        # fmt: off
        command = [ffmpeg.executable(), "-hide_banner", "-nostats", "-v", "error", "-y", "-f", "rawvideo",
                   "-pix_fmt", "rgb24", "-s", f"{size[1]}x{size[0]}", "-r", f"{rate:.10g}", "-i", "pipe:0", "-an",
                   "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "20", "-movflags", "+faststart",
                   *(("-metadata", f"comment={comment}") if comment else ()),
                   ffmpeg.input_name(str(path))]
        # fmt: on
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": self._log}
        self._process = ffmpeg.start(command, **pipes)
        self._waiting: list[float] = []
        self._closed = threading.Event()
        watchdog = (self._process, self._waiting, self._closed)
        threading.Thread(target=ffmpeg.end_when_stuck, args=watchdog, daemon=True).start()

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Write the next frame (H, W, 3)."""
        assert self._process.stdin is not None
        self._waiting[:] = [time.monotonic()]
        try:
            self._process.stdin.write(np.ascontiguousarray(frame).data)
        except OSError as error:
            raise self._failure() from error
        self._waiting.clear()

    def __enter__(self) -> FrameEncoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        try:
            if kind is None:
                self._finish()
        finally:
            self._closed.set()
            self._process.kill()
            self._process.wait()
            with suppress(OSError):
                self._process.stdin.close()
            self._log.close()

    def _finish(self) -> None:
        """Wait for the end of the file, which is written once more where its index goes to the front."""
        try:
            self._process.communicate(timeout=ffmpeg.PASS_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise self._failure() from error
        if self._process.returncode != 0:
            raise self._failure()

    def _failure(self) -> SourceError:
        stuck = bool(self._waiting) and time.monotonic() - self._waiting[0] > ffmpeg.FRAME_SECONDS
        self._process.kill()
        self._process.wait()
        if stuck:
            return SourceError(
                f"ffmpeg took no frame of {self._path} for {ffmpeg.FRAME_SECONDS:.0f} s and was stopped; is the disk "
                "reachable?"
            )
        self._log.seek(0)
        said = self._log.read().decode("utf-8", "replace").splitlines()
        return SourceError(f"ffmpeg can't write {self._path} ({ffmpeg.reason(said)}).")

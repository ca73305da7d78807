"""Copies of videos without an index in a container that has one: the same packets, not re-encoded."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from napari_sam2.frames.disk_cache import cache_folder, file_key, prune
from napari_sam2.frames.errors import SourceError
from napari_sam2.frames.video import ffmpeg

# Containers in which ffmpeg finds a key frame through an index. In all others (MPEG-TS, MPEG-PS, raw streams) it
# guesses byte positions and may land after the frame that was asked for.
_INDEXED = {"mov", "mp4", "matroska", "webm", "avi", "nut"}
_MAX_CACHE_BYTES = 50 * 2**30


def is_indexed(container: str) -> bool:
    """Return whether key frames are found exactly in a container (ffmpeg's name of it)."""
    return bool(_INDEXED & set(container.split(",")))


def remuxed(path: str) -> str:
    """Copy the first video stream of a file into an indexed container in the cache, without re-encoding.

    Done once per file: a later call returns the same copy. QuickTime keeps the times exactly and is tried first,
    Matroska takes any codec.

    Raises
    ------
    SourceError
        If the stream can't be copied, or the cache folder is full.
    """
    folder = cache_folder("videos")
    key = file_key(path)
    for ending in ("mov", "mkv"):
        ready = folder / f"{key}.{ending}"
        if ready.exists():
            os.utime(ready)
            return str(ready)
    log: list[str] = []
    for ending in ("mov", "mkv"):
        target = folder / f"{key}.{ending}"
        part = folder / f"{key}.{uuid.uuid4().hex}.part"
        code, log = _copy(path, part, "mov" if ending == "mov" else "matroska")
        if code == 0 and part.exists():
            os.replace(part, target)  # whole or not at all, also when two processes open the file at once
            prune(folder, _MAX_CACHE_BYTES, keep=target)
            return str(target)
        part.unlink(missing_ok=True)
    raise SourceError(
        f"{path} has no index and can't be copied into one in {folder} ({ffmpeg.reason(log)}); "
        "free some disk space or convert the file to mp4."
    )


def _copy(path: str, target: Path, container: str) -> tuple[int, list[str]]:
    # fmt: off
    return ffmpeg.run(["-y", "-fflags", "+genpts", *ffmpeg.source_arguments(path), "-map", ffmpeg.STREAM,
                       "-c", "copy", "-f", container, ffmpeg.input_name(str(target))])
    # fmt: on

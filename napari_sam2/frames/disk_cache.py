"""Folder of files that can be made again, such as remuxed videos."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

ENVIRONMENT_VARIABLE = "NAPARI_SAM2_CACHE"


def cache_folder(kind: str) -> Path:
    """Return a writable folder for cached files of one kind.

    ``$NAPARI_SAM2_CACHE`` wins; otherwise the platform's cache folder is used, and the temporary folder where
    that can't be written.

    Parameters
    ----------
    kind : str
        Name of the sub-folder, for example ``"videos"``.
    """
    for root in (_preferred_root(), Path(tempfile.gettempdir()) / "napari-sam2"):
        folder = root / kind
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return Path(tempfile.mkdtemp(prefix="napari-sam2-"))


def file_key(path: str, *extra: str) -> str:
    """Return a name for what is derived from a file; it changes when the file's place, size or time changes."""
    status = os.stat(path)
    parts = [os.path.realpath(path), str(status.st_size), str(status.st_mtime_ns), *extra]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def prune(folder: Path, max_bytes: int, keep: Path) -> None:
    """Delete the files that were unused longest until the folder holds at most ``max_bytes``; spare ``keep``."""
    files = []
    for file in folder.iterdir():
        try:
            status = file.stat()
        except OSError:
            continue
        files.append((max(status.st_atime, status.st_mtime), status.st_size, file))
    total = sum(size for _, size, _ in files)
    for _, size, file in sorted(files, key=lambda entry: entry[0]):
        if total <= max_bytes:
            return
        if file == keep:
            continue
        try:
            file.unlink()
        except OSError:
            continue
        total -= size


def _preferred_root() -> Path:
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        return (
            Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "napari-sam2" / "cache"
        )
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "napari-sam2"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "napari-sam2"

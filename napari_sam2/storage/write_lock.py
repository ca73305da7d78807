"""One writer at a time: a lock that the operating system releases when its holder dies."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, SoftFileLock, Timeout

from napari_sam2.storage.errors import ProjectDamagedError, ProjectLockedError, file_errors
from napari_sam2.storage.readable_copies import write_document

OWNER = "writer.json"
_MAX_BYTES = 10_000


class WriterLock:
    """The right to write to a project.

    The lock is the operating system's lock on an open file, so a process that is killed leaves none behind,
    whatever the file next to it says. That file (``writer.json``: process, host, time) is there to tell a
    second process who is writing.

    Parameters
    ----------
    folder : Path
        The project.
    """

    FILES = ("writer.lock", "writer.soft-lock")

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path, self._soft_path = (folder / name for name in self.FILES)
        # Not per thread: a session's worker may be another thread than the one that closes the project.
        self._lock: FileLock | SoftFileLock = FileLock(self._path, thread_local=False)

    def acquire(self) -> None:
        """Take the lock; raises ProjectLockedError naming the process that holds it."""
        for path in (self._path, self._soft_path):
            if path.is_symlink():
                raise ProjectDamagedError(f"{path} is a link and is not written to: remove it")
        with file_errors(self._path):
            try:
                self._lock.acquire(timeout=0)
            except NotImplementedError:  # a file system without locks
                self._acquire_without_system()
            except Timeout as error:
                raise ProjectLockedError(self._told()) from error
        owner = {"process": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        try:
            write_document(self._folder / OWNER, json.dumps(owner))
        except BaseException:
            self._lock.release(force=True)
            raise

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held."""
        if self._lock.is_locked:
            try:
                with file_errors(self._folder):
                    (self._folder / OWNER).unlink(missing_ok=True)
            finally:
                self._lock.release(force=True)

    def _acquire_without_system(self) -> None:
        owner = owner_of(self._folder)
        if owner.get("host") == socket.gethostname() and not is_running(owner.get("process")):
            self._soft_path.unlink(missing_ok=True)
        self._lock = SoftFileLock(self._soft_path, thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise ProjectLockedError(self._told()) from error

    def _told(self) -> str:
        owner = owner_of(self._folder)
        who = f"process {owner.get('process', 'unknown')} on {owner.get('host', 'an unknown host')}"
        since = owner.get("since")
        when = ""
        if isinstance(since, (int, float)) and 0 <= since < 1e11:
            when = time.strftime(" since %Y-%m-%d %H:%M", time.localtime(since))
        return f"{self._folder} is open for writing in {who}{when}: close it there, or open the project read-only"


def owner_of(folder: Path) -> dict[str, Any]:
    """Return what the process that writes to a project wrote about itself; empty when unknown."""
    with suppress(OSError, ValueError, RecursionError), (folder / OWNER).open("rb") as file:
        owner = json.loads(file.read(_MAX_BYTES))
        if isinstance(owner, dict):
            return owner
    return {}


def is_running(process: object) -> bool:
    """Whether a process of this number lives on this machine; True when that cannot be known."""
    if not isinstance(process, int) or isinstance(process, bool) or process <= 0 or os.name == "nt":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True

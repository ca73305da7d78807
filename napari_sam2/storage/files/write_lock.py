"""One writer at a time: a lock that the operating system releases when its holder dies."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

from filelock import FileLock, SoftFileLock, Timeout

from napari_sam2.storage.errors import ProjectDamagedError, ProjectLockedError, file_errors
from napari_sam2.storage.files.atomic_files import read_json, remove_file, write_json


class WriterLock:
    """The right to write to a project.

    The lock is the operating system's lock on an open file, so a process that is killed leaves none behind,
    whatever the file next to it says. That file (``owner.json``: process, host, time) is there to tell a
    second process who is writing.

    Parameters
    ----------
    folder : Path
        Folder of the lock's files.
    """

    def __init__(self, folder: Path) -> None:
        self._owner = folder / "owner.json"
        self._path = folder / "lock"
        # Not per thread: a session's worker may be another thread than the one that closes the project.
        self._lock: FileLock | SoftFileLock = FileLock(self._path, thread_local=False)

    def acquire(self) -> None:
        """Take the lock; raises ProjectLockedError naming the process that holds it."""
        with file_errors(self._path):
            try:
                self._lock.acquire(timeout=0)
            except NotImplementedError:  # a file system without locks
                self._acquire_without_system()
            except Timeout as error:
                raise ProjectLockedError(self._told()) from error
        owner = {"process": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        try:
            write_json(self._owner, owner)
        except BaseException:
            self._lock.release(force=True)
            raise

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held."""
        if self._lock.is_locked:
            try:
                remove_file(self._owner)
            finally:
                self._lock.release(force=True)

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return bool(self._lock.is_locked)

    def owner(self) -> dict[str, Any]:
        """Return what the holder wrote about itself; empty when unknown."""
        try:
            return read_json(self._owner) or {}
        except ProjectDamagedError:
            return {}

    def _acquire_without_system(self) -> None:
        owner = self.owner()
        if owner.get("host") == socket.gethostname() and not is_running(owner.get("process")):
            remove_file(self._path.with_name("soft-lock"))
        self._lock = SoftFileLock(self._path.with_name("soft-lock"), thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise ProjectLockedError(self._told()) from error

    def _told(self) -> str:
        owner = self.owner()
        who = f"process {owner.get('process', 'unknown')} on {owner.get('host', 'an unknown host')}"
        since = owner.get("since")
        when = ""
        if isinstance(since, (int, float)) and 0 <= since < 1e11:
            when = time.strftime(" since %Y-%m-%d %H:%M", time.localtime(since))
        return (
            f"{self._path.parent.parent} is open for writing in {who}{when}: close it there, "
            "or open the project read-only"
        )


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

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

from napari_sam2.processes import is_running
from napari_sam2.storage.database import DATABASE, check_file
from napari_sam2.storage.errors import ProjectDamagedError, ProjectError, ProjectLockedError, disk_errors
from napari_sam2.storage.readable_copies import write_document

OWNER = "writer.json"
_MAX_BYTES = 10_000
_IN_LOG = 2  # byte 18 of a database whose writer uses a log; it is 1 when the project is closed


class WriterLock:
    """The right to write to a project.

    The lock is the operating system's lock on an open file, so a killed process leaves none behind, whatever
    ``writer.json`` holds. From that file (process, host, time and place) others learn who is writing.

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
        owner = {"process": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        with disk_errors(self._path):
            try:
                try:
                    self._lock.acquire(timeout=0)
                except NotImplementedError:  # a file system without locks
                    known = owner_of(self._folder)
                    if known.get("host") == owner["host"] and not is_running(known.get("process")):
                        self._soft_path.unlink(missing_ok=True)
                    self._lock = SoftFileLock(self._soft_path, thread_local=False)
                    self._lock.acquire(timeout=0)
            except Timeout as error:
                raise ProjectLockedError(self._refusal()) from error
        try:
            write_document(self._folder / OWNER, json.dumps(owner | {"file": _identity(self._folder)}))
        except BaseException:
            self._lock.release(force=True)
            raise

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held."""
        if self._lock.is_locked:
            try:
                with disk_errors(self._folder):
                    (self._folder / OWNER).unlink(missing_ok=True)
            finally:
                self._lock.release(force=True)

    def _refusal(self) -> str:
        owner = owner_of(self._folder)
        who = f"process {owner.get('process', 'unknown')} on {owner.get('host', 'an unknown host')}"
        since = owner.get("since")
        if isinstance(since, (int, float)) and 0 <= since < 1e11:
            who += time.strftime(" since %Y-%m-%d %H:%M", time.localtime(since))
        return f"{self._folder} is open for writing in {who}: close it there, or open the project read-only"


def owner_of(folder: Path) -> dict[str, Any]:
    """Return the facts that the process that writes to a project left about itself; empty when unknown."""
    with suppress(OSError, ValueError, RecursionError), (folder / OWNER).open("rb") as file:
        owner = json.loads(file.read(_MAX_BYTES))
        if isinstance(owner, dict):
            return owner
    return {}


def is_copy_of_open(folder: Path) -> bool:
    """Return True if these files were copied while a program had the project open: they may be of different moments.

    A project that a killed process left is no copy: its database is still the file that this process had open.
    """
    if owner := owner_of(folder):
        return owner.get("file") != _identity(folder)
    with suppress(ProjectError):
        return check_file(folder / DATABASE, writable=False)[18] == _IN_LOG
    return False


def _identity(folder: Path) -> str:
    with suppress(OSError):
        return f"{(folder / DATABASE).stat().st_ino} {folder.resolve()}"
    return ""

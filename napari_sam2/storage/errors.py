"""What can go wrong with a project on disk; every message is one sentence with the remedy."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_ROOM = {  # a quota and a limit on file sizes look like a write that fails
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_TRUNCATE,
}
_DAMAGED = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_SCHEMA,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_CONSTRAINT,
}


class ProjectError(RuntimeError):
    """Something is wrong with a project on disk; the parent of all errors of this package."""


class ProjectExistsError(ProjectError):
    """There is already something where a new project should be."""


class ProjectNotFoundError(ProjectError):
    """There is no project at this path."""


class ProjectLockedError(ProjectError):
    """Another process has the project open for writing."""


class ProjectReadOnlyError(ProjectError):
    """The project was opened for reading, or the folder cannot be written to."""


class ProjectFullError(ProjectError):
    """The disk is full; what was saved before stays."""


class ProjectDamagedError(ProjectError):
    """A file of the project cannot be read or does not hold what it should."""


class ProjectVersionError(ProjectError):
    """The project was written by a version of the software that this one cannot read."""


class ProjectMismatchError(ProjectError):
    """The project belongs to other frames or to another model."""


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn operating system errors about ``path`` into :class:`ProjectError` with a remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise ProjectFullError(
                f"the disk is full, {path} could not be written: free some space and go on, "
                "what was saved before is intact"
            ) from error
        if error.errno in _FORBIDDEN:
            raise ProjectReadOnlyError(
                f"{path} cannot be accessed ({error.strerror}): check the permissions of the folder, "
                "or open the project read-only"
            ) from error
        raise ProjectError(f"{path} could not be accessed: {error.strerror or error}") from error


@contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Turn errors of SQLite about the database at ``path`` into :class:`ProjectError` with a remedy."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None and not isinstance(error, sqlite3.OperationalError):
            raise  # a mistake of the caller
        raise _told(path, str(error), sqlite3.SQLITE_CORRUPT if code is None else code) from error
    except UnicodeDecodeError as error:  # a message of SQLite that quotes what is damaged
        raise _told(path, "it holds text that is none", sqlite3.SQLITE_CORRUPT) from error


def _told(path: Path, text: str, code: int) -> ProjectError:
    kind = code & 0xFF
    text = " ".join(text.split())[:200]
    if kind == sqlite3.SQLITE_FULL or code in _NO_ROOM:
        return ProjectFullError(
            f"the disk is full, or a limit on its use is reached: {path} could not be written: free some space and "
            "go on, what was saved before is intact"
        )
    if kind in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return ProjectReadOnlyError(
            f"{path} cannot be written to ({text}): check the permissions of the folder, or open the project read-only"
        )
    if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return ProjectLockedError(f"{path} is used by another program: close it there, or try again")
    if kind in _DAMAGED:
        return ProjectDamagedError(f"{path} is damaged: {text}")
    if kind == sqlite3.SQLITE_CANTOPEN:
        return ProjectError(
            f"{path} could not be opened: check the permissions of the folder, and that not too many files are open"
        )
    return ProjectError(f"{path} could not be accessed: {text}")

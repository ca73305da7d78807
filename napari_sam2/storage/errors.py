"""Errors of a project on disk; every message is one sentence with the remedy."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ERRNOS = {
    "full": (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    "forbidden": (errno.EACCES, errno.EPERM, errno.EROFS),
}
_CODES = {
    # A quota and a limit on file sizes look like a write that fails.
    "full": ("FULL", "IOERR_WRITE", "IOERR_SHMSIZE", "IOERR_TRUNCATE"),
    "forbidden": ("READONLY", "PERM"),
    "busy": ("BUSY", "LOCKED"),
    "damaged": ("CORRUPT", "NOTADB", "FORMAT", "TOOBIG", "SCHEMA", "ERROR", "MISMATCH", "CONSTRAINT"),
    "unopened": ("CANTOPEN",),
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
    """A file of the project cannot be read or does not hold what it should.

    Attributes
    ----------
    restorable : Path or None
        The project, where it can be started again from its readable copies; see :meth:`Project.restore`.
    """

    restorable: Path | None = None


class ProjectVersionError(ProjectError):
    """The project was written by a version of the software that this one cannot read."""


class ProjectMismatchError(ProjectError):
    """The project belongs to other frames or to another model."""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn errors of the operating system and of SQLite about ``path`` into a :class:`ProjectError` with a remedy."""
    try:
        yield
    except OSError as error:
        kind = next((kind for kind, numbers in _ERRNOS.items() if error.errno in numbers), "")
        raise _error(path, error.strerror or str(error), kind) from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None and not isinstance(error, sqlite3.OperationalError):
            raise  # a mistake of the caller
        raise _error(path, str(error), "damaged" if code is None else _kind(code)) from error
    except UnicodeDecodeError as error:  # a message of SQLite that quotes what is damaged
        raise _error(path, "it holds text that is none", "damaged") from error


def _kind(code: int) -> str:
    for kind, names in _CODES.items():
        if {code, code & 0xFF} & {getattr(sqlite3, f"SQLITE_{name}") for name in names}:
            return kind
    return ""


def _error(path: Path, text: str, kind: str) -> ProjectError:
    text = " ".join(text.split())[:200]
    if kind == "full":
        return ProjectFullError(
            f"the disk is full, or a limit on its use is reached: {path} could not be written: free some space and "
            "go on, what was saved before is intact"
        )
    if kind == "forbidden":
        return ProjectReadOnlyError(
            f"{path} cannot be accessed ({text}): check the permissions of the folder, or open the project read-only"
        )
    if kind == "busy":
        return ProjectLockedError(f"{path} is used by another program: close it there, or try again")
    if kind == "damaged":
        return ProjectDamagedError(f"{path} is damaged: {text}")
    if kind == "unopened":
        text += "; check the permissions of the folder, and that not too many files are open"
    return ProjectError(f"{path} could not be accessed: {text}")

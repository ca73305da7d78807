"""What can go wrong with a project on disk; every message is one sentence with the remedy."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


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

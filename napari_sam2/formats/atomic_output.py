"""Write under a temporary name, rename when complete: an export is whole or absent, never half."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path


@contextmanager
def staged(path: Path, overwrite: bool = False, contents: tuple[str, ...] = ()) -> Iterator[Path]:
    """Give a name beside ``path`` to write a file or folder to; move it to ``path`` when the block succeeds.

    When the block raises, what it wrote is removed and an older export stays as it was.

    Parameters
    ----------
    path : Path
        Where the export shall be. Its parent folder is made when missing.
    overwrite : bool
        Replace what is there. Otherwise FileExistsError is raised before anything is written.
    contents : tuple of str
        For exports that are folders: patterns of the names in such a folder. A folder with anything else in
        it is never replaced, so that a mistyped path can't delete a user's other files.
    """
    path = Path(path)
    if _exists(path):
        _check_replaceable(path, overwrite, contents)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: writers choose the container by it.
    part = path.with_name(f".{uuid.uuid4().hex[:8]}.part.{path.name}")
    try:
        yield part
        if not _exists(part):
            raise RuntimeError(f"nothing was written for {path}")
        _move(part, path)
    finally:
        _remove(part)


def _check_replaceable(path: Path, overwrite: bool, contents: tuple[str, ...]) -> None:
    if not overwrite:
        raise FileExistsError(f"{path} exists already: choose another name or allow it to be overwritten")
    if not path.is_dir():
        return
    for child in path.iterdir():
        if not any(fnmatch(child.name, pattern) for pattern in contents):
            raise FileExistsError(
                f"{path} is a folder with other files in it ({child.name}) and is not replaced: "
                "choose another name"
            )


def _move(part: Path, path: Path) -> None:
    # A folder can't be replaced in one step: the old one steps aside and returns when the move fails.
    if part.is_dir() or path.is_dir():
        old = path.with_name(f".{uuid.uuid4().hex[:8]}.old.{path.name}")
        if _exists(path):
            os.replace(path, old)
        try:
            os.replace(part, path)
        except OSError:
            if _exists(old):
                os.replace(old, path)
            raise
        _remove(old)
    else:
        os.replace(part, path)


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    elif _exists(path):
        path.unlink()

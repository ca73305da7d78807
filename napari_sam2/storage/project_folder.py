"""The folder of a project: making it at once, recognising it, starting it again and taking it away."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_sam2.formats.atomic_output import foreign_part, is_remainder
from napari_sam2.processes import is_running
from napari_sam2.storage.database import DATABASE, SIDE_FILES, check_file, create_database
from napari_sam2.storage.errors import ProjectError, ProjectExistsError, ProjectNotFoundError, disk_errors
from napari_sam2.storage.readable_copies import NAMES, has_copies
from napari_sam2.storage.write_lock import OWNER, WriterLock

EXPORTS = "exports"
EXPORTS_JOURNAL = ".napari-sam2-exports.json"
_DAMAGED = f"{DATABASE}.damaged-"
_OWN = {DATABASE, *(DATABASE + suffix for suffix in SIDE_FILES), *NAMES, EXPORTS, OWNER, *WriterLock.FILES}


def is_project(path: str | os.PathLike[str]) -> bool:
    """Return True if there is a project (or the readable copies of one with a destroyed database) at a path."""
    folder = Path(path)
    try:
        check_file(folder / DATABASE, writable=False)
    except ProjectError:
        return has_copies(folder)
    return True


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Make a folder with an empty database beside ``folder``; what is not moved from there is removed at the end."""
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        name = "".join(f"[{c}]" if c in "*?[" else c for c in folder.name)
        for left in folder.parent.glob(f".{name}.*.new"):
            maker = left.name.split(".")[-2].partition("-")[0]
            if maker.isdecimal() and not is_running(int(maker)):
                shutil.rmtree(left, ignore_errors=True)  # of a process that died while it made a project
        place = _beside(folder)
        place.mkdir()
    try:
        create_database(place / DATABASE)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def move_in(place: Path, folder: Path, overwrite: bool) -> None:
    """Give a finished project its name; ProjectExistsError when something came there meanwhile."""
    check_place(folder, overwrite)
    with disk_errors(folder):
        if folder.exists() and any(folder.iterdir()):
            discard(folder)
        if folder.exists():
            folder.rmdir()
        place.rename(folder)


def check_place(folder: Path, overwrite: bool) -> None:
    """Make sure that a project can be made at ``folder``; ProjectExistsError when something is there."""
    with disk_errors(folder):
        if folder.is_symlink():
            raise ProjectExistsError(f"{folder} is a link: choose another name")
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
        if not folder.is_dir() or not is_project(folder):
            raise ProjectExistsError(f"{folder} exists and is no project: choose another name")
        if not overwrite:
            raise ProjectExistsError(f"{folder} is a project already: open it, or choose another name")
        foreign = sorted(p.relative_to(folder).as_posix() for p in _foreign(folder))
        if foreign:
            raise ProjectExistsError(
                f"{folder} holds {foreign[0]!r}, which is no part of a project: move it, or choose another name"
            )
    lock = WriterLock(folder)
    lock.acquire()  # not while somebody else writes there
    lock.release()


def _foreign(folder: Path) -> Iterator[Path]:
    """Yield what is in a project's folder and was not put there by this program."""
    for path in folder.iterdir():
        is_folder = path.is_dir() and not path.is_symlink()
        if path.name == EXPORTS and is_folder:
            yield from (p for p in path.iterdir() if not _is_export(p))
        elif is_folder or not (path.name in _OWN or path.name.startswith(_DAMAGED)):
            yield path


def _is_export(path: Path) -> bool:
    return path.name == EXPORTS_JOURNAL or is_remainder(path.name) or foreign_part(path) is None


def set_aside(folder: Path) -> None:
    """Rename a database that can't be used, with what belongs to it; nothing of it is deleted."""
    with disk_errors(folder):
        number = 1 + sum(1 for p in folder.iterdir() if p.name.startswith(_DAMAGED) and p.name[-1].isdigit())
        for suffix in ("", *SIDE_FILES):
            path = folder / f"{DATABASE}{suffix}"
            if path.exists() or path.is_symlink():
                path.rename(folder / f"{_DAMAGED}{number}{suffix}")


def discard(path: Path) -> bool:
    """Delete the folder of a closed project, unless another process writes to it meanwhile; False when it stays."""
    lock = WriterLock(path)
    gone = _beside(path)
    try:
        lock.acquire()
    except (ProjectError, OSError):
        return False
    try:
        if os.name == "nt":  # a folder with an open file cannot be renamed there, by whoever holds it
            lock.release()
        path.rename(gone)  # at once, so that nobody finds one half of it
    except OSError:
        return False
    finally:
        with suppress(OSError):
            lock.release()
    shutil.rmtree(gone, ignore_errors=True)
    return True


def exports_folder(folder: Path) -> Path:
    """Return where the exports of a project go; ProjectError when it is a link, which is not followed."""
    exports = folder / EXPORTS
    if exports.is_symlink():
        raise ProjectError(f"{exports} is a link and is not written to: remove it, or name another folder")
    return exports


def require_project(folder: Path) -> None:
    """Raise ProjectNotFoundError when there is no project."""
    if is_project(folder):
        return
    if (folder / "zarr.json").is_file() and (folder / "writer").is_dir():
        raise ProjectNotFoundError(
            f"{folder} was made by an unreleased version, whose projects cannot be opened: track the recording again"
        )
    raise ProjectNotFoundError(f"there is no project at {folder}: give the folder NAME.sam2")


def _beside(folder: Path) -> Path:
    """Return a new name beside a folder, with the number of this process."""
    return folder.with_name(f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}.new")

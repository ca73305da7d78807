"""Write under a temporary name, rename when complete: an export is whole or absent, never half."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Stands near the beginning of each image in a folder that is written (TIFF's and PNG's "Software"), and as an attribute
# of a zarr hierarchy: by it a folder is known again.
SIGNATURE = "napari-sam2 export"
_SIGNED_BYTES = 4096
_ZARR_NAMES = re.compile(r"zarr\.json|c|\d+")


@contextmanager
def staged(path: Path, overwrite: bool = False, unsigned: tuple[str, ...] = ()) -> Iterator[Path]:
    """Give a name beside ``path`` to write a file or folder to; move it to ``path`` when the block succeeds.

    When the block raises, what it wrote is removed and an older export stays as it was. What a killed process left
    of an earlier attempt is removed, too.

    Parameters
    ----------
    path : Path
        Place of the export. Its parent folder is made when missing.
    overwrite : bool
        Replace what is there. Otherwise FileExistsError is raised before anything is written. A folder is replaced
        only when all files in it bear :data:`SIGNATURE`, so that a mistyped path can't delete other files.
    unsigned : tuple of str
        Names of files without a signature that belong to such a folder.
    """
    path = Path(path)
    if _exists(path):
        _check_replaceable(path, overwrite, unsigned)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_remains(path)
    # The suffix stays last: writers choose the container by it.
    part = path.with_name(f"{_own_prefix()}.part.{path.name}")
    try:
        yield part
        if not _exists(part):
            raise RuntimeError(f"nothing was written for {path}")
        _move(part, path)
    finally:
        _remove(part)


def _check_replaceable(path: Path, overwrite: bool, unsigned: tuple[str, ...]) -> None:
    if not overwrite:
        raise FileExistsError(f"{path} exists already: choose another name or allow it to be overwritten")
    if not path.is_dir() or path.is_symlink() or not any(path.iterdir()):
        return
    foreign = _foreign(path, unsigned)
    if foreign:
        raise FileExistsError(
            f"{path} is a folder with other files in it ({foreign}) and is not replaced: choose another name"
        )


def _foreign(folder: Path, unsigned: tuple[str, ...]) -> str:
    """Return the name of something in a folder that no export put there; "" where there is nothing."""
    if (folder / "zarr.json").is_file():
        with suppress(OSError, ValueError, KeyError, TypeError):
            if SIGNATURE in json.loads((folder / "zarr.json").read_text(encoding="utf-8"))["attributes"]:
                inside = (name for found in os.walk(folder) for name in (*found[1], *found[2]))
                return next((name for name in inside if not _ZARR_NAMES.fullmatch(name)), "")
        return "zarr.json"
    files = sorted(folder.iterdir(), key=lambda file: file.name in unsigned)
    if all(file.name in unsigned for file in files):
        return files[0].name
    return next((file.name for file in files if file.name not in unsigned and not _is_signed(file)), "")


def _is_signed(file: Path) -> bool:
    if not file.is_file() or file.is_symlink():
        return False
    with file.open("rb") as opened:
        return SIGNATURE.encode() in opened.read(_SIGNED_BYTES)


def _own_prefix() -> str:
    host = uuid.uuid5(uuid.NAMESPACE_DNS, socket.gethostname()).hex[:8]
    return f".{host}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _remove_remains(path: Path) -> None:
    """Remove what a killed process of this machine left of an export to ``path``."""
    host = _own_prefix().partition("-")[0]
    pattern = re.compile(rf"{re.escape(host)}-(\d+)-[0-9a-f]{{8}}\.(part|old)\.{re.escape(path.name)}")
    for left in list(path.parent.iterdir()):
        match = pattern.fullmatch(left.name)
        if match is None or _is_running(int(match[1])):
            continue
        if match[2] == "old" and not _exists(path):
            os.replace(left, path)  # killed between two renames: this is the export
        else:
            _remove(left)


def _is_running(process: int) -> bool:
    """Return whether a process of this machine lives; True where that can't be known."""
    if os.name == "nt":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _move(part: Path, path: Path) -> None:
    # A folder can't be replaced in one step: the old one steps aside and returns when the move fails.
    if part.is_dir() or path.is_dir():
        old = path.with_name(f"{_own_prefix()}.old.{path.name}")
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

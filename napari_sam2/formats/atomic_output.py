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
from typing import Literal

from napari_sam2.processes import is_running

# Stands in each file that is written: TIFF's and PNG's "Software", COCO's contributor, MP4's comment, and as an
# attribute of a zarr hierarchy. By it an export is known again.
SIGNATURE = "napari-sam2 export"
Overwrite = bool | Literal["confirmed"]
_SIGNED_BYTES = (4096, 4 * 2**20)  # an MP4's comment lies behind its index of frames
# CSV has no place for a signature: these tables are known by the titles of their columns.
_TABLES = re.compile(
    rb"frame,([^,\n]+,)?object_id,name,visible,area_px,[^\n]*,object_score,predicted_iou,prompted(,parent,generation)?\r?\n|"
    rb"track_id,[a-z],y,x,name(,parent,generation)?\r?\n"
)
_UNSIGNED = "res_track.txt"  # the challenge's table; its images are signed
_ZARR_NAMES = re.compile(r"zarr\.json|c|\d+|nodes|edges|props|ids|values|track_id|[a-z]")


@contextmanager
def staged(path: Path, overwrite: Overwrite = False) -> Iterator[Path]:
    """Give a name beside ``path`` to write a file or folder to; move it to ``path`` when the block succeeds.

    When the block raises, what it wrote is removed and an older export stays as it was. What killed processes left
    in the folder of unfinished exports is removed, too.

    Parameters
    ----------
    path : Path
        Place of the export. Its parent folder is made when missing.
    overwrite : bool or "confirmed"
        Replace what is there, as :func:`check_replaceable` allows.
    """
    path = Path(path)
    check_replaceable(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_remains(path.parent)
    # The suffix stays last: writers choose the container by it.
    part = path.with_name(f"{_own_prefix()}.part.{path.name}")
    try:
        yield part
        if not _exists(part):
            raise RuntimeError(f"nothing was written for {path}")
        _move(part, path)
    finally:
        _remove(part)


def check_replaceable(path: Path, overwrite: Overwrite) -> None:
    """Make sure that an export may be written to ``path``.

    Parameters
    ----------
    path : Path
        File or folder.
    overwrite : bool or "confirmed"
        True: what this program wrote may be replaced, and an empty file or folder. "confirmed": any file, because
        somebody was asked about this very file.

    Raises
    ------
    FileExistsError
        When something is there that may not be replaced; the message says what to do.
    """
    if not _exists(path):
        return
    if not overwrite:
        raise FileExistsError(f"{path} exists already: choose another name or allow it to be overwritten")
    if path.is_file() and (overwrite == "confirmed" or (path.stat().st_size == 0 and not path.is_symlink())):
        return
    foreign = foreign_part(path)
    if foreign is None:
        return
    what = f"a folder with other files in it ({foreign})" if foreign else "no export of napari-sam2"
    raise FileExistsError(f"{path} is {what} and is not replaced: choose another name, or remove it yourself")


def foreign_part(path: Path) -> str | None:
    """Return the name of something in a folder that no export put there, "" for a foreign file, None for an export."""
    if path.is_symlink() or not path.is_dir():
        return None if _is_signed(path) else ""
    if (path / "zarr.json").is_file():
        with suppress(OSError, ValueError, KeyError, TypeError):
            if SIGNATURE in json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]:
                inside = (name for found in os.walk(path) for name in (*found[1], *found[2]))
                return next((name for name in inside if not _ZARR_NAMES.fullmatch(name)), None)
        return "zarr.json"
    names = sorted(os.listdir(path), key=_UNSIGNED.__eq__)
    if names == [_UNSIGNED]:
        return _UNSIGNED
    return next((name for name in names if name != _UNSIGNED and not _is_signed(path / name)), None)


def is_remainder(name: str) -> bool:
    """Return whether a file or folder has the name of an unfinished export, whoever writes or wrote it."""
    return _REMAINDER.fullmatch(name) is not None


def _is_signed(file: Path) -> bool:
    if not file.is_file() or file.is_symlink():
        return False
    with file.open("rb") as opened:
        head = b""
        for most in _SIGNED_BYTES:
            head += opened.read(most - len(head))
            if SIGNATURE.encode() in head or _TABLES.match(head):
                return True
    return False


_REMAINDER = re.compile(
    r"\.(?P<host>[0-9a-f]{8})-(?P<process>\d+)-[0-9a-f]{8}\.(?P<kind>part|old)\.(?P<name>.+)", re.DOTALL
)


def _own_prefix() -> str:
    return f".{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _host() -> str:
    return uuid.uuid5(uuid.NAMESPACE_DNS, socket.gethostname()).hex[:8]


def _remove_remains(folder: Path) -> None:
    """Remove what killed processes of this computer left of exports to a folder."""
    for left in list(folder.iterdir()):
        match = _REMAINDER.fullmatch(left.name)
        if match is None or match["host"] != _host():
            continue
        path = folder / match["name"]
        replaced = match["kind"] == "old" and _exists(path)  # a program had it open when it was to be removed
        if not replaced and is_running(int(match["process"])):
            continue
        if match["kind"] == "old" and not replaced:
            os.replace(left, path)  # killed between two renames: this is the export
        else:
            _remove(left)


def _move(part: Path, path: Path) -> None:
    try:
        if part.is_dir() or path.is_dir():
            _move_folder(part, path)
        else:
            os.replace(part, path)
    except PermissionError as error:  # Windows replaces nothing that is open
        raise PermissionError(
            f"{path} can't be replaced: close the programs that have it open, or choose another name"
        ) from error


def _move_folder(part: Path, path: Path) -> None:
    # A folder can't be replaced in one step: the old one steps aside and returns when the move fails.
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


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):  # open on Windows: the next export to this folder removes it
        path.unlink(missing_ok=True)

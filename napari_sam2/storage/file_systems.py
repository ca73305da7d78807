"""Kinds of file systems: on some, programs can share memory, as SQLite's write-ahead log needs."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from pathlib import Path

_NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gpfs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4",
    "ocfs2", "orangefs", "pvfs2", "smb3", "smbfs", "virtiofs", "vboxsf",
}  # fmt: skip
_LOCAL_FUSE = {"fuse.fuseblk", "fuseblk", "fuse.overlayfs"}
_MOUNTS = Path("/proc/self/mounts")
_REMOTE_DRIVE = 4  # DRIVE_REMOTE of Windows


def has_shared_memory(folder: Path) -> bool:
    """Return True if all programs that see a folder run on this computer, so that they can share memory.

    False on network drives: there the index of a write-ahead log would be another one on every computer. When that
    cannot be known, as on volumes that macOS mounts later, the answer is False, too.
    """
    if sys.platform == "win32":  # pragma: no cover
        drive = folder.absolute().drive
        return (
            not drive.startswith("\\\\")
            and ctypes.windll.kernel32.GetDriveTypeW(drive + "\\") != _REMOTE_DRIVE
        )
    if sys.platform == "darwin":  # pragma: no cover
        return folder.resolve().parts[1:2] not in (("Volumes",), ("net",), ("Network",))
    return not is_network(_kind(folder))


def is_network(kind: str) -> bool:
    """Return True if a file system of this kind, as Linux calls it, may be on another computer."""
    return kind in _NETWORK or (kind.startswith("fuse") and kind not in _LOCAL_FUSE)


def _kind(folder: Path) -> str:
    """Return the kind of the file system of a folder; "" when the system does not say."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    place, found, kind = os.path.realpath(folder), "", ""
    for line in lines:
        words = line.split(" ")
        if len(words) < 3:
            continue
        point = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), words[1])
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(found):  # of mounts on one another the last one counts
            found, kind = point, words[2]
    return kind

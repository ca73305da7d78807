"""Taking away a project in which nothing was done."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from napari_sam2.storage.errors import ProjectError
from napari_sam2.storage.files.group_attributes import WRITER
from napari_sam2.storage.files.write_lock import WriterLock


def discard(path: Path) -> bool:
    """Delete a project folder, unless another process writes to it meanwhile; False when it stays.

    Parameters
    ----------
    path : Path
        Of a project that is closed.
    """
    lock = WriterLock(path / WRITER)
    gone = path.with_name(f".{path.name}.{os.getpid()}")
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

"""The store of a session that has no project: one SQLite file in a temporary folder."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
import threading
import weakref
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.session.protocols import FrameResults, ObjectRecord, plain_facts

_TABLE = """
CREATE TABLE IF NOT EXISTS records (
    object_id INTEGER, frame INTEGER, height INTEGER, width INTEGER, kind TEXT, logits BLOB, pointer BLOB, facts TEXT,
    PRIMARY KEY (object_id, frame)
) WITHOUT ROWID
"""


class TemporaryStore:
    """Keeps records on disk until it is closed or no longer used; the default store of a session.

    Logits are compressed without loss. Frame-size masks are not kept: they follow from the logits.

    Parameters
    ----------
    folder : Path, optional
        Where the temporary folder is made; by default where the system keeps temporary files.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._path = Path(tempfile.mkdtemp(prefix="napari-sam2-", dir=folder))
        self._lock = threading.Lock()
        self._db = sqlite3.connect(self._path / "records.sqlite", check_same_thread=False)
        # Nobody reopens this file after a crash, so speed wins over durability.
        self._db.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-2000;")
        self._db.execute(_TABLE)
        self._finalizer = weakref.finalize(self, _discard, self._db, self._path)

    def put(self, object_id: int, frame: int, record: ObjectRecord, mask: NDArray[np.bool_]) -> None:
        """Write (or replace) one record; the mask is not kept."""
        self.put_frame(frame, {object_id: (record, mask)})

    def put_frame(self, frame: int, results: FrameResults) -> None:
        """Write the records of several objects on one frame."""
        rows = [_row(object_id, frame, record) for object_id, (record, _) in results.items()]
        with self._lock, self._db:
            self._db.executemany(f"INSERT OR REPLACE INTO records VALUES ({','.join('?' * 8)})", rows)

    def get(self, object_id: int, frame: int) -> ObjectRecord | None:
        """Return a record, or None when there is none."""
        with self._lock:
            row = self._db.execute(
                "SELECT * FROM records WHERE object_id=? AND frame=?", (object_id, frame)
            ).fetchone()
        return None if row is None else _record(row)

    def remove(self, object_id: int, frame: int) -> None:
        """Drop one record."""
        with self._lock, self._db:
            self._db.execute("DELETE FROM records WHERE object_id=? AND frame=?", (object_id, frame))

    def remove_object(self, object_id: int) -> None:
        """Drop every record of an object."""
        with self._lock, self._db:
            self._db.execute("DELETE FROM records WHERE object_id=?", (object_id,))

    def frames(self, object_id: int) -> list[int]:
        """Return the frames with a record of this object, in order."""
        with self._lock:
            rows = self._db.execute(
                "SELECT frame FROM records WHERE object_id=? ORDER BY frame", (object_id,)
            ).fetchall()
        return [frame for (frame,) in rows]

    def flush(self) -> None:
        """Do nothing: every write is committed when it is made."""

    def close(self) -> None:
        """Delete everything."""
        self._finalizer()

    def __enter__(self) -> TemporaryStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _discard(db: sqlite3.Connection, path: Path) -> None:
    db.close()
    shutil.rmtree(path, ignore_errors=True)


def _row(object_id: int, frame: int, record: ObjectRecord) -> tuple[Any, ...]:
    logits = zlib.compress(np.ascontiguousarray(record.logits).tobytes(), 1)
    pointer = np.asarray(record.pointer, np.float32).tobytes()
    facts = json.dumps(plain_facts(record), default=lambda number: number.item())  # numpy numbers are no JSON
    return (int(object_id), int(frame), *record.logits.shape, record.logits.dtype.str, logits, pointer, facts)


def _record(row: tuple[Any, ...]) -> ObjectRecord:
    _, _, height, width, kind, logits, pointer, facts = row
    pixels = np.frombuffer(zlib.decompress(logits), np.dtype(kind)).reshape(height, width)
    return ObjectRecord(pixels, np.frombuffer(pointer, np.float32), **json.loads(facts))

"""Records as rows of a database, and the store of a session that has no project: a temporary SQLite file."""

from __future__ import annotations

import math
import shutil
import sqlite3
import tempfile
import threading
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any

import google_crc32c
import numcodecs
import numpy as np
from numpy.typing import NDArray

from napari_sam2.session.protocols import FrameResults, ObjectRecord

COLUMNS = """height INTEGER, width INTEGER, dtype TEXT, logits BLOB, pointer BLOB, object_score REAL,
    predicted_iou REAL, prompted INTEGER, conditioning INTEGER, tracked INTEGER, reverse INTEGER, prompt_hash INTEGER,
    checksum INTEGER"""
NAMES = tuple(column.split()[0] for column in COLUMNS.split(","))
_DTYPES = ("float16", "float32")
_MAX_SIDE = 4096
_ZSTD = numcodecs.Zstd(level=1)


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
        self._db.execute(
            f"CREATE TABLE record (object_id INTEGER, frame INTEGER, {COLUMNS}, PRIMARY KEY (object_id, frame))"
        )
        self._finalizer = weakref.finalize(self, _discard, self._db, self._path)

    def put(self, object_id: int, frame: int, record: ObjectRecord, mask: NDArray[np.bool_]) -> None:
        """Write (or replace) one record; the mask is not kept."""
        self.put_frame(frame, {object_id: (record, mask)})

    def put_frame(self, frame: int, results: FrameResults) -> None:
        """Write the records of several objects on one frame."""
        rows = [(int(i), int(frame), *record_row(record, frame, i)) for i, (record, _) in results.items()]
        marks = ",".join("?" * (2 + len(NAMES)))
        with self._lock, self._db:
            self._db.executemany(f"INSERT OR REPLACE INTO record VALUES ({marks})", rows)

    def get(self, object_id: int, frame: int) -> ObjectRecord | None:
        """Return a record, or None when there is none."""
        query = f"SELECT {', '.join(NAMES)} FROM record WHERE object_id=? AND frame=?"
        with self._lock:
            row = self._db.execute(query, (object_id, frame)).fetchone()
        return None if row is None else row_record(row, frame, object_id)

    def remove(self, object_id: int, frame: int) -> None:
        """Drop one record."""
        with self._lock, self._db:
            self._db.execute("DELETE FROM record WHERE object_id=? AND frame=?", (object_id, frame))

    def remove_object(self, object_id: int) -> None:
        """Drop every record of an object."""
        with self._lock, self._db:
            self._db.execute("DELETE FROM record WHERE object_id=?", (object_id,))

    def frames(self, object_id: int) -> list[int]:
        """Return the frames with a record of this object, in order."""
        with self._lock:
            rows = self._db.execute(
                "SELECT frame FROM record WHERE object_id=? ORDER BY frame", (object_id,)
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


def record_row(record: ObjectRecord, frame: int, object_id: int) -> tuple[Any, ...]:
    """Return the columns of a record; ValueError when its arrays cannot be stored."""
    logits, pointer = record.logits, np.asarray(record.pointer, np.float32)
    if logits.ndim != 2 or pointer.ndim != 1 or logits.dtype.name not in _DTYPES:
        raise ValueError(
            "a record needs logits (h, w) of float16 or float32 and a pointer (C,), "
            f"not {logits.shape} of {logits.dtype} and {pointer.shape}"
        )
    flags = (record.prompted, record.conditioning, record.tracked, record.reverse)
    scores = (as_real(record.object_score), as_real(record.predicted_iou))
    columns = (*logits.shape, logits.dtype.name, _packed(logits), pointer.astype("<f4").tobytes(), *scores)
    columns = (*columns, *map(int, flags), int(record.prompt_hash))
    return (*columns, _checksum(columns, frame, object_id))


def row_record(row: tuple[Any, ...], frame: int, object_id: int) -> ObjectRecord:
    """Return the record of a row; ValueError when the row is damaged."""
    height, width, dtype, packed, vector, score, iou, *flags, prompt_hash, checksum = row
    if dtype not in _DTYPES or not isinstance(packed, bytes) or not isinstance(vector, bytes):
        raise ValueError("a record needs logits and a pointer")
    if not (_is_side(height) and _is_side(width)):
        raise ValueError("the size of a record makes no sense")
    if checksum != _checksum(row[:-1], frame, object_id):
        raise ValueError("the checksum of a record does not fit its content")
    logits = _unpacked(packed, np.dtype(dtype), height * width).reshape(height, width)
    pointer = np.frombuffer(vector, "<f4").astype(np.float32)
    scores = [math.nan if value is None else float(value) for value in (score, iou)]
    prompted, conditioning, tracked, reverse = map(bool, flags)
    return ObjectRecord(
        logits, pointer, scores[0], scores[1], prompted, conditioning, tracked, reverse, int(prompt_hash)
    )


def _packed(values: NDArray[Any]) -> bytes:
    # Exponents repeat and mantissas hardly do: compressed byte by byte, each kind has a code of its own.
    whole = np.ascontiguousarray(values).ravel().view(f"u{values.itemsize}")
    planes = [_ZSTD.encode((whole >> 8 * n).astype(np.uint8)) for n in range(values.itemsize)]
    return b"".join(len(plane).to_bytes(4, "little") + plane for plane in planes)


def _unpacked(data: bytes, kind: np.dtype[Any], count: int) -> NDArray[Any]:
    planes, start = [], 0
    for _ in range(kind.itemsize):
        end = start + 4 + int.from_bytes(data[start : start + 4], "little")
        planes.append(data[start + 4 : end])
        start = end
    whole, plane = np.zeros(count, f"u{kind.itemsize}"), np.zeros(count, np.uint8)
    for packed in reversed(planes):
        try:
            _ZSTD.decode(packed, out=plane)  # refuses to write more than ``plane`` holds
        except (RuntimeError, ValueError) as error:
            raise ValueError("a record cannot be decompressed") from error
        whole <<= 8
        whole |= plane
    return whole.view(kind)


def _checksum(columns: tuple[Any, ...], frame: int, object_id: int) -> int:
    facts = repr((int(frame), int(object_id), *columns[:3], *columns[5:]))
    arrays = google_crc32c.extend(google_crc32c.value(columns[3]), columns[4])
    return int(google_crc32c.extend(arrays, facts.encode()))


def as_real(value: Any) -> float | None:
    """Return a number as SQLite keeps it: it has no NaN and no negative zero."""
    number = float(value)
    return None if math.isnan(number) else number + 0.0


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and 0 < value <= _MAX_SIDE

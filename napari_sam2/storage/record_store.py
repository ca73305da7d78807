"""The store of a session that writes into a project: a frame is on disk before it is reported."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from napari_sam2.masks import FrameMasks, Rle, encode_rle
from napari_sam2.objects import ObjectInfo, checked_object_id, covers
from napari_sam2.session.protocols import FrameResults, ObjectRecord
from napari_sam2.session.sqlite_store import NAMES, as_real, record_row, row_record
from napari_sam2.storage.database import Database
from napari_sam2.storage.errors import ProjectDamagedError, ProjectMismatchError
from napari_sam2.storage.history import History
from napari_sam2.storage.user_state import UserState

ORIGINS = ("tracked", "draft", "painted", "imported")
BY_HAND = ("painted", "imported")
BoolMask = NDArray[np.bool_]

_BUDGET_CHECKED_EVERY = 64  # frames
_DECODED_BYTES = 64 * 2**20  # of masks that were decoded lately
_MOST_TRIED = 100_000  # frames
_COMPACTED_SECONDS = 0.05  # of compaction at a time
_COLUMNS = ", ".join(NAMES)


class MaskRow(NamedTuple):
    """One mask of a frame as the database keeps it; scores are NaN for masks made by hand."""

    object_id: int
    mask: Rle
    origin: str
    object_score: float
    predicted_iou: float
    prompted: bool


class ProjectRecords:
    """A session's :class:`~napari_sam2.session.protocols.RecordStore` in a project.

    Every call is one transaction, or part of the one that is going on: a frame is there as a whole or not at all.
    ``report(problem, frame)`` is called when something is damaged.
    """

    def __init__(
        self,
        database: Database,
        history: History,
        state: UserState,
        shape: tuple[int, int, int],
        report: Callable[[str, int | None], None],
    ) -> None:
        self._database = database
        self._history = history
        self._state = state
        self._frames, self.size = shape[0], (shape[1], shape[2])
        self._longest_mask = 7 * (self.size[0] * self.size[1] + 1)  # a run has at most 7 characters
        self._report = report
        self._lock = Lock()
        self._decoded: LRUCache[Rle, BoolMask] = LRUCache(_DECODED_BYTES, getsizeof=lambda mask: mask.nbytes)
        self._layout: tuple[Any, ...] | None = None
        self._written = 0

    # -- writing -------------------------------------------------------------------------------------------

    def put(self, object_id: int, frame: int, record: ObjectRecord, mask: BoolMask) -> None:
        """Write (or replace) the record of one object on one frame, with its frame-size mask (H, W)."""
        self.put_frame(frame, {object_id: (record, mask)})

    def put_frame(self, frame: int, results: FrameResults) -> None:
        """Write the records of several objects on one frame, all or none of them."""
        frame = self.checked_frame(frame)
        masks, records = {}, {}
        for i, (record, mask) in results.items():
            i = checked_object_id(i)
            scores = (record.object_score, record.predicted_iou, record.prompted)
            masks[i] = self._mask_columns(frame, i, mask, "tracked", *scores)
            records[i] = record_row(record, frame, i)
        self._write(frame, masks, records)

    def put_masks(self, masks: FrameMasks, origin: str) -> None:
        """Write masks over what is there; records, and so what the network remembers, stay as they are.

        Parameters
        ----------
        masks : FrameMasks
            Masks, scores and flags of some objects on one frame.
        origin : {"tracked", "draft", "painted", "imported"}
            Where they come from.
        """
        if origin not in ORIGINS:
            raise ValueError(f"the origin of a mask is one of {', '.join(ORIGINS)}, not {origin!r}")
        frame = self.checked_frame(masks.frame)
        facts = zip(masks.object_ids, masks.masks, masks.object_scores, masks.predicted_ious, masks.prompted)
        given = {i: self._mask_columns(frame, i, mask, origin, *scores) for i, mask, *scores in facts}
        self._write(frame, given, {})

    def remove(self, object_id: int, frame: int) -> None:
        """Drop one record and its mask; nothing happens when there is none."""
        frame = self.checked_frame(frame)
        with self._database.transaction():
            if object_id in [row[0] for row in self._mask_rows(frame)]:
                step = self._history.writing_step()
                for table in ("mask", "record"):
                    self._replace(table, frame, step, {object_id: (0, 0)}, "present, bytes")

    def exchange(
        self, frame: int, first: int, second: int, moved_hash: Callable[[int, int, int], int]
    ) -> None:
        """Exchange the masks and records of two objects on a frame.

        Parameters
        ----------
        frame, first, second : int
            Where, and which objects.
        moved_hash : callable
            ``moved_hash(object_id, frame, prompt_hash)``: the hash of a record of this object once it is that of the
            other one.
        """
        ids = (first, second)
        rows = {row.object_id: row for row in self.mask_rows(frame, hidden=True)}
        records = {i: self.get(i, frame) for i in ids}
        with self._database.transaction():
            for object_id in ids:
                self.remove(object_id, frame)
            for source, target in (ids, ids[::-1]):
                row, record = rows.get(source), records[source]
                if row is None:
                    continue
                mask = self._decode(row.mask)
                if record is not None:
                    moved = replace(record, prompt_hash=moved_hash(source, frame, record.prompt_hash))
                    self.put(target, frame, moved, mask)
                if record is None or row.origin != "tracked":
                    score, iou = (np.array([v], np.float32) for v in (row.object_score, row.predicted_iou))
                    masks = FrameMasks(frame, (target,), mask[None], score, iou, np.array([row.prompted]))
                    self.put_masks(masks, row.origin)

    def remove_object(self, object_id: int) -> None:
        """Remove an object, its prompts and its results on all frames, whatever their number."""
        if not self._history.is_open:
            with self._history.action(f"Remove object {object_id}"):
                self.remove_object(object_id)
            return
        with self._database.transaction():
            step, replaced = self._history.writing_step(), 0
            for table in ("mask", "record"):
                where = f"FROM {table} WHERE object_id = ? AND step"
                replaced += self._database.value(f"SELECT SUM(bytes) {where} < ?", (object_id, step)) or 0
                self._database.write(f"DELETE {where} = ?", (object_id, step))
            self._database.write("INSERT OR IGNORE INTO removal VALUES (?, ?)", (object_id, step))
            self._state.remove_object(object_id)
            self._history.account(step, replaced, 0)

    def flush(self) -> None:
        """Force what was written to the disk."""
        if self._database.writable:
            self._database.sync()

    def _write(
        self, frame: int, masks: Mapping[int, tuple[Any, ...]], records: Mapping[int, tuple[Any, ...]]
    ) -> None:
        with self._database.transaction():
            if not masks:
                return
            step = self._history.writing_step()
            self._check_layout(records)
            for i in masks:
                if self._state.object(i) is None:
                    self._state.put_object(ObjectInfo(i))
            rows = {i: (1, len(mask[4]), *mask) for i, mask in masks.items()}
            columns = "present, bytes, origin, object_score, predicted_iou, prompted, rle, checksum"
            replaced = self._replace("mask", frame, step, rows, columns)
            memories = {i: (1, len(row[3]) + len(row[4]), *row) for i, row in records.items()}
            replaced += self._replace("record", frame, step, memories, f"present, bytes, {_COLUMNS}")
            written = sum(row[1] for row in (*rows.values(), *memories.values()))
            self._history.account(step, replaced, written)
        self._written += 1
        if self._written % _BUDGET_CHECKED_EVERY == 0:
            self._history.keep_budget()

    def _replace(
        self, table: str, frame: int, step: int, rows: Mapping[int, tuple[Any, ...]], columns: str
    ) -> int:
        """Write rows by object id; returns the bytes of the older versions that undo needs, others are removed."""
        if not rows:
            return 0
        replaced = 0
        if self._history.in_reach(step):
            query = f"SELECT object_id, bytes, MAX(step) FROM {table} WHERE frame = ? AND step <= ? GROUP BY object_id"
            older = self._database.rows(query, (frame, step))
            replaced = sum(size for i, size, newest in older if i in rows and newest < step)
        else:
            where = "frame = ? AND object_id = ? AND step <= ?"
            self._database.write_rows(f"DELETE FROM {table} WHERE {where}", [(frame, i, step) for i in rows])
            rows = {i: row for i, row in rows.items() if row[0]}
        marks = ", ".join("?" * (3 + columns.count(",") + 1))
        self._database.write_rows(
            f"INSERT OR REPLACE INTO {table} (frame, object_id, step, {columns}) VALUES ({marks})",
            [(frame, i, step, *row) for i, row in rows.items()],
        )
        return replaced

    def _mask_columns(
        self,
        frame: int,
        object_id: int,
        mask: NDArray[Any],
        origin: str,
        score: float,
        iou: float,
        prompted: bool,
    ) -> tuple[Any, ...]:
        array = np.asarray(mask)
        if array.shape != self.size:
            raise ValueError(
                f"a mask of this project has shape {self.size} (height, width), not {array.shape}"
            )
        columns = (origin, as_real(score), as_real(iou), int(prompted), encode_rle(array).counts)
        return (*columns, _checksum(frame, checked_object_id(object_id), *columns))

    def _check_layout(self, records: Mapping[int, tuple[Any, ...]]) -> None:
        for row in records.values():
            if self._layout is None:
                known = self._database.rows("SELECT height, width, dtype FROM record WHERE present LIMIT 1")
                self._layout = known[0] if known else row[:3]
            if row[:3] != self._layout:
                height, width, dtype = self._layout
                raise ProjectMismatchError(
                    f"this project keeps logits of {height} × {width} {dtype}, the session makes {row[0]} × {row[1]} "
                    f"{row[2]}: use the model and the options that the project was made with, or start a new project"
                )

    # -- reading -------------------------------------------------------------------------------------------

    def get(self, object_id: int, frame: int) -> ObjectRecord | None:
        """Return a record; None when there is none or when it is damaged."""
        frame = self.checked_frame(frame)
        query = f"SELECT {_COLUMNS} FROM current_record WHERE frame = ? AND object_id = ?"
        try:
            for row in self._database.rows(query, (frame, object_id)):
                return row_record(row, frame, object_id)
        except (ValueError, TypeError, OverflowError, ProjectDamagedError) as error:
            self._report(f"the memory of object {object_id} is damaged: {error}", frame)
        return None

    def frames(self, object_id: int) -> list[int]:
        """Return the frames with a record of this object, in order."""
        return self.frames_of("record", object_id)

    def frames_of(self, table: str, object_id: int | None = None) -> list[int]:
        """Return the frames on which an object (None: any object) has a row in a table, in order."""
        where = "" if object_id is None else "WHERE object_id = ?"
        values = () if object_id is None else (object_id,)
        try:
            rows = self._database.rows(f"SELECT DISTINCT frame FROM current_{table} {where}", values)
        except ProjectDamagedError as error:
            self._report(str(error), None)
            rows = [(f,) for f in self.frames_with_rows() if self._is_on(table, f, object_id)]
        return sorted(frame for (frame,) in rows if 0 <= frame < self._frames)

    def frames_with_rows(self) -> Iterable[int]:
        """Return the frames that have a row of any version, all of them when the database is too damaged to tell."""
        try:
            rows = self._database.rows("SELECT frame FROM mask UNION SELECT frame FROM record ORDER BY frame")
        except ProjectDamagedError:
            return range(min(self._frames, _MOST_TRIED))
        return [frame for (frame,) in rows if isinstance(frame, int) and 0 <= frame < self._frames]

    def answered(self, object_id: int) -> dict[int, int]:
        """Return the ``prompt_hash`` of every record of an object whose mask is not made by hand, by frame."""
        rows = self._database.rows(
            "SELECT frame, prompt_hash, origin FROM current_record JOIN current_mask USING (frame, object_id) "
            "WHERE object_id = ?",
            (object_id,),
        )
        return {frame: answered for frame, answered, origin in rows if origin not in BY_HAND}

    def mask_rows(self, frame: int, hidden: bool = False) -> Iterator[MaskRow]:
        """Yield the current masks of a frame, by object id in order; those that are damaged are reported.

        Parameters
        ----------
        frame : int
            Frame index.
        hidden : bool
            Also those of objects that are absent there, as the user decided.
        """
        for object_id, counts, origin, score, iou, prompted, checksum in self._mask_rows(frame):
            info = None if hidden else self._state.object(object_id)
            if info is not None and covers(info.absent, frame):
                continue
            try:
                if origin not in ORIGINS or not isinstance(counts, str) or len(counts) > self._longest_mask:
                    raise ValueError("a mask needs run lengths and an origin")
                if checksum not in (None, _checksum(frame, object_id, origin, score, iou, prompted, counts)):
                    raise ValueError("its checksum does not fit its content")
                score, iou = (math.nan if v is None else float(v) for v in (score, iou))
                mask = Rle(self.size, counts)
                yield MaskRow(checked_object_id(object_id), mask, origin, score, iou, bool(prompted))
            except (ValueError, TypeError) as error:
                self._report(f"object {object_id}: {error}", frame)

    def masks(self, frame: int, object_ids: Iterable[int] | None = None) -> FrameMasks:
        """Return the current masks of a frame; what is damaged is left out."""
        frame = self.checked_frame(frame)
        wanted = None if object_ids is None else set(object_ids)
        found: list[tuple[MaskRow, BoolMask]] = []
        for row in self.mask_rows(frame):
            if wanted is None or row.object_id in wanted:
                try:
                    found.append((row, self._decode(row.mask)))
                except ValueError as error:
                    self._report(f"object {row.object_id}: {error}", frame)
        if not found:
            return FrameMasks.empty(frame, self.size)
        ids, _, _, scores, ious, prompted = zip(*(row for row, _ in found))
        stack = np.stack([mask for _, mask in found])
        real = np.float32
        return FrameMasks(
            frame, ids, stack, np.array(scores, real), np.array(ious, real), np.array(prompted, bool)
        )

    def masks_hash(self) -> str:
        """Return a hash of all masks and scores as they are now."""
        found = hashlib.sha256()
        for row in self._database.rows("SELECT * FROM current_mask"):
            found.update(repr(row).encode())
        return found.hexdigest()

    def _decode(self, rle: Rle) -> BoolMask:
        """Return a mask (H, W) that must not be changed; ValueError when its run lengths are damaged."""
        with self._lock:
            known = self._decoded.get(rle)
        if known is None:
            known = rle.decode()
            with self._lock, suppress(ValueError):  # larger than all that is kept
                self._decoded[rle] = known
        return known

    def checked_frame(self, frame: int) -> int:
        """Return a frame number as int; ValueError when there is no such frame."""
        number = int(frame)
        if not 0 <= number < self._frames:
            raise ValueError(f"there is no frame {frame}: this project has {self._frames} frames")
        return number

    def _mask_rows(self, frame: int) -> list[Any]:
        columns = "object_id, rle, origin, object_score, predicted_iou, prompted, checksum"
        query = f"SELECT {columns} FROM current_mask WHERE frame = ?"
        try:
            return sorted(self._database.rows(query, (self.checked_frame(frame),)))
        except (ProjectDamagedError, TypeError) as error:
            self._report(str(error), frame)
            return []

    def _is_on(self, table: str, frame: int, object_id: int | None) -> bool:
        query = f"SELECT object_id FROM current_{table} WHERE frame = ?"
        with suppress(ProjectDamagedError):
            return any(object_id in (None, i) for (i,) in self._database.rows(query, (frame,)))
        return False

    # -- when nobody waits -----------------------------------------------------------------------------------

    def defer(self, defers: bool = True) -> None:
        """Leave the removal of what undo can't reach to :meth:`tidy`, so that answers come sooner."""
        self._history.defers = defers

    def tidy(self) -> None:
        """Do some of what can wait until nobody waits for an answer."""
        if self._database.writable and not self._history.is_open:
            self._history.when_quiet()
            self._history.compact(_COMPACTED_SECONDS)
            self._database.tidy()


def _checksum(*columns: Any) -> int:
    return zlib.crc32(repr(columns).encode())

"""The store of a session that writes into a project: a frame is on disk before it is reported."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from napari_sam2.masks import FrameMasks, Rle, encode_rle
from napari_sam2.objects import ObjectInfo, checked_object_id
from napari_sam2.session.protocols import FrameResults, ObjectRecord
from napari_sam2.session.sqlite_store import NAMES, as_real, record_row, row_record
from napari_sam2.storage.database import Database, current
from napari_sam2.storage.errors import ProjectDamagedError, ProjectMismatchError
from napari_sam2.storage.history import History
from napari_sam2.storage.user_state import UserState

ORIGINS = ("tracked", "draft", "painted", "imported")
BoolMask = NDArray[np.bool_]

_MASKS = "r.object_id, r.rle, r.origin, r.object_score, r.predicted_iou, r.prompted, r.checksum"
_BUDGET_CHECKED_EVERY = 64  # frames
_DECODED_BYTES = 64 * 2**20  # of masks that were encoded or decoded lately
_MOST_TRIED = 100_000  # frames
_COMPACTED_SECONDS = 0.05  # of compaction at a time


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

    Parameters
    ----------
    database : Database
        The open project.
    history : History
        Knows which step a write belongs to.
    state : UserState
        Prompts and objects.
    shape : tuple of int
        (number of frames, height, width).
    report : callable
        Called with (problem, frame) when something is damaged.
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
        masks = {i: (mask, "tracked", record) for i, (record, mask) in results.items()}
        records = {checked_object_id(i): record_row(record, frame, i) for i, (record, _) in results.items()}
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
        facts = zip(masks.object_ids, masks.masks, masks.object_scores, masks.predicted_ious, masks.prompted)
        given = {i: (mask, origin, _MaskFacts(*scores)) for i, mask, *scores in facts}
        self._write(masks.frame, given, {})

    def remove(self, object_id: int, frame: int) -> None:
        """Drop one record and its mask; nothing happens when there is none."""
        frame = self.checked_frame(frame)
        with self._database.transaction():
            if object_id not in [row[0] for row in self._mask_rows(frame)]:
                return
            step = self._history.writing_step()
            for table in ("mask", "record"):
                self._make_way(table, frame, object_id, step)
                if not self._history.in_reach(step):
                    continue
                self._database.write(
                    f"INSERT OR REPLACE INTO {table} (frame, object_id, step, present, bytes) VALUES (?, ?, ?, 0, 0)",
                    (frame, object_id, step),
                )

    def remove_object(self, object_id: int) -> None:
        """Drop every record of an object, whatever their number, in one step."""
        self._history.remove_object(object_id)

    def flush(self) -> None:
        """Force what was written to the disk."""
        if self._database.writable:
            self._database.sync()

    def _write(
        self, frame: int, masks: Mapping[int, tuple[Any, str, Any]], records: Mapping[int, tuple[Any, ...]]
    ) -> None:
        frame = self.checked_frame(frame)
        checked = {checked_object_id(i): (self._checked_mask(m), *rest) for i, (m, *rest) in masks.items()}
        encoded = {i: encode_rle(mask) for i, (mask, *_) in checked.items()}
        with self._database.transaction():
            if not encoded:
                return
            step = self._history.writing_step()
            self._check_layout(records)
            replaced = written = 0
            for i, (_, origin, facts) in checked.items():
                if self._state.object(i) is None:
                    self._history.put_object(ObjectInfo(i))
                replaced += self._make_way("mask", frame, i, step)
                written += self._write_mask(frame, i, step, encoded[i], origin, facts)
                if i in records:
                    replaced += self._make_way("record", frame, i, step)
                    written += self._write_record(frame, i, step, records[i])
            self._history.account(step, replaced, written)
        for i, rle in encoded.items():
            self._remember(rle, checked[i][0].copy())  # it may be a part of something larger
        self._written += 1
        if self._written % _BUDGET_CHECKED_EVERY == 0:
            self._history.keep_budget()

    def _make_way(self, table: str, frame: int, object_id: int, step: int) -> int:
        """Return the bytes of the version that one of ``step`` replaces; without undo it is removed."""
        key = "frame = ? AND object_id = ? AND step"
        if not self._history.in_reach(step):
            self._database.write(f"DELETE FROM {table} WHERE {key} <= ?", (frame, object_id, step))
            return 0
        rows = self._database.rows(
            f"SELECT step, bytes FROM {table} WHERE {key} <= ? ORDER BY step DESC LIMIT 1",
            (frame, object_id, step),
        )
        return rows[0][1] or 0 if rows and rows[0][0] < step else 0

    def _write_mask(self, frame: int, object_id: int, step: int, rle: Rle, origin: str, facts: Any) -> int:
        scores = (as_real(facts.object_score), as_real(facts.predicted_iou))
        columns = (origin, *scores, int(facts.prompted), rle.counts)
        size = len(rle.counts)
        self._database.write(
            "INSERT OR REPLACE INTO mask VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?)",
            (frame, object_id, step, size, *columns, _checksum(frame, object_id, *columns)),
        )
        return size

    def _write_record(self, frame: int, object_id: int, step: int, row: tuple[Any, ...]) -> int:
        size = len(row[3]) + len(row[4])
        self._database.write(
            f"INSERT OR REPLACE INTO record (frame, object_id, step, present, bytes, {', '.join(NAMES)}) "
            f"VALUES (?, ?, ?, 1, ?, {', '.join('?' * len(NAMES))})",
            (frame, object_id, step, size, *row),
        )
        return size

    def _check_layout(self, records: Mapping[int, tuple[Any, ...]]) -> None:
        for row in records.values():
            layout = row[:3]
            if self._layout is None:
                known = self._database.rows("SELECT height, width, dtype FROM record WHERE present LIMIT 1")
                self._layout = tuple(known[0]) if known else layout
            if layout != self._layout:
                height, width, dtype = self._layout
                raise ProjectMismatchError(
                    f"this project keeps logits of {height} × {width} {dtype}, the session makes {row[0]} × {row[1]} "
                    f"{row[2]}: use the model and the options that the project was made with, or start a new project"
                )

    # -- reading -------------------------------------------------------------------------------------------

    def get(self, object_id: int, frame: int) -> ObjectRecord | None:
        """Return a record; None when there is none or when it is damaged."""
        frame = self.checked_frame(frame)
        columns = ", ".join(f"r.{name}" for name in NAMES)
        query = current("record", columns, "r.frame = ? AND r.object_id = ?")
        try:
            for row in self._database.rows(query, (frame, object_id)):
                return row_record(row[:-1], frame, object_id)
        except (ValueError, TypeError, OverflowError, ProjectDamagedError) as error:
            self._report(f"the memory of object {object_id} is damaged: {error}", frame)
        return None

    def frames(self, object_id: int) -> list[int]:
        """Return the frames with a record of this object, in order."""
        return self.frames_of("record", object_id)

    def frames_of(self, table: str, object_id: int | None = None) -> list[int]:
        """Return the frames on which an object (None: any object) has a row in a table, in order."""
        where, values = ("1", ()) if object_id is None else ("r.object_id = ?", (object_id,))
        query = f"SELECT DISTINCT frame FROM ({current(table, 'r.frame', where)}) ORDER BY frame"
        try:
            rows = self._database.rows(query, values)
        except ProjectDamagedError as error:
            self._report(str(error), None)
            rows = [(f,) for f in self.frames_with_rows() if self._is_on(table, f, object_id)]
        return [frame for (frame,) in rows if 0 <= frame < self._frames]

    def frames_with_rows(self) -> Iterable[int]:
        """Return the frames that have a row of any version, all of them when the database is too damaged to tell."""
        try:
            rows = self._database.rows("SELECT frame FROM mask UNION SELECT frame FROM record ORDER BY frame")
        except ProjectDamagedError:
            return range(min(self._frames, _MOST_TRIED))
        return [frame for (frame,) in rows if isinstance(frame, int) and 0 <= frame < self._frames]

    def mask_rows(self, frame: int) -> Iterator[MaskRow]:
        """Yield the current masks of a frame, by object id in order; those that are damaged are reported."""
        for object_id, counts, origin, score, iou, prompted, checksum, _ in self._mask_rows(frame):
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
            if wanted is not None and row.object_id not in wanted:
                continue
            try:
                found.append((row, self._decode(row.mask)))
            except ValueError as error:
                self._report(f"object {row.object_id}: {error}", frame)
        if not found:
            return FrameMasks.empty(frame, self.size)
        rows = [row for row, _ in found]
        return FrameMasks(
            frame,
            tuple(row.object_id for row in rows),
            np.stack([mask for _, mask in found]),
            np.array([row.object_score for row in rows], np.float32),
            np.array([row.predicted_iou for row in rows], np.float32),
            np.array([row.prompted for row in rows], bool),
        )

    def _decode(self, rle: Rle) -> BoolMask:
        """Return a mask (H, W) that must not be changed; ValueError when its run lengths are damaged."""
        with self._lock:
            known = self._decoded.get(rle)
        return self._remember(rle, rle.decode()) if known is None else known

    def _remember(self, rle: Rle, mask: BoolMask) -> BoolMask:
        with self._lock, suppress(ValueError):  # larger than all that is kept
            self._decoded[rle] = mask
        return mask

    def checked_frame(self, frame: int) -> int:
        """Return a frame number as int; ValueError when there is no such frame."""
        number = int(frame)
        if not 0 <= number < self._frames:
            raise ValueError(f"there is no frame {frame}: this project has {self._frames} frames")
        return number

    def _mask_rows(self, frame: int) -> list[Any]:
        query = f"{current('mask', _MASKS, 'r.frame = ?')} ORDER BY r.object_id"
        try:
            return self._database.rows(query, (self.checked_frame(frame),))
        except ProjectDamagedError as error:
            self._report(str(error), frame)
            return []

    def _is_on(self, table: str, frame: int, object_id: int | None) -> bool:
        query = current(table, "r.object_id", "r.frame = ?")
        with suppress(ProjectDamagedError):
            return any(object_id in (None, row[0]) for row in self._database.rows(query, (frame,)))
        return False

    def _checked_mask(self, mask: NDArray[Any]) -> BoolMask:
        array = np.asarray(mask)
        if array.shape != self.size:
            raise ValueError(
                f"a mask of this project has shape {self.size} (height, width), not {array.shape}"
            )
        return array if array.dtype == bool else array != 0

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


class _MaskFacts:
    """Scores and flag of one mask."""

    def __init__(self, object_score: float, predicted_iou: float, prompted: bool) -> None:
        self.object_score, self.predicted_iou, self.prompted = (
            float(object_score),
            float(predicted_iou),
            prompted,
        )


def _checksum(*columns: Any) -> int:
    return zlib.crc32(repr(columns).encode())

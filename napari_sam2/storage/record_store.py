"""The store of a session that writes into a project: a frame is on disk before it is reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from napari_sam2.masks import FrameMasks, Rle, encode_rle
from napari_sam2.objects import ObjectInfo, checked_object_id
from napari_sam2.session.protocols import FrameResults, ObjectRecord
from napari_sam2.storage.errors import ProjectDamagedError
from napari_sam2.storage.history import History
from napari_sam2.storage.tables.mask_table import ORIGINS, Entry
from napari_sam2.storage.workspace import BoolMask, Workspace

_ARRAYS = ("logits", "pointer")
_CHECKSUM = "checksum"
# A field whose name in projects is older than the one in the code.
_NAMES_WRITTEN = {"prompt_hash": "basis"}
_NAMES_READ = {written: name for name, written in _NAMES_WRITTEN.items()}
_BUDGET_CHECKED_EVERY = 64  # frames


class ProjectRecords:
    """A session's :class:`~napari_sam2.session.protocols.RecordStore` in a project.

    A frame is written in this order: logits and pointers into free rows, then the masks and scores with the
    numbers of those rows (from here on the frame counts), then the labels. Killed between any two of these,
    the frame is as it was before, or as it should be with labels that are composed again later.

    Parameters
    ----------
    workspace : Workspace
        The open project.
    history : History
        Says which action a write belongs to.
    """

    def __init__(self, workspace: Workspace, history: History) -> None:
        self._workspace = workspace
        self._history = history
        self._written = 0

    def put(self, object_id: int, frame: int, record: ObjectRecord, mask: NDArray[np.bool_]) -> None:
        """Write (or replace) the record of one object on one frame, with its frame-size mask (H, W)."""
        self.put_frame(frame, {object_id: (record, mask)})

    def put_frame(self, frame: int, results: FrameResults) -> None:
        """Write the records of several objects on one frame, all or none of them."""
        self._write(
            frame,
            {checked_object_id(i): self._checked_mask(mask) for i, (_, mask) in results.items()},
            {checked_object_id(i): record for i, (record, _) in results.items()},
            lambda new, before: new,
        )

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
        rows = {checked_object_id(i): row for row, i in enumerate(masks.object_ids)}

        def finished(new: Entry, before: Entry | None) -> Entry:
            row = rows[new.object_id]
            return replace(
                new,
                origin=origin,
                object_score=float(masks.object_scores[row]),
                predicted_iou=float(masks.predicted_ious[row]),
                prompted=bool(masks.prompted[row]),
                row=before.row if before else None,
                record=before.record if before else None,
            )

        checked = {i: self._checked_mask(masks.masks[row]) for i, row in rows.items()}
        self._write(masks.frame, checked, {}, finished)

    def get(self, object_id: int, frame: int) -> ObjectRecord | None:
        """Return a record; None when there is none or when it is damaged."""
        workspace = self._workspace
        with workspace.lock:
            entry = workspace.current(workspace.entries(workspace.checked_frame(frame))).get(object_id)
            if entry is None or entry.row is None or entry.record is None:
                return None
            try:
                logits, pointer = workspace.memories.read(frame, entry.row)
                if entry.record.get(_CHECKSUM) != memory_checksum(logits, pointer):
                    raise ProjectDamagedError(f"the memory of object {object_id} is not that of its mask")
            except ProjectDamagedError as error:
                workspace.report(str(error), frame)
                return None
        # Later versions of the software may know more about a record than this one.
        facts = {_NAMES_READ.get(name, name): value for name, value in entry.record.items()}
        known = {f.name for f in fields(ObjectRecord)}.intersection(facts)
        return ObjectRecord(logits, pointer, **{name: facts[name] for name in known})

    def remove(self, object_id: int, frame: int) -> None:
        """Drop one record and its mask; nothing happens when there is none."""
        workspace = self._workspace
        with workspace.lock:
            frame = workspace.checked_frame(frame)
            workspace.require_writable()
            old = workspace.entries(frame)
            if object_id not in workspace.current(old):
                return
            serial = self._history.serial()
            gone = Entry(object_id, serial, None)
            kept = [e for e in old if (e.object_id, e.serial) != (object_id, serial)]
            self._replace(frame, list(old), [*kept, gone], {})

    def remove_object(self, object_id: int) -> None:
        """Drop every record of an object, whatever their number, in one step."""
        self._history.remove_object(object_id)

    def frames(self, object_id: int) -> list[int]:
        """Return the frames with a record of this object, in order."""
        workspace = self._workspace
        with workspace.lock:
            return list(workspace.index.frames(object_id, workspace.versions, records=True))

    def flush(self) -> None:
        """Bring the labels in step with the masks; masks and records are on disk already."""
        with self._workspace.lock:
            if self._workspace.writable:
                self._workspace.labels.refresh_all()
                self._workspace.tidy()

    def defer(self, defers: bool = True) -> None:
        """Let what only follows from what is saved already wait for :meth:`tidy`, so that answers come sooner."""
        self._workspace.defers = defers

    def tidy(self) -> None:
        """Write what could wait: labels, copies, and prompts and objects where people look for them."""
        with self._workspace.lock:
            self._workspace.tidy()

    def _checked_mask(self, mask: NDArray[Any]) -> BoolMask:
        array = np.asarray(mask)
        if array.shape != self._workspace.size:
            raise ValueError(
                f"a mask of this project has shape {self._workspace.size} (height, width), not {array.shape}"
            )
        return array if array.dtype == bool else array != 0

    def _write(
        self,
        frame: int,
        masks: Mapping[int, BoolMask],
        records: Mapping[int, ObjectRecord],
        finish: Callable[[Entry, Entry | None], Entry],
    ) -> None:
        workspace = self._workspace
        encoded = {i: encode_rle(mask) for i, mask in masks.items()}
        with workspace.lock:
            frame = workspace.checked_frame(frame)
            workspace.require_writable()
            if not encoded:
                return
            for object_id, rle in encoded.items():
                workspace.decoded.put(rle, masks[object_id])
            serial = self._history.serial()
            self._introduce(encoded)
            old = list(workspace.entries(frame))
            taken = {e.row for e in old if e.row is not None}
            rows = _free_rows(taken, sorted(records))
            memories = {row: (records[i].logits, records[i].pointer) for i, row in rows.items()}
            workspace.memories.write(frame, taken, memories)
            before = workspace.current(old)
            new = [
                finish(_entry(i, serial, mask, rows.get(i), records.get(i)), before.get(i))
                for i, mask in encoded.items()
            ]
            kept = [e for e in old if not (e.object_id in encoded and e.serial == serial)]
            self._replace(frame, old, [*kept, *new], masks)
            self._written += 1
            if self._written % _BUDGET_CHECKED_EVERY == 0:
                self._history.keep_budget()

    def _replace(self, frame: int, old: list[Entry], new: list[Entry], known: Mapping[int, BoolMask]) -> None:
        self._workspace.replace(frame, old, self._workspace.needed(new), known)

    def _introduce(self, object_ids: Iterable[int]) -> None:
        for object_id in object_ids:
            if object_id not in self._workspace.objects:
                self._history.put_object(ObjectInfo(object_id))


def _facts(record: ObjectRecord) -> dict[str, Any]:
    # numpy numbers are no JSON
    names = {f.name: _NAMES_WRITTEN.get(f.name, f.name) for f in fields(record) if f.name not in _ARRAYS}
    plain = {written: getattr(record, name) for name, written in names.items()}
    facts = {k: v.item() if isinstance(v, np.generic) else v for k, v in plain.items()}
    return facts | {_CHECKSUM: memory_checksum(record.logits, record.pointer)}


def _free_rows(taken: Iterable[int], object_ids: list[int]) -> dict[int, int]:
    used = set(taken)
    free = (row for row in range(len(used) + len(object_ids)) if row not in used)
    return dict(zip(object_ids, free))


def _entry(object_id: int, serial: int, mask: Rle, row: int | None, record: ObjectRecord | None) -> Entry:
    if record is None:
        return Entry(object_id, serial, mask)
    facts = _facts(record)
    return Entry(
        object_id,
        serial,
        mask,
        "tracked",
        facts["object_score"],
        facts["predicted_iou"],
        facts["prompted"],
        row,
        facts,
    )


def memory_checksum(logits: NDArray[Any], pointer: NDArray[np.float32]) -> int:
    """Return the crc32c of a memory: a file that belongs to another frame or time is told by it."""
    first = google_crc32c.value(np.ascontiguousarray(logits).tobytes())
    return int(google_crc32c.extend(first, np.ascontiguousarray(pointer, np.float32).tobytes()))

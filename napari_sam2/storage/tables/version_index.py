"""Which objects have results on which frames: a few bytes per result, built by reading the table once."""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from pathlib import Path

from napari_sam2.storage.errors import ProjectError
from napari_sam2.storage.files.atomic_files import read_file, replace_file
from napari_sam2.storage.files.chunk_codecs import decode_text, encode_text
from napari_sam2.storage.tables.mask_table import Entry
from napari_sam2.storage.tables.versions import Versions

_GONE, _MASK, _RECORD = 0, 1, 2


class CellIndex:
    """All versions of all results, without their content.

    A result is kept as ``4 * frame + kind`` in a sorted array for each object and serial: 8 bytes, so that a
    hundred thousand frames fit into less than a megabyte.
    """

    def __init__(self) -> None:
        self._cells: dict[int, dict[int, array[int]]] = {}
        self._found: dict[tuple[int, bool], list[int]] = {}
        self._found_for: Versions | None = None

    def add(self, frame: int, entries: Iterable[Entry]) -> None:
        """Add versions of objects on a frame."""
        for entry in entries:
            kind = _GONE if entry.is_gone else _MASK if entry.row is None else _RECORD
            cells = self._cells.setdefault(entry.object_id, {}).setdefault(entry.serial, array("q"))
            position = bisect_left(cells, 4 * frame)
            if position < len(cells) and cells[position] // 4 == frame:
                cells[position] = 4 * frame + kind
            else:
                cells.insert(position, 4 * frame + kind)
            self._keep_up(frame, entry, kind)

    def discard(self, frame: int, entries: Iterable[Entry]) -> None:
        """Drop versions of objects on a frame."""
        for entry in entries:
            serials = self._cells.get(entry.object_id, {})
            cells = serials.get(entry.serial, array("q"))
            position = bisect_left(cells, 4 * frame)
            if position < len(cells) and cells[position] // 4 == frame:
                del cells[position]
                if not cells:
                    del serials[entry.serial]
            self._found.clear()

    @property
    def count(self) -> int:
        """Number of results in all versions."""
        return sum(len(cells) for serials in self._cells.values() for cells in serials.values())

    def to_json(self) -> dict[str, dict[str, list[int]]]:
        """Return a JSON-ready dict."""
        return {str(i): {str(s): c.tolist() for s, c in cells.items()} for i, cells in self._cells.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Mapping[str, list[int]]]) -> CellIndex:
        """Read what :meth:`to_json` wrote; ValueError, TypeError or AttributeError when it is something else."""
        index = cls()
        for object_id, serials in data.items():
            index._cells[int(object_id)] = {int(s): array("q", cells) for s, cells in serials.items()}
        return index

    @property
    def object_ids(self) -> list[int]:
        """Objects with a result in any version."""
        return sorted(i for i, serials in self._cells.items() if serials)

    def frames(self, object_id: int, versions: Versions, records: bool = False) -> list[int]:
        """Return the frames on which an object has a mask (``records``: a record) now, in order."""
        if self._found_for is not versions:
            self._found.clear()
            self._found_for = versions
        key = (object_id, records)
        if key not in self._found:
            self._found[key] = self._current(object_id, versions, _RECORD if records else _MASK)
        return self._found[key]

    def touched(self, first: int, last: int) -> set[int]:
        """Return the frames with versions of the serials ``first`` to ``last``."""
        return {
            cell // 4
            for serials in self._cells.values()
            for serial, cells in serials.items()
            if first <= serial <= last
            for cell in cells
        }

    def frames_of(self, object_id: int) -> set[int]:
        """Return the frames with any version of an object."""
        return {c // 4 for cells in self._cells.get(object_id, {}).values() for c in cells}

    def superseded(self, versions: Versions) -> int:
        """Return how many records are kept for undo and redo only."""
        total = sum(
            sum(1 for c in cells if c % 4 == _RECORD)
            for serials in self._cells.values()
            for cells in serials.values()
        )
        return total - sum(len(self.frames(i, versions, True)) for i in self._cells)

    def garbage(self, versions: Versions) -> set[int]:
        """Return the frames with versions that no state in reach needs."""
        frames: set[int] = set()
        for object_id, serials in self._cells.items():
            if len(serials) == 1 and not versions.dead and not versions.removals:
                continue
            by_frame: dict[int, list[int]] = {}
            for serial, cells in serials.items():
                for cell in cells:
                    by_frame.setdefault(cell // 4, []).append(serial)
            needs: dict[tuple[int, ...], bool] = {}
            for frame, versions_here in by_frame.items():
                key = tuple(versions_here)
                if key not in needs:
                    needs[key] = len(versions.needed(object_id, key)) < len(key)
                if needs[key]:
                    frames.add(frame)
        return frames

    def _keep_up(self, frame: int, entry: Entry, kind: int) -> None:
        # While a session tracks, the answers to frames() change by one frame at a time.
        for records, least in ((False, _MASK), (True, _RECORD)):
            known = self._found.get((entry.object_id, records))
            if known is None:
                continue
            if self._found_for is None or entry.serial != self._found_for.head:
                del self._found[entry.object_id, records]
                continue
            position = bisect_left(known, frame)
            there = position < len(known) and known[position] == frame
            if kind >= least and not there:
                known.insert(position, frame)
            elif kind < least and there:
                del known[position]

    def _current(self, object_id: int, versions: Versions, kind: int) -> list[int]:
        serials = self._cells.get(object_id, {})
        head, floor = versions.head, versions.floor(object_id, versions.head)
        counting = sorted(s for s in serials if floor < s <= head and not versions.is_dead(s))
        if len(counting) == 1:
            return [c // 4 for c in serials[counting[0]] if c % 4 >= kind]
        latest: dict[int, int] = {}
        for serial in counting:
            for cell in serials[serial]:
                latest[cell // 4] = cell % 4
        return sorted(frame for frame, found in latest.items() if found >= kind)


def write_index(path: Path, state: str, index: CellIndex) -> None:
    """Write an index that holds for the files of the table as they are now (``state``)."""
    text = json.dumps({"state": state, "cells": index.to_json()}, separators=(",", ":"))
    replace_file(path, encode_text(text))


def read_index(path: Path, state: str) -> CellIndex | None:
    """Return a noted index; None when there is none, when it is damaged, or when a file changed since."""
    try:
        data = read_file(path)
        if data is None:
            return None
        document = json.loads(decode_text(data, path))
        if document["state"] != state:
            return None
        return CellIndex.from_json(document["cells"])
    except (ProjectError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None  # it only saves time

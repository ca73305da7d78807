"""The masks and scores of every frame: one small JSON text per frame, the commit point of a frame."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_sam2.masks import Rle
from napari_sam2.objects import checked_object_id
from napari_sam2.storage.errors import ProjectDamagedError, file_errors
from napari_sam2.storage.files.atomic_files import (
    METADATA,
    array_document,
    read_file,
    remove_file,
    replace_file,
    write_json,
)
from napari_sam2.storage.files.chunk_codecs import ZSTD, decode_text, encode_text
from napari_sam2.storage.schema import number_from_json, number_to_json, whole_number

ORIGINS = ("tracked", "draft", "painted", "imported")
_CACHED_FRAMES = 32
_FLOATS = ("object_score", "predicted_iou")


@dataclass(frozen=True)
class Entry:
    """One version of one object on one frame.

    Parameters
    ----------
    object_id : int
        The label value.
    serial : int
        The action that wrote it.
    mask : Rle, optional
        The mask; None says that the object has no result here any more.
    origin : str
        Where the mask comes from: "tracked" (and committed), "draft" (the answer to a prompt that is not yet
        in memory), "painted" or "imported".
    object_score, predicted_iou : float
        The network's; NaN for masks made by hand.
    prompted : bool
        The user said something about this object on this frame.
    row : int, optional
        Row of the frame's logits and pointer in ``memories``; None without a record.
    record : mapping, optional
        The record's scores and flags. They are those of the last committed result and need not be those of
        the mask, which may have been painted over since.
    """

    object_id: int
    serial: int
    mask: Rle | None
    origin: str = "tracked"
    object_score: float = math.nan
    predicted_iou: float = math.nan
    prompted: bool = False
    row: int | None = None
    record: Mapping[str, Any] | None = None

    @property
    def is_gone(self) -> bool:
        """Whether this version says that there is nothing."""
        return self.mask is None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        out: dict[str, Any] = {"id": self.object_id, "serial": self.serial}
        if self.mask is None:
            return out | {"gone": True}
        return out | {
            "rle": self.mask.counts,
            "origin": self.origin,
            "object_score": number_to_json(self.object_score),
            "predicted_iou": number_to_json(self.predicted_iou),
            "prompted": self.prompted,
            "row": self.row,
            "record": self.record
            and {k: number_to_json(v) if k in _FLOATS else v for k, v in self.record.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], size: tuple[int, int]) -> Entry:
        """Read what :meth:`to_json` wrote; ValueError, KeyError or TypeError when it is something else."""
        object_id = checked_object_id(data["id"])
        serial = whole_number(data["serial"], "a serial")
        if data.get("gone"):
            return cls(object_id, serial, None)
        counts, origin, row, record = data["rle"], data["origin"], data["row"], data["record"]
        if not isinstance(counts, str) or not counts.isascii() or origin not in ORIGINS:
            raise ValueError("a mask needs run lengths and an origin")
        if (row is None) != (record is None):
            raise ValueError("a record needs a row and facts")
        return cls(
            object_id,
            serial,
            Rle(size, counts),
            origin,
            number_from_json(data["object_score"]),
            number_from_json(data["predicted_iou"]),
            bool(data["prompted"]),
            None if row is None else whole_number(row, "a row"),
            None if record is None else _record_from_json(record),
        )


def _record_from_json(data: Mapping[str, Any]) -> dict[str, Any]:
    facts = dict(data)
    for name in _FLOATS:
        facts[name] = number_from_json(facts[name])
    for name, value in facts.items():
        if name not in _FLOATS and not isinstance(value, int):  # flags are bool, which is an int
            raise ValueError(f"{name} of a record must be true, false or a whole number, not {value!r}")
    return facts


class FrameTable:
    """Reads and writes the entries of frames (array ``masks`` of the project).

    Parameters
    ----------
    folder : Path
        Folder of the array.
    shape : tuple of int
        (number of frames, height, width).
    cached : bool
        Keep the entries of a few frames in memory; right when nobody else writes.
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int], cached: bool = False) -> None:
        self._folder = folder
        self._frames, self._size = shape[0], shape[1:]
        self._cached = cached
        self._cache: OrderedDict[int, tuple[Entry, ...]] = OrderedDict()

    def write_metadata(self) -> None:
        """Write what plain zarr needs to open the array."""
        document = array_document(
            (self._frames,), (1,), "string", ZSTD, ("frame",), {"size": list(self._size)}
        )
        write_json(self._folder / METADATA, document)

    def path(self, frame: int) -> Path:
        """Return the file of a frame."""
        return self._folder / f"c.{frame}"

    def written(self) -> list[int]:
        """Return the frames that have a file, in order."""
        with file_errors(self._folder):
            names = [p.name for p in self._folder.iterdir()] if self._folder.is_dir() else []
        numbers = [int(n[2:]) for n in names if n.startswith("c.") and n[2:].isascii() and n[2:].isdigit()]
        return sorted(n for n in numbers if n < self._frames)

    def state(self) -> str:
        """Return a text that changes whenever a file of the table does."""
        digest = hashlib.sha256()
        with file_errors(self._folder):
            entries = sorted(os.scandir(self._folder), key=lambda e: e.name) if self._folder.is_dir() else []
            for entry in entries:
                if entry.name.startswith("c."):
                    found = entry.stat()
                    digest.update(f"{entry.name} {found.st_size} {found.st_mtime_ns};".encode())
        return digest.hexdigest()

    def read(self, frame: int) -> tuple[Entry, ...]:
        """Return all versions of all objects on a frame; ProjectDamagedError when they cannot be read."""
        if frame in self._cache:
            self._cache.move_to_end(frame)
            return self._cache[frame]
        path = self.path(frame)
        data = read_file(path)
        return () if data is None else self._keep(frame, self._parsed(frame, data, path))

    def forget_cache(self) -> None:
        """Read files again."""
        self._cache.clear()

    def _keep(self, frame: int, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        if self._cached:
            self._cache[frame] = entries
            self._cache.move_to_end(frame)
            while len(self._cache) > _CACHED_FRAMES:
                self._cache.popitem(last=False)
        return entries

    def _parsed(self, frame: int, data: bytes, path: Path) -> tuple[Entry, ...]:
        text = decode_text(data, path)
        try:
            document = json.loads(text)
            if document["frame"] != frame:
                raise ValueError("this is the file of another frame")
            return tuple(Entry.from_json(item, self._size) for item in document["objects"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ProjectDamagedError(f"{path} is damaged: {error}") from error

    def write(self, frame: int, entries: Iterable[Entry]) -> None:
        """Replace the entries of a frame; this is the moment from which they count."""
        entries = sorted(entries, key=lambda e: (e.object_id, e.serial))
        self._cache.pop(frame, None)
        if not entries:
            remove_file(self.path(frame))
            return
        document = {
            "frame": frame,
            "size": list(self._size),
            "objects": [e.to_json() for e in entries],
        }
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        replace_file(self.path(frame), encode_text(text))
        self._keep(frame, tuple(entries))

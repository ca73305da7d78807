"""What lets a session go on after it was closed: low-resolution logits and pointers, packed by frame."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.storage.errors import ProjectDamagedError, ProjectMismatchError
from napari_sam2.storage.files.atomic_files import (
    METADATA,
    array_document,
    make_folder,
    read_file,
    remove_file,
    replace_file,
    write_json,
)
from napari_sam2.storage.files.chunk_codecs import blosc, decode_floats, encode_floats
from napari_sam2.storage.files.group_attributes import Documents
from napari_sam2.storage.schema import whole_number

ROWS = 16  # objects that share a file
_CACHED_BLOCKS = 4
_DTYPES = ("float16", "float32")
_MAX_SIDE = 4096

Memory = tuple[NDArray[Any], NDArray[np.float32]]  # logits (h, w), pointer (C,)
_Block = tuple[NDArray[Any], NDArray[np.float32]]  # (ROWS, h, w), (ROWS, C)


@dataclass(frozen=True)
class MemoryLayout:
    """Shape and type of what every record leaves behind; the same for all records of one model."""

    height: int
    width: int
    dtype: str
    channels: int

    @classmethod
    def of(cls, memory: Memory) -> MemoryLayout:
        """Return the layout of one memory; ValueError when it cannot be stored."""
        logits, pointer = memory
        if logits.ndim != 2 or pointer.ndim != 1 or logits.dtype.name not in _DTYPES:
            raise ValueError(
                "a record needs logits (h, w) of float16 or float32 and a pointer (C,), "
                f"not {logits.shape} of {logits.dtype} and {pointer.shape}"
            )
        return cls(logits.shape[0], logits.shape[1], logits.dtype.name, pointer.shape[0])

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> MemoryLayout:
        """Read the attributes of the group ``memories``; ValueError or KeyError when they are damaged."""
        sides = [whole_number(data[k], k, 1) for k in ("height", "width", "channels")]
        if max(sides) > _MAX_SIDE or data["dtype"] not in _DTYPES:
            raise ValueError("this layout of memories makes no sense")
        return cls(sides[0], sides[1], data["dtype"], sides[2])

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "height": self.height,
            "width": self.width,
            "dtype": self.dtype,
            "channels": self.channels,
        }


class Memories:
    """Reads and writes rows of logits and pointers (group ``memories`` of the project).

    Rows belong to one frame; which object (and which version of it) has which row says the frame's table.
    A row that the table knows is never overwritten: new versions go to free rows, so a write that is cut
    short leaves nothing half done.

    Parameters
    ----------
    folder : Path
        Folder of the group.
    frames : int
        Number of frames.
    """

    def __init__(self, folder: Path, frames: int) -> None:
        self._folder = folder
        self._documents = Documents(folder.parent)
        self._frames = frames
        self._layout: MemoryLayout | None = None
        self._rows = ROWS
        self._cache: OrderedDict[tuple[int, int], _Block] = OrderedDict()
        self.bytes_per_row = 0.0

    @property
    def layout(self) -> MemoryLayout | None:
        """Shape and type of memories; None before the first one was written."""
        return self._layout

    def write_metadata(self) -> None:
        """Write what plain zarr needs to open the group and its arrays."""
        attributes = {} if self._layout is None else self._layout.to_json() | {"rows": self._rows}
        self._documents.write(self._folder.name, attributes)
        if self._layout is not None:
            self._write_array_metadata(self._layout)

    def load(self, report: Callable[[str], None]) -> None:
        """Read the layout; ProjectDamagedError when it cannot be read."""
        self._cache.clear()
        found = self._documents.read(self._folder.name, _layout_and_rows, report)
        if found is not None:
            self._layout, self._rows = found
            # Until something is written: as if nothing could be compressed.
            layout = self._layout
            self.bytes_per_row = float(layout.height * layout.width * np.dtype(layout.dtype).itemsize)

    def read(self, frame: int, row: int) -> Memory:
        """Return one memory; ProjectDamagedError when it cannot be read."""
        block, place = divmod(row, ROWS)
        found = self._block(frame, block)
        if found is None:
            raise ProjectDamagedError(f"{self._path('logits', frame, block)} is missing")
        # Copies: whoever keeps one row must not keep the whole block in memory.
        return found[0][place].copy(), found[1][place].copy()

    def write(self, frame: int, kept: Iterable[int], new: Mapping[int, Memory]) -> None:
        """Write rows of a frame.

        Parameters
        ----------
        frame : int
            The frame.
        kept : iterable of int
            Rows that must stay as they are.
        new : mapping of int to (logits, pointer)
            Rows to write.
        """
        if not new:
            return
        self._prepare(MemoryLayout.of(next(iter(new.values()))), max(new) + 1)
        carried = set(kept) - set(new)
        for block in sorted({row // ROWS for row in new}):
            rows = [r for r in carried if r // ROWS == block]
            self._write_block(frame, block, rows, {r: m for r, m in new.items() if r // ROWS == block})

    def compact(self, frame: int, kept: Iterable[int]) -> None:
        """Drop all rows of a frame but ``kept``."""
        rows = set(kept)
        for block in range(-(-self._rows // ROWS)):
            if not self._path("logits", frame, block).exists():
                continue
            here = [r for r in rows if r // ROWS == block]
            if here:
                self._write_block(frame, block, here, {})
            else:
                remove_file(self._path("logits", frame, block))
                remove_file(self._path("pointers", frame, block))
                self._cache.pop((frame, block), None)

    def forget_cache(self) -> None:
        """Drop what was read, because another process may have changed it."""
        self._cache.clear()

    def _prepare(self, layout: MemoryLayout, rows: int) -> None:
        if self._layout is not None and layout != self._layout:
            raise ProjectMismatchError(
                f"this project keeps logits of {self._layout.height} × {self._layout.width} "
                f"{self._layout.dtype}, the session makes {layout.height} × {layout.width} {layout.dtype}: "
                "use the model and the options that the project was made with, or start a new project"
            )
        if self._layout is None or rows > self._rows:
            self._layout, self._rows = layout, max(self._rows, -(-rows // ROWS) * ROWS)
            self.write_metadata()

    def _write_array_metadata(self, layout: MemoryLayout) -> None:
        for name, dtype, shape, axes in (
            ("logits", layout.dtype, (layout.height, layout.width), ("frame", "row", "y", "x")),
            ("pointers", "float32", (layout.channels,), ("frame", "row", "channel")),
        ):
            make_folder(self._folder / name)
            document = array_document(
                (self._frames, self._rows, *shape),
                (1, ROWS, *shape),
                dtype,
                blosc(np.dtype(dtype).itemsize),
                axes,
            )
            write_json(self._folder / name / METADATA, document)

    def _write_block(self, frame: int, block: int, kept: list[int], new: Mapping[int, Memory]) -> None:
        assert self._layout is not None
        logits = np.zeros((ROWS, self._layout.height, self._layout.width), self._layout.dtype)
        pointers = np.zeros((ROWS, self._layout.channels), np.float32)
        old = self._readable_block(frame, block) if kept else None
        for row in kept:
            if old is not None:
                logits[row % ROWS], pointers[row % ROWS] = old[0][row % ROWS], old[1][row % ROWS]
        for row, memory in new.items():
            if MemoryLayout.of(memory) != self._layout:
                self._prepare(MemoryLayout.of(memory), row + 1)
            logits[row % ROWS], pointers[row % ROWS] = memory
        data = encode_floats(logits)
        replace_file(self._path("logits", frame, block), data)
        replace_file(self._path("pointers", frame, block), encode_floats(pointers))
        self.bytes_per_row = len(data) / max(1, len(kept) + len(new))
        self._cache[frame, block] = (logits, pointers)
        self._shrink_cache()

    def _readable_block(self, frame: int, block: int) -> _Block | None:
        try:
            return self._block(frame, block)
        except ProjectDamagedError:
            return None  # its rows are lost already; what is written now must not be lost, too

    def _block(self, frame: int, block: int) -> _Block | None:
        key = (frame, block)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        layout = self._layout
        path = self._path("logits", frame, block)
        if layout is None or (data := read_file(path)) is None:
            return None
        logits = decode_floats(data, (ROWS, layout.height, layout.width), "<" + _code(layout.dtype), path)
        path = self._path("pointers", frame, block)
        data = read_file(path)
        if data is None:
            raise ProjectDamagedError(f"{path} is missing")
        self._cache[key] = (logits, decode_floats(data, (ROWS, layout.channels), "<f4", path))
        self._shrink_cache()
        return self._cache[key]

    def _shrink_cache(self) -> None:
        while len(self._cache) > _CACHED_BLOCKS:
            self._cache.popitem(last=False)

    def _path(self, name: str, frame: int, block: int) -> Path:
        tail = ".0.0" if name == "logits" else ".0"
        return self._folder / name / f"c.{frame}.{block}{tail}"


def _layout_and_rows(attributes: Mapping[str, Any]) -> tuple[MemoryLayout, int] | None:
    if not attributes:
        return None
    return MemoryLayout.from_json(attributes), whole_number(attributes["rows"], "rows", ROWS)


def _code(dtype: str) -> str:
    return "f2" if dtype == "float16" else "f4"

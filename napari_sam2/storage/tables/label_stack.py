"""The composed label stack: what napari and plain zarr show; always made from the masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.storage.errors import ProjectDamagedError
from napari_sam2.storage.files.atomic_files import (
    METADATA,
    array_document,
    read_file,
    read_json,
    remove_file,
    replace_file,
    signed,
    verified,
    write_json,
)
from napari_sam2.storage.files.chunk_codecs import ZSTD, decode_labels, encode_labels

Labels = NDArray[np.uint16]


class LabelStack:
    """Labels of all frames, uint16 (frames, H, W), read frame by frame; can be shown as a napari layer.

    A frame whose masks changed by undo, redo or removal is *stale*: it is composed again when it is looked
    at or when the project is flushed. Which frames are stale is on disk before the masks change.

    Parameters
    ----------
    folder : Path
        Folder of the array.
    shape : tuple of int
        (number of frames, height, width).
    compose : callable
        Makes the labels of a frame from its masks.
    writable : bool
        Whether composed frames may be written.
    lock : lock
        Held by whoever changes masks and labels.
    """

    dtype = np.dtype(np.uint16)
    ndim = 3

    def __init__(
        self,
        folder: Path,
        shape: tuple[int, int, int],
        compose: Callable[[int], Labels],
        writable: bool,
        lock: AbstractContextManager[object],
    ) -> None:
        self._folder = folder
        self.shape = shape
        self._compose = compose
        self._writable = writable
        self._lock = lock
        self._stale: set[int] = set()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        key = key if isinstance(key, tuple) else (key,)
        first, rest = (key[0], key[1:]) if key and key[0] is not Ellipsis else (slice(None), key)
        chosen = np.arange(len(self))[first]  # the rules of numpy for what is in range
        if np.ndim(chosen) == 0:
            picked: NDArray[Any] = self.frame(int(chosen))[rest]
            return picked
        stack = np.zeros((len(chosen), *self.shape[1:]), self.dtype)
        for row, frame in enumerate(chosen):
            stack[row] = self.frame(int(frame))
        picked = stack[rest] if rest and rest[0] is Ellipsis else stack[(slice(None), *rest)]
        return picked

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)

    @property
    def stale(self) -> frozenset[int]:
        """Frames that have to be composed again."""
        return frozenset(self._stale)

    def frame(self, frame: int) -> Labels:
        """Return the labels of a frame (H, W)."""
        if frame in self._stale:
            return self.refresh(frame)
        path = self.path(frame)
        try:
            data = read_file(path)
            if data is not None:
                return decode_labels(data, self.shape[1:], path)
        except ProjectDamagedError:
            self.forget(frame)  # labels follow from the masks, nothing is lost
        return self._compose(frame)

    def refresh(self, frame: int) -> Labels:
        """Compose the labels of a frame from its masks again."""
        with self._lock:  # or a frame that is tracked meanwhile would get its old labels
            labels = self._compose(frame)
            if self._writable:
                self.write(frame, labels)
            return labels

    def write(self, frame: int, labels: Labels) -> None:
        """Write the labels of a frame (H, W)."""
        if labels.any():
            replace_file(self.path(frame), encode_labels(labels))
        else:
            remove_file(self.path(frame))  # zarr's fill value is 0
        self._stale.discard(frame)

    def mark_stale(self, frames: Iterable[int]) -> None:
        """Say, on disk, that the masks of these frames are about to change."""
        new = set(frames) - self._stale
        if new:
            self._stale |= new
            if self._writable:
                self.write_metadata()

    def forget(self, frame: int) -> None:
        """Say, in memory only (the disk may be full), that a frame has to be composed again."""
        self._stale.add(frame)

    def forget_all(self) -> None:
        """Say, in memory only, that all frames have to be composed again."""
        self._stale = set(range(len(self)))

    def close(self) -> None:
        """Write nothing from now on."""
        self._writable = False

    def refresh_all(self) -> None:
        """Compose all stale frames again."""
        if self._stale and self._writable:
            for frame in sorted(self._stale):
                self.refresh(frame)
        if self._writable:
            self.write_metadata()

    def write_metadata(self) -> None:
        """Write what plain zarr needs to open the array, and which frames are stale."""
        document = array_document(
            self.shape,
            (1, *self.shape[1:]),
            "uint16",
            ZSTD,
            ("frame", "y", "x"),
            signed({"stale": _ranges(self._stale)}),
        )
        write_json(self._folder / METADATA, document)

    def load(self) -> None:
        """Read which frames are stale; ProjectDamagedError when that is unknown (then all may be)."""
        path = self._folder / METADATA
        document = read_json(path)
        if document is None:
            raise ProjectDamagedError(f"{path} is missing")
        try:
            ranges = [(int(a), int(b)) for a, b in verified(document.get("attributes"), path)["stale"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ProjectDamagedError(f"{path} is damaged") from error
        last = len(self) - 1
        self._stale = {t for a, b in ranges for t in range(max(0, a), min(b, last) + 1)}

    def path(self, frame: int) -> Path:
        """Return the file of a frame."""
        return self._folder / f"c.{frame}.0.0"


def _ranges(frames: Iterable[int]) -> list[list[int]]:
    out: list[list[int]] = []
    for frame in sorted(frames):
        if out and frame == out[-1][1] + 1:
            out[-1][1] = frame
        else:
            out.append([frame, frame])
    return out

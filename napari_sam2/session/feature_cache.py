"""A cache of image features with a budget in bytes, which may spill to disk."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch

from napari_sam2.model.tensors import ImageFeatures


class FeatureCache:
    """Image features by frame, least recently used out first.

    Parameters
    ----------
    encode : callable
        Computes the features of a frame.
    budget_bytes : int
        How much may stay in memory. One entry always stays, even when it is larger.
    spill_bytes : int
        How much of what leaves may wait on disk; 0 turns this off.
    folder : Path, optional
        Where the folder for spilled features is made.

    Attributes
    ----------
    encoded, hits, restored : int
        How often features were computed, found in memory and read back from disk.
    """

    def __init__(
        self,
        encode: Callable[[int], ImageFeatures],
        budget_bytes: int,
        spill_bytes: int = 0,
        folder: Path | None = None,
    ) -> None:
        self._encode = encode
        self.budget_bytes = budget_bytes
        self._entries: OrderedDict[int, ImageFeatures] = OrderedDict()
        self._held = 0
        self._spill = _Spill(spill_bytes, folder) if spill_bytes > 0 else None
        self._device: torch.device | None = None
        self._offloaded = False
        self.encoded = self.hits = self.restored = 0

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return self._held

    @property
    def frames(self) -> list[int]:
        """Frames held in memory, least recently used first."""
        return list(self._entries)

    def get(self, frame: int) -> ImageFeatures:
        """Return the features of a frame, computing them when they are not at hand."""
        features = self._entries.pop(frame, None)
        if features is not None:
            self.hits += 1
            self._held -= features.nbytes
        else:
            features = self._load(frame)
        self._entries[frame] = features if not self._offloaded else features.to(torch.device("cpu"))
        self._held += features.nbytes
        self._shrink()
        return features if self._device is None else features.to(self._device)

    def offload(self) -> None:
        """Keep features in main memory from now on (used when the device runs out of memory)."""
        for frame, features in self._entries.items():
            self._device = self._device or features.stride16.device
            self._entries[frame] = features.to(torch.device("cpu"))
        self._offloaded = True

    def clear(self) -> None:
        """Drop everything, on disk, too (used when the frames look different from now on)."""
        self._entries.clear()
        self._held = 0
        if self._spill is not None:
            self._spill.clear()

    def _load(self, frame: int) -> ImageFeatures:
        spilled = self._spill.take(frame) if self._spill is not None else None
        if spilled is not None:
            self.restored += 1
            return spilled if self._device is None else spilled.to(self._device)
        self.encoded += 1
        features = self._encode(frame)
        self._device = features.stride16.device
        return features

    def _shrink(self) -> None:
        while self._held > self.budget_bytes and len(self._entries) > 1:
            frame, features = self._entries.popitem(last=False)
            self._held -= features.nbytes
            if self._spill is not None:
                self._spill.put(frame, features)


class _Spill:
    """Features on disk, oldest out first."""

    def __init__(self, budget_bytes: int, folder: Path | None) -> None:
        self._path = Path(tempfile.mkdtemp(prefix="napari-sam2-features-", dir=folder))
        self._budget = budget_bytes
        self._sizes: OrderedDict[int, int] = OrderedDict()
        self._finalizer = weakref.finalize(self, shutil.rmtree, str(self._path), True)

    def _file(self, frame: int) -> Path:
        return self._path / f"{frame}.pt"

    def put(self, frame: int, features: ImageFeatures) -> None:
        if features.nbytes > self._budget or frame in self._sizes:
            return
        planes = features.to(torch.device("cpu"))
        torch.save(
            {"stride4": planes.stride4, "stride8": planes.stride8, "stride16": planes.stride16},
            self._file(frame),
        )
        self._sizes[frame] = features.nbytes
        while sum(self._sizes.values()) > self._budget:
            oldest, _ = self._sizes.popitem(last=False)
            self._file(oldest).unlink(missing_ok=True)

    def take(self, frame: int) -> ImageFeatures | None:
        if frame not in self._sizes:
            return None
        planes = torch.load(self._file(frame), weights_only=True)
        return ImageFeatures(planes["stride4"], planes["stride8"], planes["stride16"])

    def clear(self) -> None:
        for frame in self._sizes:
            self._file(frame).unlink(missing_ok=True)
        self._sizes.clear()

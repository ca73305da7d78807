"""Sessions: where arrays meet tensors, and where time lives.

Names are resolved when they are used: the records of a session are read without loading torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_sam2.session.compute import OutOfDeviceMemory
    from napari_sam2.session.image import ImagePrediction, ImageSession
    from napari_sam2.session.memory import MemoryBank, MemoryPolicy, Recall, RecencyPolicy
    from napari_sam2.session.options import SessionOptions
    from napari_sam2.session.outcome import Alternatives
    from napari_sam2.session.records import FrameRecord, FrameSource, RecordStore
    from napari_sam2.session.sources import ArrayFrames
    from napari_sam2.session.store import TemporaryStore
    from napari_sam2.session.video import VideoSession

_MODULES = {
    "Alternatives": "outcome",
    "ArrayFrames": "sources",
    "FrameRecord": "records",
    "FrameSource": "records",
    "ImagePrediction": "image",
    "ImageSession": "image",
    "MemoryBank": "memory",
    "MemoryPolicy": "memory",
    "OutOfDeviceMemory": "compute",
    "Recall": "memory",
    "RecencyPolicy": "memory",
    "RecordStore": "records",
    "SessionOptions": "options",
    "TemporaryStore": "store",
    "VideoSession": "video",
}

__all__ = [
    "Alternatives",
    "ArrayFrames",
    "FrameRecord",
    "FrameSource",
    "ImagePrediction",
    "ImageSession",
    "MemoryBank",
    "MemoryPolicy",
    "OutOfDeviceMemory",
    "Recall",
    "RecencyPolicy",
    "RecordStore",
    "SessionOptions",
    "TemporaryStore",
    "VideoSession",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

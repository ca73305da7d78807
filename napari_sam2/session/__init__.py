"""Sessions: where arrays meet tensors, and where time lives."""

from napari_sam2.session.compute import OutOfDeviceMemory
from napari_sam2.session.image import ImagePrediction, ImageSession
from napari_sam2.session.memory import MemoryBank, MemoryPolicy, Recall, RecencyPolicy
from napari_sam2.session.options import SessionOptions
from napari_sam2.session.outcome import Alternatives
from napari_sam2.session.records import FrameRecord, FrameSource, RecordStore
from napari_sam2.session.sources import ArrayFrames
from napari_sam2.session.store import TemporaryStore
from napari_sam2.session.video import VideoSession

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

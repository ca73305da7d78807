"""Frames for the model from anything: arrays of any shape and type, videos, images, TIFF, zarr; one frame at a time."""

from napari_sam2.frames.errors import (
    DamagedSourceWarning,
    FrameReadError,
    PartialSourceWarning,
    SourceError,
    UnreadableFramesWarning,
)
from napari_sam2.frames.fingerprint import fingerprint
from napari_sam2.frames.open_source import open_source
from napari_sam2.frames.options import ChannelOptions, FrameStackOptions, color_stops
from napari_sam2.frames.source import Source
from napari_sam2.frames.stack import FrameStack, guess_options

__all__ = [
    "ChannelOptions",
    "DamagedSourceWarning",
    "FrameReadError",
    "FrameStack",
    "FrameStackOptions",
    "PartialSourceWarning",
    "Source",
    "SourceError",
    "UnreadableFramesWarning",
    "color_stops",
    "fingerprint",
    "guess_options",
    "open_source",
]

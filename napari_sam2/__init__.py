"""Segment and track objects in videos, time-lapses and z-stacks with SAM 2.

Public names are resolved lazily (PEP 562): importing this package loads neither torch nor Qt.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0.dev0"

_PUBLIC = {
    "AutomaticOptions": "napari_sam2.automatic",
    "BoxPrompt": "napari_sam2.prompts",
    "build_sam2": "napari_sam2.reference",
    "build_sam2_hf": "napari_sam2.reference",
    "build_sam2_video_predictor": "napari_sam2.reference",
    "build_sam2_video_predictor_hf": "napari_sam2.reference",
    "ChannelOptions": "napari_sam2.frames",
    "compose_labels": "napari_sam2.masks",
    "evaluate_sequences": "napari_sam2.evaluation",
    "fingerprint": "napari_sam2.frames",
    "FrameMasks": "napari_sam2.masks",
    "FrameStack": "napari_sam2.frames",
    "FrameStackOptions": "napari_sam2.frames",
    "generate_clip": "napari_sam2.synthetic",
    "generate_masks": "napari_sam2.automatic",
    "ImageSession": "napari_sam2.session",
    "load_model": "napari_sam2.model.checkpoints",
    "Masklet": "napari_sam2.masks",
    "MaskPrompt": "napari_sam2.prompts",
    "merged": "napari_sam2.prompts",
    "ModelConfig": "napari_sam2.model.config",
    "open_session": "napari_sam2.storage",
    "open_source": "napari_sam2.frames",
    "open_tracker": "napari_sam2.widgets.opening",
    "PointPrompt": "napari_sam2.prompts",
    "Project": "napari_sam2.storage",
    "Prompt": "napari_sam2.prompts",
    "run_job": "napari_sam2.cli.jobs",
    "Source": "napari_sam2.frames",
    "SAM2AutomaticMaskGenerator": "napari_sam2.reference",
    "SAM2ImagePredictor": "napari_sam2.reference",
    "SAM2VideoPredictor": "napari_sam2.reference",
    "sample_timelapse": "napari_sam2.synthetic",
    "SessionOptions": "napari_sam2.session",
    "TrackJob": "napari_sam2.cli.jobs",
    "VideoSession": "napari_sam2.session",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'napari_sam2' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)

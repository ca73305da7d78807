"""Segment and track objects in videos, time-lapses and z-stacks with SAM 2.

Public names are resolved lazily (PEP 562): importing this package loads neither torch nor Qt.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0.dev0"

_PUBLIC = {
    "BoxPrompt": "napari_sam2.prompts",
    "MaskPrompt": "napari_sam2.prompts",
    "PointPrompt": "napari_sam2.prompts",
    "Prompt": "napari_sam2.prompts",
    "FrameMasks": "napari_sam2.masks",
    "ModelConfig": "napari_sam2.model.config",
    "load_model": "napari_sam2.model.checkpoints",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'napari_sam2' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)

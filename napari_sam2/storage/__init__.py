"""A session on disk, its exports and imports."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "History": "history",
    "LabelStack": "label_stack",
    "ModelDescription": "schema",
    "ObjectInfo": "exports.results",
    "PendingRun": "pending",
    "Project": "project",
    "ProjectDamagedError": "errors",
    "ProjectError": "errors",
    "ProjectExistsError": "errors",
    "ProjectFullError": "errors",
    "ProjectLockedError": "errors",
    "ProjectMismatchError": "errors",
    "ProjectNotFoundError": "errors",
    "ProjectReadOnlyError": "errors",
    "ProjectRecords": "records",
    "ProjectVersionError": "errors",
    "RecordedSession": "recorded",
    "SourceDescription": "schema",
    "is_project": "opening",
    "open_session": "session_opening",
    "describe_model": "session_opening",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"napari_sam2.storage.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'napari_sam2.storage' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)

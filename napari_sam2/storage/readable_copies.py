"""Prompts, objects and settings as files that people can read, from which a destroyed project starts again."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_sam2.objects import ObjectInfo
from napari_sam2.prompts import Prompt, PromptKey
from napari_sam2.storage.errors import ProjectDamagedError, disk_errors
from napari_sam2.storage.schema import (
    FORMAT,
    ProjectHeader,
    objects_from_json,
    objects_to_json,
    prompts_from_json,
    prompts_to_json,
)

SETTINGS = "settings.json"
NAMES = ("prompts.json", "objects.json", SETTINGS)
_MAX_BYTES = 256 * 2**20


@dataclass(frozen=True)
class ReadableCopies:
    """Everything about a project that was made by hand.

    Parameters
    ----------
    header : ProjectHeader
        Source, model, options and size of the frames.
    prompts, objects : mapping
        Prompts by (frame, object id), and objects by id.
    settings : mapping
        Other settings that were saved in the project, JSON-ready.
    """

    header: ProjectHeader
    prompts: Mapping[PromptKey, Prompt] = field(default_factory=dict)
    objects: Mapping[int, ObjectInfo] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write the copies whose content changed; each is replaced as a whole."""
        documents = (
            {"prompts": prompts_to_json(self.prompts)},
            {"objects": objects_to_json(self.objects.values())},
            self.header.to_json() | {"settings": dict(self.settings)},
        )
        for name, document in zip(NAMES, documents):
            text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
            write_document(folder / name, text + "\n")

    @classmethod
    def read(cls, folder: Path) -> ReadableCopies:
        """Read the copies of a project; ProjectDamagedError when they are missing or damaged, too."""
        try:
            prompts, objects, settings = (_document(folder / name) for name in NAMES)
            header = ProjectHeader.from_json(settings)
            found = prompts_from_json(prompts.get("prompts"), header.shape[0])
            return cls(
                header, found, objects_from_json(objects.get("objects")), dict(settings.get("settings") or {})
            )
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise ProjectDamagedError(
                f"{folder} cannot be started again, because its readable copies are damaged: {error}"
            ) from error

    def without_accepted(self) -> ReadableCopies:
        """Return copies in which no mask is accepted, because there are none."""
        return replace(self, objects={i: replace(o, accepted=()) for i, o in self.objects.items()})


def write_document(path: Path, text: str) -> None:
    """Replace a file as a whole unless it holds this text; a link at its place is replaced, not followed."""
    data = text.encode()
    with disk_errors(path):
        if not path.is_symlink() and path.is_file() and path.read_bytes() == data:
            return
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        flags = (
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        )
        try:
            with os.fdopen(os.open(partial, flags, 0o666), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise


def has_copies(folder: Path) -> bool:
    """Return True if a folder holds the settings of a project, whatever became of its database."""
    try:
        return _document(folder / SETTINGS).get("format") == FORMAT
    except (OSError, ValueError, RecursionError):
        return False


def _document(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"{path} is too large")
    document = json.loads(data)
    if not isinstance(document, dict):
        raise ValueError(f"{path} should hold a JSON object")
    return document

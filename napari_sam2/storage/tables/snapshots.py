"""Files of the states that undo and redo move between: versions, and prompts and objects of each state."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_sam2.objects import ObjectInfo
from napari_sam2.prompts import Prompt, PromptKey
from napari_sam2.storage.errors import ProjectDamagedError
from napari_sam2.storage.files.atomic_files import (
    METADATA,
    array_document,
    parsed_json,
    read_file,
    read_json,
    remove_file,
    replace_file,
    signed,
    verified,
)
from napari_sam2.storage.files.chunk_codecs import ZSTD, decode_text, encode_text
from napari_sam2.storage.files.group_attributes import WRITER, Documents
from napari_sam2.storage.schema import (
    objects_from_json,
    objects_to_json,
    prompts_from_json,
    prompts_to_json,
    whole_number,
)
from napari_sam2.storage.tables.versions import Versions

Report = Callable[[str], None]


@dataclass(frozen=True)
class State:
    """What the user said: prompts by (frame, object id) in order, and objects by id."""

    prompts: Mapping[PromptKey, Prompt] = field(default_factory=dict)
    objects: Mapping[int, ObjectInfo] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "prompts": prompts_to_json(self.prompts),
            "objects": objects_to_json(self.objects.values()),
        }


class StateFiles:
    """Reads and writes the array ``history`` and the groups ``prompts`` and ``objects``.

    Parameters
    ----------
    folder : Path
        The project.
    frames : int
        Number of frames.
    """

    def __init__(self, folder: Path, frames: int) -> None:
        self._folder = folder / "history"
        self._copy = folder / WRITER / "copy-of-history.json"
        self._documents = Documents(folder)
        self._frames = frames

    def write_versions(self, versions: Versions) -> None:
        """Write which versions count: the moment from which undo, redo and actions are done."""
        replace_file(self._folder / METADATA, _versions_text(versions))

    def copy_versions(self, versions: Versions) -> None:
        """Write the copy that is read when the original is damaged."""
        replace_file(self._copy, _versions_text(versions))

    def read_versions(self, report: Report) -> Versions:
        """Read which versions count; ProjectDamagedError when neither file nor copy can be read."""
        problem = ""
        for path in (self._folder / METADATA, self._copy):
            try:
                document = read_json(path)
                if document is None:
                    raise ProjectDamagedError(f"{path} is missing")
                versions = Versions.from_json(verified(document.get("attributes"), path))
            except ProjectDamagedError as error:
                problem = problem or str(error)
            except (ValueError, KeyError, TypeError) as error:
                problem = problem or f"{path} is damaged: {error}"
            else:
                if problem:
                    report(f"{problem}; its copy was used")
                return versions
        raise ProjectDamagedError(problem)

    def save(self, serial: int, state: State) -> None:
        """Keep what the user said in the state ``serial``."""
        text = json.dumps(state.to_json(), ensure_ascii=False, allow_nan=False)
        replace_file(self._path(serial), encode_text(text))

    def load(self, serial: int) -> State:
        """Return what the user said in a state; ProjectDamagedError when it cannot be read."""
        path = self._path(serial)
        data = read_file(path)
        if data is None:
            raise ProjectDamagedError(f"{path} is missing")
        document = parsed_json(decode_text(data, path).encode(), path)
        try:
            return State(
                prompts_from_json(document["prompts"], self._frames),
                objects_from_json(document["objects"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ProjectDamagedError(f"{path} is damaged: {error}") from error

    def forget(self, serial: int) -> None:
        """Drop a state that is out of reach."""
        remove_file(self._path(serial))

    def size(self, serial: int) -> int:
        """Return the bytes that a state takes."""
        path = self._path(serial)
        return path.stat().st_size if path.exists() else 0

    def publish(self, serial: int, state: State) -> None:
        """Write a state where people and plain zarr look for it."""
        document = state.to_json()
        self._documents.write("prompts", {"serial": serial, "prompts": document["prompts"]})
        self._documents.write("objects", {"serial": serial, "objects": document["objects"]})

    def read(self, serial: int, report: Report) -> State:
        """Return the state ``serial`` from the published files, or from the history when those are older."""
        state = self._published("prompts", serial, self._prompts, report)
        infos = self._published("objects", serial, _objects, report)
        if state is not None and infos is not None:
            return State(state, infos)
        try:
            kept = self.load(serial)
        except ProjectDamagedError as error:
            report(str(error))
            kept = State()
        return State(kept.prompts if state is None else state, kept.objects if infos is None else infos)

    def _published(
        self, name: str, serial: int, parse: Callable[[Any], tuple[int, Any]], report: Report
    ) -> Any:
        try:
            written, content = self._documents.read(name, parse, report)
        except ProjectDamagedError as error:
            report(str(error))
            return None
        return content if written == serial else None

    def _prompts(self, data: Any) -> tuple[int, Any]:
        return whole_number(data["serial"], "a serial"), prompts_from_json(data["prompts"], self._frames)

    def _path(self, serial: int) -> Path:
        return self._folder / f"c.{serial}"


def _versions_text(versions: Versions) -> bytes:
    attributes = signed(versions.to_json())
    document = array_document((versions.next_serial,), (1,), "string", ZSTD, ("serial",), attributes)
    # On one line: it is written at every click, and may have hundreds of actions.
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _objects(data: Any) -> tuple[int, Any]:
    return whole_number(data["serial"], "a serial"), objects_from_json(data["objects"])

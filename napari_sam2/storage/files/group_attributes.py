"""The attributes of the project's zarr groups, written twice so that one damaged file loses nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from napari_sam2.storage.errors import ProjectDamagedError
from napari_sam2.storage.files.atomic_files import (
    METADATA,
    group_document,
    make_folder,
    read_json,
    signed,
    verified,
    write_json,
)

WRITER = "writer"
_EDITABLE = ("prompts", "objects")  # people may change these by hand, so they have no checksum
Parsed = TypeVar("Parsed")


class Documents:
    """Reads and writes the attributes of groups, with a copy in the folder of the writer.

    Parameters
    ----------
    folder : Path
        The project.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, attributes: Mapping[str, Any]) -> None:
        """Write the attributes of a group; ``name`` "" is the root."""
        make_folder(self._folder / name)
        document = group_document(dict(attributes) if name in _EDITABLE else signed(dict(attributes)))
        write_json(self._folder / name / METADATA, document)
        write_json(self._backup(name), document)

    def read(
        self, name: str, parse: Callable[[Mapping[str, Any]], Parsed], on_damage: Callable[[str], None]
    ) -> Parsed:
        """Read and parse the attributes of a group, from the copy when the original is damaged.

        Raises
        ------
        ProjectDamagedError
            Neither can be read.
        """
        problem = ""
        for path in (self._folder / name / METADATA, self._backup(name)):
            try:
                parsed = self._parse(path, parse)
            except ProjectDamagedError as error:
                problem = problem or str(error)
                continue
            if problem:
                on_damage(f"{problem}; its copy was used")
            return parsed
        raise ProjectDamagedError(problem)

    def _parse(self, path: Path, parse: Callable[[Mapping[str, Any]], Parsed]) -> Parsed:
        document = read_json(path)
        if document is None:
            raise ProjectDamagedError(f"{path} is missing")
        try:
            return parse(verified(document["attributes"], path))
        except ProjectDamagedError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise ProjectDamagedError(f"{path} is damaged: {reason}") from error

    def _backup(self, name: str) -> Path:
        return self._folder / WRITER / f"copy-of-{name or 'project'}.json"

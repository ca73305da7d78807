"""Bringing projects of older versions to the current layout, one version at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from napari_sam2.storage.errors import ProjectVersionError
from napari_sam2.storage.files.group_attributes import Documents
from napari_sam2.storage.schema import FORMAT, VERSION, whole_number

Step = Callable[[Path, dict[str, Any]], dict[str, Any]]

# From version to the step that leads to the next one. A step changes the files of the project and returns
# the attributes of the root group; it must be safe to run again after it was cut short, because the version
# number is written last. There is one version so far, hence no step.
STEPS: Mapping[int, Step] = MappingProxyType({})


def version_of(attributes: Mapping[str, Any]) -> int:
    """Return the version of a project's layout; ValueError when this is no project."""
    if attributes.get("format") != FORMAT:
        raise ValueError("this is not a project of napari-sam2")
    return whole_number(attributes.get("version"), "the version of the layout", 1)


def migrate(
    folder: Path,
    attributes: Mapping[str, Any],
    *,
    writable: bool,
    steps: Mapping[int, Step] = STEPS,
    target: int = VERSION,
) -> dict[str, Any]:
    """Bring a project to the current layout and return the attributes of its root group.

    Parameters
    ----------
    folder : Path
        The project.
    attributes : mapping
        Attributes of its root group.
    writable : bool
        Whether files may be changed.
    steps, target : mapping of int to callable, int
        The steps and the version to reach; others than the default are for tests.

    Raises
    ------
    ProjectVersionError
        The project is newer than this software, or older and open for reading only.
    """
    version = version_of(attributes)
    if version > target:
        raise ProjectVersionError(
            f"{folder} has layout version {version}, this software knows versions up to {target}: "
            "update napari-sam2"
        )
    if version < target and not writable:
        raise ProjectVersionError(
            f"{folder} has the old layout version {version}: open it for writing once to convert it"
        )
    current = dict(attributes)
    while version < target:
        if version not in steps:
            raise ProjectVersionError(f"{folder} has layout version {version}, which cannot be converted")
        current = steps[version](folder, current)
        version += 1
        current["version"] = version
        Documents(folder).write("", current)
    return current

"""Projects of other versions of the layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from napari_sam2.storage import Project, ProjectVersionError
from napari_sam2.storage.files.group_attributes import Documents
from napari_sam2.storage.migrations import STEPS, migrate
from napari_sam2.storage.schema import VERSION


def root(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "zarr.json").read_text())["attributes"]


def test_every_older_version_has_a_step() -> None:
    assert sorted(STEPS) == list(range(1, VERSION))


def test_a_newer_project_is_left_alone_and_said_to_be_newer(project) -> None:
    path = project.path
    project.close()
    Documents(path).write("", root(path) | {"version": VERSION + 1})
    before = (path / "zarr.json").read_bytes()
    for mode in ("r", "a"):
        with pytest.raises(ProjectVersionError, match="update napari-sam2"):
            Project.open(path, mode)
    assert (path / "zarr.json").read_bytes() == before


def test_steps_run_one_after_the_other_and_only_once(project) -> None:
    path = project.path
    ran = []

    def first(folder: Path, attributes: dict[str, Any]) -> dict[str, Any]:
        ran.append(1)
        (folder / "converted").write_text("1")
        return attributes | {"colour": attributes.pop("color", "none")}

    def second(folder: Path, attributes: dict[str, Any]) -> dict[str, Any]:
        ran.append(2)
        if len(ran) == 2:
            raise KeyboardInterrupt  # cut short: the first step is done, this one is not
        return attributes | {"second": True}

    steps = {1: first, 2: second}
    with pytest.raises(KeyboardInterrupt):
        migrate(path, root(path), writable=True, steps=steps, target=3)
    assert root(path)["version"] == 2
    assert root(path)["colour"] == "none"
    out = migrate(path, root(path), writable=True, steps=steps, target=3)
    assert ran == [1, 2, 2]
    assert out["version"] == root(path)["version"] == 3
    assert root(path)["second"]
    assert migrate(path, root(path), writable=False, steps=steps, target=3)["version"] == 3
    assert len(ran) == 3


def test_an_old_project_is_not_converted_by_a_reader(project) -> None:
    with pytest.raises(ProjectVersionError, match="open it for writing"):
        migrate(project.path, root(project.path), writable=False, steps={}, target=VERSION + 1)
    with pytest.raises(ProjectVersionError, match="cannot be converted"):
        migrate(project.path, root(project.path), writable=True, steps={}, target=VERSION + 1)

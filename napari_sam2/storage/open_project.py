"""A project as arrays and tables, for notebooks and other programs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.storage.project import Project
from napari_sam2.storage.schema import color_text

Table = dict[str, list[Any]]


@dataclass(frozen=True)
class ProjectData:
    """Labels and tables of a project.

    Parameters
    ----------
    labels : dask array of uint16, shape (frames, H, W)
        One chunk a frame, composed when it is computed; the smaller object is on top.
    tables : mapping of str to dict
        "masks" (a row for every object on every frame), "objects" and "prompts": name of a column to its values.
    """

    labels: Any
    tables: Mapping[str, Table]

    def dataframe(self, name: str) -> Any:
        """Return a table as a DataFrame; needs pandas."""
        import pandas

        if name not in self.tables:
            raise KeyError(f"there is no table {name!r}, there are {', '.join(sorted(self.tables))}")
        return pandas.DataFrame(self.tables[name])


def open_project(path: str | os.PathLike[str]) -> ProjectData:
    """Open a project for reading, as a dask array of labels and tables.

    Parameters
    ----------
    path : path-like
        The folder NAME.sam2.
    """
    from dask.array import map_blocks

    build: Any = map_blocks  # dask has no types for it
    reader = _LabelReader(Path(path).absolute())
    with Project.open(path) as project:
        frames, height, width = project.shape
        tables = {"masks": _masks(project), "objects": _objects(project), "prompts": _prompts(project)}
    labels = build(
        reader,
        dtype=np.uint16,
        chunks=((1,) * frames, (height,), (width,)),
        meta=np.zeros((0, 0, 0), np.uint16),
    )
    return ProjectData(labels, tables)


class _LabelReader:
    """Reads the labels of a frame; goes to another process without the open file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._project: Project | None = None

    def __call__(self, block_info: Any = None) -> NDArray[np.uint16]:
        if self._project is None:
            self._project = Project.open(self._path)
        return self._project.labels.frame(block_info[None]["chunk-location"][0])[None]

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path, "_project": None}


def _masks(project: Project) -> Table:
    names = ("object_id", "origin", "object_score", "predicted_iou", "prompted")
    table: Table = {name: [] for name in ("frame", *names, "area")}
    for frame in project.frames():
        for row in project.store.mask_rows(frame):
            table["frame"].append(frame)
            table["area"].append(row.mask.area)
            for name in names:
                table[name].append(getattr(row, name))
    return table


def _objects(project: Project) -> Table:
    objects = project.objects.values()
    return {
        "object_id": [o.object_id for o in objects],
        "name": [o.name for o in objects],
        "color": [None if o.color is None else color_text(o.color) for o in objects],
    }


def _prompts(project: Project) -> Table:
    prompts = project.prompts
    return {
        "frame": [frame for frame, _ in prompts],
        "object_id": [object_id for _, object_id in prompts],
        "prompt": [prompt.to_json() for prompt in prompts.values()],
    }

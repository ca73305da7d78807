"""Folders of the Cell Tracking Challenge: results (``mask*.tif``) and ground truth (``man_track*.tif``)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_sam2.storage.imports.imported import Collector, ImportedMasks, ImportProblem, frame_numbers
from napari_sam2.storage.imports.labels import readable

TABLES = {"res_track.txt": "mask*.tif", "man_track.txt": "man_track*.tif"}


@dataclass(frozen=True)
class _Track:
    label: int
    begin: int
    end: int
    parent: int


def is_ctc(path: Path) -> bool:
    """Whether a folder has a table of tracks of the Cell Tracking Challenge."""
    return any((path / name).is_file() for name in TABLES)


def read_ctc(path: Path, *, join_gaps: bool = True) -> ImportedMasks:
    """Read a result or ground truth folder of the Cell Tracking Challenge (two-dimensional sequences).

    Parameters
    ----------
    path : Path
        Folder with ``res_track.txt`` or ``man_track.txt``.
    join_gaps : bool
        A track whose parent has no other child and ended at least one frame earlier than the frame before
        continues the parent: it gets the parent's id. Daughters of a division stay objects of their own.

    Raises
    ------
    ImportProblem
        When the table or an image can't be read.
    """
    path = Path(path)
    table = next((path / name for name in TABLES if (path / name).is_file()), None)
    if table is None:
        raise ImportProblem(
            f"{path} has neither res_track.txt nor man_track.txt: not a folder of the challenge"
        )
    with readable(path):
        tracks = _read_table(table)
        ids = _continued(tracks) if join_gaps else {}
        files = sorted(path.glob(TABLES[table.name]))
        frames = frame_numbers(f.stem for f in files)
        if not files or frames is None:
            raise ImportProblem(f"{path} has no numbered images {TABLES[table.name]}")
        collector = Collector(str(path))
        for frame, file in sorted(zip(frames, files)):
            collector.add_labels(frame, _renamed(tifffile.imread(file), ids))
        return collector.finished(max(frames) + 1)


def _read_table(path: Path) -> dict[int, _Track]:
    tracks = {}
    for number, line in enumerate(path.read_text(encoding="ascii", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            track = _Track(*(int(v) for v in line.split()))
        except (TypeError, ValueError):
            raise ImportProblem(
                f"{path}, line {number}: four whole numbers expected, got {line!r:.60}"
            ) from None
        tracks[track.label] = track
    return tracks


def _continued(tracks: dict[int, _Track]) -> dict[int, int]:
    """Label of a track that goes on after a gap -> label of the stretch that it began as."""
    children = [t.parent for t in tracks.values()]
    ids: dict[int, int] = {}
    for track in sorted(tracks.values(), key=lambda t: t.begin):
        parent = tracks.get(track.parent)
        if parent is not None and children.count(parent.label) == 1 and parent.end < track.begin - 1:
            ids[track.label] = ids.get(parent.label, parent.label)
    return ids


def _renamed(labels: NDArray[Any], ids: dict[int, int]) -> NDArray[Any]:
    out = np.array(labels)
    for label, object_id in ids.items():
        out[labels == label] = object_id
    return out

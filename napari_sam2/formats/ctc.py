"""Result folder of the Cell Tracking Challenge: one label image a frame and a table of tracks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_sam2.formats.atomic_output import SIGNATURE, Overwrite, staged
from napari_sam2.formats.imported_masks import Collector, ImportedMasks, ImportProblem, frame_numbers
from napari_sam2.formats.label_images import readable
from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.masks import compose_labels
from napari_sam2.objects import MAX_OBJECT_ID, Parent, lineage_graph

# Table of tracks -> its images, of a result and of ground truth.
TABLES = {"res_track.txt": "mask*.tif", "man_track.txt": "man_track*.tif"}


@dataclass
class CtcTrack:
    """One line of ``res_track.txt``: label, first frame, last frame, label of the parent (0: none)."""

    label: int
    begin: int
    end: int
    parent: int = 0


@dataclass
class TrackTable:
    """Cut objects into the challenge's tracks, which may have no gaps, while frames go by.

    An object keeps its id as label for its first stretch; each later stretch gets an unused label and the
    stretch before it as parent. The parent of a first stretch is the last one of the mother, which must have ended.

    Parameters
    ----------
    object_ids : frozenset of int
        All objects of the run; their ids are never given to later stretches.
    parents : mapping of int to int
        Object to the one that divided into it.
    """

    object_ids: frozenset[int]
    parents: Mapping[int, int] = field(default_factory=dict)
    tracks: list[CtcTrack] = field(default_factory=list)
    _newest: dict[int, CtcTrack] = field(default_factory=dict)
    _last_label: int = 0

    def label(self, object_id: int, frame: int) -> int:
        """Return the label of an object that is seen on ``frame``; frames must come in order."""
        track = self._newest.get(object_id)
        if track is None:
            mother = self._newest.get(self.parents.get(object_id, 0))
            parent = 0 if mother is None else mother.label
            track = self._add(object_id, CtcTrack(object_id, frame, frame, parent))
        elif track.end < frame - 1:
            track = self._add(object_id, CtcTrack(self._unused(), frame, frame, parent=track.label))
        track.end = frame
        return track.label

    def text(self) -> str:
        """Return the table as the challenge wants it, ordered by label."""
        ends = {t.label: t.end for t in self.tracks}
        rows = sorted(self.tracks, key=lambda t: t.label)
        parents = {t.label: t.parent if ends.get(t.parent, -1) < t.begin else 0 for t in rows}
        return "".join(f"{t.label} {t.begin} {t.end} {parents[t.label]}\n" for t in rows)

    def _add(self, object_id: int, track: CtcTrack) -> CtcTrack:
        self.tracks.append(track)
        self._newest[object_id] = track
        return track

    def _unused(self) -> int:
        label = self._last_label + 1
        while label in self.object_ids:
            label += 1
        if label > MAX_OBJECT_ID:
            raise ValueError(
                f"the Cell Tracking Challenge has labels up to {MAX_OBJECT_ID} and there are more tracks than that"
            )
        self._last_label = label
        return label


def write_ctc(results: TrackingResults, path: Path, *, overwrite: Overwrite = False) -> Path:
    """Write a result folder of the Cell Tracking Challenge: ``mask000.tif`` ... and ``res_track.txt``.

    Labels are uint16; where objects overlap the smaller one is on top, and an object that is wholly covered
    on a frame counts as not seen there. A gap ends the track: what follows is a new track whose parent is
    the one before. Daughters have their mother's last track as parent, unless she is still seen when they begin.

    Raises
    ------
    FileExistsError
        When ``path`` exists and may not be replaced.
    ValueError
        When no object is seen anywhere (the challenge has no empty results), or an id does not fit into 16
        bits.
    """
    digits = max(3, len(str(results.n_frames - 1)))
    parents = {child: found[0] for child, found in lineage_graph(results.objects).items()}
    table = TrackTable(frozenset(results.object_ids), parents)
    with staged(path, overwrite) as part:
        part.mkdir()
        for found in results.frames():
            labels = _relabelled(compose_labels(found, np.uint16), found.frame, table)
            file = part / f"mask{found.frame:0{digits}d}.tif"
            tifffile.imwrite(file, labels, compression="zlib", software=SIGNATURE)
        if not table.tracks:
            raise ValueError(
                "no object is seen on any frame, and the Cell Tracking Challenge has no empty results: "
                "track first"
            )
        (part / "res_track.txt").write_text(table.text(), encoding="ascii")
    return path


def _relabelled(labels: NDArray[np.uint16], frame: int, table: TrackTable) -> NDArray[np.uint16]:
    new = np.zeros(int(labels.max()) + 1, np.uint16)
    for object_id in np.unique(labels):
        if object_id:
            new[object_id] = table.label(int(object_id), frame)
    relabelled: NDArray[np.uint16] = new[labels]  # (H, W)
    return relabelled


def is_ctc(path: Path) -> bool:
    """Return whether a folder has a table of tracks of the Cell Tracking Challenge."""
    return any((path / name).is_file() for name in TABLES)


def read_ctc(path: Path, *, join_gaps: bool = True) -> ImportedMasks:
    """Read a result or ground truth folder of the Cell Tracking Challenge (two-dimensional sequences).

    Parameters
    ----------
    path : Path
        Folder with ``res_track.txt`` or ``man_track.txt``.
    join_gaps : bool
        A track whose parent has no other child and ended at least one frame earlier than the frame before
        continues the parent: it gets the parent's id. Daughters of a division stay objects of their own, and have the
        parent and the frame on which they begin.

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
        names = {frame: file.name for frame, file in zip(frames, files, strict=True)}
        found = collector.finished(max(frames) + 1, frame_names=names, numbered=True)
        return replace(found, parents=_parents(tracks, ids))


def _parents(tracks: Mapping[int, CtcTrack], ids: Mapping[int, int]) -> dict[int, Parent]:
    """Return the parents of tracks that do not continue another one, by object id."""
    return {
        track.label: Parent(ids.get(track.parent, track.parent), track.begin)
        for track in tracks.values()
        if track.label not in ids and track.parent in tracks and 1 <= track.label <= MAX_OBJECT_ID
    }


def _read_table(path: Path) -> dict[int, CtcTrack]:
    tracks = {}
    for number, line in enumerate(path.read_text(encoding="ascii", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            track = CtcTrack(*(int(v) for v in line.split()))
        except (TypeError, ValueError):
            raise ImportProblem(
                f"{path}, line {number}: four whole numbers expected, got {line!r:.60}"
            ) from None
        tracks[track.label] = track
    return tracks


def _continued(tracks: dict[int, CtcTrack]) -> dict[int, int]:
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

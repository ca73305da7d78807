"""Centroids of the objects as napari Tracks, as an array, as CSV and as a graph with divisions."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_sam2.formats.atomic_output import Overwrite, staged
from napari_sam2.formats.measurements import csv_text, lineage_columns
from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.masks import BoolArray, mask_box
from napari_sam2.objects import ObjectInfo, lineage_graph


def tracks_array(results: TrackingResults) -> NDArray[np.float64]:
    """Return what ``viewer.add_tracks`` takes, (N, 4): object id, frame, y, x; sorted by id and frame.

    Positions are centroids in pixels; frames on which an object is not seen have no row. Overlaps do not
    matter: each object's own mask is measured.
    """
    rows = np.array(list(_rows(results)), np.float64).reshape(-1, 4)
    return rows[np.lexsort((rows[:, 1], rows[:, 0]))]


def track_links(rows: NDArray[np.float64], objects: Iterable[ObjectInfo]) -> NDArray[np.int64]:
    """Return the edges of the graph that the rows of :func:`tracks_array` are the nodes of, (M, 2): source, target.

    Each object is linked from one frame on which it is seen to the next, and from the last frame of its parent before
    it begins to its own first frame.
    """
    follows = np.flatnonzero(rows[1:, 0] == rows[:-1, 0])
    edges = [(int(i), int(i) + 1) for i in follows]
    for child, parents in lineage_graph(objects).items():
        own = np.flatnonzero(rows[:, 0] == child)
        begin = rows[own[0], 1] if len(own) else 0
        before = np.flatnonzero((rows[:, 0] == parents[0]) & (rows[:, 1] < begin))
        if len(before):
            edges.append((int(before[-1]), int(own[0])))
    return np.array(edges, np.int64).reshape(-1, 2)


def write_tracks(results: TrackingResults, path: Path, *, overwrite: Overwrite = False) -> Path:
    """Write the tracks as CSV: ``track_id, t, y, x`` (pixels), ``name``, ``parent``, ``generation``, frame by frame.

    The first four columns are what ``viewer.add_tracks`` takes. The second column is named after the frame
    axis. ``parent`` is the track that divided into this one, empty without one; ``generation`` the number of divisions
    before it.

    Raises
    ------
    FileExistsError
        When ``path`` exists and may not be replaced.
    """
    with staged(path, overwrite) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["track_id", results.calibration.axis, "y", "x", "name", "parent", "generation"])
        lineage = lineage_columns(results.objects)
        for object_id, frame, y, x in _rows(results):
            writer.writerow(
                [
                    *(object_id, frame, f"{y:.3f}", f"{x:.3f}", csv_text(results.info(object_id).title)),
                    *lineage[object_id].values(),
                ]
            )
    return path


def _rows(results: TrackingResults) -> Iterator[tuple[int, int, float, float]]:
    for found in results.frames():
        for object_id, mask in zip(found.object_ids, found.masks):
            centre = centroid(mask)
            if centre is not None:
                yield object_id, found.frame, *centre


def centroid(mask: BoolArray) -> tuple[float, float] | None:
    """Return the mean (y, x) of a mask (H, W) in pixels; None when it is empty."""
    box = mask_box(mask)
    if box is None:
        return None
    x0, y0, x1, y1 = box
    rows, columns = np.nonzero(mask[y0:y1, x0:x1])
    return float(rows.mean()) + y0, float(columns.mean()) + x0

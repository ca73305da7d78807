"""Centroids of the objects as napari Tracks, as an array and as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_sam2.formats.atomic_output import Overwrite, staged
from napari_sam2.formats.measurements import csv_text
from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.masks import BoolArray, mask_box


def tracks_array(results: TrackingResults) -> NDArray[np.float64]:
    """Return what ``viewer.add_tracks`` takes, (N, 4): object id, frame, y, x; sorted by id and frame.

    Positions are centroids in pixels; frames on which an object is not seen have no row. Overlaps do not
    matter: each object's own mask is measured.
    """
    rows = np.array(list(_rows(results)), np.float64).reshape(-1, 4)
    return rows[np.lexsort((rows[:, 1], rows[:, 0]))]


def write_tracks(results: TrackingResults, path: Path, *, overwrite: Overwrite = False) -> Path:
    """Write the tracks as CSV with the columns ``track_id, t, y, x`` (pixels) and ``name``, frame by frame.

    The first four columns are what ``viewer.add_tracks`` takes. The second column is named after the frame
    axis.

    Raises
    ------
    FileExistsError
        When ``path`` exists and may not be replaced.
    """
    with staged(path, overwrite) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["track_id", results.calibration.axis, "y", "x", "name"])
        for object_id, frame, y, x in _rows(results):
            writer.writerow(
                [object_id, frame, f"{y:.3f}", f"{x:.3f}", csv_text(results.info(object_id).title)]
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

"""Tracks with divisions in the Graph Exchange File Format (GEFF)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from napari_sam2.formats.atomic_output import SIGNATURE, Overwrite, staged
from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.formats.tracks import track_links, tracks_array

if TYPE_CHECKING:
    from geff import GeffMetadata


def write_geff(results: TrackingResults, path: Path, *, overwrite: Overwrite = False) -> Path:
    """Write a directed graph: a node for each object and frame on which it is seen, edges forward in time.

    Nodes have the frame (``t``, or the name of another frame axis) and the centroid (``y``, ``x``, pixels), with the
    scale of the source in the axes, and the object id as ``track_id``. Written by the library ``geff``, which has to be
    installed (``pip install napari-sam2[lineage]``).

    Raises
    ------
    FileExistsError
        When ``path`` exists and may not be replaced.
    """
    from geff.core_io import write_arrays

    rows = tracks_array(results)
    frame_axis = results.calibration.axis
    columns = {
        "track_id": rows[:, 0].astype(np.int64),
        frame_axis: rows[:, 1],
        "y": rows[:, 2],
        "x": rows[:, 3],
    }
    ids = np.arange(len(rows), dtype=np.uint64)
    with staged(path, overwrite) as part:
        write_arrays(
            str(part),
            ids,
            {name: {"values": values, "missing": None} for name, values in columns.items()},
            track_links(rows, results.objects).astype(np.uint64),
            {},
            _metadata(results, columns),
            zarr_format=3,
        )
        zarr.open_group(str(part), mode="r+").attrs[SIGNATURE] = {"export": "tracks"}
    return path


def _metadata(results: TrackingResults, columns: dict[str, Any]) -> GeffMetadata:
    from geff import GeffMetadata
    from geff_spec import Axis, PropMetadata

    cal = results.calibration
    kinds = {"t": "time", "z": "space", "y": "space", "x": "space"}
    axes = [
        Axis(
            name=name,
            type=kinds.get(name),
            unit="frame" if kinds.get(name) == "time" else "pixel",
            min=float(columns[name].min(initial=np.inf)) if len(columns[name]) else None,
            max=float(columns[name].max(initial=-np.inf)) if len(columns[name]) else None,
            scale=None if unit is None else scale,
            scaled_unit=unit,
        )
        for name, scale, unit in zip((cal.axis, "y", "x"), cal.scale, cal.unit_names)
    ]
    return GeffMetadata(
        directed=True,
        axes=axes,
        node_props_metadata={
            name: PropMetadata(identifier=name, dtype=str(values.dtype)) for name, values in columns.items()
        },
        edge_props_metadata={},
        track_node_props={"tracklet": "track_id"},
    )

"""Label images as OME-Zarr 0.5 (zarr v3): a pyramid of labels, one chunk for each frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from napari_sam2.formats.atomic_output import SIGNATURE, Overwrite, staged
from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.masks import compose_labels

# A viewer shows the smallest level first; below this size another level saves nothing.
_SMALLEST_SIDE = 256
_OME_AXIS_TYPES = {"t": "time", "z": "space", "c": "channel"}


def write_ome_zarr(results: TrackingResults, path: Path, *, overwrite: Overwrite = False) -> Path:
    """Write labels as an OME-Zarr 0.5 label image: axes, scale, units, the objects' names and colours.

    uint16 (T, Y, X) or (Z, Y, X). Smaller levels take every second pixel, so they hold no made-up ids. An
    frame axis that is neither time nor depth is stored as "t". Names and colours are in
    ``image-label``.

    Raises
    ------
    FileExistsError
        When ``path`` exists and may not be replaced.
    ValueError
        When an object id does not fit into 16 bits.
    """
    with staged(path, overwrite) as part:
        group = zarr.create_group(store=str(part), zarr_format=3)
        axes = _axes(results)
        names = [a["name"] for a in axes]
        levels = [
            group.create_array(
                str(level),
                shape=(results.n_frames, *size),
                chunks=(1, *size),
                dtype="uint16",
                dimension_names=names,
            )
            for level, size in enumerate(_level_sizes(results.size))
        ]
        for found in results.frames():
            labels = compose_labels(found, np.uint16)  # (H, W)
            for level, array in enumerate(levels):
                step = 2**level
                array[found.frame] = labels[::step, ::step]
        group.attrs["ome"] = _metadata(results, axes, len(levels))
        group.attrs[SIGNATURE] = {"export": "labels"}
    return path


def _level_sizes(size: tuple[int, int]) -> list[tuple[int, int]]:
    sizes = [size]
    while max(sizes[-1]) > 2 * _SMALLEST_SIDE:
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes


def _axes(results: TrackingResults) -> list[dict[str, str]]:
    cal = results.calibration
    frame_axis = cal.axis if cal.axis in _OME_AXIS_TYPES else "t"
    axes = [
        {"name": frame_axis, "type": _OME_AXIS_TYPES[frame_axis]},
        {"name": "y", "type": "space"},
        {"name": "x", "type": "space"},
    ]
    for axis, unit in zip(axes, cal.unit_names):
        if unit is not None:
            axis["unit"] = unit
    return axes


def _metadata(results: TrackingResults, axes: list[dict[str, str]], levels: int) -> dict[str, Any]:
    step, y, x = results.calibration.scale
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [{"type": "scale", "scale": [step, y * 2**level, x * 2**level]}],
        }
        for level in range(levels)
    ]
    return {
        "version": "0.5",
        "multiscales": [{"name": results.name, "axes": axes, "datasets": datasets, "type": "nearest"}],
        "image-label": {
            "colors": [
                {"label-value": o.object_id, "rgba": [*o.rgb, 255]}
                for o in sorted(results.objects, key=lambda o: o.object_id)
            ],
            "properties": [
                {"label-value": o.object_id, "name": o.title}
                for o in sorted(results.objects, key=lambda o: o.object_id)
            ],
        },
    }

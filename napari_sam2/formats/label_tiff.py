"""Label images in one TIFF file: for Fiji (ImageJ hyperstack) or with OME metadata."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_sam2.calibration import SECONDS, unit_name, unit_symbol
from napari_sam2.formats.atomic_output import SIGNATURE, Overwrite, staged
from napari_sam2.formats.tracking_results import TrackingResults, printable_text
from napari_sam2.masks import compose_labels

# Classic TIFF has 32-bit offsets; the rest is room for the page directories.
_CLASSIC_LIMIT = 2**32 - 2**26


def write_tiff(
    results: TrackingResults,
    path: Path,
    *,
    overwrite: Overwrite = False,
    images: Iterable[NDArray[np.uint16]] | None = None,
) -> Path:
    """Write labels as a TIFF stack that Fiji opens with the right axes, pixel size and frame interval.

    uint16 (T, Y, X) or (Z, Y, X), compressed without loss (zlib), one page for each frame; where objects
    overlap the smaller one is on top. Above 4 GB of pixels, where ImageJ's format ends, it becomes a
    BigTIFF whose axes only tifffile reads: use :func:`write_ome_tiff` there. ``images`` are the label images (H, W) of
    all frames where they are composed already.

    Raises
    ------
    FileExistsError
        When ``path`` exists and may not be replaced.
    ValueError
        When an object id does not fit into 16 bits.
    """
    big = _is_big(results)
    with (
        staged(path, overwrite) as part,
        tifffile.TiffWriter(part, imagej=not big, bigtiff=big) as writer,
    ):
        metadata = {"axes": _axes(results)} if big else _imagej_metadata(results)
        _write(writer, results, metadata, label_images(results) if images is None else images)
    return path


def write_ome_tiff(results: TrackingResults, path: Path, *, overwrite: Overwrite = False) -> Path:
    """Write labels as OME-TIFF (Bio-Formats, QuPath, napari), with axes, pixel sizes and time step.

    uint16 (T, Y, X) or (Z, Y, X), compressed without loss (zlib), one page for each frame. BigTIFF when
    large. Errors are those of :func:`write_tiff`. The file's name should end in ``.ome.tif``.
    """
    with (
        staged(path, overwrite) as part,
        tifffile.TiffWriter(part, ome=True, bigtiff=_is_big(results)) as writer,
    ):
        _write(writer, results, _ome_metadata(results), label_images(results))
    return path


def label_images(results: TrackingResults) -> Iterator[NDArray[np.uint16]]:
    """Compose the label image (H, W) of each frame in turn."""
    for found in results.frames():
        yield compose_labels(found)


def _is_big(results: TrackingResults) -> bool:
    height, width = results.size
    return results.n_frames * height * width * 2 > _CLASSIC_LIMIT


def _write(
    writer: Any, results: TrackingResults, metadata: dict[str, Any], images: Iterable[NDArray[np.uint16]]
) -> None:
    _, y, x = results.calibration.scale
    writer.write(
        iter(images),
        shape=(results.n_frames, *results.size),
        dtype=np.uint16,
        photometric="minisblack",
        compression="zlib",
        resolution=(1 / x, 1 / y),
        resolutionunit="NONE",
        software=SIGNATURE,
        metadata=metadata,
    )


def _axes(results: TrackingResults) -> str:
    axis = results.calibration.axis.upper()
    # TIFF knows time and depth; any other frame axis is stored as time so that readers show a slider.
    return ("Z" if axis == "Z" else "T") + "YX"


def _imagej_metadata(results: TrackingResults) -> dict[str, Any]:
    cal = results.calibration
    # ImageJ's text is ASCII: the micrometre is written as Fiji writes it.
    unit = (cal.pixel_unit or "pixel").replace("µ", "u").replace("Å", "Angstrom")
    metadata: dict[str, Any] = {"axes": _axes(results), "unit": unit}
    if metadata["axes"] == "ZYX":
        metadata["spacing"] = cal.scale[0]
        return metadata
    step = _frame_interval(results)
    if step is not None:
        metadata["finterval"] = step
        metadata["tunit"] = "sec"
    if cal.frame_rate is not None:
        metadata["fps"] = cal.frame_rate
    return metadata


def _ome_metadata(results: TrackingResults) -> dict[str, Any]:
    cal = results.calibration
    axes = _axes(results)
    metadata: dict[str, Any] = {"axes": axes, "Name": printable_text(results.name)}
    steps = {"Y": 1, "X": 2} | ({"Z": 0} if axes == "ZYX" else {})
    for name, index in steps.items():
        unit = unit_symbol(cal.units[index])
        metadata[f"PhysicalSize{name}"] = cal.scale[index]
        metadata[f"PhysicalSize{name}Unit"] = unit or "pixel"
    interval = _frame_interval(results) if axes == "TYX" else None
    if interval is not None:
        metadata["TimeIncrement"] = interval
        metadata["TimeIncrementUnit"] = "s"
    return metadata


def _frame_interval(results: TrackingResults) -> float | None:
    """Seconds between frames, None when unknown."""
    cal = results.calibration
    factor = SECONDS.get(unit_name(cal.units[0]) or "")
    if factor is not None:
        return cal.scale[0] * factor
    return None if cal.frame_rate is None else 1 / cal.frame_rate

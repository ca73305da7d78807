"""A table of measurements: one row for each object and frame."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import regionprops

from napari_sam2.calibration import Calibration
from napari_sam2.formats.atomic_output import Overwrite, staged
from napari_sam2.formats.tracking_results import TrackingResults, printable_text
from napari_sam2.frames.errors import FrameReadError
from napari_sam2.masks import BoolArray, FrameMasks, mask_box
from napari_sam2.objects import ObjectInfo, generations, lineage_graph

Value = int | float | str
Row = dict[str, Value]


def write_measurements(results: TrackingResults, path: Path, *, overwrite: Overwrite = False) -> Path:
    """Write a CSV table with one row for each object and each frame on which it was looked for.

    Columns: ``frame``, the position along the frame axis where it is known (``time_s``, ``z_µm``),
    ``object_id``, ``name``, ``visible`` (0: the mask is empty), ``area_px``, ``centroid_y_px``,
    ``centroid_x_px``, the box ``box_y0_px`` to ``box_x1_px`` (lower and right edge exclusive),
    ``perimeter_px``; area, centroid and perimeter again in physical units where the pixel size is known
    (perimeter only for square pixels); ``mean_NAME`` for each channel of the source's own intensities;
    ``object_score``, ``predicted_iou``, ``prompted``; ``parent`` (the object that divided into this one) and
    ``generation`` (the number of divisions before it). Measured by :func:`skimage.measure.regionprops` on
    each object's own mask, overlaps included, pieces together. What is not defined (NaN intensities, the
    centroid of an empty mask) is left empty.

    Raises
    ------
    FileExistsError
        When ``path`` exists and may not be replaced.
    """
    names = columns(results)
    with staged(path, overwrite) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        for row in measurements(results):
            writer.writerow(row)
    return path


def csv_text(text: str) -> str:
    """Return text for a CSV cell, on one line; an apostrophe goes before what spreadsheets would run as a formula."""
    text = printable_text(text)
    return f"'{text}" if text.lstrip()[:1] in tuple("=+-@＝＋－＠") else text


def lineage_columns(objects: Iterable[ObjectInfo]) -> dict[int, Row]:
    """Return the cells ``parent`` ("" without one) and ``generation`` of each object."""
    infos = list(objects)
    graph, number = lineage_graph(infos), generations(infos)
    return {i: {"parent": graph.get(i, [""])[0], "generation": number[i]} for i in number}


def columns(results: TrackingResults) -> list[str]:
    """Return the titles of the table's columns, in order."""
    cal = results.calibration
    position = cal.position(0)
    unit = cal.pixel_unit
    names = ["frame"]
    names += [] if position is None else [_position_title(cal, position[1])]
    names += ["object_id", "name", "visible", "area_px", "centroid_y_px", "centroid_x_px"]
    names += ["box_y0_px", "box_x0_px", "box_y1_px", "box_x1_px", "perimeter_px"]
    if unit is not None:
        names += [f"area_{unit}2", f"centroid_y_{unit}", f"centroid_x_{unit}"]
        names += [f"perimeter_{unit}"] if _square(cal) else []
    names += [f"mean_{c}" for c in _channel_names(results)]
    return names + ["object_score", "predicted_iou", "prompted", "parent", "generation"]


def measurements(results: TrackingResults) -> Iterator[Row]:
    """Measure frame by frame; a row has the keys of :func:`columns`, without those that are not defined."""
    lineage = lineage_columns(results.objects)
    for found in results.frames():
        intensity = None
        if results.intensity is not None and found.masks.any():
            with suppress(
                FrameReadError
            ):  # a painted mask on a damaged frame: its intensities are not defined
                intensity = _with_channels(results.intensity(found.frame), results.size)
        for row in range(len(found.object_ids)):
            yield _row(results, found, row, intensity) | lineage[found.object_ids[row]]


def _row(results: TrackingResults, found: FrameMasks, row: int, intensity: NDArray[Any] | None) -> Row:
    object_id = found.object_ids[row]
    mask = found.masks[row]
    box = mask_box(mask)
    out: Row = {"frame": found.frame, "object_id": object_id, "name": csv_text(results.info(object_id).title)}
    position = results.calibration.position(found.frame)
    if position is not None:
        out[_position_title(results.calibration, position[1])] = _rounded(position[0])
    out |= {"visible": int(box is not None), "area_px": 0}
    if box is not None:
        out |= _shape(mask, box, results.calibration)
        if intensity is not None:
            out |= _means(mask, box, intensity, _channel_names(results))
    scores = {"object_score": found.object_scores[row], "predicted_iou": found.predicted_ious[row]}
    # Masks made by hand have no scores.
    out |= {name: round(float(score), 6) for name, score in scores.items() if np.isfinite(score)}
    out["prompted"] = int(found.prompted[row])
    return out


def _shape(mask: BoolArray, box: tuple[int, int, int, int], cal: Calibration) -> Row:
    x0, y0, x1, y1 = box
    # One pixel of rim: the perimeter of an object that fills the crop would otherwise be cut.
    crop = np.pad(mask[y0:y1, x0:x1], 1).astype(np.uint8)
    region = regionprops(crop)[0]  # type: ignore[no-untyped-call]
    y, x = (float(c) + origin - 1 for c, origin in zip(region.centroid, (y0, x0)))
    perimeter = float(region.perimeter)
    out: Row = {
        "area_px": int(region.area),
        "centroid_y_px": _rounded(y),
        "centroid_x_px": _rounded(x),
        "box_y0_px": y0,
        "box_x0_px": x0,
        "box_y1_px": y1,
        "box_x1_px": x1,
        "perimeter_px": _rounded(perimeter),
    }
    unit = cal.pixel_unit
    if unit is not None:
        _, dy, dx = cal.scale
        out |= {f"area_{unit}2": _rounded(float(region.area) * dy * dx)}
        out |= {f"centroid_y_{unit}": _rounded(y * dy), f"centroid_x_{unit}": _rounded(x * dx)}
        if _square(cal):
            out[f"perimeter_{unit}"] = _rounded(perimeter * dy)
    return out


def _means(mask: BoolArray, box: tuple[int, int, int, int], intensity: NDArray[Any], names: list[str]) -> Row:
    x0, y0, x1, y1 = box
    inside = intensity[y0:y1, x0:x1][mask[y0:y1, x0:x1]]  # (pixels, C)
    out: Row = {}
    for name, values in zip(names, inside.T.astype(np.float64)):
        finite = values[np.isfinite(values)]
        if len(finite):
            out[f"mean_{name}"] = _rounded(float(finite.mean()))
    return out


def _with_channels(intensity: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    if intensity.shape[:2] != size or intensity.ndim not in (2, 3):
        raise ValueError(
            f"intensities must have shape ({size[0]}, {size[1]}) or ({size[0]}, {size[1]}, channels), "
            f"not {intensity.shape}"
        )
    return intensity.reshape(*size, -1)  # (H, W, C)


def _channel_names(results: TrackingResults) -> list[str]:
    if results.intensity is None:
        return []
    return [printable_text(name) for name in results.channels] or ["intensity"]


def _position_title(cal: Calibration, unit: str) -> str:
    return f"{'time' if cal.axis == 't' else cal.axis}_{unit}"


def _square(cal: Calibration) -> bool:
    return abs(cal.scale[1] - cal.scale[2]) <= 1e-6 * cal.scale[1]


def _rounded(value: float) -> float:
    """Seven digits: more than any measurement has, and no 0.30000000000000004 in the table."""
    return float(f"{value:.7g}")

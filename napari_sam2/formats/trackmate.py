"""Tracks with outlines and divisions as a TrackMate file (Fiji)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray
from skimage.measure import find_contours

from napari_sam2.formats.atomic_output import SIGNATURE, Overwrite, staged
from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.formats.tracks import centroid, track_links
from napari_sam2.masks import BoolArray, mask_box

_VERSION = "7.6.1"  # of TrackMate, whose layout this is
# Name of a feature: its title and dimension, and whether it is a whole number.
_SPOT_FEATURES = {
    "QUALITY": ("Quality", "QUALITY", False),
    "POSITION_X": ("X", "POSITION", False),
    "POSITION_Y": ("Y", "POSITION", False),
    "POSITION_Z": ("Z", "POSITION", False),
    "POSITION_T": ("T", "TIME", False),
    "FRAME": ("Frame", "NONE", True),
    "RADIUS": ("Radius", "LENGTH", False),
    "VISIBILITY": ("Visibility", "NONE", True),
}
_EDGE_FEATURES = {
    "SPOT_SOURCE_ID": ("Source spot ID", "NONE", True),
    "SPOT_TARGET_ID": ("Target spot ID", "NONE", True),
    "LINK_COST": ("Edge cost", "COST", False),
    "EDGE_TIME": ("Edge time", "TIME", False),
}
_TRACK_FEATURES = {"TRACK_INDEX": ("Track index", "NONE", True), "TRACK_ID": ("Track ID", "NONE", True)}
_Spot = tuple[int, int, float, float, ET.Element]  # object id, frame, y, x (pixels)


def write_trackmate(results: TrackingResults, path: Path, *, overwrite: Overwrite = False) -> Path:
    """Write a TrackMate XML file: a spot for each object and frame on which it is seen, links forward in time.

    Spots are named after their object and have the outline of its largest piece; a track is all objects that come from
    one. Positions are in the source's units (pixels and frames where it has none), ``QUALITY`` is the predicted IoU
    (1 for masks made by hand).

    Raises
    ------
    FileExistsError
        When ``path`` exists and may not be replaced.
    """
    spots: list[_Spot] = []
    by_frame: dict[int, list[ET.Element]] = {}
    for found in results.frames():
        for row, object_id in enumerate(found.object_ids):
            iou = float(found.predicted_ious[row])
            spot = _spot(results, found.frame, object_id, found.masks[row], iou if np.isfinite(iou) else 1.0)
            if spot is not None:
                spot[4].set("ID", str(len(spots)))
                spots.append(spot)
                by_frame.setdefault(found.frame, []).append(spot[4])
    root = ET.Element("TrackMate", version=_VERSION)
    ET.SubElement(root, "Log").text = SIGNATURE
    model = ET.SubElement(root, "Model", spatialunits=_unit(results), timeunits=_time_unit(results))
    _declare(ET.SubElement(model, "FeatureDeclarations"))
    all_spots = ET.SubElement(model, "AllSpots", nspots=str(len(spots)))
    for frame, elements in by_frame.items():
        ET.SubElement(all_spots, "SpotsInFrame", frame=str(frame)).extend(elements)
    _add_tracks(model, results, spots)
    _add_settings(root, results)
    with staged(path, overwrite) as part:
        ET.indent(root)
        ET.ElementTree(root).write(part, encoding="UTF-8", xml_declaration=True)
    return path


def _spot(
    results: TrackingResults, frame: int, object_id: int, mask: BoolArray, quality: float
) -> _Spot | None:
    center, box = centroid(mask), mask_box(mask)
    if center is None or box is None:
        return None
    step, dy, dx = results.calibration.scale
    outline = _outline(mask, box) - center  # (N, 2)
    spot = ET.Element("Spot", name=results.info(object_id).title)
    numbers = {
        "QUALITY": max(quality, 0.0),
        "POSITION_X": center[1] * dx,
        "POSITION_Y": center[0] * dy,
        "POSITION_Z": 0.0,
        "POSITION_T": frame * step,
        "FRAME": frame,
        "RADIUS": float(np.sqrt(np.count_nonzero(mask) * dy * dx / np.pi)),
        "VISIBILITY": 1,
        "ROI_N_POINTS": len(outline),
    }
    for name, number in numbers.items():
        spot.set(name, str(number) if isinstance(number, int) else f"{number:.6g}")
    spot.text = " ".join(f"{x * dx:.4g} {y * dy:.4g}" for y, x in outline)
    return object_id, frame, *center, spot


def _outline(mask: BoolArray, box: tuple[int, int, int, int]) -> NDArray[np.float64]:
    """Return the outline (N, 2) of the largest piece in pixels (y, x)."""
    crop = np.pad(mask[box[1] : box[3], box[0] : box[2]], 1).astype(float)
    contours: Sequence[NDArray[np.float64]] = find_contours(crop, 0.5)  # type: ignore[no-untyped-call]
    longest = max(contours, key=len)[:-1]  # the last point is the first one
    outline: NDArray[np.float64] = longest + (box[1] - 1, box[0] - 1)
    return outline


def _declare(declarations: ET.Element) -> None:
    kinds = {"SpotFeatures": _SPOT_FEATURES, "EdgeFeatures": _EDGE_FEATURES, "TrackFeatures": _TRACK_FEATURES}
    for kind, features in kinds.items():
        parent = ET.SubElement(declarations, kind)
        for name, (title, dimension, whole) in features.items():
            facts = {"feature": name, "name": title, "shortname": title, "dimension": dimension}
            ET.SubElement(parent, "Feature", facts | {"isint": str(whole).lower()})


def _add_tracks(model: ET.Element, results: TrackingResults, spots: Sequence[_Spot]) -> None:
    order = sorted(range(len(spots)), key=lambda i: spots[i][:2])
    rows = np.array([spots[i][:4] for i in order], np.float64).reshape(-1, 4)
    links = [(order[source], order[target]) for source, target in track_links(rows, results.objects)]
    tracks: dict[int, list[tuple[int, int]]] = {}
    root_of = _roots(links)
    for source, target in links:
        tracks.setdefault(root_of[source], []).append((source, target))
    all_tracks, filtered = ET.SubElement(model, "AllTracks"), ET.SubElement(model, "FilteredTracks")
    for number, edges in enumerate(tracks.values()):
        facts = {"name": f"Track_{number}", "TRACK_INDEX": str(number), "TRACK_ID": str(number)}
        track = ET.SubElement(all_tracks, "Track", facts)
        ET.SubElement(filtered, "TrackID", TRACK_ID=str(number))
        for source, target in edges:
            time = (spots[source][1] + spots[target][1]) / 2 * results.calibration.scale[0]
            ends = {"SPOT_SOURCE_ID": str(source), "SPOT_TARGET_ID": str(target)}
            ET.SubElement(track, "Edge", ends | {"LINK_COST": "0.0", "EDGE_TIME": f"{time:.6g}"})


def _roots(links: Sequence[tuple[int, int]]) -> Mapping[int, int]:
    """Return the first spot of the track that each linked spot belongs to; every spot has one link to it at most."""
    before = {target: source for source, target in links}
    roots: dict[int, int] = {}
    for spot in sorted({*before, *before.values()}):  # numbered by frame, so what is before is known
        roots[spot] = roots[before[spot]] if spot in before else spot
    return roots


def _add_settings(root: ET.Element, results: TrackingResults) -> None:
    settings = ET.SubElement(root, "Settings")
    (height, width), (step, dy, dx) = results.size, results.calibration.scale
    facts = {
        "filename": results.name,
        "folder": "",
        "width": width,
        "height": height,
        "nslices": 1,
        "nframes": results.n_frames,
        "pixelwidth": dx,
        "pixelheight": dy,
        "voxeldepth": 1.0,
        "timeinterval": step,
    }
    ET.SubElement(settings, "ImageData", {name: str(value) for name, value in facts.items()})
    ET.SubElement(settings, "InitialSpotFilter", feature="QUALITY", value="-1.0", isabove="true")
    ET.SubElement(settings, "SpotFilterCollection")
    ET.SubElement(settings, "TrackFilterCollection")


def _unit(results: TrackingResults) -> str:
    return results.calibration.pixel_unit or "pixel"


def _time_unit(results: TrackingResults) -> str:
    cal = results.calibration
    return (cal.unit_names[0] if cal.axis == "t" else None) or "frame"

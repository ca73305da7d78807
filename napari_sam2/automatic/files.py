"""Masks of several frames as a file, frame by frame: COCO JSON with every score, or a label TIFF."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from napari_sam2.automatic.filters import FilterStage
from napari_sam2.automatic.options import AutomaticOptions
from napari_sam2.automatic.result import AutomaticMask, AutomaticResult
from napari_sam2.calibration import Calibration
from napari_sam2.formats.atomic_output import staged
from napari_sam2.formats.coco import CATEGORY_ID, coco_info
from napari_sam2.formats.label_tiff import write_tiff
from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.masks import FrameMasks
from napari_sam2.objects import MAX_OBJECT_ID

# Export formats by the ending of a file's name.
FORMAT_OF_SUFFIX: Mapping[str, str] = MappingProxyType({".tif": "tiff", ".tiff": "tiff", ".json": "coco"})


@dataclass(frozen=True)
class FoundOnFrame:
    """Summary of the masks of one frame.

    Parameters
    ----------
    frame : int
        The frame.
    objects : int
        Number of masks.
    areas : list of int
        Their areas in pixels, smallest first.
    explanation : str
        One sentence about how many there are and why.
    stages : tuple of FilterStage
        Number of candidates that each stage left.
    """

    frame: int
    objects: int
    areas: list[int]
    explanation: str
    stages: tuple[FilterStage, ...]


def write_masks(
    results: Iterable[tuple[int, AutomaticResult]],
    frames: Sequence[int],
    size: tuple[int, int],
    path: Path,
    *,
    options: AutomaticOptions,
    calibration: Calibration | None = None,
    name: str = "masks",
    overwrite: bool = False,
) -> list[FoundOnFrame]:
    """Write the masks of some frames while they are found; labels and ids begin with 1, nothing is linked.

    No more than one frame's masks are held. When ``results`` raises, no file appears and an older one stays.

    Parameters
    ----------
    results : iterable of (int, AutomaticResult)
        Masks by frame, in the order of ``frames``. Frames without masks are black, or have no annotations.
    frames : sequence of int
        The frames.
    size : tuple of int
        (height, width) of the frames.
    path : Path
        ``.json``: COCO, overlaps kept. Else a TIFF with one page for each of the frames; small masks on top.
    options : AutomaticOptions
        Options of the search.
    calibration : Calibration, optional
        Scale of the source.
    name : str
        Name of the source, for COCO's description.
    overwrite : bool
        Replace an earlier export.

    Returns
    -------
    list of FoundOnFrame
        One for each frame.

    Raises
    ------
    FileExistsError
        When ``path`` exists and may not be replaced; nothing was searched then.
    ValueError
        More masks on a frame than label images can hold.
    """
    found: list[FoundOnFrame] = []
    noted = _noted(results, found)
    if path.suffix.lower() == ".json":
        with staged(path, overwrite) as part, part.open("w", encoding="utf-8") as file:
            _write_coco(file, noted, found, size, options, name)
    else:
        shape = TrackingResults(
            size, len(frames), lambda frame: FrameMasks.empty(frame, size), (), calibration or Calibration()
        )
        write_tiff(shape, path, overwrite=overwrite, images=(_labels(result) for _, result in noted))
    return found


def _noted(
    results: Iterable[tuple[int, AutomaticResult]], found: list[FoundOnFrame]
) -> Iterator[tuple[int, AutomaticResult]]:
    for frame, result in results:
        areas = sorted(mask.area for mask in result.masks)
        found.append(FoundOnFrame(frame, len(result), areas, result.explanation, result.stages))
        yield frame, result


def _labels(result: AutomaticResult) -> NDArray[np.uint16]:
    if len(result) > MAX_OBJECT_ID:
        raise ValueError(f"{len(result)} masks do not fit into a label image: write --out NAME.json")
    return result.labels(dtype=np.uint16)


def _write_coco(
    file: TextIO,
    results: Iterable[tuple[int, AutomaticResult]],
    found: list[FoundOnFrame],
    size: tuple[int, int],
    options: AutomaticOptions,
    name: str,
) -> None:
    head = {
        "info": coco_info(name),
        "licenses": [],
        "categories": [{"id": CATEGORY_ID, "name": "object", "supercategory": ""}],
    }
    file.write(json.dumps(head, ensure_ascii=False)[:-1] + ',\n"annotations": [')
    entries = ((frame, mask) for frame, result in results for mask in result.masks)
    for number, (frame, mask) in enumerate(entries, start=1):
        entry = {"id": number, "image_id": frame + 1, **_annotation(mask)}
        file.write((",\n" if number > 1 else "\n") + json.dumps(entry))
    # After the annotations, because only now all frames are known.
    images = [
        {
            "id": one.frame + 1,
            "file_name": f"{one.frame:06d}.png",
            "frame_index": one.frame,
            "height": size[0],
            "width": size[1],
        }
        for one in found
    ]
    reports = [
        {"frame": one.frame, "explanation": one.explanation, "stages": [asdict(s) for s in one.stages]}
        for one in found
    ]
    tail = {"images": images, "automatic": {"options": asdict(options), "frames": reports}}
    file.write("],\n" + json.dumps(tail)[1:] + "\n")


def _annotation(mask: AutomaticMask) -> dict[str, Any]:
    x0, y0, x1, y1 = mask.box or (0, 0, 0, 0)
    left, top, right, bottom = mask.crop_box
    return {
        "category_id": CATEGORY_ID,
        "segmentation": {"size": [int(v) for v in mask.pixels.size], "counts": mask.pixels.rle().counts},
        "area": int(mask.area),
        "bbox": [int(v) for v in (x0, y0, x1 - x0, y1 - y0)],
        "iscrowd": 0,
        "score": float(mask.predicted_iou),
        "predicted_iou": float(mask.predicted_iou),
        "stability_score": float(mask.stability_score),
        "point_coords": [[float(v) for v in mask.point]],
        "crop_box": [int(v) for v in (left, top, right - left, bottom - top)],
    }

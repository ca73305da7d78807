"""Files with automatic masks of some frames: label images, or COCO JSON with every score."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from napari_sam2.automatic.result import AutomaticMask, AutomaticResult
from napari_sam2.cli.errors import CommandError
from napari_sam2.masks import FrameMasks
from napari_sam2.storage.exports.calibration import Calibration
from napari_sam2.storage.exports.results import ObjectInfo, Results
from napari_sam2.storage.exports.staging import staged
from napari_sam2.storage.exports.tiff import write_tiff

_MOST = 65535


def write_found(
    found: Mapping[int, AutomaticResult], path: Path, overwrite: bool, calibration: Calibration, name: str
) -> None:
    """Write the masks of some frames; labels and ids begin with 1 on every frame, nothing is linked.

    Parameters
    ----------
    found : mapping of int to AutomaticResult
        Masks by frame. Frames without masks are black, or have no annotations.
    path : Path
        ``.json``: COCO, overlaps kept. Else a TIFF with one plane for each of the frames.
    overwrite : bool
        Replace what is there.
    calibration : Calibration
        Scale of the source.
    name : str
        Of the source.

    Raises
    ------
    CommandError
        More masks on a frame than label images can hold.
    """
    if path.suffix.lower() == ".json":
        with staged(path, overwrite) as part, part.open("w", encoding="utf-8") as file:
            json.dump(_coco(found, name), file, ensure_ascii=False)
        return
    results = list(found.values())
    most = max(len(result) for result in results)
    if most > _MOST:
        raise CommandError(f"{most} masks do not fit into a label image: write --out NAME.json")

    def read(plane: int) -> FrameMasks:
        result = results[plane]
        return result.frame_masks(plane) if len(result) else FrameMasks.empty(plane, result.size)

    infos = tuple(ObjectInfo(i) for i in range(1, most + 1))
    write_tiff(
        Results(results[0].size, len(results), read, infos, calibration, name=name), path, overwrite=overwrite
    )


def _coco(found: Mapping[int, AutomaticResult], name: str) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    reports: list[dict[str, Any]] = []
    for frame, result in found.items():
        height, width = result.size
        images.append(
            {
                "id": frame + 1,
                "file_name": f"{frame:06d}.png",
                "frame_index": frame,
                "height": height,
                "width": width,
            }
        )
        stages = [asdict(stage) for stage in result.stages]
        reports.append({"frame": frame, "explanation": result.explanation, "stages": stages})
        for mask in result.masks:
            annotations.append({"id": len(annotations) + 1, "image_id": frame + 1, **_annotation(mask)})
    options = asdict(next(iter(found.values())).options)
    return {
        "info": {"description": name, "version": "1.0"},
        "licenses": [],
        "categories": [{"id": 1, "name": "object", "supercategory": ""}],
        "images": images,
        "annotations": annotations,
        "automatic": {"options": options, "frames": reports},
    }


def _annotation(mask: AutomaticMask) -> dict[str, Any]:
    x0, y0, x1, y1 = mask.box or (0, 0, 0, 0)
    left, top, right, bottom = mask.crop_box
    return {
        "category_id": 1,
        "segmentation": {"size": [int(v) for v in mask.runs.size], "counts": mask.runs.rle().counts},
        "area": int(mask.area),
        "bbox": [int(v) for v in (x0, y0, x1 - x0, y1 - y0)],
        "iscrowd": 0,
        "score": float(mask.predicted_iou),
        "predicted_iou": float(mask.predicted_iou),
        "stability_score": float(mask.stability_score),
        "point_coords": [[float(v) for v in mask.point]],
        "crop_box": [int(v) for v in (left, top, right - left, bottom - top)],
    }

"""COCO JSON with run-length masks and track ids."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from napari_sam2.masks import FrameMasks, encode_rle
from napari_sam2.storage.exports.results import Results
from napari_sam2.storage.exports.staging import staged

CATEGORY_ID = 1


def write_coco(results: Results, path: Path, *, overwrite: bool = False) -> Path:
    """Write all masks as COCO annotations (run lengths), one for each object and frame where it is seen.

    ``track_id`` (and ``attributes.track_id``, where CVAT looks) is the object id; ``tracks`` lists names
    and colours; ``score`` is the predicted IoU, ``object_score`` how sure the model is that the object is
    visible (> 0). An image's id is its frame index + 1; ``frame_index`` counts from 0. Overlapping masks
    stay whole.

    Raises
    ------
    FileExistsError
        When ``path`` exists and ``overwrite`` is not set.
    """
    with staged(path, overwrite) as part, part.open("w", encoding="utf-8") as file:
        _write(file, results)
    return path


def _write(file: TextIO, results: Results) -> None:
    # Everything but the annotations is small; they are written one by one, so that the length does not
    # matter.
    head = {
        "info": {"description": results.name, "version": "1.0"},
        "licenses": [],
        "categories": [{"id": CATEGORY_ID, "name": "object", "supercategory": ""}],
        "tracks": [
            {
                "id": i,
                "category_id": CATEGORY_ID,
                "name": results.info(i).title,
                "color": list(results.info(i).rgb),
            }
            for i in results.object_ids
        ],
    }
    file.write(json.dumps(head, ensure_ascii=False)[:-1])
    file.write(',\n"images": [')
    _write_list(file, (_image(results, frame) for frame in range(results.n_frames)))
    file.write('],\n"annotations": [')
    _write_list(file, _annotations(results))
    file.write("]}\n")


def _write_list(file: TextIO, entries: Iterator[dict[str, Any]]) -> None:
    for number, entry in enumerate(entries):
        file.write(("\n" if number == 0 else ",\n") + json.dumps(entry, ensure_ascii=False))


def _image(results: Results, frame: int) -> dict[str, Any]:
    height, width = results.size
    return {
        "id": frame + 1,
        "file_name": f"{frame:06d}.png",
        "frame_index": frame,
        "height": height,
        "width": width,
    }


def _annotations(results: Results) -> Iterator[dict[str, Any]]:
    number = 0
    for found in results.frames():
        for row in range(len(found.object_ids)):
            annotation = _annotation(found, row)
            if annotation is not None:
                number += 1
                yield {"id": number, **annotation}


def _annotation(found: FrameMasks, row: int) -> dict[str, Any] | None:
    rle = encode_rle(found.masks[row])
    box = rle.box
    if box is None:
        return None
    object_id = found.object_ids[row]
    annotation = {
        "image_id": found.frame + 1,
        "category_id": CATEGORY_ID,
        "track_id": object_id,
        "segmentation": {"size": list(rle.size), "counts": rle.counts},
        "area": rle.area,
        "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
        "iscrowd": 0,
        "attributes": {"track_id": object_id, "prompted": bool(found.prompted[row])},
    }
    for key, score in (("score", found.predicted_ious[row]), ("object_score", found.object_scores[row])):
        # Masks made by hand have no scores, and JSON has no NaN.
        if np.isfinite(score):
            annotation[key] = round(float(score), 6)
    return annotation

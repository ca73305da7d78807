"""COCO JSON with run-length masks and track ids."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from napari_sam2.formats.atomic_output import SIGNATURE, Overwrite, staged
from napari_sam2.formats.imported_masks import Collector, ImportedMasks, ImportProblem, check_frame_count
from napari_sam2.formats.label_images import readable
from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.masks import FrameMasks, Rle, encode_rle, run_length_total
from napari_sam2.prompts import BoxPrompt

CATEGORY_ID = 1
_MAX_PIXELS = 2**28
_MAX_OUTLINE = 2e7
_FRAME_KEYS = ("frame_index", "frame_id")


def write_coco(results: TrackingResults, path: Path, *, overwrite: Overwrite = False) -> Path:
    """Write all masks as COCO annotations (run lengths), one for each object and frame where it is seen.

    ``track_id`` (and ``attributes.track_id``, where CVAT looks) is the object id; ``tracks`` lists names
    and colours; ``score`` is the predicted IoU, ``object_score`` how sure the model is that the object is
    visible (> 0). An image's id is its frame index + 1; ``frame_index`` counts from 0, ``file_name`` is the name of the
    source's image where it has one. Overlapping masks
    stay whole.

    Raises
    ------
    FileExistsError
        When ``path`` exists and may not be replaced.
    """
    with staged(path, overwrite) as part, part.open("w", encoding="utf-8") as file:
        _write(file, results)
    return path


def _write(file: TextIO, results: TrackingResults) -> None:
    # Everything but the annotations is small; they are written one by one, so that the length does not
    # matter.
    head = {
        "info": coco_info(results.name),
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


def coco_info(description: str) -> dict[str, str]:
    """Return what COCO files say about themselves."""
    return {"contributor": SIGNATURE, "description": description, "version": "1.0"}


def _write_list(file: TextIO, entries: Iterator[dict[str, Any]]) -> None:
    for number, entry in enumerate(entries):
        file.write(("\n" if number == 0 else ",\n") + json.dumps(entry, ensure_ascii=False))


def _image(results: TrackingResults, frame: int) -> dict[str, Any]:
    height, width = results.size
    return {
        "id": frame + 1,
        "file_name": results.frame_names[frame] if results.frame_names else f"{frame:06d}.png",
        "frame_index": frame,
        "height": height,
        "width": width,
    }


def _annotations(results: TrackingResults) -> Iterator[dict[str, Any]]:
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


def read_coco(path: Path, series: int | str | None = None) -> ImportedMasks:
    """Read COCO annotations.

    The object id is ``track_id``, ``attributes.track_id``, or the annotation's own ``id``.

    The frame of an image is its ``frame_index`` (or ``frame_id``) where every image has one; otherwise
    images are ordered by file name, numbers in names by value. Segmentations may be polygons, lists of run
    lengths or compressed run lengths; annotations without a segmentation become boxes. YouTube-VIS files, which list
    "videos", are read as well; of several videos ``series`` chooses one by its number or name. Ids that are no label
    values are renumbered, with a notice.

    Raises
    ------
    ImportProblem
        When it is not COCO JSON, names an unknown image, or its run lengths are damaged.
    """
    path = Path(path)
    with readable(path):
        data = _per_image(_one_video(json.loads(path.read_text(encoding="utf-8-sig")), path, series), path)
        images, annotations = _lists(data, path)
        frames = _frames(images, path)
        sizes = {i["id"]: (int(i["height"]), int(i["width"])) for i in images}
        collector = Collector(str(path), next(iter(sizes.values()), None))
        for annotation in annotations:
            image_id = annotation.get("image_id")
            if image_id not in frames:
                raise ImportProblem(
                    f"{path}: annotation {annotation.get('id')} is of image {image_id}, not listed"
                )
            frame, size = frames[image_id], sizes[image_id]
            rle = _segmentation(annotation, size, path)
            if rle is not None and rle.area:
                collector.add(frame, _object_id(annotation, path), rle)
            elif rle is None and (box := _box(annotation, size)) is not None:
                collector.add_box(frame, _object_id(annotation, path), box, size)
        names = {frames[i["id"]]: str(i["file_name"]) for i in images if i.get("file_name")}
        numbered = any(_all_have(images, key) for key in _FRAME_KEYS)
        return collector.finished(
            max(frames.values(), default=-1) + 1,
            _names(data),
            frame_names=names if len(names) == len(images) else {},
            numbered=numbered,
        )


def _lists(data: Any, path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    found = []
    for key in ("images", "annotations"):
        entries = data.get(key) if isinstance(data, dict) else None
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise ImportProblem(f"{path} is not COCO JSON: it has no list of {key}")
        found.append(entries)
    for image in found[0]:
        missing = [k for k in ("id", "height", "width") if k not in image]
        if missing:
            raise ImportProblem(f"{path}: an image has no {missing[0]!r}")
        if not 0 < int(image["height"]) * int(image["width"]) <= _MAX_PIXELS:
            raise ImportProblem(f"{path}: image {image['id']} has an impossible size")
    return found[0], found[1]


def _all_have(images: list[dict[str, Any]], key: str) -> bool:
    return bool(images) and all(isinstance(i.get(key), int) and i[key] >= 0 for i in images)


def _frames(images: list[dict[str, Any]], path: Path) -> dict[Any, int]:
    for key in _FRAME_KEYS:
        if _all_have(images, key):
            frames = {i["id"]: int(i[key]) for i in images}
            break
    else:
        ordered = sorted(images, key=lambda i: (_natural(str(i.get("file_name", ""))), str(i["id"])))
        frames = {image["id"]: frame for frame, image in enumerate(ordered)}
    if len(set(frames.values())) != len(images):
        raise ImportProblem(f"{path}: two images have the same id or frame: masks can't be put in order")
    return frames


def _natural(name: str) -> list[tuple[int, int, str]]:
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in re.split(r"(\d+)", name) if p]


def _object_id(annotation: Mapping[str, Any], path: Path) -> int:
    attributes = annotation.get("attributes")
    nested = attributes.get("track_id") if isinstance(attributes, dict) else None
    for found in (annotation.get("track_id"), nested, annotation.get("id")):
        if found is not None:
            if isinstance(found, bool) or not isinstance(found, int):
                raise ImportProblem(f"{path}: object ids are whole numbers, this one is {found!r}")
            return found
    raise ImportProblem(f"{path}: an annotation has neither 'track_id' nor 'id'")


def _segmentation(annotation: Mapping[str, Any], size: tuple[int, int], path: Path) -> Rle | None:
    found = annotation.get("segmentation")
    if not found:
        return None
    if isinstance(found, list):
        return _polygons(found, size, path)
    counts = found.get("counts") if isinstance(found, dict) else None
    if tuple(found.get("size") or size) != size:
        raise ImportProblem(f"{path}: a mask has size {found.get('size')} on an image of {list(size)}")
    if isinstance(counts, list):
        return _run_lengths(counts, size, path)
    if not isinstance(counts, str) or run_length_total(counts) != size[0] * size[1]:
        raise ImportProblem(
            f"{path}: the run lengths of annotation {annotation.get('id')} are damaged: "
            f"they do not fill {size[0]} × {size[1]} pixels"
        )
    return Rle(size, counts)


def _run_lengths(counts: list[Any], size: tuple[int, int], path: Path) -> Rle:
    # Whole numbers of any size are added up here: as int64 their sum could wrap around to the right one.
    total, lengths = size[0] * size[1], [int(count) for count in counts]
    if any(length < 0 for length in lengths) or sum(lengths) != total:
        raise ImportProblem(f"{path}: run lengths do not fill {size[0]} × {size[1]} pixels")
    values = np.arange(len(lengths)) % 2 == 1
    # Runs go down the columns.
    return encode_rle(np.repeat(values, lengths).reshape(size, order="F"))


def _polygons(polygons: list[Any], size: tuple[int, int], path: Path) -> Rle:
    for polygon in polygons:
        corners = np.array(polygon, dtype=np.float64)
        if corners.ndim != 1 or len(corners) < 6 or len(corners) % 2 or not np.isfinite(corners).all():
            raise ImportProblem(
                f"{path}: a polygon is a list x, y, x, y ... of 3 or more corners, got {str(polygon)[:60]}"
            )
        if np.abs(corners).max() > 1e6:
            raise ImportProblem(
                f"{path}: a polygon reaches to {np.abs(corners).max():g}, far outside the image"
            )
    near = [found for polygon in polygons if len(found := _clipped(np.array(polygon, np.float64), size)) >= 6]
    if not near:
        return encode_rle(np.zeros(size, bool))
    if sum(np.abs(np.diff(np.reshape(p, (-1, 2)), axis=0)).sum() for p in near) > _MAX_OUTLINE:
        raise ImportProblem(f"{path}: a polygon has an outline of more than {_MAX_OUTLINE:g} pixels")
    union = coco.merge(coco.frPyObjects(near, *size))
    return Rle(size, union["counts"].decode("ascii"))


def _clipped(corners: NDArray[np.float64], size: tuple[int, int]) -> list[float]:
    """Cut a polygon x, y, x, y … to one frame's size around the frame (Sutherland and Hodgman 1974).

    Rasterising takes as long as the outline, wherever it lies; inside the frame nothing changes.
    """
    points = corners.reshape(-1, 2)
    for axis, length in ((0, size[1]), (1, size[0])):
        for bound, sign in ((-float(length), 1.0), (2.0 * length, -1.0)):
            inside = sign * (points[:, axis] - bound) >= 0
            if inside.all():
                continue
            kept: list[NDArray[np.float64]] = []
            for here, there, is_in, next_in in zip(
                points, np.roll(points, -1, axis=0), inside, np.roll(inside, -1), strict=True
            ):
                kept += [here] if is_in else []
                if is_in != next_in:
                    part = (bound - here[axis]) / (there[axis] - here[axis])
                    kept.append(here + part * (there - here))
            if not kept:
                return []
            points = np.array(kept)
    clipped: list[float] = points.ravel().tolist()
    return clipped


def _box(annotation: Mapping[str, Any], size: tuple[int, int]) -> BoxPrompt | None:
    """Return the part of an annotation's box that lies on the frame; None where it has none there."""
    try:
        x, y, width, height = (float(value) for value in annotation.get("bbox") or ())
    except (TypeError, ValueError):
        return None
    x0, x1 = np.clip([x, x + width], 0, size[1])
    y0, y1 = np.clip([y, y + height], 0, size[0])
    return BoxPrompt(float(x0), float(y0), float(x1), float(y1)) if x0 < x1 and y0 < y1 else None


def _one_video(data: Any, path: Path, series: int | str | None) -> Any:
    """Return the part of a file with several videos that is about the chosen one."""
    videos = data.get("videos") if isinstance(data, dict) else None
    if not isinstance(videos, list) or len(videos) < 2:
        if series is not None:
            raise ImportProblem(f"{path} holds one video or none: there is no series {series!r}")
        return data
    names = [_video_name(video) for video in videos]
    shown = ", ".join(f"{k} {name}" for k, name in enumerate(names[:8])) + (", …" if len(names) > 8 else "")
    if series is None:
        raise ImportProblem(
            f"{path} lists {len(videos)} videos ({shown}): choose one with series (--mask-series of track, --series of "
            "evaluate)"
        )
    number = (
        names.index(str(series)) if str(series) in names else int(series) if str(series).isdecimal() else -1
    )
    if not 0 <= number < len(videos):
        raise ImportProblem(f"{path} has no video {series!r}: there are {shown}")
    chosen = videos[number]["id"]
    images = [image for image in data.get("images", ()) if image.get("video_id") == chosen]
    ids = {image["id"] for image in images}
    annotations = [
        one
        for one in data["annotations"]
        if (one.get("image_id") in ids if "images" in data else one.get("video_id") == chosen)
    ]
    part = {**data, "videos": [videos[number]], "annotations": annotations}
    return part | ({"images": images} if "images" in data else {})


def _video_name(video: Mapping[str, Any]) -> str:
    """Return the name of a video; in YouTube-VIS files it is the folder of its frames."""
    files = video.get("file_names") or [""]
    return str(video.get("name") or str(files[0]).rpartition("/")[0] or video.get("id"))


def _per_image(data: Any, path: Path) -> Any:
    """Turn a YouTube-VIS file, whose annotations are lists through a video, into one annotation for each image."""
    videos = data.get("videos") if isinstance(data, dict) and "images" not in data else None
    if not isinstance(videos, list) or not videos:
        return data
    video = videos[0]
    check_frame_count(int(video.get("length", 0)), str(path))
    names = video.get("file_names") or [""] * int(video["length"])
    images = [
        {"id": k, "height": video["height"], "width": video["width"], "frame_index": k}
        | ({"file_name": name} if name else {})
        for k, name in enumerate(names)
    ]
    annotations = [
        {"image_id": k, "track_id": one["id"], "segmentation": segmentation, "bbox": box}
        for one in data["annotations"]
        for k, (segmentation, box) in enumerate(
            zip(one["segmentations"], one.get("bboxes") or [None] * len(one["segmentations"]))
        )
        if segmentation or box
    ]
    return {**data, "images": images, "annotations": annotations}


def _names(data: Mapping[str, Any]) -> dict[int, str]:
    tracks = data.get("tracks")
    if not isinstance(tracks, list):
        return {}
    return {
        t["id"]: t["name"]
        for t in tracks
        if isinstance(t, dict) and isinstance(t.get("id"), int) and isinstance(t.get("name"), str)
    }

"""Automatic masks from frames to a file: what ``napari-sam2 auto`` does."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_sam2.automatic.options import AutomaticOptions
from napari_sam2.automatic.result import AutomaticMask, AutomaticResult
from napari_sam2.automatic.stack import checked_index, generate_stack
from napari_sam2.automatic.tracking import add_new_objects, track_everything
from napari_sam2.calibration import Calibration
from napari_sam2.formats.atomic_output import staged
from napari_sam2.formats.label_tiff import write_tiff
from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.masks import FrameMasks, compose_labels, encode_rle
from napari_sam2.model.sam2 import Sam2
from napari_sam2.objects import ObjectInfo
from napari_sam2.session.options import SessionOptions
from napari_sam2.session.protocols import FrameSource
from napari_sam2.session.video import VideoSession

FORMAT = "napari-sam2 automatic masks"


FrameDone = Callable[[int, int], None]


@dataclass(frozen=True)
class AutomaticReport:
    """What was written.

    Parameters
    ----------
    path : Path
        The file.
    frames : int
        Frames in it.
    masks : int
        Masks in it, over all frames.
    objects : int
        Objects that were tracked; 0 without tracking.
    explanation : str
        One sentence about what was found, for people.
    """

    path: Path
    frames: int
    masks: int
    objects: int
    explanation: str


def run_automatic(
    model: Sam2,
    frames: FrameSource,
    out: str | Path,
    options: AutomaticOptions | None = None,
    indices: Sequence[int] = (0,),
    track: bool = False,
    newcomers_every: int = 0,
    session_options: SessionOptions | None = None,
    progress: FrameDone | None = None,
) -> AutomaticReport:
    """Find everything on some frames, follow it when asked to, and write the result.

    Parameters
    ----------
    model : Sam2
        The network.
    frames : FrameSource
        An image (one frame) or a video.
    out : path
        ``.json``: masks with their scores as COCO run lengths. ``.tif`` or ``.tiff``: labels.
    options : AutomaticOptions, optional
        How masks are found.
    indices : sequence of int
        Frames to look at. With ``track``: the first one seeds the tracker, on the others newcomers are added.
    track : bool
        Follow what was found through the whole video, both ways.
    newcomers_every : int
        With ``track``: look for new objects again after this many frames; 0 looks at ``indices`` only.
    session_options : SessionOptions, optional
        How objects are tracked.
    progress : callable, optional
        Called with (frames done, frames in total).

    Raises
    ------
    ValueError
        An unknown kind of file, a folder that does not exist, a frame that does not exist, no frames.
    """
    path = _checked_target(out)
    options = options or AutomaticOptions()
    _check_indices(indices, len(frames))
    if track:
        return _run_tracking(
            model, frames, path, options, list(indices), newcomers_every, session_options, progress
        )
    found: list[str] = []
    counts: list[int] = []

    def rows() -> Iterator[_Frame]:
        for done, (index, result) in enumerate(generate_stack(model, frames, options, indices), start=1):
            found.append(f"Frame {index}: {result.explanation}")
            counts.append(len(result))
            yield _Frame(index, result.labels(dtype=np.uint32), _records(result), result.explanation)
            if progress is not None:
                progress(done, len(indices))

    _write(path, rows(), len(indices), frames.size, options)
    return AutomaticReport(path, len(indices), sum(counts), 0, "\n".join(found))


def _check_indices(indices: Sequence[int], length: int) -> None:
    if not indices:
        raise ValueError("no frames were chosen: give at least one frame index")
    for index in indices:
        checked_index(index, length)


def _run_tracking(
    model: Sam2,
    frames: FrameSource,
    path: Path,
    options: AutomaticOptions,
    indices: list[int],
    newcomers_every: int,
    session_options: SessionOptions | None,
    progress: FrameDone | None,
) -> AutomaticReport:
    session = VideoSession(model, frames, session_options)
    try:
        for done, _ in enumerate(_tracked(session, options, indices, newcomers_every), start=1):
            if progress is not None:
                progress(min(done, len(frames)), len(frames))
        objects = len(session.object_ids)
        counts: list[int] = []

        def rows() -> Iterator[_Frame]:
            for index in range(len(frames)):
                shown = session.masks(index)
                present = shown.select(i for i in shown.object_ids if shown.of(i).any())
                counts.append(len(present.object_ids))
                yield _Frame(index, compose_labels(present, np.uint32), _tracked_records(present), "")

        _write(path, rows(), len(frames), frames.size, options)
    finally:
        session.close()
    explanation = f"{objects} objects were found and followed through {len(frames)} frames."
    if not objects:
        explanation = "No objects were found, so there was nothing to follow; every frame is empty."
    return AutomaticReport(path, len(frames), sum(counts), objects, explanation)


def _tracked(
    session: VideoSession, options: AutomaticOptions, indices: list[int], newcomers_every: int
) -> Iterator[FrameMasks]:
    start = indices[0]
    yield from track_everything(session, options, start, newcomers_every)
    added = [i for index in indices[1:] for i in add_new_objects(session, index, options)]
    if added:
        yield from session.propagate(objects=added)
    if session.object_ids and (start > 0 or added):
        yield from session.propagate(reverse=True)


@dataclass(frozen=True)
class _Frame:
    index: int
    labels: NDArray[Any]
    records: list[dict[str, Any]]
    explanation: str


def _records(result: AutomaticResult) -> list[dict[str, Any]]:
    return [{"id": i, **record} for i, record in enumerate(result.records("coco_rle"), start=1)]


def _tracked_records(masks: FrameMasks) -> list[dict[str, Any]]:
    out = []
    for row, object_id in enumerate(masks.object_ids):
        rle = encode_rle(masks.masks[row])
        x0, y0, x1, y1 = rle.box or (0, 0, 1, 1)
        out.append(
            {
                "id": object_id,
                "segmentation": {"size": list(rle.size), "counts": rle.counts},
                "area": rle.area,
                "bbox": [float(x0), float(y0), float(x1 - 1 - x0), float(y1 - 1 - y0)],
                "predicted_iou": float(masks.predicted_ious[row]),
                "object_score": float(masks.object_scores[row]),
            }
        )
    return out


def _checked_target(out: str | Path) -> Path:
    path = Path(out)
    if path.suffix.lower() not in (".json", ".tif", ".tiff"):
        raise ValueError(f"'{path.name}' must end in .json (masks) or .tif (labels)")
    if not path.parent.is_dir():
        raise ValueError(f"the folder '{path.parent}' does not exist: create it first")
    return path


def _write(
    path: Path, rows: Iterable[_Frame], count: int, size: tuple[int, int], options: AutomaticOptions
) -> None:
    with _replacing(path) as temporary:
        if path.suffix.lower() == ".json":
            _write_json(temporary, rows, size, options)
        else:
            _write_tiff(temporary, rows, count, size)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Write beside the target and put it in its place when all is there; nothing is left behind on failure."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_json(path: Path, rows: Iterable[_Frame], size: tuple[int, int], options: AutomaticOptions) -> None:
    # Frame by frame, so that a long video never has to fit into memory.
    head = {"format": FORMAT, "version": 1, "size": [int(v) for v in size], "options": asdict(options)}
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head)[:-1] + ', "frames": [')
        for number, row in enumerate(rows):
            entry = {"frame": row.index, "explanation": row.explanation, "masks": row.records}
            file.write((",\n" if number else "\n") + json.dumps(entry))
        file.write("\n]}\n")


def _write_tiff(path: Path, rows: Iterable[_Frame], count: int, size: tuple[int, int]) -> None:
    single = count == 1
    tifffile.imwrite(
        path,
        (row.labels for row in rows),
        shape=tuple(size) if single else (count, *size),
        dtype=np.uint32,
        compression="zlib",
        photometric="minisblack",
        metadata={"axes": "YX" if single else "TYX"},
    )


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
    ValueError
        More masks on a frame than label images can hold.
    """
    if path.suffix.lower() == ".json":
        with staged(path, overwrite) as part, part.open("w", encoding="utf-8") as file:
            json.dump(_coco(found, name), file, ensure_ascii=False)
        return
    results = list(found.values())
    most = max(len(result) for result in results)
    if most > _MOST:
        raise ValueError(f"{most} masks do not fit into a label image: write --out NAME.json")

    def read(plane: int) -> FrameMasks:
        result = results[plane]
        return result.frame_masks(plane) if len(result) else FrameMasks.empty(plane, result.size)

    infos = tuple(ObjectInfo(i) for i in range(1, most + 1))
    write_tiff(
        TrackingResults(results[0].size, len(results), read, infos, calibration, name=name),
        path,
        overwrite=overwrite,
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

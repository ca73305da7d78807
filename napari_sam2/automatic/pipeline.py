"""Automatic masks from frames to a file: find and filter, then write, or seed and track and write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_sam2.automatic.files import FORMAT_OF_SUFFIX, write_masks
from napari_sam2.automatic.mask_generator import MaskFinder, check_frame
from napari_sam2.automatic.options import AutomaticOptions
from napari_sam2.automatic.result import AutomaticResult
from napari_sam2.automatic.tracking import search_frames, seed_and_track, session_finder
from napari_sam2.formats.atomic_output import check_replaceable
from napari_sam2.formats.registry import FORMATS
from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.masks import FrameMasks
from napari_sam2.model.sam2 import Sam2
from napari_sam2.objects import ObjectInfo
from napari_sam2.session.image import ImageSession
from napari_sam2.session.options import SessionOptions
from napari_sam2.session.protocols import FrameSource
from napari_sam2.session.video import VideoSession

FrameDone = Callable[[int, int], None]


@dataclass(frozen=True)
class AutomaticReport:
    """Summary of a written file.

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
        One sentence about each frame, or about the tracking.
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
    new_objects_every: int = 0,
    session_options: SessionOptions | None = None,
    progress: FrameDone | None = None,
    overwrite: bool = False,
) -> AutomaticReport:
    """Find everything on some frames, follow it when asked to, and write the result.

    ``napari-sam2 auto`` takes the same steps; with ``--track`` it follows objects into a project.

    Parameters
    ----------
    model : Sam2
        The network.
    frames : FrameSource
        An image (one frame) or a video.
    out : path
        ``.json``: COCO with all scores. ``.tif`` or ``.tiff``: labels.
    options : AutomaticOptions, optional
        Options of the search.
    indices : sequence of int
        Frames to search; with ``track``, new objects are added on all but the first of them.
    track : bool
        Follow what was found through the whole video, both ways.
    new_objects_every : int
        With ``track``: search again after this many frames; 0 never does.
    session_options : SessionOptions, optional
        Options of tracking.
    progress : callable, optional
        Called with (frames done, frames in total); what it raises ends the work, and nothing is written.
    overwrite : bool
        Replace an earlier export.

    Raises
    ------
    FileExistsError
        When ``out`` exists and may not be replaced.
    ValueError
        An unknown kind of file, a frame that does not exist, no frames.
    """
    path, options = _checked_target(out, overwrite), options or AutomaticOptions()
    _check_indices(indices, len(frames))
    if not track:
        return _write_found(model, frames, path, options, indices, progress, overwrite)
    session = VideoSession(model, frames, session_options)
    try:
        searched = search_frames(indices, new_objects_every, len(frames))
        steps = _both_ways(session, session_finder(session, options), searched)
        for done, _ in enumerate(steps, start=1):
            if progress is not None:
                progress(min(done, len(frames)), len(frames))
        return _write_tracked(session, path, overwrite)
    finally:
        session.close()


def _checked_target(out: str | Path, overwrite: bool) -> Path:
    path = Path(out)
    if path.suffix.lower() not in FORMAT_OF_SUFFIX:
        raise ValueError(f"'{path.name}' must end in .json (masks) or .tif (labels)")
    check_replaceable(path, overwrite)
    return path


def _check_indices(indices: Sequence[int], count: int) -> None:
    if not indices:
        raise ValueError("no frames were chosen: give at least one frame index")
    for index in indices:
        check_frame(index, count)


def _both_ways(session: VideoSession, finder: MaskFinder, searched: Sequence[int]) -> Iterator[FrameMasks]:
    yield from seed_and_track(session, finder, searched)
    if any(frame > 0 for frame, _ in session.prompts):
        yield from session.propagate(reverse=True)


def _write_found(
    model: Sam2,
    frames: FrameSource,
    path: Path,
    options: AutomaticOptions,
    indices: Sequence[int],
    progress: FrameDone | None,
    overwrite: bool,
) -> AutomaticReport:
    finder = MaskFinder(ImageSession(model), frames, options)

    def results() -> Iterator[tuple[int, AutomaticResult]]:
        for done, found in enumerate(finder.results(indices), start=1):
            yield found
            if progress is not None:
                progress(done, len(indices))

    found = write_masks(results(), indices, frames.size, path, options=options, overwrite=overwrite)
    explanation = "\n".join(f"Frame {one.frame}: {one.explanation}" for one in found)
    return AutomaticReport(path, len(found), sum(one.objects for one in found), 0, explanation)


def _write_tracked(session: VideoSession, path: Path, overwrite: bool) -> AutomaticReport:
    count, ids, masks = len(session.frames), session.object_ids, 0

    def read(frame: int) -> FrameMasks:
        nonlocal masks
        shown = session.masks(frame)
        present = shown.select(i for i in shown.object_ids if shown.of(i).any())
        masks += len(present.object_ids)
        return present

    results = TrackingResults(session.size, count, read, tuple(ObjectInfo(i) for i in ids))
    FORMATS[FORMAT_OF_SUFFIX[path.suffix.lower()]].write(results, path, overwrite=overwrite)
    explanation = f"{len(ids)} objects were found and followed through {count} frames."
    if not ids:
        explanation = "No objects were found, so there was nothing to follow; every frame is empty."
    return AutomaticReport(path, count, masks, len(ids), explanation)

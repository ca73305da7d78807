"""Find and filter masks: on an image, again and again with other filters, and on the frames of a source."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_sam2.automatic.candidates.candidates import Candidates
from napari_sam2.automatic.candidates.run_length import RunLengthMask, run_length_mask
from napari_sam2.automatic.filters import Selection, select
from napari_sam2.automatic.nms import suppress
from napari_sam2.automatic.options import AutomaticOptions
from napari_sam2.automatic.proposals import Progress, find_candidates
from napari_sam2.automatic.result import AutomaticMask, AutomaticResult, Order
from napari_sam2.automatic.spatial_filter import SpatialFilter
from napari_sam2.frames.errors import FrameReadError, warn_of_unreadable
from napari_sam2.masks import without_small_regions
from napari_sam2.model.sam1.sam import Sam
from napari_sam2.model.sam2 import Sam2
from napari_sam2.session.image import ImageSession
from napari_sam2.session.protocols import FrameSource

# Masks at the frame's size that are remembered between two filterings.
_REMEMBERED = 4096
BoolArray = NDArray[np.bool_]


def generate_masks(
    model: Sam2 | Sam | ImageSession,
    image: NDArray[np.uint8],
    options: AutomaticOptions | None = None,
    spatial_filter: SpatialFilter | None = None,
    progress: Progress | None = None,
) -> AutomaticResult:
    """Find masks of everything on an image (reference: ``SAM2AutomaticMaskGenerator.generate``).

    Parameters
    ----------
    model : Sam2, Sam or ImageSession
        The network.
    image : ndarray of uint8, shape (H, W), (H, W, 1) or (H, W, 3)
        Grey or RGB.
    options : AutomaticOptions, optional
        Default: the reference's thresholds in fast mode.
    spatial_filter : SpatialFilter, optional
        A region to look in, and objects that are there already.
    progress : callable, optional
        Called with (points done, points in total) after each batch; what it raises ends the search.

    Returns
    -------
    AutomaticResult
        It may hold no mask; its ``explanation`` then says why.

    Raises
    ------
    TypeError, ValueError
        An image that is not bytes, or of a wrong shape, or without pixels.
    """
    options = options or AutomaticOptions()
    region = None if spatial_filter is None or spatial_filter.region is None else spatial_filter.region.mask
    candidates = find_candidates(model, image, options, region, progress)
    return InteractiveFilter(candidates).result(options, spatial_filter)


class InteractiveFilter:
    """Candidates of one frame that are filtered again and again, as when a slider is moved.

    Masks at the frame's size are made when they are first kept, and remembered.

    Parameters
    ----------
    candidates : Candidates
        From :func:`~napari_sam2.automatic.proposals.find_candidates`.
    """

    def __init__(self, candidates: Candidates) -> None:
        self.candidates = candidates
        self._masks: OrderedDict[tuple[int, float, int], tuple[RunLengthMask, bool]] = OrderedDict()

    def grow(self, candidates: Candidates) -> bool:
        """Take more candidates of the same search.

        Masks made so far are remembered when the candidates so far come first again, in the same rows.

        Returns
        -------
        bool
            Whether they do; False when some were forgotten meanwhile.
        """
        before, self.candidates = self.candidates, candidates
        count = len(before)
        same = np.array_equal(candidates.points[:count], before.points) and np.array_equal(
            candidates.predicted_ious[:count], before.predicted_ious
        )
        if not same:
            self._masks.clear()
        return same

    def select(
        self, options: AutomaticOptions | None = None, spatial_filter: SpatialFilter | None = None
    ) -> Selection:
        """Filter without making masks: counts and rows only."""
        return select(self.candidates, options, spatial_filter)

    def result(
        self, options: AutomaticOptions | None = None, spatial_filter: SpatialFilter | None = None
    ) -> AutomaticResult:
        """Filter, and make the masks that are kept."""
        options = options or self.candidates.options
        selection = select(self.candidates, options, spatial_filter)
        cleaned = [self._mask(int(row), options) for row in selection.rows]
        kept = _still_apart([runs for runs, _ in cleaned], [changed for _, changed in cleaned], options)
        stability = self.candidates.stability(options)
        masks = tuple(self._automatic_mask(int(selection.rows[i]), cleaned[i][0], stability) for i in kept)
        return AutomaticResult(self.candidates.size, masks, selection.stages, selection.explain(), options)

    def _automatic_mask(self, row: int, runs: RunLengthMask, stability: NDArray[np.float32]) -> AutomaticMask:
        found = self.candidates
        x, y = (float(v) for v in found.points[row])
        crop = found.crop_of(row)
        return AutomaticMask(
            runs, float(found.predicted_ious[row]), float(stability[row]), (x, y), crop.box, row
        )

    def _mask(self, row: int, options: AutomaticOptions) -> tuple[RunLengthMask, bool]:
        key = (row, options.mask_threshold, options.min_mask_region_area)
        if key not in self._masks:
            runs, changed = self.candidates.mask(row, options), False
            if options.min_mask_region_area:
                runs, changed = _cleaned(runs, options.min_mask_region_area)
            self._masks[key] = runs, changed
            if len(self._masks) > _REMEMBERED:
                self._masks.popitem(last=False)
        return self._masks[key]


def _cleaned(runs: RunLengthMask, area: int) -> tuple[RunLengthMask, bool]:
    inside, x0, y0 = runs.crop()
    if not inside.size:
        return runs, False
    clean, changed = without_small_regions(inside, area, runs.size, (x0, y0))
    return (run_length_mask(clean, runs.size, x0, y0), True) if changed else (runs, False)


def _still_apart(masks: list[RunLengthMask], changed: list[bool], options: AutomaticOptions) -> list[int]:
    """Suppress duplicates that cleaning made; a mask that did not need it wins."""
    if not any(changed):
        return list(range(len(masks)))
    boxes = np.array([runs.box or (0, 0, 1, 1) for runs in masks], np.float32)
    boxes[:, 2:] -= 1  # to the last pixel, as everywhere in suppression
    scores = np.array([not c for c in changed], np.float32)
    kept = suppress(boxes, scores, max(options.box_nms_thresh, options.crop_nms_thresh))
    # The reference lists masks that needed no cleaning first.
    return kept.tolist() if options.mode == "exact" else sorted(kept.tolist())


@dataclass(frozen=True, eq=False)
class MaskFinder:
    """Finds masks on the frames of a source: the first step of all that is done with automatic masks.

    Parameters
    ----------
    model : Sam2, Sam or ImageSession
        The network.
    frames : FrameSource
        An image (one frame) or a video.
    options : AutomaticOptions
        How masks are found and filtered.
    region : ndarray of bool, shape (H, W), optional
        Masks are wanted here only.
    existing : ndarray of bool, shape (H, W), optional
        Pixels of objects that are there already, on every frame.
    progress : callable, optional
        Called with (frame, points done, points in total) after each batch; what it raises ends the search.
    """

    model: Sam2 | Sam | ImageSession
    frames: FrameSource
    options: AutomaticOptions = field(default_factory=AutomaticOptions)
    region: BoolArray | None = None
    existing: BoolArray | None = None
    progress: Callable[[int, int, int], None] | None = None

    def find(self, frame: int, known: BoolArray | None = None) -> AutomaticResult:
        """Find masks on one frame; with the pixels ``known`` (H, W) of tracked objects, only new ones.

        Raises
        ------
        ValueError
            When there is no such frame.
        """
        check_frame(frame, len(self.frames))
        options, existing, report = self.options, self.existing, self.progress
        if known is not None:
            options = options.for_new_objects()
            existing = known if existing is None else existing | known
        spatial_filter = None
        if self.region is not None or existing is not None:
            spatial_filter = SpatialFilter(self.region, existing)
        progress = None if report is None else lambda done, total: report(frame, done, total)
        return self._search(self.frames.frame(frame), options, spatial_filter, progress)

    def _search(
        self,
        image: NDArray[np.uint8],
        options: AutomaticOptions,
        spatial_filter: SpatialFilter | None,
        progress: Progress | None,
    ) -> AutomaticResult:
        """Find masks on one image; other ways of finding everything replace this."""
        return generate_masks(self.model, image, options, spatial_filter, progress)

    def results(self, frames: Iterable[int]) -> Iterator[tuple[int, AutomaticResult]]:
        """Yield (frame, masks) one at a time; of several frames those that can't be read are empty, with a warning."""
        wanted = list(frames)
        for frame in wanted:
            yield frame, self.find(frame) if len(wanted) == 1 else self.find_if_readable(frame)

    def find_if_readable(self, frame: int, known: BoolArray | None = None) -> AutomaticResult:
        """Do what :meth:`find` does; on a frame that can't be read nothing is found, and a warning says so."""
        try:
            return self.find(frame, known)
        except FrameReadError as error:
            if error.file_is_gone:
                raise
            warn_of_unreadable([frame], str(error))
            return AutomaticResult(self.frames.size, (), (), f"It can't be read: {error}", self.options)


def check_frame(frame: int, count: int) -> None:
    """Raise ValueError when there is no such frame."""
    if not 0 <= frame < count:
        raise ValueError(f"there is no frame {frame}: the video has frames 0 to {count - 1}")


def generate_stack(
    model: Sam2 | Sam,
    frames: FrameSource,
    options: AutomaticOptions | None = None,
    indices: Iterable[int] | None = None,
) -> Iterator[tuple[int, AutomaticResult]]:
    """Yield (frame, masks) for some frames of a video (default: all), one at a time; nothing is linked."""
    finder = MaskFinder(ImageSession(model), frames, options or AutomaticOptions())
    return finder.results(range(len(frames)) if indices is None else indices)


def lazy_labels(
    model: Sam2 | Sam,
    frames: FrameSource,
    options: AutomaticOptions | None = None,
    order: Order = "area",
    dtype: DTypeLike = np.uint16,
) -> da.Array:
    """Return a dask array (T, H, W) of labels; a frame's masks are found when the frame is computed.

    Labels of neighbouring frames are not linked: object 1 of frame 0 is not object 1 of frame 1. Tracking links.
    """
    height, width = frames.size
    finder = MaskFinder(ImageSession(model), frames, options or AutomaticOptions())
    lock = threading.Lock()  # the session holds one image at a time

    def labels_of(block_id: tuple[int, ...]) -> NDArray[Any]:
        with lock:
            result = finder.find(block_id[0])
        return result.labels(order, dtype)[None]

    labels: da.Array = da.map_blocks(  # type: ignore[no-untyped-call]
        labels_of,
        chunks=((1,) * len(frames), (height,), (width,)),
        dtype=dtype,
        meta=np.empty((0, 0, 0), dtype),
    )
    return labels

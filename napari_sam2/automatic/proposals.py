"""Ask the network at every point of the grid; what comes back is candidates, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sam2.automatic.candidates.candidate_masks import (
    CandidateMasks,
    ExactCandidateMasks,
    exact_masks,
    fast_masks,
)
from napari_sam2.automatic.candidates.candidates import Candidates, joined
from napari_sam2.automatic.filters import scores_pass
from napari_sam2.automatic.options import AutomaticOptions
from napari_sam2.automatic.sampling.crops import Crop, crops_of, layer_grids
from napari_sam2.automatic.sampling.grid_decoder import GridDecoder
from napari_sam2.automatic.sampling.preprocessing import set_crop
from napari_sam2.model.sam1.sam import Sam
from napari_sam2.model.sam2 import Sam2
from napari_sam2.model.tensors import FED_BACK_LIMIT, PromptTensors
from napari_sam2.session.array_frames import rgb_frame
from napari_sam2.session.image import ImageSession
from napari_sam2.session.tensors import InputGeometry

# Low-resolution logits that are held as float32 at a time, in values (32 MiB).
LOGITS_AT_ONCE = 1 << 23
Progress = Callable[[int, int], None]  # (points done, points in total); may raise to stop the search


@dataclass(frozen=True)
class FrameCandidates:
    """One batch of candidates, and how far the work is.

    Parameters
    ----------
    candidates : Candidates
        Of this batch alone.
    done, total : int
        Points asked so far, and in all.
    """

    candidates: Candidates
    done: int
    total: int


def propose(
    model: Sam2 | Sam | ImageSession,
    image: NDArray[np.uint8],
    options: AutomaticOptions | None = None,
    region: NDArray[np.bool_] | None = None,
) -> Iterator[FrameCandidates]:
    """Find candidates for masks all over an image, batch by batch; stop by closing the generator.

    Parameters
    ----------
    model : Sam2, Sam or ImageSession
        The network, or a session of it. A session that was given an image's features keeps its image only if it is
        this one and the options look at the whole frame.
    image : ndarray of uint8, shape (H, W), (H, W, 1) or (H, W, 3)
        Grey or RGB.
    options : AutomaticOptions, optional
        Default: ``AutomaticOptions()``.
    region : ndarray of bool, shape (H, W), optional
        Only points inside are asked.

    Yields
    ------
    FrameCandidates
        Candidates that :func:`~napari_sam2.automatic.filters.select` and
        :func:`~napari_sam2.automatic.candidates.candidates.joined` understand.
    """
    options = options or AutomaticOptions()
    rgb = rgb_frame(image)
    size = rgb.shape[:2]
    session = model if isinstance(model, ImageSession) else ImageSession(model)
    crops = tuple(crops_of(size, options))
    grids = layer_grids(options)
    points = [_points_on(crop, grids[crop.layer], region, size) for crop in crops]
    total, done = sum(len(p) for p in points), 0
    for index, (crop, asked) in enumerate(zip(crops, points)):
        if not len(asked):
            continue
        set_crop(session, rgb, crop)
        grid_decoder = _grid_decoder(session, options)
        batch = _points_per_batch(session, options)
        for low in range(0, len(asked), batch):
            part = asked[low : low + batch]
            done += len(part)
            answers = _asked(session, grid_decoder, part, options)
            found = _batch(answers, part, options, crops, index, size, session.geometry)
            yield FrameCandidates(found, done, total)


def find_candidates(
    model: Sam2 | Sam | ImageSession,
    image: NDArray[np.uint8],
    options: AutomaticOptions | None = None,
    region: NDArray[np.bool_] | None = None,
    progress: Progress | None = None,
) -> Candidates:
    """Find all candidates on an image; see :func:`propose`.

    ``progress`` is called with (points done, points in total) after each batch; what it raises ends the search.
    Candidates stay within ``options.candidate_memory_mb`` (:class:`CandidateBuffer`).
    """
    options = options or AutomaticOptions()
    buffer = CandidateBuffer(rgb_frame(image).shape[:2], options)
    for found in propose(model, image, options, region):
        buffer.add(found.candidates)
        if progress is not None:
            progress(found.done, found.total)
    return buffer.candidates


class CandidateBuffer:
    """Candidates of one search, collected batch by batch.

    They stay within ``options.candidate_memory_mb``: beyond it, those that fail the filters of ``options`` are
    forgotten.

    Parameters
    ----------
    size : tuple of int
        (height, width) of the image.
    options : AutomaticOptions
        Options of the search.
    """

    def __init__(self, size: tuple[int, int], options: AutomaticOptions) -> None:
        self._size, self._options = size, options
        self._batches: list[Candidates] = []
        self._nbytes = 0

    def add(self, batch: Candidates) -> None:
        """Add the candidates of one batch."""
        self._batches.append(batch)
        self._nbytes += batch.nbytes
        if self._nbytes > self._options.candidate_memory_mb * 2**20:
            self._batches = [within_memory(joined(self._batches), self._options)]
            self._nbytes = self._batches[0].nbytes

    @property
    def candidates(self) -> Candidates:
        """All candidates so far."""
        if not self._batches:
            return _nothing(self._size, self._options)
        self._batches = [joined(self._batches)]
        return self._batches[0]


def _points_on(
    crop: Crop, grid: NDArray[np.float64], region: NDArray[np.bool_] | None, size: tuple[int, int]
) -> NDArray[np.float32]:
    """Return the points (N, 2) of a crop, in pixels of the crop."""
    points = np.asarray(grid * np.array(crop.size[::-1]), np.float32)
    if region is None:
        return points
    if region.shape != size:
        raise ValueError(
            f"the region is {region.shape}, the image {size}: both need the same height and width"
        )
    columns = np.minimum(points[:, 0].astype(int) + crop.x0, size[1] - 1)
    rows = np.minimum(points[:, 1].astype(int) + crop.y0, size[0] - 1)
    inside: NDArray[np.float32] = points[region[rows, columns]]
    return inside


def _points_per_batch(session: ImageSession, options: AutomaticOptions) -> int:
    per_point = (3 if options.multimask_output else 1) * session.runner.mask_side**2
    return max(1, min(options.points_per_batch, LOGITS_AT_ONCE // per_point))


def _grid_decoder(session: ImageSession, options: AutomaticOptions) -> GridDecoder | None:
    """Return the faster way to decode single points, where there is one."""
    if not (options.multimask_output and GridDecoder.fits(session.runner) and session.features is not None):
        return None
    embedding = session.runner.condition_on_memory(session.features, None)
    return GridDecoder(session.runner, session.features, embedding)


def _batch(
    answers: tuple[Tensor, Tensor],
    points: NDArray[np.float32],
    options: AutomaticOptions,
    crops: tuple[Crop, ...],
    index: int,
    size: tuple[int, int],
    geometry: InputGeometry,
) -> Candidates:
    crop = crops[index]
    logits, ious = answers
    per_point = logits.shape[1]
    logits, quality = logits.flatten(0, 1), ious.flatten().cpu().numpy()  # (N * K, h, w), (N * K,)
    everywhere = np.repeat(points, per_point, axis=0) + np.array((crop.x0, crop.y0), np.float32)
    rows = np.arange(len(quality))
    masks: CandidateMasks
    if options.mode == "fast":
        masks = fast_masks(geometry.stretched(logits), options)
    else:
        if options.pred_iou_thresh > 0:
            rows = np.flatnonzero(quality > np.float32(options.pred_iou_thresh))
        chosen = logits[torch.from_numpy(rows).to(logits.device)]
        masks, kept = exact_masks(chosen, options, crop, size, geometry)
        rows = rows[kept]
    where = np.full(len(rows), index, np.int64)
    asked = len(quality)
    return Candidates(size, options, everywhere[rows], quality[rows], where, crops, masks, asked)


def _asked(
    session: ImageSession,
    grid_decoder: GridDecoder | None,
    points: NDArray[np.float32],
    options: AutomaticOptions,
) -> tuple[Tensor, Tensor]:
    """Decode points; returns logits (N, K, h, w) and predicted IoUs (N, K) (counterpart: ``_process_batch``)."""
    height, width = session.size
    xy = (
        torch.from_numpy(points)
        / torch.tensor([width, height], dtype=torch.float32)
        * session.geometry.extent
    )
    xy = xy[:, None]  # (N, 1, 2)
    labels = torch.ones(len(xy), 1, dtype=torch.int32)
    if grid_decoder is not None:
        logits, ious = grid_decoder.decode(xy, labels)
    else:
        found = session.decode(PromptTensors(xy, labels), options.multimask_output)
        logits, ious = found.logits, found.ious
    if not options.use_m2m:
        return logits, ious
    masks = logits.shape[1]
    fed = logits.clamp(-FED_BACK_LIMIT, FED_BACK_LIMIT).flatten(0, 1)[:, None]
    again = PromptTensors(xy.repeat_interleave(masks, 0), labels.repeat_interleave(masks, 0), fed)
    better = session.decode(again, False)
    logits = better.logits.reshape(len(xy), masks, *better.logits.shape[-2:])
    return logits, better.ious.reshape(len(xy), masks)


def _nothing(size: tuple[int, int], options: AutomaticOptions) -> Candidates:
    """Candidates of an image on which no point was asked."""
    none = np.empty(0, np.float32)
    masks: CandidateMasks = fast_masks(torch.zeros(0, 1, 1), options)
    if options.mode == "exact":
        masks = ExactCandidateMasks(options, none, none.reshape(0, 4), ())
    crops = (Crop(0, 0, size[1], size[0]),)
    return Candidates(size, options, none.reshape(0, 2), none, np.empty(0, np.int64), crops, masks, 0)


def within_memory(candidates: Candidates, options: AutomaticOptions) -> Candidates:
    """Return candidates that take at most half of ``candidate_memory_mb``, so that more can follow.

    First those that the score filters of ``options`` drop anyway are forgotten, which changes no result under these
    options; if that is not enough, those with the lowest predicted IoU.
    """
    kept = candidates.take(scores_pass(candidates, options))
    budget = options.candidate_memory_mb * 2**19
    if kept.nbytes <= budget:
        return kept
    share = budget / kept.nbytes
    best = np.argsort(-kept.predicted_ious, kind="stable")[: max(1, int(len(kept) * share))]
    return kept.take(np.sort(best))

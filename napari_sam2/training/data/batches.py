"""Batches of training: clips of one size and the objects that are followed through them."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from napari_sam2.session.tensors import PIXEL_MEAN, PIXEL_STD
from napari_sam2.training.data.augmentation import flipped, photometric
from napari_sam2.training.data.clips import ClipSource, TrainingClip
from napari_sam2.training.recipe import TrainingStage, TrainOptions

__all__ = ["StepBatch", "StepPlan", "draw_batch", "plan_step", "step_batches"]

# draws in a row without any object to follow, before the data is given up
MOST_MISSES = 100


@dataclass(frozen=True)
class StepPlan:
    """Plan of one step: a pure function of the options and the step number.

    Attributes
    ----------
    step : int
        Number of the step over all stages.
    prompt : str
        "click", "box" or "mask": what the objects of this step get on the first frame.
    size, frames, clips : int
        Side of the input, clip length (1 = an image step) and clips a step.
    motion : float
        0..1.
    corrections : int
        Corrective clicks on the first frame.
    corrected_frame : int or None
        A later frame on which every object gets one corrective click.
    skimmed : int
        Frames after the first that objects are followed through without learning.
    video_frames : int
        Length of the video that the clip is a part of: how old an object pointer is, is told relative to it.
    """

    step: int
    prompt: str
    size: int
    frames: int
    clips: int
    motion: float
    corrections: int
    corrected_frame: int | None
    skimmed: int = 0
    video_frames: int = 0


@dataclass(frozen=True)
class StepBatch:
    """Data of one step.

    Attributes
    ----------
    plan : StepPlan
        What to do with it.
    images : Tensor, (C, T, 3, S, S) float32
        Normalised.
    owner : Tensor, (N,) int64
        Which clip each object belongs to.
    truth : Tensor, (N, T, S, S) bool
        Masks; empty where the object is not visible. Never empty on frame 0.
    """

    plan: StepPlan
    images: torch.Tensor
    owner: torch.Tensor
    truth: torch.Tensor

    def to(self, device: torch.device) -> StepBatch:
        """Return the batch on a device."""
        return StepBatch(self.plan, self.images.to(device), self.owner.to(device), self.truth.to(device))


def plan_step(options: TrainOptions, step: int) -> StepPlan:
    """Decide what a step does, from the options and the step's number alone.

    Raises
    ------
    ValueError
        If the step's stage leaves the input size to the network; see `TrainOptions.at_side`.
    """
    stage, _ = options.stage_at(step)
    if not stage.sizes:
        raise ValueError(f"stage {stage.name!r} has no input size yet; fill it in with options.at_side(...)")
    rng = np.random.default_rng((options.seed, step, 0))
    is_image = rng.random() < stage.image_share
    frames = 1 if is_image else int(rng.integers(stage.frames[0], stage.frames[1] + 1))
    sizes = np.array(stage.sizes if is_image or not stage.clip_sizes else stage.clip_sizes)
    size = int(rng.choice(sizes[:, 0].astype(int), p=sizes[:, 1] / sizes[:, 1].sum()))
    names = ("click", "box", "mask")
    weights = np.array(stage.prompts, dtype=float)
    if is_image:
        weights[2] = 0  # a mask on a single image would teach nothing
    prompt = str(rng.choice(names, p=weights / weights.sum()))
    corrections = 0 if prompt == "mask" else int(rng.integers(0, stage.corrections + 1))
    corrected = frames > 2 and rng.random() < stage.midclip_corrections
    motion = float(stage.motion * rng.uniform(0.3, 1.0))
    corrected_frame = int(rng.integers(1, frames - 1)) if corrected else None
    skimmed = 0 if is_image else int(rng.integers(stage.skimmed[0], stage.skimmed[1] + 1))
    # as many pixels a step at every size and length, within reason; a skimmed frame costs a third
    budget = stage.pixels / (size * size * (frames + skimmed / 3))
    clips = int(np.clip(round(budget), 1, stage.clips * (2 if is_image else 1)))
    # most videos are far longer than clips, some are not
    video_frames = frames + skimmed + int(rng.integers(0, 40))
    return StepPlan(
        step=step,
        prompt=prompt,
        size=size,
        frames=frames + skimmed,
        clips=clips,
        motion=motion,
        corrections=corrections,
        corrected_frame=None if corrected_frame is None else corrected_frame + skimmed,
        skimmed=skimmed,
        video_frames=video_frames,
    )


def draw_batch(
    sources: Sequence[tuple[ClipSource, float]],
    plan: StepPlan,
    stage: TrainingStage,
    seed: int,
    augment: bool = True,
) -> StepBatch:
    """Draw the clips of a step and choose the objects to follow.

    Parameters
    ----------
    sources : sequence of (source, weight)
        Where clips come from, and how often.
    plan : StepPlan
        Size, length and number of clips.
    stage : Stage
        Gives the number of objects.
    seed : int
        With the plan's step it determines every pixel.
    augment : bool
        Flip clips and change their looks.

    Raises
    ------
    ValueError
        If clip after clip shows no object that is large enough at this size.
    """
    rng = np.random.default_rng((seed, plan.step, 1))
    weights = np.array([weight for _, weight in sources], dtype=float)
    images: list[torch.Tensor] = []
    masks: list[torch.Tensor] = []
    owners: list[int] = []
    # a single image costs little beyond its encoding: more objects of it
    per_clip = max(1, stage.objects * (4 if plan.frames == 1 else 1) // plan.clips)
    misses = 0
    while len(images) < plan.clips:
        source = sources[rng.choice(len(sources), p=weights / weights.sum())][0]
        clip = source.draw(rng, plan.size, plan.frames, plan.motion)
        if augment:
            frames, labels = flipped(clip.frames, clip.labels, rng)
            changes = rng.random() < source.altered
            clip = TrainingClip(photometric(frames, rng) if changes else frames, labels)
        chosen = _chosen_objects(clip.labels[0], per_clip, rng)
        if not chosen:
            misses += 1
            if misses == MOST_MISSES:
                raise ValueError(
                    f"{misses} clips of {plan.frames} frames in a row start with no object of at least "
                    f"{_least_area(clip.labels[0])} pixels at an input of {plan.size}: train with larger or more "
                    "objects, or on videos that are tracked for longer stretches"
                )
            continue
        misses = 0
        masks.append(torch.stack([clip.labels == label for label in chosen]))  # (n, T, S, S)
        owners += [len(images)] * len(chosen)
        images.append(clip.frames)
    mean = torch.tensor(PIXEL_MEAN).view(3, 1, 1)
    std = torch.tensor(PIXEL_STD).view(3, 1, 1)
    pixels = (torch.stack(images) - mean) / std
    return StepBatch(plan=plan, images=pixels, owner=torch.tensor(owners), truth=torch.cat(masks))


def _chosen_objects(labels: torch.Tensor, count: int, rng: np.random.Generator) -> list[int]:
    """Choose objects of the first frame, large ones a little more often than small ones."""
    ids, areas = torch.unique(labels[labels > 0], return_counts=True)
    fitting = areas >= _least_area(labels)
    ids, areas = ids[fitting], areas[fitting]
    if not len(ids):
        return []
    weights = areas.double().pow(0.25).numpy()
    picked = rng.choice(ids.numpy(), size=min(count, len(ids)), replace=False, p=weights / weights.sum())
    return [int(label) for label in picked]


def _least_area(labels: torch.Tensor) -> int:
    """Pixels that an object must cover to be followed."""
    return max(12, labels.numel() // 8000)


class _Steps(Dataset[StepBatch]):
    """Step number -> batch, so that a worker process can draw ahead and a resumed run sees the same data."""

    def __init__(self, sources: Sequence[tuple[ClipSource, float]], options: TrainOptions) -> None:
        self._sources, self._options = sources, options

    def __len__(self) -> int:
        return self._options.total_steps

    def __getitem__(self, step: int) -> StepBatch:
        stage, _ = self._options.stage_at(step)
        plan = plan_step(self._options, step)
        return draw_batch(self._sources, plan, stage, self._options.seed)


def step_batches(
    sources: Sequence[tuple[ClipSource, float]], options: TrainOptions, start: int
) -> Iterator[StepBatch]:
    """Iterate over the batches of steps `start`, `start` + 1, ... in order."""
    loader: DataLoader[StepBatch] = DataLoader(
        _Steps(sources, options),
        batch_size=None,
        sampler=range(start, options.total_steps),
        num_workers=options.workers,
        prefetch_factor=2 if options.workers else None,
        worker_init_fn=_quiet_worker,
    )
    yield from loader


def _quiet_worker(_: int) -> None:
    # a worker that spreads over all cores slows down the network it feeds
    torch.set_num_threads(1)
    # Ctrl-C reaches the whole group; the one that trains decides what comes of it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

"""A small, fixed exam that is written every few minutes while training runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from napari_sam2.model.sam2 import Sam2
from napari_sam2.training.data.batches import StepBatch, StepPlan, draw_batch
from napari_sam2.training.data.clips import ClipSource
from napari_sam2.training.losses import LossOptions
from napari_sam2.training.recipe import TrainingStage
from napari_sam2.training.tracker import follow_clip

__all__ = ["HeldOutScores", "held_out_batches", "score_held_out"]

# far from every seed that a run is likely to train with
HELD_OUT_SEED = 977_000_001


@dataclass(frozen=True)
class HeldOutScores:
    """Mean values over the held-out objects.

    Attributes
    ----------
    click, clicks3, box : float
        IoU on the first frame after one click, three clicks, a box.
    tracked : float
        IoU of the tracked frames on which the object is visible, from true first masks.
    presence : float
        Share of tracked frames on which the object score was right.
    """

    click: float
    clicks3: float
    box: float
    tracked: float
    presence: float

    @property
    def overall(self) -> float:
        """One number to compare checkpoints by: 0.4 for prompting, 0.5 for tracking, 0.1 for the object score.

        What the exam could not ask (NaN: no object stayed visible, say) is left out; NaN where nothing is left.
        """
        asked = [value for value in (self.click, self.clicks3, self.box) if not math.isnan(value)]
        parts = [
            (0.4, sum(asked) / len(asked) if asked else math.nan),
            (0.5, self.tracked),
            (0.1, self.presence),
        ]
        known = [(weight, value) for weight, value in parts if not math.isnan(value)]
        total = sum(weight for weight, _ in known)
        return sum(weight * value for weight, value in known) / total if known else math.nan


def held_out_batches(
    sources: Sequence[tuple[ClipSource, float]],
    size: int = 256,
    images: int = 12,
    clips: int = 8,
    frames: int = 6,
) -> list[StepBatch]:
    """Draw the exam: image batches for clicks and boxes, and clips from true first masks.

    Parameters
    ----------
    sources : sequence of (source, weight)
        Must not hold what is trained on.
    size, images, clips, frames : int
        Input side, and how much is asked.
    """
    stage = TrainingStage("held out", 1, 1e-3, objects=8)
    base = StepPlan(
        step=0, prompt="click", size=size, frames=1, clips=4, motion=0.6, corrections=2, corrected_frame=None
    )
    plans = []
    for group in range(max(1, images // 4)):
        plans.append(replace(base, step=group))
        plans.append(replace(base, step=group, prompt="box", corrections=0))
    tracked = replace(base, prompt="mask", corrections=0, frames=frames, clips=1)
    plans += [replace(tracked, step=1000 + group) for group in range(clips)]
    few = replace(stage, objects=6)
    return [
        draw_batch(sources, plan, few if plan.frames > 1 else stage, HELD_OUT_SEED, augment=False)
        for plan in plans
    ]


@torch.no_grad()
def score_held_out(model: Sam2, batches: Sequence[StepBatch], device: torch.device) -> HeldOutScores:
    """Score a network on the exam, in evaluation mode."""
    was_training = model.training
    model.eval()
    click: list[torch.Tensor] = []
    clicks3: list[torch.Tensor] = []
    box: list[torch.Tensor] = []
    tracked: list[torch.Tensor] = []
    presence: list[torch.Tensor] = []
    for batch in batches:
        generator = torch.Generator().manual_seed(HELD_OUT_SEED + batch.plan.step)
        outcome = follow_clip(model, batch.to(device), generator, LossOptions())
        if batch.plan.prompt == "click":
            click.append(outcome.first_iou[0])
            clicks3.append(outcome.first_iou[-1])
        elif batch.plan.prompt == "box":
            box.append(outcome.first_iou[0])
        for iou, visible in zip(outcome.tracked_iou, outcome.tracked_visible, strict=True):
            tracked.append(iou[visible])
        presence += [right.float() for right in outcome.presence]
    model.train(was_training)

    def mean(parts: list[torch.Tensor]) -> float:
        return float(torch.cat(parts).mean()) if parts else float("nan")

    return HeldOutScores(mean(click), mean(clicks3), mean(box), mean(tracked), mean(presence))

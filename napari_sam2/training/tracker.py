"""The differentiable walk through a clip: prompt, decode, remember, recall, with the model's five verbs.

This is the training counterpart of `napari_sam2.session`: the same verbs in the same order, but over
several clips and many objects at once, with gradients through the memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from napari_sam2.model.sam2 import Sam2
from napari_sam2.model.tensors import (
    FED_BACK_LIMIT,
    ImageFeatures,
    MaskCandidates,
    MaskResult,
    MemoryReadout,
    PromptTensors,
    concatenated,
    picked,
)
from napari_sam2.session.memory_bank import RecencyPolicy
from napari_sam2.training.data.batches import StepBatch
from napari_sam2.training.data.simulated_prompts import (
    correction_clicks,
    first_clicks,
    jittered_boxes,
    worn_masks,
)
from napari_sam2.training.losses import LossOptions, candidate_loss, mask_iou

__all__ = ["ClipOutcome", "follow_clip"]

# people aim at the middle, of an object as of a mistake, and more often than not come close
CENTRAL_CLICKS = 0.7
# standard deviation of a box's side as a share of it
BOX_JITTER = 0.05


@dataclass
class ClipOutcome:
    """Result of following the objects of a clip.

    Attributes
    ----------
    loss : Tensor, ()
        Mean over all decodes, differentiable.
    first_iou, tracked_iou : list of Tensor, (N,)
        IoU per decode on the first frame, and per later frame before any correction; 0 there for objects that are
        visible and called gone. Of a hidden object it says nothing.
    tracked_visible : list of Tensor, (N,) bool
        Whether the object is really there, for each entry of `tracked_iou`.
    presence : list of Tensor, (N,) bool
        Whether the object score was right, for each entry of `tracked_iou`.
    """

    loss: torch.Tensor
    first_iou: list[torch.Tensor] = field(default_factory=list)
    tracked_iou: list[torch.Tensor] = field(default_factory=list)
    tracked_visible: list[torch.Tensor] = field(default_factory=list)
    presence: list[torch.Tensor] = field(default_factory=list)


@dataclass
class _Remembered:
    """One frame of all objects in the bank."""

    frame: int
    spatial: torch.Tensor  # (N, Cm, h, w)
    pointer: torch.Tensor  # (N, C)
    conditioning: bool


@dataclass
class _Walk:
    """Everything that stays the same while a clip is followed."""

    model: Sam2
    features: ImageFeatures  # of all frames of all clips, (C*T, ...)
    batch: StepBatch
    generator: torch.Generator
    options: LossOptions
    losses: list[torch.Tensor] = field(default_factory=list)

    def features_of(self, frame: int) -> ImageFeatures:
        """Features of `frame` for every object: (N, ...)."""
        index = self.batch.owner * self.batch.plan.frames + frame
        return self.features.picked(index)

    def truth(self, frame: int) -> torch.Tensor:
        """Masks of `frame`: (N, S, S) bool."""
        return self.batch.truth[:, frame]

    def score(self, candidates: MaskCandidates, frame: int) -> torch.Tensor:
        """Add the loss of one decode; return the IoUs (N,) of the masks that the network itself would choose."""
        terms = candidate_loss(
            _enlarged(candidates.logits),
            candidates.ious,
            candidates.object_score,
            self.target(frame),
            self.options,
        )
        self.losses.append(terms.total)
        return terms.mask_iou

    def agreement(self, candidates: MaskCandidates, frame: int) -> torch.Tensor:
        """Return the same IoUs (N,) without a loss."""
        chosen = candidates.ious.argmax(1)
        logits = candidates.logits[torch.arange(len(chosen)), chosen]  # (N, S/4, S/4)
        return mask_iou(_enlarged(logits[:, None])[:, 0], self.target(frame))

    def target(self, frame: int) -> torch.Tensor:
        """Masks of `frame` as they are scored, (N, S/2, S/2) float."""
        return (F.avg_pool2d(self.truth(frame)[:, None].float(), 2)[:, 0] >= 0.5).float()


def _enlarged(logits: torch.Tensor) -> torch.Tensor:
    """Logits (N, K, S/4, S/4) as they are scored, (N, K, S/2, S/2)."""
    return F.interpolate(logits.float(), scale_factor=2, mode="bilinear", align_corners=False)


def follow_clip(
    model: Sam2, batch: StepBatch, generator: torch.Generator, options: LossOptions
) -> ClipOutcome:
    """Prompt every object on the first frame, track it through the clip, and score every decode.

    Parameters
    ----------
    model : Sam2
        Any configuration.
    batch : StepBatch
        Clips, objects and the plan of the step, on the model's device.
    generator : torch.Generator
        On the CPU; draws clicks and boxes.
    options : LossOptions
        Weights of the loss.

    Returns
    -------
    ClipOutcome
    """
    walk = _Walk(model, _encode(model, batch), batch, generator, options)
    outcome = ClipOutcome(loss=batch.images.new_zeros(()))
    result = _first_frame(walk, outcome)
    frames = batch.plan.frames
    bank: list[_Remembered] = []
    if frames > 1:
        bank.append(_remember(walk, 0, result, conditioning=True))
    for frame in range(1, frames):
        corrects = frame == batch.plan.corrected_frame
        skims = frame <= batch.plan.skimmed
        with torch.set_grad_enabled(torch.is_grad_enabled() and not skims):
            result = _track(walk, bank, frame, outcome, corrects, skims)
            if frame + 1 < frames:
                bank.append(_remember(walk, frame, result, conditioning=corrects))
    if walk.losses:
        outcome.loss = torch.stack(walk.losses).mean()
    return outcome


def _encode(model: Sam2, batch: StepBatch) -> ImageFeatures:
    """Features of all frames of all clips, (C*T, ...); skimmed frames are encoded without a gradient."""
    flat, frames = batch.images.flatten(0, 1), batch.plan.frames  # (C*T, 3, S, S)
    if not batch.plan.skimmed:
        return model.encode_image(flat)
    time = torch.arange(len(flat), device=flat.device) % frames
    skimmed = (time > 0) & (time <= batch.plan.skimmed)
    learnt = model.encode_image(flat[~skimmed])
    with torch.no_grad():
        passed = model.encode_image(flat[skimmed])
    order = torch.cat([torch.nonzero(~skimmed)[:, 0], torch.nonzero(skimmed)[:, 0]]).argsort()
    return ImageFeatures(
        stride4=torch.cat([learnt.stride4, passed.stride4])[order],
        stride8=torch.cat([learnt.stride8, passed.stride8])[order],
        stride16=torch.cat([learnt.stride16, passed.stride16])[order],
    )


def _first_frame(walk: _Walk, outcome: ClipOutcome) -> MaskResult:
    plan, truth, features = walk.batch.plan, walk.truth(0), walk.features_of(0)
    if plan.prompt == "mask":
        mask = worn_masks(truth, walk.generator)[:, None].float()
        return walk.model.use_mask_as_output(features, mask)
    embedding = walk.model.condition_on_memory(features, None)
    if plan.prompt == "box":
        points, labels = _box_points(jittered_boxes(truth, walk.generator, BOX_JITTER))
    else:
        points, labels = first_clicks(truth, walk.generator, CENTRAL_CLICKS)
    prompts = PromptTensors(points=points, labels=labels)
    candidates = walk.model.decode_masks(embedding, features, prompts, multimask=plan.prompt == "click")
    outcome.first_iou.append(walk.score(candidates, 0))
    for _ in range(plan.corrections):
        candidates, points, labels = _refine(walk, embedding, features, candidates, (points, labels), 0)
        outcome.first_iou.append(walk.score(candidates, 0))
    return candidates.best()


def _box_points(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes as the model takes them: two points with labels 2 and 3."""
    labels = torch.tensor([2, 3], device=boxes.device).expand(len(boxes), 2)
    return boxes.view(-1, 2, 2), labels


def _refine(
    walk: _Walk,
    embedding: torch.Tensor,
    features: ImageFeatures,
    previous: MaskCandidates,
    said: tuple[torch.Tensor | None, torch.Tensor | None],
    frame: int,
) -> tuple[MaskCandidates, torch.Tensor, torch.Tensor]:
    """Click once where `previous` is wrong and decode again with its logits fed on."""
    logits = (
        previous.best().logits.detach().float().clamp(-FED_BACK_LIMIT, FED_BACK_LIMIT)
    )  # (N, 1, S/4, S/4)
    truth = walk.truth(frame)
    full = F.interpolate(logits, size=truth.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    click, label = correction_clicks(full > 0, truth, walk.generator, central=CENTRAL_CLICKS)
    points, labels = said
    tracked = points is None
    points = click if points is None else torch.cat([points, click], dim=1)
    labels = label if labels is None else torch.cat([labels, label], dim=1)
    prompts = PromptTensors(points, labels, logits)
    lost = previous.object_score[:, 0].detach() <= 0
    if tracked and bool(lost.any()):
        return _find_again(walk, embedding, features, prompts, lost), points, labels
    multimask = points.shape[1] <= 1
    return walk.model.decode_masks(embedding, features, prompts, multimask), points, labels


def _find_again(
    walk: _Walk, embedding: torch.Tensor, features: ImageFeatures, prompts: PromptTensors, lost: torch.Tensor
) -> MaskCandidates:
    """Decode the first click on a tracked frame as the session does: a lost object has no mask to start from."""
    assert prompts.points is not None
    assert prompts.labels is not None
    assert prompts.mask_logits is not None
    parts, found = [], ~lost
    for chosen, fed in ((found, prompts.mask_logits[found]), (lost, None)):
        if bool(chosen.any()):
            said = PromptTensors(prompts.points[chosen], prompts.labels[chosen], fed)
            seen = features.picked(chosen)
            parts.append(walk.model.decode_masks(embedding[chosen], seen, said, multimask=True))
    order = torch.cat([found.nonzero(), lost.nonzero()])[:, 0].argsort()
    return picked(concatenated(parts), order)


def _track(
    walk: _Walk, bank: list[_Remembered], frame: int, outcome: ClipOutcome, corrects: bool, skims: bool
) -> MaskResult:
    features = walk.features_of(frame)
    embedding = walk.model.condition_on_memory(features, _recall(walk, bank, frame))
    nothing = PromptTensors(batch=len(walk.batch.owner))
    candidates = walk.model.decode_masks(embedding, features, nothing, multimask=True)
    iou = walk.agreement(candidates, frame) if skims else walk.score(candidates, frame)
    visible = walk.target(frame).flatten(1).any(1)
    claimed = candidates.object_score[:, 0].detach() > 0
    outcome.tracked_iou.append(iou * claimed)  # what is called gone is not drawn
    outcome.tracked_visible.append(visible)
    outcome.presence.append(claimed == visible)
    if corrects:
        candidates, _, _ = _refine(walk, embedding, features, candidates, (None, None), frame)
        walk.score(candidates, frame)
    return candidates.best()


def _remember(walk: _Walk, frame: int, result: MaskResult, conditioning: bool) -> _Remembered:
    spatial = walk.model.encode_memory(
        walk.features_of(frame), result.logits, result.object_score, binarize=conditioning
    )
    return _Remembered(frame, spatial, result.pointer, conditioning)


def _recall(walk: _Walk, bank: list[_Remembered], frame: int) -> MemoryReadout:
    """Read the bank by the policy that the session reads its own by."""
    config, plan = walk.model.config, walk.batch.plan
    held = {entry.frame: entry for entry in bank}
    conditioning = [entry.frame for entry in bank if entry.conditioning]
    policy = RecencyPolicy(config.num_maskmem, config.max_pointers)
    length = max(plan.frames, plan.video_frames)
    recall = policy.recall(frame, False, conditioning, held.__contains__, length)
    count, device = len(walk.batch.owner), walk.batch.images.device
    ages = [age for age, _ in recall.spatial]
    distances = [float(distance) for distance, _ in recall.pointers]
    return MemoryReadout(
        spatial=torch.stack([held[other].spatial for _, other in recall.spatial], dim=1),  # (N, M, Cm, h, w)
        ages=torch.tensor(ages, device=device).expand(count, -1),
        pointers=torch.stack([held[other].pointer for _, other in recall.pointers], dim=1),  # (N, P, C)
        distances=torch.tensor(distances, device=device).expand(count, -1),
        span=recall.span,
    )

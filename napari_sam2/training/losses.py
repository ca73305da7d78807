"""Losses of a training step: mask cross-entropy, dice, IoU regression and object score."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

__all__ = [
    "LossOptions",
    "LossTerms",
    "balanced_cross_entropy",
    "candidate_loss",
    "dice_loss",
    "focal_loss",
    "mask_iou",
]


@dataclass(frozen=True)
class LossOptions:
    """Weights of the loss terms.

    Parameters
    ----------
    balanced, focal, dice, iou, object_score : float
        Weight of each term; 0 leaves the term out.
    object_share : float
        Share of the object's pixels in the balanced cross-entropy; the background gets the rest.
    hidden_weight : float
        How much more a hidden object counts in the object score than a visible one. Few objects are hidden in most
        clips, and a network that always says "visible" is nearly always right.
    runners_up : float
        Share of the mask loss that goes to all candidates alike, instead of to the best one alone. A little of it
        keeps the candidates that are not the best usable, for the network often chooses one of them.
    focal_gamma, focal_alpha : float
        Exponent and object weight of the focal loss (Lin et al. 2017).
    """

    balanced: float = 2.0
    focal: float = 0.0
    dice: float = 1.0
    iou: float = 0.5
    object_score: float = 0.5
    object_share: float = 0.3
    runners_up: float = 0.0
    hidden_weight: float = 1.0
    focal_gamma: float = 2.0
    focal_alpha: float = 0.25

    def __post_init__(self) -> None:
        """Refuse weights that cannot train anything."""
        if min(self.balanced, self.focal, self.dice, self.iou, self.object_score) < 0:
            raise ValueError("loss weights must not be negative; use 0 to leave a term out")
        if not 0 <= self.runners_up <= 1:
            raise ValueError(f"runners_up is {self.runners_up}; it must lie between 0 and 1")
        if not 0 < self.object_share < 1:
            raise ValueError(f"object_share is {self.object_share}; it must lie between 0 and 1")


@dataclass(frozen=True)
class LossTerms:
    """Loss of one decode, and what a log wants to know about it.

    Attributes
    ----------
    total : Tensor, ()
        The weighted sum, differentiable.
    mask_iou : Tensor, (B,)
        IoU with the truth of the candidate that the network itself would choose; no gradient.
    """

    total: torch.Tensor
    mask_iou: torch.Tensor


def balanced_cross_entropy(
    logits: torch.Tensor, truth: torch.Tensor, object_share: float = 0.3
) -> torch.Tensor:
    """Cross-entropy averaged separately over object and background pixels.

    The plain mean is dominated by background, and a network that has learnt nothing yet then stays
    at "predict nothing"; so does one under the usual focal loss (seen in the first trials).

    Parameters
    ----------
    logits, truth : Tensor, (..., H, W)
        Logits and 0/1 float truth.
    object_share : float
        Weight of the mean over object pixels; the background's is ``1 - object_share``.

    Returns
    -------
    Tensor, (...)
    """
    loss = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").flatten(-2)
    inside = truth.flatten(-2)
    outside = 1 - inside
    object_mean = (loss * inside).sum(-1) / inside.sum(-1).clamp_min(1)
    background_mean = (loss * outside).sum(-1) / outside.sum(-1).clamp_min(1)
    return object_share * object_mean + (1 - object_share) * background_mean


def focal_loss(
    logits: torch.Tensor, truth: torch.Tensor, gamma: float = 2.0, alpha: float = 0.25
) -> torch.Tensor:
    """Return the focal loss (Lin et al. 2017), averaged over pixels: (..., H, W) -> (...)."""
    loss = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    probability = logits.sigmoid()
    missing = probability + truth - 2 * probability * truth  # 1 - probability of the true class
    weight = alpha * truth + (1 - alpha) * (1 - truth)
    return (weight * missing**gamma * loss).flatten(-2).mean(-1)


def dice_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return one minus the soft dice coefficient: (..., H, W) -> (...)."""
    probability = logits.sigmoid().flatten(-2)
    inside = truth.flatten(-2)
    overlap = (probability * inside).sum(-1)
    return 1 - (2 * overlap + 1) / (probability.sum(-1) + inside.sum(-1) + 1)


def mask_iou(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the IoU of ``logits > 0`` with a 0/1 truth: (..., H, W) -> (...); 1 when both are empty."""
    mask, inside = (logits > 0).flatten(-2), (truth > 0.5).flatten(-2)
    union = (mask | inside).sum(-1)
    overlap = (mask & inside).sum(-1)
    return torch.where(union > 0, overlap / union.clamp_min(1), torch.ones_like(union, dtype=logits.dtype))


def candidate_loss(
    logits: torch.Tensor,
    ious: torch.Tensor,
    object_score: torch.Tensor,
    truth: torch.Tensor,
    options: LossOptions,
) -> LossTerms:
    """Score one decode as SAM 2 is trained: the best candidate's mask, every candidate's IoU estimate.

    Only the candidate of least mask loss is supervised (but see `runners_up`), so that three candidates may mean three
    different things. Where the object is not visible the masks are not scored, only the object score.
    Counterpart in the reference: ``MultiStepMultiMasksAndIous``.

    Parameters
    ----------
    logits : Tensor, (B, K, H, W)
        Candidate logits.
    ious : Tensor, (B, K)
        The network's own estimates, 0..1.
    object_score : Tensor, (B, 1)
        Logit of "the object is visible".
    truth : Tensor, (B, H, W)
        0/1 float masks; an empty one means that the object is not visible.
    options : LossOptions
        Weights.

    Raises
    ------
    ValueError
        If the truth does not have the size of the logits.
    """
    if logits.shape[-2:] != truth.shape[-2:] or logits.shape[0] != truth.shape[0]:
        raise ValueError(f"truth {tuple(truth.shape)} does not fit candidates {tuple(logits.shape)}")
    logits, ious, object_score = logits.float(), ious.float(), object_score.float()
    target = truth[:, None].expand_as(logits)  # (B, K, H, W)
    visible = truth.flatten(1).amax(1)  # (B,)
    mask_loss = logits.new_zeros(logits.shape[:2])
    if options.balanced:
        mask_loss = mask_loss + options.balanced * balanced_cross_entropy(
            logits, target, options.object_share
        )
    if options.focal:
        mask_loss = mask_loss + options.focal * focal_loss(
            logits, target, options.focal_gamma, options.focal_alpha
        )
    if options.dice:
        mask_loss = mask_loss + options.dice * dice_loss(logits, target)
    chosen = mask_loss.detach().argmin(1)
    true_ious = mask_iou(logits.detach(), target)
    rows = torch.arange(len(logits), device=logits.device)
    iou_loss = (ious - true_ious).abs().mean(1)
    presence = F.binary_cross_entropy_with_logits(object_score[:, 0], visible, reduction="none")
    presence = presence * (visible + options.hidden_weight * (1 - visible))
    # divided by the batch, not by the number of visible objects: a step with few of them stays a small step
    supervised = (1 - options.runners_up) * mask_loss[rows, chosen] + options.runners_up * mask_loss.mean(1)
    total = (visible * (supervised + options.iou * iou_loss)).mean()
    total = total + options.object_score * presence.mean()
    own_choice = true_ious[rows, ious.detach().argmax(1)]
    return LossTerms(total=total, mask_iou=own_choice)

"""Losses on cases that can be worked out by hand."""

import math

import pytest
import torch

from napari_sam2.training.losses import (
    LossOptions,
    balanced_cross_entropy,
    candidate_loss,
    dice_loss,
    focal_loss,
    mask_iou,
)

TRUTH = torch.tensor([[1.0, 0.0], [0.0, 0.0]])


def test_balanced_cross_entropy_of_undecided_logits_is_log_two_whatever_the_balance():
    undecided = torch.zeros(2, 2)
    assert balanced_cross_entropy(undecided, TRUTH, 0.3).item() == pytest.approx(math.log(2))


def test_balanced_cross_entropy_weighs_the_one_object_pixel_as_its_share():
    logits = torch.tensor([[-100.0, -100.0], [-100.0, -100.0]])  # "predict nothing"
    assert balanced_cross_entropy(logits, TRUTH, 0.3).item() == pytest.approx(0.3 * 100)
    everything = -logits
    assert balanced_cross_entropy(everything, TRUTH, 0.3).item() == pytest.approx(0.7 * 100)


def test_focal_loss_of_undecided_logits():
    # one object pixel of weight 1/4 and three of background with 3/4, each (1/2)^2 log 2
    expected = (0.25 + 3 * 0.75) / 4 * 0.25 * math.log(2)
    assert focal_loss(torch.zeros(2, 2), TRUTH).item() == pytest.approx(expected)


def test_dice_loss_is_zero_when_right_and_counts_overlap_when_not():
    right = (TRUTH - 0.5) * 200
    assert dice_loss(right, TRUTH).item() == pytest.approx(0, abs=1e-6)
    everything = torch.full((2, 2), 100.0)
    assert dice_loss(everything, TRUTH).item() == pytest.approx(1 - (2 * 1 + 1) / (4 + 1 + 1))


def test_mask_iou_counts_pixels_and_two_empty_masks_agree():
    half = torch.tensor([[5.0, 5.0], [-5.0, -5.0]])
    assert mask_iou(half, TRUTH).item() == 0.5
    assert mask_iou(torch.full((2, 2), -1.0), torch.zeros(2, 2)).item() == 1.0


def decoded(*, right: int, candidates: int = 3):
    """Candidates of which one is right, for one object."""
    logits = torch.full((1, candidates, 2, 2), -8.0)
    logits[0, right] = (TRUTH - 0.5) * 16
    return logits.requires_grad_()


def test_only_the_best_candidate_gets_a_mask_gradient():
    logits = decoded(right=1)
    options = LossOptions(iou=0, object_score=0)
    terms = candidate_loss(logits, torch.zeros(1, 3), torch.ones(1, 1), TRUTH[None], options)
    terms.total.backward()
    assert logits.grad[0, 1].abs().sum() > 0
    assert logits.grad[0, [0, 2]].abs().sum() == 0


def test_runners_up_let_every_candidate_learn():
    logits = decoded(right=1)
    options = LossOptions(iou=0, object_score=0, runners_up=0.3)
    candidate_loss(logits, torch.zeros(1, 3), torch.ones(1, 1), TRUTH[None], options).total.backward()
    assert (logits.grad.abs().sum((0, 2, 3)) > 0).all()


def test_iou_estimates_are_regressed_to_the_true_ious_of_all_candidates():
    options = LossOptions(balanced=0, dice=0, iou=1, object_score=0)
    ious = torch.tensor([[0.25, 0.5, 0.0]])
    terms = candidate_loss(decoded(right=1), ious, torch.ones(1, 1), TRUTH[None], options)
    # true IoUs are 0, 1, 0
    assert terms.total.item() == pytest.approx((0.25 + 0.5 + 0) / 3)


def test_reported_iou_is_that_of_the_networks_own_choice():
    ious = torch.tensor([[0.9, 0.1, 0.0]])
    terms = candidate_loss(decoded(right=1), ious, torch.ones(1, 1), TRUTH[None], LossOptions())
    assert terms.mask_iou.tolist() == [0.0]


def test_a_hidden_object_trains_the_object_score_only():
    logits = decoded(right=1)
    score = torch.zeros(1, 1, requires_grad=True)
    hidden = torch.zeros(1, 2, 2)
    options = LossOptions(object_score=1)
    terms = candidate_loss(logits, torch.rand(1, 3), score, hidden, options)
    terms.total.backward()
    assert terms.total.item() == pytest.approx(math.log(2))
    assert score.grad.item() > 0  # gradient descent lowers the score
    assert logits.grad.abs().sum() == 0


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="does not fit"):
        candidate_loss(
            torch.zeros(1, 3, 4, 4), torch.zeros(1, 3), torch.zeros(1, 1), TRUTH[None], LossOptions()
        )


@pytest.mark.parametrize(
    "wrong", [{"dice": -1.0}, {"object_share": 0.0}, {"object_share": 1.0}, {"runners_up": 2.0}]
)
def test_impossible_weights_are_refused(wrong):
    with pytest.raises(ValueError):
        LossOptions(**wrong)


def test_hidden_objects_can_count_more():
    logits, score = decoded(right=1).expand(2, 3, 2, 2), torch.zeros(2, 1)
    truth = torch.stack([TRUTH, torch.zeros(2, 2)])
    options = LossOptions(balanced=0, dice=0, iou=0, object_score=1, hidden_weight=3)
    terms = candidate_loss(logits, torch.zeros(2, 3), score, truth, options)
    assert terms.total.item() == pytest.approx((1 + 3) / 2 * math.log(2))

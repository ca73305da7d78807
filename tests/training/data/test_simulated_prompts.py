"""Simulated users say true things only."""

import pytest
import torch

from napari_sam2.training.data.simulated_prompts import (
    correction_clicks,
    depth_inside,
    first_clicks,
    jittered_boxes,
    worn_masks,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*rows: str) -> torch.Tensor:
    return torch.tensor([[c == "#" for c in row] for row in rows])


RING = drawn("........", ".######.", ".######.", ".##..##.", ".##..##.", ".######.", ".######.", "........")
BLOCK = drawn("........", "..####..", "..####..", "..####..", "..####..", "..####..", "........", "........")


def at(masks, points):
    x, y = points[:, 0, 0].long(), points[:, 0, 1].long()
    return masks[torch.arange(len(masks)), y, x]


@pytest.mark.parametrize("central", [0.0, 1.0])
def test_first_clicks_lie_inside_their_object(central):
    truth = torch.stack([RING, BLOCK] * 20)
    points, labels = first_clicks(truth, generator(), central)
    assert at(truth, points).all()
    assert (labels == 1).all()


@pytest.mark.parametrize("central", [0.0, 1.0])
def test_corrections_lie_in_the_error_region_and_say_what_is_true_there(central):
    truth = torch.stack([RING, BLOCK] * 40)
    predicted = torch.stack([BLOCK, RING] * 40)
    points, labels = correction_clicks(predicted, truth, generator(1), central)
    assert at(predicted ^ truth, points).all()
    assert torch.equal(at(truth, points), labels[:, 0] == 1)


def test_uniform_corrections_are_of_both_kinds():
    truth, predicted = RING.expand(100, 8, 8), BLOCK.expand(100, 8, 8)
    _, labels = correction_clicks(predicted, truth, generator(2), 0.0)
    assert 0 < labels.float().mean() < 1


def test_a_right_prediction_is_confirmed_on_the_object():
    truth = BLOCK.expand(10, 8, 8)
    points, labels = correction_clicks(truth, truth, generator())
    assert at(truth, points).all()
    assert (labels == 1).all()


def test_an_absent_object_gets_a_negative_click():
    points, labels = correction_clicks(torch.zeros(3, 8, 8).bool(), torch.zeros(3, 8, 8).bool(), generator())
    assert (labels == 0).all()
    assert ((points >= 0) & (points < 8)).all()


def test_central_click_takes_the_middle_of_the_deeper_error():
    truth = torch.zeros(1, 16, 16, dtype=torch.bool)
    truth[0, 2:9, 2:9] = True  # missed: 7 x 7, its middle is (5, 5)
    predicted = torch.zeros_like(truth)
    predicted[0, 12:15, 9:12] = True  # taken: 3 x 3
    points, labels = correction_clicks(predicted, truth, generator(), central=1.0)
    assert points[0, 0].tolist() == [5, 5]
    assert labels.item() == 1


def test_depth_counts_erosions_and_the_image_edge_is_a_border():
    full = torch.ones(1, 5, 5, dtype=torch.bool)
    assert depth_inside(full)[0].tolist() == [
        [1, 1, 1, 1, 1],
        [1, 2, 2, 2, 1],
        [1, 2, 3, 2, 1],
        [1, 2, 2, 2, 1],
        [1, 1, 1, 1, 1],
    ]


def test_boxes_without_jitter_are_exact():
    assert jittered_boxes(BLOCK[None], generator(), jitter=0.0).tolist() == [[2, 1, 5, 5]]


def test_jittered_boxes_stay_inside_the_image_and_close_to_the_object():
    boxes = jittered_boxes(BLOCK.expand(200, 8, 8), generator(), jitter=0.3, limit=2)
    assert ((boxes >= 0) & (boxes <= 7)).all()
    assert (boxes[:, 2:] >= boxes[:, :2]).all()
    assert ((boxes - torch.tensor([2.0, 1, 5, 5])).abs() <= 2).all()
    assert boxes.std(0).min() > 0.3


def test_the_same_seed_gives_the_same_prompts():
    truth = torch.stack([RING, BLOCK])
    for simulate in (first_clicks, jittered_boxes, worn_masks):
        one, two = simulate(truth, generator(3)), simulate(truth, generator(3))
        parts = zip(one, two, strict=True) if isinstance(one, tuple) else [(one, two)]
        assert all(torch.equal(a, b) for a, b in parts)


def test_worn_masks_differ_a_little_and_never_vanish():
    yy, xx = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    disc = ((xx - 30) ** 2 + (yy - 33) ** 2 < 15**2).expand(20, 64, 64)
    worn = worn_masks(disc, generator(), strength=1.0)
    iou = (worn & disc).flatten(1).sum(1) / (worn | disc).flatten(1).sum(1)
    assert (iou < 1).all()
    assert (iou > 0.7).all()
    thin = torch.zeros(20, 64, 64, dtype=torch.bool)
    thin[:, 20, 10:50] = True  # a line; its border is all there is
    assert torch.equal(worn_masks(thin, generator(), 1.0), thin)
    assert worn_masks(RING[None], generator(), 1.0).any()


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        correction_clicks(torch.zeros(1, 4, 4).bool(), torch.zeros(1, 8, 8).bool(), generator())

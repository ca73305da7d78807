"""States of an object on each frame, and the queue of what is open."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam2.masks import FrameMasks
from napari_sam2.review import FrameState as S
from napari_sam2.review import ReviewItem, ReviewQueue, facts_of, frame_states, state_counts, state_items


def flags(text):
    return np.array([c == "x" for c in text])


def test_every_state_and_what_hides_what():
    states = frame_states(
        known=flags("xxxxxxxxx..."),
        seen=flags("xxx.xxxxx..."),
        prompted=flags("x........x.."),
        stale=flags("x...xx......"),
        uncertainty=np.array([1, 0.49, 0.5, 1, 0, 1, 1, 1, 0, 0, 0, 0.0]),
        accepted=((5, 6),),
        absent=((7, 7), (11, 40)),
    )
    expected = [
        *(S.PROMPTED, S.TRACKED, S.UNCERTAIN, S.MISSING, S.STALE, S.ACCEPTED),
        *(S.ACCEPTED, S.ABSENT, S.TRACKED, S.PROMPTED, S.NOT_REACHED, S.ABSENT),
    ]
    assert states.tolist() == expected
    assert state_counts(states)["not reached"] == 1
    assert sum(state_counts(states).values()) == 12


def test_a_frame_without_a_result_is_neither_accepted_nor_stale():
    nothing = flags("..")
    states = frame_states(nothing, nothing, nothing, flags("xx"), np.ones(2), accepted=((0, 1),))
    assert states.tolist() == [S.NOT_REACHED] * 2
    with pytest.raises(ValueError, match="2 frames need"):
        frame_states(nothing, nothing, flags("x"), nothing, np.ones(2))


def test_items_are_stretches_and_short_gaps_are_bridged():
    states = np.array([6, 2, 1, 2, 1, 1, 1, 2, 3, 3, 1, 0])
    uncertainty = np.array([0, 0.6, 0, 0.9, 0, 0, 0, 0.5, 1, 0, 0, 0.0])
    items = state_items(4, states, uncertainty)
    assert [(i.kind, i.first, i.last, i.frame, i.weight) for i in items] == [
        ("uncertain", 1, 3, 1, 0.9),
        ("uncertain", 7, 7, 7, 0.5),
        ("missing", 8, 9, 8, 1.0),
    ]


def test_long_uncertain_stretches_are_cut():
    states, uncertainty = np.full(20, S.UNCERTAIN, np.uint8), np.linspace(0.5, 0.9, 20)
    items = state_items(1, states, uncertainty)
    assert [(i.first, i.last, i.frame) for i in items] == [(0, 7, 0), (8, 15, 8), (16, 19, 16)]
    assert [i.weight for i in items] == [uncertainty[7], uncertainty[15], uncertainty[19]]


def test_the_queue_goes_around_in_both_orders_and_goes_on_after_what_is_done():
    def item(object_id, frame, weight):
        return ReviewItem(object_id, frame, frame, frame, "uncertain", weight)

    items = [item(1, 5, 0.6), item(2, 3, 0.9), item(1, 9, 0.7)]
    worst = ReviewQueue.of(items)
    assert [i.frame for i in worst.items] == [3, 9, 5]
    assert worst.next().frame == 3
    assert worst.next(worst.items[2]).frame == 3
    assert worst.next(worst.items[0], -1).frame == 5
    assert worst.place(worst.items[1]) == "2 of 3"
    time = ReviewQueue.of(items, "time")
    assert [i.frame for i in time.items] == [3, 5, 9]
    rest = ReviewQueue.of([items[1], items[2]], "time")  # the one on frame 5 was accepted
    assert rest.next(items[0]).frame == 9
    assert rest.next(items[0], -1).frame == 3
    assert ReviewQueue.of([]).next() is None
    with pytest.raises(ValueError, match="'worst' or 'time'"):
        ReviewQueue.of(items, "name")


def test_facts_of_masks_drawn_by_hand():
    masks = np.zeros((3, 40, 60), bool)
    masks[0, 10:20, 10:20] = True  # 100 pixels, half of them shared
    masks[0, 35:40, 50:60] = True  # 50 pixels far away, on two sides of the frame
    masks[1, 10:20, 15:25] = True
    scores = np.array([3, 2, -4], np.float32)
    found = FrameMasks(7, (2, 5, 9), masks, scores, scores / 4, np.array([True, False, False]))
    first, second, third = facts_of(found)
    assert (first.object_id, first.frame, first.prompted, first.object_score) == (2, 7, True, 3.0)
    assert first.area == 150
    assert first.center == pytest.approx(((14.5 * 100 + 54.5 * 50) / 150, (14.5 * 100 + 37 * 50) / 150))
    assert first.scattered == pytest.approx(50 / 150)
    assert first.split == pytest.approx(0.5)
    assert first.overlap == pytest.approx(50 / 150)
    assert first.border == pytest.approx(14 / (2 * np.sqrt(150 / np.pi)))
    assert (second.overlap, second.scattered, second.split, second.border) == (0.5, 0, 0, 0)
    assert (third.area, third.center, third.scattered) == (0, None, 0)


def test_near_pieces_are_not_scattered():
    masks = np.zeros((1, 40, 60), bool)
    masks[0, 10:20, 10:20] = masks[0, 10:20, 24:28] = True
    [fact] = facts_of(FrameMasks(0, (1,), masks, *np.ones((2, 1), np.float32), np.zeros(1, bool)))
    assert (fact.scattered, fact.split) == (0, pytest.approx(0.4))

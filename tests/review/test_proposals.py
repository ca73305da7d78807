"""Divisions, merges and swaps that are proposed, drawn as discs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_sam2.masks import FrameMasks
from napari_sam2.objects import ObjectInfo, Parent
from napari_sam2.review import ObjectFacts, facts_of, proposals

COUNT, SIZE = 14, (80, 120)


def disc(x, y, radius):
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def facts_of_drawing(draw):
    """``draw(t)`` gives masks by object id."""
    facts = {}
    for t in range(COUNT):
        masks = draw(t)
        ones = np.ones(len(masks), np.float32)
        stack = np.stack(list(masks.values()))
        found = FrameMasks(t, tuple(masks), stack, ones * 9, ones, np.zeros(len(masks), bool))
        for fact in facts_of(found):
            facts.setdefault(fact.object_id, ObjectFacts(COUNT)).put(fact)
    return facts


def found(facts, **changes):
    infos = {i: ObjectInfo(i) for i in facts}
    infos |= {int(k[1:]): replace(infos[int(k[1:])], **v) for k, v in changes.items()}
    return [(i.kind, i.object_id, i.frame, i.others) for i in proposals(facts, infos)]


def test_objects_that_move_and_touch_propose_nothing():
    assert found(facts_of_drawing(lambda t: {1: disc(20 + 2 * t, 30, 10), 2: disc(44 + 2 * t, 30, 10)})) == []


def test_a_mask_that_becomes_two_pieces_alike_is_a_division():
    def draw(t):
        apart = max(0, t - 6) * 3
        return {1: disc(50, 40, 12) if t < 7 else disc(40 - apart, 40, 8) | disc(60 + apart, 40, 8)}

    facts = facts_of_drawing(draw)
    assert ("division", 1, 7, ()) in found(facts)
    assert not [f for f in found(facts, _1={"accepted": ((5, 9),)}) if f[0] == "division"]


def test_a_new_object_of_half_the_area_beside_one_that_shrank_is_its_daughter():
    def draw(t):
        if t < 7:
            return {1: disc(50, 40, 12)}
        return {1: disc(42, 40, 8), 4: disc(60, 40, 8)}

    facts = facts_of_drawing(draw)
    assert found(facts) == [("division", 1, 7, (4,))]
    assert found(facts, _4={"parent": Parent(1, 7)}) == []


def test_an_object_far_away_is_no_daughter_and_leaving_is_no_division():
    facts = facts_of_drawing(
        lambda t: {1: disc(30, 40, 12)} if t < 7 else {1: disc(30, 40, 8), 4: disc(100, 40, 8)}
    )
    assert found(facts) == [("division", 1, 7, ())]  # it shrank by half
    facts = facts_of_drawing(lambda t: {1: disc(14 - 2 * t, 40, 12)} if t < 11 else {1: disc(200, 0, 1)})
    assert found(facts) == []


def test_an_object_that_grows_over_its_neighbour_is_a_merge():
    def draw(t):
        if t < 6:
            return {1: disc(40, 40, 10), 2: disc(62, 40, 10)}
        return {1: disc(40, 40, 10) | disc(62, 40, 10) | disc(51, 40, 6), 2: np.zeros(SIZE, bool)}

    assert [f for f in found(facts_of_drawing(draw)) if f[0] == "merge"] == [("merge", 1, 6, (2,))]


def test_two_objects_at_each_other_s_place_are_a_swap():
    def draw(t):
        left, right = disc(30 + t, 40, 9), disc(70 - t, 40, 9)
        return {1: left, 2: right} if t < 8 else {1: right, 2: left}

    facts = facts_of_drawing(draw)
    assert found(facts) == [("swap", 1, 8, (2,))]
    facts[2].prompted[8] = True  # the user looked at it
    assert found(facts) == []

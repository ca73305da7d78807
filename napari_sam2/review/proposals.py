"""Proposals of a review: frames on which objects seem to divide, to merge or to take each other's place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray

from napari_sam2.objects import ObjectInfo, covers
from napari_sam2.review.facts import ObjectFacts
from napari_sam2.review.queue import ReviewItem
from napari_sam2.review.states import stretches_of

Floats = NDArray[np.float64]
_WINDOW = 3  # frames before and after that areas are compared over
_HALF = (0.35, 0.7)  # of the area before: what a mother or a daughter has
_GROWN = 1.4  # times the area before
_PIECES = 0.4  # second largest piece over the largest: two alike
_NEAR = 1.5  # centres that are nearer than so many times both radii together touch, or nearly


def proposals(facts: Mapping[int, ObjectFacts], infos: Mapping[int, ObjectInfo]) -> list[ReviewItem]:
    """Return frames on which something seems to have happened between objects, one item for each.

    *Divisions*: one mask becomes two pieces alike; an object begins beside one that shrank, each with about half of its
    area; an object shrinks by half for good. *Merges*: an object grows by half beside one that is no longer seen, or
    that it covers. *Swaps*: two objects are nearer to each other's place before than to their own. Frames that the
    user accepted, prompted or linked are left out. Nothing is changed: an item says where to look.
    """
    areas = {i: np.asarray(np.nan_to_num(known.areas), float) for i, known in facts.items()}
    found = [*_divisions(facts, infos, areas), *_merges(facts, areas), *_swaps(facts, areas)]
    return [item for item in found if not _is_decided(item, facts, infos)]


def _is_decided(item: ReviewItem, facts: Mapping[int, ObjectFacts], infos: Mapping[int, ObjectInfo]) -> bool:
    ids = (item.object_id, *item.others)
    if any(facts[i].prompted[item.frame] and item.kind != "division" for i in ids):
        return True
    linked = any(
        info.parent is not None and info.parent.object_id == item.object_id for info in infos.values()
    )
    decided = covers(infos[item.object_id].accepted, item.frame) or covers(
        infos[item.object_id].absent, item.frame
    )
    return decided or (item.kind == "division" and linked)


def _divisions(
    facts: Mapping[int, ObjectFacts], infos: Mapping[int, ObjectInfo], areas: Mapping[int, Floats]
) -> Iterator[ReviewItem]:
    begins = {i: int(np.flatnonzero(a)[0]) for i, a in areas.items() if a.any()}
    for mother, known in facts.items():
        for frame in _split_frames(known):
            yield _item(mother, frame, "division", 0.8, len(known.areas), reason="two pieces alike")
        ratio = _change(areas[mother])
        inside = np.nan_to_num(known.borders) == 0
        for first, last in stretches_of((ratio >= _HALF[0]) & (ratio <= _HALF[1]) & inside):
            own = areas[mother][first - 1 : last + 1]
            frame = first + int(np.argmin(own[1:] / own[:-1]))  # where it is steepest
            daughters = [
                i
                for i, begin in begins.items()
                if i != mother and infos[i].parent is None and abs(begin - frame) <= _WINDOW and begin > 0
                if _is_daughter(facts, areas, mother, i, min(frame, begin), begin)
            ]
            weight, reason = (0.9, "a new object beside it") if daughters else (0.5, "it shrank by half")
            yield _item(mother, frame, "division", weight, len(ratio), tuple(daughters[:1]), reason)


def _split_frames(known: ObjectFacts) -> list[int]:
    """Return frames from which on a mask in one piece is in two pieces alike, for two frames at least."""
    splits = np.nan_to_num(known.splits)
    two = splits >= _PIECES
    starts = two[2:] & np.append(two[3:], two[-1:]) & (splits[1:-1] < _PIECES) & (splits[:-2] < _PIECES)
    return [int(t) + 2 for t in np.flatnonzero(starts)]


def _is_daughter(
    facts: Mapping[int, ObjectFacts],
    areas: Mapping[int, Floats],
    mother: int,
    other: int,
    frame: int,
    begin: int,
) -> bool:
    before = areas[mother][max(frame - _WINDOW, 0) : frame]
    usual = float(np.median(before[before > 0])) if (before > 0).any() else 0.0
    own = areas[other][begin : begin + _WINDOW]
    share = float(np.median(own)) / usual if usual else 0.0
    gap = facts[other].centers[begin] - facts[mother].centers[begin]
    return _HALF[0] / 2 <= share <= _HALF[1] and float(np.hypot(*gap)) <= 3 * np.sqrt(usual / np.pi)


def _merges(facts: Mapping[int, ObjectFacts], areas: Mapping[int, Floats]) -> Iterator[ReviewItem]:
    grows = {i: np.nan_to_num(_change(a)) >= _GROWN for i, a in areas.items()}
    for one, other in permutations(facts, 2):
        grown = grows[one]
        if not grown.any():
            continue
        near = _distances(facts[one], facts[other])[:-1] <= _NEAR * _radii(areas[one], areas[other])[:-1]
        gone = (areas[other][1:] == 0) | (np.nan_to_num(facts[other].overlaps[1:]) >= 0.5)
        met = np.append(False, near & gone & (areas[other][:-1] > 0)) & grown
        for first, _ in stretches_of(met):
            yield _item(one, first, "merge", 0.7, len(grown), (other,), "it grew beside it")


def _swaps(facts: Mapping[int, ObjectFacts], areas: Mapping[int, Floats]) -> Iterator[ReviewItem]:
    for one, other in combinations(facts, 2):
        a, b = (np.asarray(facts[i].centers, float) for i in (one, other))
        if len(a) < 2:
            continue
        own = np.stack([np.hypot(*(p[1:] - p[:-1]).T) for p in (a, b)])  # (2, T - 1)
        crossed = np.stack([np.hypot(*(p[1:] - q[:-1]).T) for p, q in ((a, b), (b, a))])
        far = (0.5 * _radii(areas[one], areas[other])[:-1, None] / 2 < own.T).all(1)
        for frame in np.flatnonzero(far & (crossed.sum(0) < 0.5 * own.sum(0))):
            yield _item(one, int(frame) + 1, "swap", 0.9, len(a), (other,), "each is at the other's place")


def _change(areas: Floats) -> Floats:
    """Return the median area of the frames from each one on over that of the frames before it; NaN where unseen."""
    ratio = np.full(len(areas), np.nan)
    for t in range(1, len(areas)):
        before, after = areas[max(t - _WINDOW, 0) : t], areas[t : t + _WINDOW]
        if (before > 0).all() and (after > 0).all():
            ratio[t] = np.median(after) / np.median(before)
    return ratio


def _distances(one: ObjectFacts, other: ObjectFacts) -> Floats:
    return np.asarray(np.nan_to_num(np.hypot(*(one.centers - other.centers).T), nan=np.inf), float)


def _radii(one: Floats, other: Floats) -> Floats:
    return np.asarray(np.sqrt(one / np.pi) + np.sqrt(other / np.pi), float)


def _item(
    object_id: int,
    frame: int,
    kind: str,
    weight: float,
    count: int,
    others: tuple[int, ...] = (),
    reason: str = "",
) -> ReviewItem:
    last = min(frame + _WINDOW - 1, count - 1)
    return ReviewItem(object_id, frame, last, frame, kind, weight, others, reason)  # type: ignore[arg-type]

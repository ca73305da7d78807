"""The queue of a review: stretches of objects that deserve a look, in order, one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_sam2.review.states import Flags, FrameState, stretches_of

Kind = Literal["uncertain", "missing", "division", "merge", "swap", "new object"]
Order = Literal["worst", "time"]
_BRIDGED = 2  # frames between two uncertain stretches that are one item
_LONGEST = 8  # frames of an uncertain item; one look can't judge more


@dataclass(frozen=True)
class ReviewItem:
    """One stretch of one object to look at.

    Parameters
    ----------
    object_id : int
        Which object.
    first, last : int
        Its frames, both included.
    frame : int
        Where to look first.
    kind : str
        "uncertain" and "missing" are states; "division", "merge", "swap" and "new object" are proposals.
    weight : float
        How much it deserves a look, 0 to 1.
    others : tuple of int
        Other objects that are involved.
    reason : str
        A few words.
    """

    object_id: int
    first: int
    last: int
    frame: int
    kind: Kind
    weight: float
    others: tuple[int, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class ReviewQueue:
    """Items in an order.

    Parameters
    ----------
    items : tuple of ReviewItem
        In order.
    order : {"worst", "time"}
        Highest weight first, or by frame.
    """

    items: tuple[ReviewItem, ...]
    order: Order = "worst"

    @classmethod
    def of(cls, items: Iterable[ReviewItem], order: Order = "worst") -> ReviewQueue:
        """Put items in order."""
        if order not in ("worst", "time"):
            raise ValueError(f"the order of a review is 'worst' or 'time', not {order!r}")
        return cls(tuple(sorted(items, key=lambda item: _key(item, order))), order)

    def __len__(self) -> int:
        return len(self.items)

    def next(self, item: ReviewItem | None = None, step: int = 1) -> ReviewItem | None:
        """Return the item after (``step`` 1) or before (-1) another one, around the end; None when there is none.

        The other one need not be in the queue any more; without one the first (or last) item is returned.
        """
        if not self.items:
            return None
        if item is None:
            return self.items[0 if step > 0 else -1]
        key = _key(item, self.order)
        before = sum(_key(other, self.order) < key for other in self.items)
        through = before + any(_key(other, self.order) == key for other in self.items)
        return self.items[(through if step > 0 else before - 1) % len(self.items)]

    def place(self, item: ReviewItem) -> str:
        """Return "3 of 11" for an item of the queue."""
        return f"{self.items.index(item) + 1} of {len(self.items)}"


def _key(item: ReviewItem, order: Order) -> tuple[float | int | str, ...]:
    weight = -round(item.weight, 3) if order == "worst" else 0.0
    return weight, item.frame, item.object_id, item.kind, item.first


def state_items(
    object_id: int, states: NDArray[np.uint8], uncertainty: NDArray[np.floating]
) -> list[ReviewItem]:
    """Return the uncertain and the missing stretches of one object, by frame; long uncertain ones are cut.

    Parameters
    ----------
    object_id : int
        Which object.
    states : ndarray of uint8, shape (T,)
        See :func:`~napari_sam2.review.states.frame_states`.
    uncertainty : ndarray of float, shape (T,)
        0 (certain) to 1.
    """
    items = []
    for first, last in stretches_of(_bridged(states == FrameState.UNCERTAIN, states)):
        for start in range(first, last + 1, _LONGEST):
            end = min(start + _LONGEST - 1, last)
            weight = float(uncertainty[start : end + 1].max())
            items.append(ReviewItem(object_id, start, end, start, "uncertain", weight))
    for first, last in stretches_of(states == FrameState.MISSING):
        items.append(ReviewItem(object_id, first, last, first, "missing", float(uncertainty[first])))
    return sorted(items, key=lambda item: (item.first, item.kind))


def _bridged(uncertain: Flags, states: NDArray[np.uint8]) -> Flags:
    """Return flags with short tracked gaps between uncertain frames closed."""
    closed = uncertain.copy()
    for first, last in stretches_of(~uncertain):
        inside = first > 0 and last < len(states) - 1
        if inside and last - first < _BRIDGED and (states[first : last + 1] == FrameState.TRACKED).all():
            closed[first : last + 1] = True
    return closed

"""Review and lineage of an image, for buttons and scripts: what is open, and the verbs that decide it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_sam2.objects import Parent, generations, lineage_graph
from napari_sam2.plugin.controller.context import ControllerContext
from napari_sam2.plugin.controller.objects import Objects
from napari_sam2.plugin.worker.requests import Decide
from napari_sam2.review.queue import Order, ReviewItem, ReviewQueue

if TYPE_CHECKING:
    from napari_sam2.storage.review import Review


class _Decisions:
    """Sends decisions to the session."""

    def __init__(self, context: ControllerContext, objects: Objects) -> None:
        self._context = context
        self._objects = objects

    def _title(self, object_id: int) -> str:
        if object_id not in self._objects:
            raise ValueError(f"object {object_id} does not exist; there are {list(self._objects.ids)}")
        return self._objects.title(object_id)

    def _decide(self, label: str, decision: Callable[[Review], object]) -> None:
        session = self._context.session
        session.require()
        session.submit(Decide(decision, self._context.view.frame, session.new_group(label)))


class ReviewVerbs(_Decisions):
    """The review of a controller; its verbs are those of :class:`~napari_sam2.storage.Review`, each a step of undo."""

    def states(self) -> Future[dict[int, NDArray[np.uint8]]]:
        """Return the state of all objects on all frames, see :class:`~napari_sam2.review.FrameState`."""
        return self._context.session.call("Reading states", lambda session: session.review.states())

    def queue(self, order: Order = "worst") -> Future[ReviewQueue]:
        """Return what is open, worst first or by time."""
        return self._context.session.call("Reviewing", lambda session: session.review.queue(order))

    def show(self, item: ReviewItem) -> None:
        """Show an item's frame, and make its object the active one."""
        self._objects.select([item.object_id])
        self._context.view.show(item.frame)

    def accept(self, object_id: int, first: int, last: int | None = None) -> None:
        """Accept the results of an object on a stretch of frames."""
        self._decide(f"Accept {self._title(object_id)}", lambda r: r.accept(object_id, first, last))

    def reopen(self, object_id: int, first: int, last: int | None = None) -> None:
        """Take back what was decided about an object on a stretch of frames."""
        self._decide(f"Review {self._title(object_id)} again", lambda r: r.reopen(object_id, first, last))

    def mark_absent(self, object_id: int, first: int, last: int | None = None) -> None:
        """Decide that an object is hidden or gone on a stretch of frames."""
        self._decide(f"{self._title(object_id)} is gone", lambda r: r.mark_absent(object_id, first, last))

    def end(self, object_id: int, frame: int) -> None:
        """Decide that an object is gone from a frame on."""
        label = f"{self._title(object_id)} ends before frame {frame}"
        self._decide(label, lambda r: r.end(object_id, frame))

    def swap(self, first_id: int, second_id: int, frame: int) -> None:
        """Exchange the masks, prompts and decisions of two objects from a frame on."""
        label = f"Swap {self._title(first_id)} and {self._title(second_id)}"
        self._decide(label, lambda r: r.swap(first_id, second_id, frame))


class LineageVerbs(_Decisions):
    """Divisions and parents of the objects of a controller; each verb is a step of undo."""

    @property
    def parents(self) -> dict[int, Parent]:
        """Parents of those objects that have one."""
        infos = self._objects.infos
        return {i: info.parent for i, info in infos.items() if info.parent is not None}

    @property
    def graph(self) -> dict[int, list[int]]:
        """Child to parents, as ``viewer.add_tracks(graph=...)`` takes it."""
        return lineage_graph(self._objects.infos.values())

    @property
    def generations(self) -> dict[int, int]:
        """Number of divisions before each object."""
        return generations(self._objects.infos.values())

    def divide(self, mother: int, frame: int, daughters: Iterable[int]) -> None:
        """Decide that an object divided; see :meth:`napari_sam2.storage.Review.divide`."""
        ids = tuple(daughters)
        label = f"{self._title(mother)} divides on frame {frame}"
        self._decide(label, lambda r: r.divide(mother, frame, ids))

    def set_parent(self, object_id: int, mother: int | None, frame: int | None = None) -> None:
        """Set the parent of an object, and the frame on which it begins; None removes it."""
        label = f"Set the parent of {self._title(object_id)}"
        self._decide(label, lambda r: r.set_parent(object_id, mother, frame))

"""Review of a project: the state of every object on every frame, what is open, and the verbs that decide it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_sam2.objects import (
    ObjectInfo,
    Parent,
    Stretches,
    ancestors,
    free_object_id,
    lineage_graph,
    undecided,
    with_stretch,
    without_stretch,
)
from napari_sam2.prompts import MaskPrompt, Prompt, PromptKey
from napari_sam2.review.facts import ObjectFacts, facts_of
from napari_sam2.review.proposals import proposals
from napari_sam2.review.queue import Order, ReviewItem, ReviewQueue, state_items
from napari_sam2.review.states import flags_of, frame_states, state_counts, stretches_of
from napari_sam2.review.uncertainty import frame_uncertainty
from napari_sam2.session.protocols import STALE, prompt_hash, tracked_hash
from napari_sam2.storage.project import Project


class Review:
    """Open questions of a project, and the verbs that decide them.

    Each verb is one step of undo, saved in one transaction. Reading a whole project decodes its masks once; what was
    read is kept until something changes.

    Parameters
    ----------
    project : Project
        Open for reading; for the verbs open for writing.
    action : callable, optional
        Makes a step of undo with this label; by default that of the project.
    changed : callable, optional
        Called after a verb that changed prompts or masks.
    """

    def __init__(
        self,
        project: Project,
        action: Callable[[str], AbstractContextManager[None]] | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._project = project
        self._action = action or project.history.action
        self._changed = changed

    # -- what is open ------------------------------------------------------------------------------------

    def facts(self) -> dict[int, ObjectFacts]:
        """Measure all objects on all frames."""
        project = self._project
        found = {i: ObjectFacts(project.frame_count) for i in project.objects}
        for frame in project.frames():
            for fact in facts_of(project.masks(frame)):
                found[fact.object_id].put(fact)
        for frame, object_id in project.prompts:
            found[object_id].prompted[frame] = True
        return found

    def states(self, facts: Mapping[int, ObjectFacts] | None = None) -> dict[int, NDArray[np.uint8]]:
        """Return the :class:`~napari_sam2.review.FrameState` of all objects on all frames, (T,) each.

        ``facts`` are those of :meth:`facts`, where they are known already.
        """
        measured = self.facts() if facts is None else facts
        prompts, infos = self._prompts_by_object(), self._project.objects
        return {
            i: frame_states(
                known.known,
                known.seen,
                known.prompted,
                self._stale(i, prompts.get(i, {}), known.known),
                frame_uncertainty(known),
                infos[i].accepted,
                infos[i].absent,
            )
            for i, known in measured.items()
        }

    def counts(self) -> dict[int, dict[str, int]]:
        """Return on how many frames each object is in each state, by the state's title."""
        return {i: state_counts(states) for i, states in self.states().items()}

    def queue(self, order: Order = "worst") -> ReviewQueue:
        """Return what is open: uncertain and missing stretches, and proposed divisions, merges and swaps."""
        facts = self.facts()
        items: list[ReviewItem] = proposals(facts, self._project.objects)
        for object_id, states in self.states(facts).items():
            items += state_items(object_id, states, frame_uncertainty(facts[object_id]))
        return ReviewQueue.of(items, order)

    # -- decisions ---------------------------------------------------------------------------------------

    def accept(self, object_id: int, first: int, last: int | None = None) -> None:
        """Accept the results of an object on the frames ``first`` to ``last``: tracking leaves them as they are.

        Frames without a result are passed over; ValueError when none of them has one.
        """
        info, first, last = self._stretch(object_id, first, last)
        flags = np.zeros(self._project.frame_count, bool)
        flags[[f for f in self._project.frames(object_id) if first <= f <= last]] = True
        flags &= ~flags_of(info.absent, len(flags))
        if not flags.any():
            raise ValueError(
                f"object {object_id} has no result on the frames {first} to {last}: track it first"
            )
        accepted = info.accepted
        for stretch in stretches_of(flags):
            accepted = with_stretch(accepted, *stretch)
        with self._action(f"Accept {info.title} on {_frames(first, last)}"):
            self._project.put_object(replace(info, accepted=accepted))

    def reopen(self, object_id: int, first: int, last: int | None = None) -> None:
        """Take back what was decided about an object on the frames ``first`` to ``last``."""
        info, first, last = self._stretch(object_id, first, last)
        with self._action(f"Review {info.title} again on {_frames(first, last)}"):
            self._project.put_object(undecided(info, first, last))
        self._changed()

    def mark_absent(self, object_id: int, first: int, last: int | None = None) -> None:
        """Decide that an object is hidden or gone on the frames ``first`` to ``last``.

        It has no mask there, is not looked for, and what was tracked there is not recalled. Its prompts on these frames
        are removed.
        """
        info, first, last = self._stretch(object_id, first, last)
        with self._action(f"{info.title} is gone on {_frames(first, last)}"):
            self._remove(info, first, last)
        self._changed()

    def end(self, object_id: int, frame: int) -> None:
        """Decide that an object is gone from a frame on."""
        info, frame, last = self._stretch(object_id, frame, self._project.frame_count - 1)
        with self._action(f"{info.title} ends before frame {frame}"):
            self._remove(info, frame, last)
        self._changed()

    def swap(self, first_id: int, second_id: int, frame: int) -> None:
        """Exchange the masks, prompts and decisions of two objects from a frame on.

        The masks on this frame become prompts of both, so that tracking again keeps them apart.
        """
        first, frame, _ = self._stretch(first_id, frame)
        second = self._existing(second_id)
        if first_id == second_id:
            raise ValueError(
                f"an object cannot be swapped with itself: choose two objects, not {first_id} twice"
            )
        with self._action(f"Swap {first.title} and {second.title} from frame {frame} on"):
            self._exchange(first_id, second_id, frame)
        self._changed()

    # -- lineage -----------------------------------------------------------------------------------------

    def divide(self, mother: int, frame: int, daughters: Sequence[int]) -> tuple[int, ...]:
        """Decide that an object divided: it ends, and its daughters begin on ``frame``.

        Parameters
        ----------
        mother : int
            Has no mask from ``frame`` on.
        frame : int
            The first frame on which the daughters are apart.
        daughters : sequence of int
            Two or more objects. The mother's own id stands for a new object that gets the mother's masks from ``frame``
            on, for a track that went on with one of the daughters.

        Returns
        -------
        tuple of int
            Ids of the daughters.
        """
        info, frame, last = self._stretch(mother, frame)
        if frame == 0 or len(set(daughters)) < 2:
            raise ValueError("a division needs a frame before it and two daughters or more")
        for daughter in daughters:
            self._existing(daughter)
        with self._action(f"{info.title} divides on frame {frame}"):
            ids = tuple(self._continued(mother, frame) if i == mother else i for i in daughters)
            self._remove(self._existing(mother), frame, self._project.frame_count - 1)
            for daughter in ids:
                self._set_parent(daughter, Parent(mother, frame))
                if any(f < frame for f in self._project.frames(daughter)):
                    self._remove(self._existing(daughter), 0, frame - 1)
        self._changed()
        return ids

    def set_parent(self, object_id: int, mother: int | None, frame: int | None = None) -> None:
        """Set (or with None remove) the parent of an object, and the frame on which the object begins.

        ``frame`` is by default the first one on which the object has a mask or a prompt.
        """
        info = self._existing(object_id)
        if mother is None:
            label, parent = f"{info.title} has no parent", None
        else:
            label = f"{info.title} comes from {self._existing(mother).title}"
            begin = self._begin(object_id) if frame is None else self._project.store.checked_frame(frame)
            parent = Parent(mother, begin)
        with self._action(label):
            self._set_parent(object_id, parent)

    # -- inside ------------------------------------------------------------------------------------------

    def _existing(self, object_id: int) -> ObjectInfo:
        known = self._project.objects
        if object_id not in known:
            raise ValueError(f"object {object_id} does not exist; there are {list(known)}")
        return known[object_id]

    def _stretch(self, object_id: int, first: int, last: int | None = None) -> tuple[ObjectInfo, int, int]:
        check = self._project.store.checked_frame
        first, last = check(first), check(first if last is None else last)
        if last < first:
            raise ValueError(f"a stretch goes from its first to its last frame, not from {first} to {last}")
        return self._existing(object_id), first, last

    def _begin(self, object_id: int) -> int:
        prompted = [frame for frame, i in self._project.prompts if i == object_id]
        return min([*prompted, *self._project.frames(object_id)], default=0)

    def _prompts_by_object(self) -> dict[int, dict[int, int]]:
        """Return the hash of each prompt, by object and frame."""
        found: dict[int, dict[int, int]] = {}
        for (frame, object_id), prompt in self._project.prompts.items():
            found.setdefault(object_id, {})[frame] = prompt_hash(prompt)
        return found

    def _stale(
        self, object_id: int, prompts: Mapping[int, int], known: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Return on which frames a tracked mask answers other prompts than these (hashes by frame), (T,)."""
        flags = np.zeros(len(known), bool)
        for frame, answered in self._project.store.answered(object_id).items():
            if known[frame] and frame not in prompts:
                flags[frame] = answered != tracked_hash(frame, prompts)
        return flags

    def _remove(self, info: ObjectInfo, first: int, last: int) -> None:
        """Mark an object as absent and remove its prompts there."""
        for frame, object_id in self._project.prompts:
            if object_id == info.object_id and first <= frame <= last:
                self._project.put_prompt(frame, object_id, None)
        info = undecided(info, first, last)
        self._project.put_object(replace(info, absent=with_stretch(info.absent, first, last)))

    def _set_parent(self, object_id: int, parent: Parent | None) -> None:
        known = dict(self._project.objects)
        known[object_id] = replace(known[object_id], parent=parent)
        ancestors(object_id, {child: ids[0] for child, ids in lineage_graph(known.values()).items()})
        self._project.put_object(known[object_id])

    def _continued(self, mother: int, frame: int) -> int:
        """Hand the masks of an object from a frame on over to a new object, and return its id."""
        new = free_object_id(self._project.objects)
        self._project.change_object(new)
        self._exchange(mother, new, frame)
        return new

    def _exchange(self, first: int, second: int, frame: int) -> None:
        before = self._prompts_by_object()
        later = {k: p for k, p in self._project.prompts.items() if k[0] >= frame and k[1] in (first, second)}
        other = {first: second, second: first}
        moved: dict[PromptKey, Prompt] = {(t, other[i]): prompt for (t, i), prompt in later.items()}
        at = self._project.masks(frame, (first, second))
        for object_id, mask in zip(at.object_ids, at.masks):
            if mask.any():
                moved.setdefault((frame, other[object_id]), Prompt(mask=MaskPrompt.from_array(mask)))
        for key in later.keys() | moved.keys():
            self._project.put_prompt(*key, moved.get(key))
        after = self._prompts_by_object()
        frames = {t for i in other for t in self._project.frames(i) if t >= frame}

        def moved_hash(source: int, t: int, answered: int) -> int:
            return _moved_hash(answered, t, before.get(source, {}), after.get(other[source], {}))

        for t in sorted(frames):
            self._project.store.exchange(t, first, second, moved_hash)
        self._exchange_decisions(first, second, frame)

    def _exchange_decisions(self, first: int, second: int, frame: int) -> None:
        known, last = self._project.objects, self._project.frame_count - 1
        one, two = known[first], known[second]
        for info, source in ((one, two), (two, one)):
            accepted = _joined(info.accepted, source.accepted, frame, last)
            absent = _joined(info.absent, source.absent, frame, last)
            self._project.put_object(replace(info, accepted=accepted, absent=absent))
        other = {first: second, second: first}
        for info in known.values():
            parent = info.parent
            if parent is not None and parent.object_id in other and parent.frame > frame:
                child = self._project.objects[info.object_id]
                self._project.put_object(replace(child, parent=Parent(other[parent.object_id], parent.frame)))


def _frames(first: int, last: int) -> str:
    return f"frame {first}" if first == last else f"frames {first} to {last}"


def _joined(own: Stretches, other: Stretches, frame: int, last: int) -> Stretches:
    """Return own stretches before a frame and those of another object from it on."""
    joined = without_stretch(own, frame, last)
    for first, end in without_stretch(other, 0, frame - 1):
        joined = with_stretch(joined, first, end)
    return joined


def _moved_hash(answered: int, frame: int, before: Mapping[int, int], after: Mapping[int, int]) -> int:
    """Return the ``prompt_hash`` of a record that goes to another object: still current, or still stale."""
    current = answered in (before.get(frame), tracked_hash(frame, before))
    return after.get(frame, tracked_hash(frame, after)) if current else STALE

"""A video session that lives in a project: everything it does is on disk, can be undone and resumed."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.masks import FrameMasks
from napari_sam2.model.sam1.sam import Sam
from napari_sam2.model.sam2 import Sam2
from napari_sam2.objects import ObjectInfo, checked_object_id, free_object_id, undecided
from napari_sam2.prompts import MaskPrompt, Prompt
from napari_sam2.session.options import SessionOptions
from napari_sam2.session.protocols import FrameSource
from napari_sam2.session.video import VideoSession
from napari_sam2.storage.errors import ProjectError
from napari_sam2.storage.project import UNREADABLE_FRAMES, Project
from napari_sam2.storage.record_store import BY_HAND
from napari_sam2.storage.review import Review
from napari_sam2.storage.schema import PendingRun


class RecordedSession(VideoSession):
    """A :class:`VideoSession` whose prompts, masks and history are in a project.

    Each verb is one step of undo; results are on disk before they are returned.

    Parameters
    ----------
    project : Project
        Open for writing; stays open when the session is closed.
    model, frames, options
        As for :class:`VideoSession`.

    Attributes
    ----------
    review : Review
        States of all objects on all frames, what is open, and the verbs that decide it.
    """

    def __init__(
        self, project: Project, model: Sam2 | Sam, frames: FrameSource, options: SessionOptions
    ) -> None:
        self.project = project
        self.history = project.history
        self.n_frames = project.frame_count
        self.model = model
        self.review = Review(project, self._action, self._rebuild)
        self._group = (0, 0)  # number of the last group of verbs, and of the step of undo that they are
        super().__init__(model, frames, options, project.store, project.prompts, decided=project.decided)

    # -- results -----------------------------------------------------------------------------------------

    @property
    def frame_by_frame(self) -> bool:
        """True for a Segment Anything 1, which follows objects without memory."""
        return isinstance(self.model, Sam)

    @property
    def finds_instances(self) -> bool:
        """True if the network has micro-sam's decoder for instances."""
        return isinstance(self.model, Sam) and self.model.instance_decoder is not None

    @property
    def runs_on(self) -> tuple[str, str, int]:
        """Device, precision and side of the input of the network, as in ("cuda", "bfloat16", 1024)."""
        runner = self.runner
        return str(runner.device), str(runner.autocast or "float32").removeprefix("torch."), runner.side

    @property
    def object_ids(self) -> tuple[int, ...]:
        """All objects, by id in order; also those that have a name or finished masks but no prompt."""
        return tuple(self.project.objects)

    @property
    def objects(self) -> dict[int, ObjectInfo]:
        """Names and colours of all objects, by id in order."""
        return self.project.objects

    def masks(self, frame: int) -> FrameMasks:
        """Return the newest masks of all objects on a frame, finished ones included."""
        found = self.project.masks(frame)
        if not self.options.non_overlap:
            return found
        return self._preferred(found, super().masks(frame))

    def tracked_frames(self) -> list[int]:
        """Return the frames on which any object has a mask, in order."""
        return self.project.frames()

    def scores(self, frame: int) -> dict[int, tuple[float, float]]:
        """Return (object score, predicted IoU) of every object on a frame; NaN for masks made by hand."""
        return self.project.scores(frame)

    # -- verbs of a session ------------------------------------------------------------------------------

    @contextmanager
    def step(self, label: str, joins: bool = False, group: int = 0) -> Iterator[None]:
        """Make all verbs inside one step of undo, with a label of your own; an error takes all of it back.

        Parameters
        ----------
        label : str
            What the user does.
        joins : bool
            Make it part of the last step, which keeps its label.
        group : int
            Also make it part of the last step if that has the same group; 0 is no group.
        """
        with self._action(label, joins or self._continues(group)):
            yield
        self._group = (group, self.history.last_step)

    def set_prompt(self, frame: int, object_id: int, prompt: Prompt) -> FrameMasks:
        """Set the prompt of one object on one frame; see :meth:`VideoSession.set_prompt`."""
        with self._action(f"Prompt object {object_id} on frame {frame}"):
            self.restore_object(object_id)  # here, removing an object can be undone
            masks = super().set_prompt(frame, object_id, prompt)
            self.project.store.put_masks(masks, "draft")
            self.project.put_prompt(frame, object_id, prompt)
            self._undecide(frame, object_id)
        return masks

    def clear_prompt(self, frame: int, object_id: int) -> None:
        """Clear the prompt of one object on one frame, and its result there."""
        with self._action(f"Clear prompt of object {object_id} on frame {frame}"):
            super().clear_prompt(frame, object_id)
            self._drop_draft(frame, object_id)
            self.project.put_prompt(frame, object_id, None)

    def remove_object(self, object_id: int) -> None:
        """Remove an object with its prompts and masks; the others are not touched."""
        with self._action(f"Remove object {self._existing(object_id)}"):
            if object_id in super().object_ids:
                super().remove_object(object_id)
            self.project.store.remove_object(object_id)

    def propagate(
        self,
        start: int | None = None,
        stop: int | None = None,
        reverse: bool = False,
        objects: Iterable[int] | None = None,
        label: str = "Propagate",
        joins: bool = False,
        group: int = 0,
    ) -> Iterator[FrameMasks]:
        """Carry objects through time; see :meth:`VideoSession.propagate`.

        The whole run is one step of undo. Closed early or killed, what was done stays, and :meth:`resume`
        goes on.

        Parameters
        ----------
        start, stop, reverse, objects
            As for :meth:`VideoSession.propagate`.
        label : str
            What the step is called.
        joins : bool
            Make the run part of the last step, which is called ``label`` from now on.
        group : int
            Also make it part of the last step if that has the same group (see :meth:`step`).
        """
        wanted = None if objects is None else tuple(objects)
        steps = super().propagate(start, stop, reverse, wanted)
        joins = joins or self._continues(group)
        return self._run(steps, PendingRun(start, stop, reverse, wanted), label, joins)

    def resume(self) -> Iterator[FrameMasks]:
        """Go on with a propagation that was stopped or killed; it stays one step of undo.

        Raises
        ------
        ProjectError
            There is nothing to go on with.
        """
        run = self.pending
        if run is None:
            raise ProjectError("there is nothing to resume: no propagation was interrupted")
        start = run.next_frame
        last = (0 if run.reverse else self.project.frame_count - 1) if run.stop is None else run.stop
        if start is not None and (start < last if run.reverse else start > last):
            self.project.clear_pending()
            return iter(())
        steps = super().propagate(start, run.stop, run.reverse, run.objects)
        return self._run(steps)

    @property
    def pending(self) -> PendingRun | None:
        """The propagation that :meth:`resume` would go on with."""
        return self.project.pending

    # -- undo --------------------------------------------------------------------------------------------

    def undo(self) -> str:
        """Take back the last step and return what it was."""
        label = self.history.undo()
        self._rebuild()
        return label

    def redo(self) -> str:
        """Do the last step that was taken back again and return what it is."""
        label = self.history.redo()
        self._rebuild()
        return label

    # -- objects and finished masks ----------------------------------------------------------------------

    def add_object(self, object_id: int | None = None, name: str | None = None, color: Any = None) -> int:
        """Add an object and return its id.

        Parameters
        ----------
        object_id : int, optional
            The label value; by default the lowest that was never used here.
        name : str, optional
            Any text.
        color : str or tuple of int, optional
            "#rrggbb" or 8-bit RGB.
        """
        taken = self.project.objects
        object_id = checked_object_id(free_object_id(taken) if object_id is None else object_id)
        if object_id in taken:
            raise ValueError(f"object {object_id} exists already: choose another id")
        with self._action(f"Add object {object_id}"):
            self.restore_object(object_id)
            self.project.change_object(object_id, name, color)
        return object_id

    def put_object(self, info: ObjectInfo) -> None:
        """Add an object, or replace its name, colour and lock; what was decided about its frames stays."""
        known = self.project.objects.get(info.object_id)
        with self._action(f"Change {info.title}"):
            if known is None:
                self.restore_object(info.object_id)
            else:
                info = replace(known, name=info.name, color=info.color, locked=info.locked)
            self.project.put_object(info)

    def rename(self, object_id: int, name: str) -> None:
        """Give an object a name."""
        with self._action(f"Rename object {object_id}"):
            self.project.change_object(self._existing(object_id), name=name)

    def recolour(self, object_id: int, color: Any) -> None:
        """Give an object a colour, "#rrggbb" or 8-bit RGB."""
        with self._action(f"Recolour object {object_id}"):
            self.project.change_object(self._existing(object_id), color=color)

    def set_mask(self, frame: int, object_id: int, mask: NDArray[Any]) -> FrameMasks:
        """Replace the mask of one object on one frame by a finished one, for example a painted one.

        The network does not see it: tracking goes on from what it remembers. To correct the tracking, give the
        mask as a prompt.

        Parameters
        ----------
        frame, object_id : int
            Where; a new object is added.
        mask : ndarray, shape (H, W)
            Everything that is not zero belongs to the object.
        """
        masks = _finished(frame, {object_id: mask}, self.size)
        with self._action(f"Paint object {object_id} on frame {frame}"):
            self.project.store.put_masks(masks, "painted")
            self._undecide(frame, object_id)
        return masks

    def import_masks(self, masks: Iterable[FrameMasks], as_prompts: bool = False) -> None:
        """Take over masks from elsewhere, in one step of undo.

        Parameters
        ----------
        masks : iterable of FrameMasks
            At most one for each frame.
        as_prompts : bool
            True: as mask prompts, from which the network tracks. False: as finished masks.
        """
        with self._action("Import masks"):
            for frame_masks in masks:
                if as_prompts:
                    for object_id in frame_masks.object_ids:
                        prompt = Prompt(mask=MaskPrompt.from_array(frame_masks.of(object_id)))
                        self.set_prompt(frame_masks.frame, object_id, prompt)
                elif frame_masks.object_ids:
                    self.project.store.put_masks(frame_masks, "imported")
                    for object_id in frame_masks.object_ids:
                        self._undecide(frame_masks.frame, object_id)

    def encode(self, frame: int) -> None:
        """Compute the image features of a frame ahead of time."""
        self.features.get(frame)

    def write_deferred(self) -> None:
        """Write what was deferred because nobody has to wait for it; see :meth:`ProjectRecords.defer`."""
        self.project.store.tidy()

    # -- inside ------------------------------------------------------------------------------------------

    def _rebuild(self) -> None:
        # What a session computes follows from prompts and records alone.
        self.restart(self.project.prompts)

    def _continues(self, group: int) -> bool:
        return group != 0 and self._group == (group, self.history.last_step)

    @contextmanager
    def _action(self, label: str, joins: bool = False) -> Iterator[None]:
        try:
            with self.history.action(label, joins=joins):
                yield
        except BaseException:
            if not self.history.is_open:
                self._rebuild()  # the session may have gone further than what was taken back
            raise

    def _run(
        self, steps: Iterator[FrameMasks], run: PendingRun | None = None, label: str = "", joins: bool = True
    ) -> Iterator[FrameMasks]:
        """Take steps in an action; without ``run`` the one that is pending goes on."""
        if joins and self.history.can_undo:
            self.history.resume(label)
        else:
            self.history.begin(label)
        try:
            if run is not None:
                self.project.save_pending(run)
            for masks in steps:
                self.project.save_progress(masks.frame)
                yield self._shown(masks)
        finally:
            if not sys.is_finalizing():  # else the next one who opens the project does it
                self.history.commit()
                if self.unreadable:
                    self.project.save_setting(UNREADABLE_FRAMES, sorted(self.unreadable))
        self.project.clear_pending()

    def _shown(self, masks: FrameMasks) -> FrameMasks:
        # A painted mask stays until its frame is tracked again; where it stays, it is what is shown.
        origins = self.project.origins(masks.frame)
        if not any(origins.get(i) in BY_HAND for i in masks.object_ids):
            return masks
        return self._preferred(self.project.masks(masks.frame, masks.object_ids), masks)

    def _preferred(self, saved: FrameMasks, live: FrameMasks) -> FrameMasks:
        origins = self.project.origins(saved.frame)
        by_hand = [i for i in saved.object_ids if origins.get(i) in BY_HAND or i not in live.object_ids]
        absent = [i for i in live.object_ids if self.project.decided(i, saved.frame) == "absent"]
        tracked = [i for i in live.object_ids if i not in by_hand and i not in absent]
        joined = FrameMasks.joined([saved.select(by_hand), live.select(tracked)])
        return joined.select(sorted(joined.object_ids))

    def _drop_draft(self, frame: int, object_id: int) -> None:
        if self.project.origins(frame).get(object_id) != "draft":
            return
        shown = super().masks(frame)
        if object_id in shown.object_ids:
            self.project.store.put_masks(shown.select([object_id]), "tracked")
        else:
            self.project.store.remove(object_id, frame)

    def _undecide(self, frame: int, object_id: int) -> None:
        """Take back that an object is absent or accepted where it is marked or painted."""
        info = self.project.objects[object_id]
        self.project.put_object(undecided(info, frame, frame))

    def _existing(self, object_id: int) -> int:
        if object_id not in self.project.objects:
            raise ValueError(f"object {object_id} does not exist; there are {list(self.project.objects)}")
        return object_id


def _finished(frame: int, masks: Mapping[int, NDArray[Any]], size: tuple[int, int]) -> FrameMasks:
    ids = tuple(checked_object_id(i) for i in masks)
    arrays = [np.asarray(m) for m in masks.values()]
    for array in arrays:
        if array.shape != size:
            raise ValueError(f"a mask of this project has shape {size} (height, width), not {array.shape}")
    unknown = np.full(len(ids), np.nan, np.float32)
    stack = np.stack([a != 0 for a in arrays]) if arrays else np.zeros((0, *size), bool)
    return FrameMasks(frame, ids, stack, unknown, unknown.copy(), np.zeros(len(ids), bool))

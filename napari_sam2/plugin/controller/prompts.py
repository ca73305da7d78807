"""From the user's layers to the session and back: read everything, compare, ask only for the difference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.plugin.controller.context import ControllerContext
from napari_sam2.plugin.controller.objects import Objects
from napari_sam2.plugin.controller.prompt_layers import LayerKind, PromptLayers
from napari_sam2.plugin.controller.undo_labels import summary, what_was_done
from napari_sam2.plugin.layers.prompt_marks import (
    Mark,
    Outline,
    PinnedMask,
    PromptMarks,
    group_marks,
    marks_of,
)
from napari_sam2.plugin.worker.requests import GetAlternatives, SetPrompt
from napari_sam2.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt, PromptKey
from napari_sam2.session import Alternatives


class Prompts:
    """The prompts of all objects on all frames; a part of a controller.

    The layers are the truth: after any event everything is read again and compared with what was asked for.

    Parameters
    ----------
    desk : Desk
        What the parts share.
    objects : Objects
        The table of objects.
    current_mask : callable
        ``current_mask(frame, object_id)`` gives the mask that is shown, bool (H, W), or None.
    """

    def __init__(
        self,
        desk: ControllerContext,
        objects: Objects,
        current_mask: Callable[[int, int], NDArray[np.bool_] | None],
    ) -> None:
        self._desk = desk
        self._objects = objects
        self._current_mask = current_mask
        self._layers = PromptLayers(desk, self.refresh)
        self._held: dict[PromptKey, PinnedMask] = {}
        self._said: dict[PromptKey, PromptMarks] = {}
        self._wanted: dict[PromptKey, Prompt] = {}
        self._asked: dict[PromptKey, Prompt] = {}
        self._generations: dict[PromptKey, int] = {}
        # How a prompt was said, so that undo brings back shapes as shapes and strokes as strokes.
        self._memory: dict[tuple[PromptKey, Prompt], PromptMarks] = {}
        self._wording: dict[PromptKey, str] = {}
        self._choice: tuple[PromptKey, int, int] | None = None
        self._positive = True
        self._syncing = False

    # -- layers ------------------------------------------------------------------------------------------

    def layer(self, kind: LayerKind) -> Any:
        """Return the layer of a kind ("points", "shapes", "labels") that gets new marks; None: there is none."""
        return self._layers.get(kind)

    @property
    def layers(self) -> tuple[Any, ...]:
        """All layers that are read."""
        return self._layers.layers

    def ensure_layer(self, kind: LayerKind) -> Any:
        """Return the layer of a kind, adding it (where the image is) when there is none."""
        return self._layers.ensure(kind)

    def attach(self, layer: Any) -> None:
        """Read a Points, Shapes or Labels layer of the user's own as prompts, too.

        Marks without an object belong to the active one.

        Raises
        ------
        TypeError
            It is another kind of layer.
        ValueError
            It has not as many axes as the image; a Labels layer must have its shape and place, too.
        """
        if self._layers.attach(layer):
            self.refresh()

    def detach(self, layer: Any) -> None:
        """Read a layer no more; what it said is taken back. Nothing happens when it was not read."""
        if self._layers.detach(layer):
            self.refresh()

    # -- what new marks are about ------------------------------------------------------------------------

    @property
    def positive(self) -> bool:
        """Whether new points and shapes say "here" (True) or "not here" (False). Can be set."""
        return self._positive

    @positive.setter
    def positive(self, positive: bool) -> None:
        self._positive = bool(positive)
        self.set_defaults()

    def set_defaults(self) -> None:
        """Tell the layers which object and sign new marks get."""
        self._layers.set_defaults(self._objects.active or 1, self._positive)

    # -- what is said ------------------------------------------------------------------------------------

    @property
    def all(self) -> dict[PromptKey, Prompt]:
        """All prompts by (frame, object id)."""
        return dict(self._wanted)

    def on_frame(self, frame: int) -> dict[int, Prompt]:
        """Return the prompts on a frame by object id."""
        return {i: p for (f, i), p in self._wanted.items() if f == frame}

    def add_point(
        self,
        x: float,
        y: float,
        positive: bool = True,
        frame: int | None = None,
        object_id: int | None = None,
    ) -> None:
        """Click: put a point, in pixels of the frame, onto the Points layer."""
        self._add(PointPrompt(float(x), float(y), bool(positive)), frame, object_id)

    def add_box(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        frame: int | None = None,
        object_id: int | None = None,
    ) -> None:
        """Put a box, in pixels of the frame, onto the Shapes layer, in place of an older one of the same object."""
        corners = marks_of(Prompt(box=BoxPrompt(x0, y0, x1, y1))).shapes[0]
        key = self._key(frame, object_id)
        said = self._said.get(key, PromptMarks())
        others = tuple(s for s in said.shapes if not (s.kind == "box" and s.positive))
        self._put({key: PromptMarks(said.points, (*others, corners), said.painted, said.pinned)})

    def add_region(
        self,
        outline: Sequence[tuple[float, float]],
        positive: bool = True,
        frame: int | None = None,
        object_id: int | None = None,
    ) -> None:
        """Put a polygon of (x, y) in pixels of the frame onto the Shapes layer."""
        vertices = tuple((float(x), float(y)) for x, y in outline)
        if len(vertices) < 3:
            raise ValueError(f"a region needs at least three corners, got {len(vertices)}")
        self._add(Outline("region", vertices, positive), frame, object_id)

    def set_masks(self, masks: Mapping[int, NDArray[Any]], frame: int | None = None) -> None:
        """Say what objects are on a frame by masks (H, W), in place of everything said about them there.

        New ids make new objects. An empty mask says that the object is not there.
        """
        frame = self._desk.frame if frame is None else self._frame(frame)
        said = {}
        for object_id, mask in masks.items():
            prompt = MaskPrompt.from_array(mask)
            Prompt(mask=prompt).check(self._desk.geometry.size)
            said[frame, int(object_id)] = PromptMarks(pinned=PinnedMask(prompt))
        self._put(said)

    def hold(self, frame: int, object_id: int, mask: NDArray[Any]) -> None:
        """Say that the object is this mask (H, W) on a frame; earlier marks stay visible but are contained in it."""
        key = (frame, object_id)
        self._held[key] = self._said.get(key, PromptMarks()).containing(MaskPrompt.from_array(mask)).pinned  # type: ignore[assignment]
        self.refresh()

    def clear(self, frame: int | None = None, object_id: int | None = None) -> None:
        """Take back everything that is said about an object on a frame (by default: the active one, here)."""
        self._put({self._key(frame, object_id): PromptMarks()})

    def cycle_alternative(self, step: int = 1) -> None:
        """Show another of the masks that the network offered for the active object's prompt on this frame."""
        key = self._key(None, None)
        if key not in self._wanted:
            raise ValueError("there is no prompt of the active object on this frame: click on it first")
        self._choice = (key, step, self._choice[2] if self._choice and self._choice[0] == key else -1)
        self._desk.submit(GetAlternatives(*key))

    # -- for the controller ------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Read all layers, and ask the session for what changed."""
        if self._syncing:
            return
        self._syncing = True
        try:
            self._sync()
        finally:
            self._syncing = False

    def opened(self, project: Path | None) -> None:
        """Read the layers that were used with a project before."""
        if project is not None:
            self._layers.belong_to(str(project))
            self.refresh()

    def restate(self, prompts: Mapping[PromptKey, Prompt], overwrite: bool, generation: int) -> None:
        """Take over the prompts of the session.

        Parameters
        ----------
        prompts : mapping
            All that the session has.
        overwrite : bool
            True (undo, redo): layers are made to say exactly this. False (opening): what layers say already stays.
        generation : int
            Of the request that this answers; what was asked for after it stays.
        """
        later = {key for key, number in self._generations.items() if number > generation}
        kept = {key: prompt for key, prompt in self._asked.items() if key in later}
        prompts = {**{k: p for k, p in prompts.items() if k not in later}, **kept}
        self._asked = dict(prompts)
        change: dict[PromptKey, PromptMarks] = {}
        for key, prompt in prompts.items():
            if self._wanted.get(key) != prompt and (overwrite or key not in self._wanted):
                change[key] = self._memory.get((key, prompt)) or marks_of(prompt)
        if overwrite:
            change |= {key: PromptMarks() for key in self._wanted if key not in prompts and key not in later}
        self._put(change)

    def forget_objects(self, object_ids: Iterable[int]) -> None:
        """Take all marks of deleted objects off the layers, without asking for anything: the session knows."""
        ids = set(object_ids)
        self._asked = {key: prompt for key, prompt in self._asked.items() if key[1] not in ids}
        self._put({key: PromptMarks() for key in self._said if key[1] in ids})

    def is_stale(self, key: PromptKey, generation: int) -> bool:
        """Whether a newer prompt for the same frame and object is under way."""
        return generation < self._generations.get(key, 0)

    def choose(self, key: PromptKey, offered: Alternatives) -> int | None:
        """Take the next of the offered masks; returns which one, None when there is no choice."""
        if self._choice is None or self._choice[0] != key or len(offered.masks) < 2:
            return None
        _, step, now = self._choice
        now = (offered.best if now < 0 else now) + step
        now %= len(offered.masks)
        self._choice = (key, step, now)
        said = self._said.get(key, PromptMarks())
        base = PromptMarks(said.points, said.shapes, said.painted)
        if now == offered.best:
            self._held.pop(key, None)
        else:
            self._held[key] = base.containing(MaskPrompt.from_array(offered.masks[now])).pinned  # type: ignore[assignment]
        choice = self._choice
        with self._desk.gesturing(f"Other mask of {self._objects.title(key[1])}, frame {key[0]}"):
            self.refresh()
        self._choice = choice
        return now

    def frames_by_object(self) -> dict[int, list[int]]:
        """Return the prompted frames of every object."""
        found: dict[int, list[int]] = {}
        for frame, object_id in sorted(self._wanted):
            found.setdefault(object_id, []).append(frame)
        return found

    def layer_removed(self, layer: Any) -> None:
        """Go on without a deleted layer: what it said still counts."""
        self._layers.removed(layer)

    def restyle(self) -> None:
        """Show the objects' colours."""
        self._layers.restyle(self._objects.colors)

    def rebase(self) -> None:
        """Begin anew with other frames, with the same layers."""
        stores = (self._held, self._said, self._wanted, self._asked, self._generations, self._memory)
        for store in (*stores, self._wording):
            store.clear()
        self._choice = None
        self._layers.rebase()
        self.refresh()

    def close(self) -> None:
        """Stop listening; layers stay."""
        self._layers.close()

    # -- inside ------------------------------------------------------------------------------------------

    def _sync(self) -> None:
        """Compare what the layers say with what was asked, and ask for the difference."""
        said = self._read()
        size = self._desk.geometry.size
        wanted = {}
        for key, now in said.items():
            old = self._wanted.get(key)
            prompt = old if old is not None and now == self._said.get(key) else now.prompt(size)
            if prompt:
                wanted[key] = prompt
                self._memory[key, prompt] = now
        changed = frozenset(k for k in {*wanted, *self._wanted} if wanted.get(k) != self._wanted.get(k))
        if self._choice is not None and self._choice[0] in changed:
            self._choice = None
        for key in changed:
            self._wording[key] = what_was_done(
                self._said.get(key, PromptMarks()), said.get(key, PromptMarks())
            )
        self._said, self._wanted = said, wanted
        self._objects.ensure(sorted({i for _, i in wanted}))
        if changed:
            self._desk.events.prompts.emit(changed)
        self.send()

    def send(self) -> None:
        """Ask the session for everything that it does not know yet; locked objects are left as they are."""
        if not self._desk.ready:
            return
        locked = self._objects.locked
        keys = [
            key
            for key in {**self._wanted, **self._asked}
            if self._wanted.get(key) != self._asked.get(key) and key[1] not in locked
        ]
        if not keys:
            return
        words = {key: self._wording.pop(key, "Prompt") for key in keys}
        gesture = self._desk.gesture(summary(words, self._objects.title))
        for key in keys:
            prompt = self._wanted.get(key)
            self._generations[key] = self._desk.submit(SetPrompt(*key, prompt, gesture))
            if prompt is None:
                del self._asked[key]
            else:
                self._asked[key] = prompt

    def _read(self) -> dict[PromptKey, PromptMarks]:
        marks, painted = self._layers.read()
        said = group_marks(marks, painted, self._held)
        for key in [k for k, s in said.items() if s.lost_contents]:
            del self._held[key]
            said[key] = PromptMarks(said[key].points, said[key].shapes, said[key].painted)
        for key, now in said.items():
            mask = self._current_mask(*key) if now.needs_base else None
            if mask is not None and mask.any():
                # The mask that is shown follows from the points: they are in it, the negative region is not.
                self._held[key] = PinnedMask(MaskPrompt.from_array(mask), len(now.points))
                said[key] = PromptMarks(now.points, now.shapes, now.painted, self._held[key])
        return said

    def _put(self, change: Mapping[PromptKey, PromptMarks]) -> None:
        """Make the layers say something else about some frames and objects."""
        if change:
            marks = [Mark(*key, point) for key, said in change.items() for point in said.points]
            marks += [Mark(*key, shape) for key, said in change.items() for shape in said.shapes]
            masks = {key: said.painted for key, said in change.items() if said.painted is not None}
            self._syncing = True
            try:
                self._layers.write(set(change), marks, masks)
            finally:
                self._syncing = False
            for key, said in change.items():
                self._held.pop(key, None)
                if said.pinned is not None:
                    self._held[key] = said.pinned
        self.refresh()

    def _add(self, what: PointPrompt | Outline, frame: int | None, object_id: int | None) -> None:
        key = self._key(frame, object_id)
        self._syncing = True
        try:
            self._layers.write(set(), [Mark(*key, what)], {})
        finally:
            self._syncing = False
        self.refresh()

    def _key(self, frame: int | None, object_id: int | None) -> PromptKey:
        frame = self._desk.frame if frame is None else self._frame(frame)
        if object_id is None:
            object_id = self._objects.active or 1
        return frame, int(object_id)

    def _frame(self, frame: int) -> int:
        if not 0 <= frame < self._desk.geometry.n_frames:
            raise ValueError(
                f"there is no frame {frame}: there are frames 0 to {self._desk.geometry.n_frames - 1}"
            )
        return int(frame)

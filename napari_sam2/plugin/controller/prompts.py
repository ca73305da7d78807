"""Prompts, from the user's layers to the session and back: read everything, ask only for the difference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from napari_sam2.plugin.controller.context import ControllerContext
from napari_sam2.plugin.controller.objects import Objects
from napari_sam2.plugin.controller.prompt_layers import LayerKind, PromptLayers
from napari_sam2.plugin.controller.results import ResultsLayer
from napari_sam2.plugin.layers.prompt_marks import (
    Mark,
    Outline,
    PinnedMask,
    PromptMarks,
    group_marks,
    marks_of,
)
from napari_sam2.plugin.worker.replies import AlternativesFound, PromptResult
from napari_sam2.plugin.worker.requests import GetAlternatives, SetPrompt
from napari_sam2.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt, PromptKey

Element = TypeVar("Element")
_KINDS = {"box": "Box", "region": "Region", "line": "Stroke"}


class Prompts:
    """The prompts of all objects on all frames; a part of a controller.

    The layers are the truth: after any event everything is read again and compared with what was asked for.

    Parameters
    ----------
    context : ControllerContext
        What the parts share.
    objects : Objects
        The table of objects.
    results : ResultsLayer
        Shows the masks.
    """

    def __init__(self, context: ControllerContext, objects: Objects, results: ResultsLayer) -> None:
        self._context = context
        self._objects = objects
        self._results = results
        self._layers = PromptLayers(context, self.refresh)
        self._pinned: dict[PromptKey, PinnedMask] = {}
        # What the layers hold, the prompts that follow from it, and what the session was asked for.
        self._marks: dict[PromptKey, PromptMarks] = {}
        self._wanted: dict[PromptKey, Prompt] = {}
        self._asked: dict[PromptKey, Prompt] = {}
        self._generations: dict[PromptKey, int] = {}
        # The marks that made a prompt, so that undo brings back shapes as shapes and strokes as strokes.
        self._origins: dict[tuple[PromptKey, Prompt], PromptMarks] = {}
        self._labels: dict[PromptKey, str] = {}  # of undo, for what is not asked for yet
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
        """Stop reading a layer, and remove its prompts. Nothing happens if it was not read."""
        if self._layers.detach(layer):
            self.refresh()

    # -- what new marks are about ------------------------------------------------------------------------

    @property
    def positive(self) -> bool:
        """Sign of new points and shapes. Can be set."""
        return self._positive

    @positive.setter
    def positive(self, positive: bool) -> None:
        self._positive = bool(positive)
        self.set_defaults()

    def set_defaults(self) -> None:
        """Set the object and the sign of new marks."""
        self._layers.set_defaults(self._objects.active or 1, self._positive)

    # -- prompts -----------------------------------------------------------------------------------------

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
        marks = self._marks.get(key, PromptMarks())
        others = tuple(s for s in marks.shapes if not (s.kind == "box" and s.positive))
        self._put({key: PromptMarks(marks.points, (*others, corners), marks.painted, marks.pinned)})

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
        """Prompt objects on a frame with masks (H, W), in place of all their marks there.

        New ids make new objects. An empty mask means that the object is not there.
        """
        change = {}
        for object_id, mask in masks.items():
            prompt = MaskPrompt.from_array(mask)
            Prompt(mask=prompt).check(self._context.view.geometry.size)
            change[self._key(frame, object_id)] = PromptMarks(pinned=PinnedMask(prompt))
        self._put(change)

    def pin_mask(self, frame: int, object_id: int, mask: NDArray[Any]) -> None:
        """Prompt an object with a mask (H, W); its marks on the frame stay visible but are contained in the mask."""
        key = (frame, object_id)
        self._pinned[key] = self._marks.get(key, PromptMarks()).pin(MaskPrompt.from_array(mask))
        self.refresh()

    def clear(self, frame: int | None = None, object_id: int | None = None) -> None:
        """Remove the prompt of an object on a frame (by default: of the active one, here)."""
        self._put({self._key(frame, object_id): PromptMarks()})

    def cycle_alternative(self, step: int = 1) -> None:
        """Show another of the masks that the network offered for the active object's prompt on this frame."""
        key = self._key(None, None)
        if key not in self._wanted:
            raise ValueError("there is no prompt of the active object on this frame: click on it first")
        self._choice = (key, step, self._choice[2] if self._choice and self._choice[0] == key else -1)
        self._context.session.submit(GetAlternatives(*key))

    # -- for the controller ------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Read all layers, and ask the session for what changed."""
        if self._syncing:
            return
        # Handlers of the events below change layers (their colours, their defaults) and would come back here.
        with self._quiet():
            marks = self._read()
            wanted = self._prompts_of(marks)
            changed = frozenset(k for k in {*wanted, *self._wanted} if wanted.get(k) != self._wanted.get(k))
            if self._choice is not None and self._choice[0] in changed:
                self._choice = None
            nothing = PromptMarks()
            for key in changed:
                self._labels[key] = change_label(self._marks.get(key, nothing), marks.get(key, nothing))
            self._marks, self._wanted = marks, wanted
            self._objects.ensure(sorted({i for _, i in wanted}))
            if changed:
                self._context.events.prompts.emit(changed)
        self.send()

    def send(self) -> None:
        """Ask the session for everything that it does not know yet; locked objects are left as they are."""
        session, locked = self._context.session, self._objects.locked
        if self._syncing or not session.ready:
            return  # what is being read is sent when all of it is known
        keys = [
            key
            for key in {**self._wanted, **self._asked}
            if self._wanted.get(key) != self._asked.get(key) and key[1] not in locked
        ]
        if not keys:
            return
        labels = {key: self._labels.pop(key, "Prompt") for key in keys}
        group = session.new_group(joint_label(labels, self._objects.title))
        for key in keys:
            prompt = self._wanted.get(key)
            self._generations[key] = session.worker.submit(SetPrompt(*key, prompt, group))
            # Noted before the reply: the same event comes again and again while the user drags.
            if prompt is None:
                del self._asked[key]
            else:
                self._asked[key] = prompt

    def on_result(self, result: PromptResult, generation: int) -> None:
        """Show the result of a prompt, unless a newer prompt for the same frame and object is under way."""
        self._context.state.set_history(result.history)
        if generation >= self._generations.get(result.key, 0):
            self._results.put(result.shown)

    def on_alternatives(self, found: AlternativesFound, generation: int) -> None:
        """Pin the next of the masks that the network offers."""
        key, offered = found.key, found.alternatives
        if self._choice is None or self._choice[0] != key or len(offered.masks) < 2:
            return
        _, step, now = self._choice
        now = ((offered.best if now < 0 else now) + step) % len(offered.masks)
        choice = (key, step, now)
        marks = self._marks.get(key, PromptMarks())
        if now == offered.best:
            self._pinned.pop(key, None)
        else:
            base = PromptMarks(marks.points, marks.shapes, marks.painted)
            self._pinned[key] = base.pin(MaskPrompt.from_array(offered.masks[now]))
        with self._context.session.undo_group(f"Other mask of {self._objects.title(key[1])}, frame {key[0]}"):
            self.refresh()
        self._choice = choice

    def read_layers_of(self, project: Path | None) -> None:
        """Read the layers that were used with a project in an earlier session."""
        if project is not None:
            self._layers.belong_to(str(project))
            self.refresh()

    def reset(self, prompts: Mapping[PromptKey, Prompt], overwrite: bool, generation: int) -> None:
        """Replace the prompts by those of the session.

        Parameters
        ----------
        prompts : mapping
            All that the session has.
        overwrite : bool
            True (undo, redo): the layers are made to hold exactly these. False (opening): what the layers hold
            already stays.
        generation : int
            Of the request that this answers; what was asked for after it stays.
        """
        # The session had not seen these when it replied: what the user did meanwhile must not be lost.
        later = {key for key, number in self._generations.items() if number > generation}
        kept = {key: prompt for key, prompt in self._asked.items() if key in later}
        prompts = {**{k: p for k, p in prompts.items() if k not in later}, **kept}
        self._asked = dict(prompts)
        change: dict[PromptKey, PromptMarks] = {}
        for key, prompt in prompts.items():
            if self._wanted.get(key) != prompt and (overwrite or key not in self._wanted):
                change[key] = self._origins.get((key, prompt)) or marks_of(prompt)
        if overwrite:
            change |= {key: PromptMarks() for key in self._wanted if key not in prompts and key not in later}
        self._put(change)

    def forget_objects(self, object_ids: Iterable[int]) -> None:
        """Remove all marks of deleted objects from the layers, without asking for anything: the session knows."""
        ids = set(object_ids)
        self._asked = {key: prompt for key, prompt in self._asked.items() if key[1] not in ids}
        self._put({key: PromptMarks() for key in self._marks if key[1] in ids})

    def frames_by_object(self) -> dict[int, list[int]]:
        """Return the prompted frames of every object."""
        found: dict[int, list[int]] = {}
        for frame, object_id in sorted(self._wanted):
            found.setdefault(object_id, []).append(frame)
        return found

    def layer_removed(self, layer: Any) -> None:
        """Stop reading a deleted layer; its marks still count."""
        self._layers.removed(layer)

    def restyle(self) -> None:
        """Show the objects' colours."""
        self._layers.restyle(self._objects.colors)

    def rebase(self) -> None:
        """Start again with other frames and the same layers."""
        stores = (self._pinned, self._marks, self._wanted, self._asked, self._generations, self._origins)
        for store in (*stores, self._labels):
            store.clear()
        self._choice = None
        self._layers.rebase()
        self.refresh()

    def close(self) -> None:
        """Stop listening; layers stay."""
        self._layers.close()

    # -- inside ------------------------------------------------------------------------------------------

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Ignore the events of the layers inside a ``with`` block."""
        before, self._syncing = self._syncing, True
        try:
            yield
        finally:
            self._syncing = before

    def _read(self) -> dict[PromptKey, PromptMarks]:
        """Return the marks of all layers by frame and object, with the masks that are pinned to them."""
        marks, painted = self._layers.read()
        grouped = group_marks(marks, painted, self._pinned)
        for key in [k for k, m in grouped.items() if m.lost_contents]:
            del self._pinned[key]
            grouped[key] = PromptMarks(grouped[key].points, grouped[key].shapes, grouped[key].painted)
        for key, now in grouped.items():
            mask = self._results.mask(*key) if now.needs_base else None
            if mask is not None:
                # The mask that is shown follows from the points: they are in it, the negative region is not.
                self._pinned[key] = PinnedMask(MaskPrompt.from_array(mask), len(now.points))
                grouped[key] = PromptMarks(now.points, now.shapes, now.painted, self._pinned[key])
        return grouped

    def _prompts_of(self, marks: Mapping[PromptKey, PromptMarks]) -> dict[PromptKey, Prompt]:
        """Return the prompts that follow from marks; only those that changed are made anew."""
        size = self._context.view.geometry.size
        prompts = {}
        for key, now in marks.items():
            old = self._wanted.get(key)
            prompt = old if old is not None and now == self._marks.get(key) else now.prompt(size)
            if prompt:
                prompts[key] = prompt
                self._origins[key, prompt] = now
        return prompts

    def _put(self, change: Mapping[PromptKey, PromptMarks]) -> None:
        """Replace the marks of some frames and objects on the layers."""
        if change:
            marks = [Mark(*key, point) for key, new in change.items() for point in new.points]
            marks += [Mark(*key, shape) for key, new in change.items() for shape in new.shapes]
            masks = {key: new.painted for key, new in change.items() if new.painted is not None}
            with self._quiet():
                self._layers.write(set(change), marks, masks)
            for key, new in change.items():
                self._pinned.pop(key, None)
                if new.pinned is not None:
                    self._pinned[key] = new.pinned
        self.refresh()

    def _add(self, element: PointPrompt | Outline, frame: int | None, object_id: int | None) -> None:
        key = self._key(frame, object_id)
        with self._quiet():
            self._layers.write(set(), [Mark(*key, element)], {})
        self.refresh()

    def _key(self, frame: int | None, object_id: int | None) -> PromptKey:
        frame = self._context.view.frame if frame is None else self._checked_frame(frame)
        if object_id is None:
            object_id = self._objects.active or 1
        return frame, int(object_id)

    def _checked_frame(self, frame: int) -> int:
        last = self._context.view.geometry.n_frames - 1
        if not 0 <= frame <= last:
            raise ValueError(f"there is no frame {frame}: there are frames 0 to {last}")
        return int(frame)


def change_label(before: PromptMarks, after: PromptMarks) -> str:
    """Return one or two words for the change of the marks of an object on a frame, for the list of undo."""
    if not (after.points or after.shapes or after.painted or after.pinned):
        return "Clear"
    same = before.points == after.points and before.shapes == after.shapes
    if before.pinned != after.pinned and after.pinned is not None and same:
        return "Mask"
    if before.painted != after.painted:
        return "Paint"
    if before.shapes != after.shapes:
        shape = _newest(before.shapes, after.shapes)
        if shape is None:
            return "Delete a shape"
        if len(before.shapes) >= len(after.shapes):
            return f"Move {_KINDS[shape.kind].lower()}"
        return _KINDS[shape.kind] if shape.positive else "Cut"
    point = _newest(before.points, after.points)
    if point is None:
        return "Delete a point"
    if len(before.points) >= len(after.points):
        return "Move point"
    return "Point" if point.positive else "Point “not here”"


def joint_label(labels: Mapping[PromptKey, str], title: Callable[[int], str]) -> str:
    """Return a label for changes that were made at once.

    Parameters
    ----------
    labels : mapping of (frame, object id) to str
        As returned by :func:`change_label`.
    title : callable
        Returns the name of an object.
    """
    kinds, objects = set(labels.values()), {object_id for _, object_id in labels}
    frames = {frame for frame, _ in labels}
    what = kinds.pop() if len(kinds) == 1 else "Prompts"
    whom = title(next(iter(objects))) if len(objects) == 1 else f"{len(objects)} objects"
    where = f"frame {next(iter(frames))}" if len(frames) == 1 else f"{len(frames)} frames"
    return f"{what}{' ' if what == 'Clear' else ' on '}{whom}, {where}"


def _newest(before: tuple[Element, ...], after: tuple[Element, ...]) -> Element | None:
    """Return what is in ``after`` and was not there before; None if something was only removed."""
    return next((element for element in reversed(after) if element not in before), None)

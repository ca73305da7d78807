"""The objects: names, colours, which one is active, selected, locked, shown alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from napari_sam2.objects import MAX_OBJECT_ID, Color, ObjectInfo, checked_object_id
from napari_sam2.plugin.controller.context import ControllerContext
from napari_sam2.plugin.controller.timeline import Timeline
from napari_sam2.plugin.state import ObjectState
from napari_sam2.plugin.worker.requests import PutObjects, RemoveObjects


class Objects:
    """The table of objects; a part of a controller. Every change is emitted by ``events.objects``.

    Parameters
    ----------
    context : ControllerContext
        What the parts share.
    timeline : Timeline
        Facts about the objects.
    on_delete : callable
        ``on_delete(object_ids)`` removes the marks of deleted objects.
    """

    def __init__(
        self,
        context: ControllerContext,
        timeline: Timeline,
        on_delete: Callable[[tuple[int, ...]], None],
    ) -> None:
        self._context = context
        self._timeline = timeline
        self._on_delete = on_delete
        self._infos: dict[int, ObjectInfo] = {}
        self._active = 0
        self._selected: frozenset[int] = frozenset()
        # Changes that the session may not have made yet when it sends its objects: by id, with their generation.
        self._asked: dict[int, tuple[int, ObjectInfo]] = {}
        self._solo: frozenset[int] = frozenset()
        self._highest = 0

    # -- what there is -----------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._infos)

    def __contains__(self, object_id: object) -> bool:
        return object_id in self._infos

    @property
    def ids(self) -> tuple[int, ...]:
        """All ids, in order."""
        return tuple(sorted(self._infos))

    @property
    def infos(self) -> dict[int, ObjectInfo]:
        """Names and colours by id, in order."""
        return {i: self._infos[i] for i in self.ids}

    @property
    def colors(self) -> dict[int, Color]:
        """Colours by id."""
        return {i: info.rgb for i, info in self._infos.items()}

    @property
    def hidden(self) -> frozenset[int]:
        """Objects that are not shown, because others are shown alone."""
        return frozenset(self._infos) - self._solo if self._solo else frozenset()

    @property
    def locked(self) -> frozenset[int]:
        """Objects that neither prompts nor propagation change."""
        return frozenset(i for i, info in self._infos.items() if info.locked)

    @property
    def selected(self) -> tuple[int, ...]:
        """The selection, in order."""
        return tuple(sorted(self._selected))

    @property
    def solo(self) -> tuple[int, ...]:
        """Objects that are shown alone; empty: all are shown."""
        return tuple(sorted(self._solo))

    @property
    def active(self) -> int:
        """The object that new prompts go to; 0 when there is none. Can be set."""
        return self._active

    @active.setter
    def active(self, object_id: int) -> None:
        self._known(object_id)
        if object_id != self._active:
            self._active = object_id
            self.emit()

    @property
    def states(self) -> tuple[ObjectState, ...]:
        """The table, row by row, in the order of the ids."""
        return tuple(self.state(i) for i in self.ids)

    def state(self, object_id: int) -> ObjectState:
        """Return one row of the table."""
        info, row = self._known(object_id), self._timeline.row(object_id)
        seen = np.flatnonzero(row.present)
        return ObjectState(
            object_id,
            info.name,
            info.rgb,
            active=object_id == self._active,
            selected=object_id in self._selected,
            visible=object_id not in self.hidden,
            locked=info.locked,
            prompted_frames=tuple(int(f) for f in np.flatnonzero(row.prompted)),
            present=len(seen),
            first=int(seen[0]) if len(seen) else None,
            last=int(seen[-1]) if len(seen) else None,
            uncertainty=float(row.uncertainty.max(initial=0.0)),
        )

    def title(self, object_id: int) -> str:
        """Return an object's name, or "object ID" without one."""
        return self._infos.get(object_id, ObjectInfo(object_id)).title

    # -- verbs -------------------------------------------------------------------------------------------

    def add(self, name: str = "", color: Color | None = None, object_id: int | None = None) -> int:
        """Add an object, make it the active one and return its id.

        Parameters
        ----------
        name : str
            Shown instead of "object ID".
        color : tuple of int, optional
            8-bit RGB; by default one that follows from the id.
        object_id : int, optional
            By default one that was never used here.

        Raises
        ------
        ValueError
            The id is taken or not between 1 and 65535.
        """
        if object_id is None:
            object_id = self._free_id()
        if object_id in self._infos:
            raise ValueError(f"object {object_id} exists already: choose another id")
        self._put(f"Add object {object_id}", ObjectInfo(checked_object_id(object_id), name, color))
        self._active = object_id
        self._selected = frozenset([object_id])
        self.emit()
        return object_id

    def rename(self, object_id: int, name: str) -> None:
        """Give an object a name; an empty one takes it away."""
        info = self._known(object_id)
        self._put(f"Rename {info.title}", replace(info, name=str(name)))
        self.emit()

    def recolor(self, object_id: int, color: Color) -> None:
        """Give an object a colour, 8-bit RGB."""
        if len(color) != 3 or not all(0 <= int(c) <= 255 for c in color):
            raise ValueError(f"a colour is three whole numbers from 0 to 255, not {color!r}")
        red, green, blue = (int(c) for c in color)
        info = self._known(object_id)
        self._put(f"Recolour {info.title}", replace(info, color=(red, green, blue)))
        self.emit()

    def delete(self, object_ids: Iterable[int]) -> None:
        """Remove objects with their prompts and masks; the others are not touched. Can be undone."""
        ids = tuple(dict.fromkeys(object_ids))
        infos = [self._known(object_id) for object_id in ids]
        if not infos:
            return
        for object_id in ids:
            del self._infos[object_id]
            self._asked.pop(object_id, None)
        self._timeline.forget(ids)
        self._on_delete(ids)
        group = self._context.session.new_group(f"Delete {_named(infos)}")
        self._context.session.submit(RemoveObjects(ids, self._context.view.frame, group))
        self._drop_unknown()
        self.emit()

    def select(self, object_ids: Iterable[int]) -> None:
        """Select objects; the first one of them becomes the active one unless the active one is among them."""
        ids = tuple(object_ids)
        for object_id in ids:
            self._known(object_id)
        self._selected = frozenset(ids)
        if ids and self._active not in ids:
            self._active = ids[0]
        self.emit()

    def step(self, step: int = 1) -> int:
        """Make the next (1) or previous (-1) object the active one, around the end; returns its id, 0: none."""
        ids = self.ids
        if not ids:
            return 0
        place = ids.index(self._active) if self._active in ids else -1
        self.select([ids[(place + step) % len(ids)]])
        return self._active

    def lock(self, object_ids: Iterable[int], locked: bool = True) -> None:
        """Keep objects as they are, or allow changes again."""
        infos = [self._known(i) for i in dict.fromkeys(object_ids)]
        infos = [info for info in infos if info.locked != locked]
        if infos:
            label = f"{'Lock' if locked else 'Unlock'} {_named(infos)}"
            self._put(label, *(replace(info, locked=locked) for info in infos))
        self.emit()

    def show_alone(self, object_ids: Iterable[int]) -> None:
        """Show only these objects; none: show all."""
        self._solo = frozenset(i for i in object_ids if self._known(i))
        self.emit()

    def go_to(self, object_id: int) -> None:
        """Show the first frame on which an object is prompted (or else seen), and make it active."""
        state = self.state(object_id)
        self.select([object_id])
        frame = state.prompted_frames[0] if state.prompted_frames else state.first
        if frame is not None:
            self._context.view.show(frame)

    # -- for the controller ------------------------------------------------------------------------------

    def ensure(self, object_ids: Iterable[int]) -> None:
        """Add objects that a layer names for the first time; the session learns of them with their prompt."""
        new = [i for i in object_ids if i not in self._infos]
        for object_id in new:
            self._infos[object_id] = ObjectInfo(object_id)
            self._highest = max(self._highest, object_id)
        if new:
            self._drop_unknown()
            self.emit()

    def reset(self, infos: Mapping[int, ObjectInfo], generation: int = 0) -> None:
        """Replace all objects by those of the session, as after undo.

        Parameters
        ----------
        infos : mapping
            All that the session has.
        generation : int
            Of the request that this answers; what was asked for after it stays. 0: nothing stays.
        """
        later = {i: put for i, put in self._asked.items() if generation and put[0] > generation}
        self._asked = later
        self._infos = {**infos, **{i: info for i, (_, info) in later.items()}}
        self._highest = max([self._highest, *infos])
        self._drop_unknown()
        self.emit()

    def send(self, object_id: int) -> None:
        """Add an object to the session that was made before there was one."""
        info, session = self._infos[object_id], self._context.session
        session.submit(PutObjects((info,), session.new_group(f"Add {info.title}")))

    def emit(self) -> None:
        """Emit the table."""
        self._context.events.objects.emit(self.states)

    def _drop_unknown(self) -> None:
        ids = frozenset(self._infos)
        self._selected &= ids
        self._solo &= ids
        if self._active not in ids:
            self._active = min(self._selected or ids, default=0)

    def _put(self, label: str, *infos: ObjectInfo) -> None:
        session = self._context.session
        generation = session.submit(PutObjects(infos, session.new_group(label)))
        for info in infos:
            self._infos[info.object_id] = info
            self._asked[info.object_id] = (generation, info)
            self._highest = max(self._highest, info.object_id)

    def _known(self, object_id: int) -> ObjectInfo:
        if object_id not in self._infos:
            raise ValueError(f"object {object_id} does not exist; there are {list(self.ids)}")
        return self._infos[object_id]

    def _free_id(self) -> int:
        if self._highest < MAX_OBJECT_ID:
            return self._highest + 1
        free = next((i for i in range(1, MAX_OBJECT_ID + 1) if i not in self._infos), None)
        if free is None:
            raise ValueError(f"there are {MAX_OBJECT_ID} objects, there is room for no more: delete some")
        return free


def _named(infos: Sequence[ObjectInfo]) -> str:
    return infos[0].title if len(infos) == 1 else f"{len(infos)} objects"

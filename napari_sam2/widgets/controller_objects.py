"""The objects: names, colours, which one is active, selected, locked, shown alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from napari_sam2.storage.exports.results import Color, ObjectInfo
from napari_sam2.widgets.controller_events import Desk
from napari_sam2.widgets.controller_timeline import Timeline
from napari_sam2.widgets.requests import PutObject, RemoveObjects
from napari_sam2.widgets.states import ObjectState

MAX_OBJECT_ID = 65535


class Objects:
    """The table of objects; a part of a controller. Every change is told by ``events.objects``."""

    def __init__(self, desk: Desk, timeline: Timeline) -> None:
        self._desk = desk
        self._timeline = timeline
        self._infos: dict[int, ObjectInfo] = {}
        self._active = 0
        self._selected: frozenset[int] = frozenset()
        self._locked: frozenset[int] = frozenset()
        self._solo: frozenset[int] = frozenset()
        self._highest = 0
        # What else has to forget deleted objects; given by the controller.
        self.on_delete: Callable[[tuple[int, ...]], None] = lambda object_ids: None

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
        return self._locked

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
            self.tell()

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
            locked=object_id in self._locked,
            prompted_frames=tuple(int(f) for f in np.flatnonzero(row.prompted)),
            present=len(seen),
            first=int(seen[0]) if len(seen) else None,
            last=int(seen[-1]) if len(seen) else None,
            doubt=float(row.doubt.max(initial=0.0)),
        )

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
        self._put(ObjectInfo(_checked(object_id), name, color))
        self._active = object_id
        self._selected = frozenset([object_id])
        self.tell()
        return object_id

    def rename(self, object_id: int, name: str) -> None:
        """Give an object a name; an empty one takes it away."""
        self._put(replace(self._known(object_id), name=str(name)))
        self.tell()

    def recolor(self, object_id: int, color: Color) -> None:
        """Give an object a colour, 8-bit RGB."""
        if len(color) != 3 or not all(0 <= int(c) <= 255 for c in color):
            raise ValueError(f"a colour is three whole numbers from 0 to 255, not {color!r}")
        red, green, blue = (int(c) for c in color)
        self._put(replace(self._known(object_id), color=(red, green, blue)))
        self.tell()

    def delete(self, object_ids: Iterable[int]) -> None:
        """Remove objects with their prompts and masks; the others are not touched. Can be undone."""
        ids = tuple(dict.fromkeys(object_ids))
        for object_id in ids:
            self._known(object_id)
        for object_id in ids:
            del self._infos[object_id]
        self._timeline.forget(ids)
        self.on_delete(ids)
        self._desk.submit(RemoveObjects(ids, self._desk.frame))
        self._tidy()
        self.tell()

    def select(self, object_ids: Iterable[int]) -> None:
        """Select objects; the first one of them becomes the active one unless the active one is among them."""
        ids = tuple(object_ids)
        for object_id in ids:
            self._known(object_id)
        self._selected = frozenset(ids)
        if ids and self._active not in ids:
            self._active = ids[0]
        self.tell()

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
        ids = frozenset(i for i in object_ids if self._known(i))
        self._locked = self._locked | ids if locked else self._locked - ids
        self.tell()

    def show_alone(self, object_ids: Iterable[int]) -> None:
        """Show only these objects; none: show all."""
        self._solo = frozenset(i for i in object_ids if self._known(i))
        self.tell()

    def go_to(self, object_id: int) -> None:
        """Show the first frame on which an object is prompted (or else seen), and make it active."""
        state = self.state(object_id)
        self.select([object_id])
        frame = state.prompted_frames[0] if state.prompted_frames else state.first
        if frame is not None:
            self._desk.show(frame)

    # -- for the controller ------------------------------------------------------------------------------

    def ensure(self, object_ids: Iterable[int]) -> None:
        """Add objects that a layer names for the first time; the session learns of them with their prompt."""
        new = [i for i in object_ids if i not in self._infos]
        for object_id in new:
            self._infos[object_id] = ObjectInfo(object_id)
            self._highest = max(self._highest, object_id)
        if new:
            self._tidy()
            self.tell()

    def adopt(self, infos: Mapping[int, ObjectInfo]) -> None:
        """Take over all objects of the session, as after undo."""
        self._infos = dict(infos)
        self._highest = max([self._highest, *infos])
        self._tidy()
        self.tell()

    def announce(self, object_id: int) -> None:
        """Tell the session about an object that was made before there was one."""
        self._desk.submit(PutObject(self._infos[object_id]))

    def tell(self) -> None:
        """Tell the table."""
        self._desk.events.objects.emit(self.states)

    def _tidy(self) -> None:
        ids = frozenset(self._infos)
        self._selected &= ids
        self._locked &= ids
        self._solo &= ids
        if self._active not in ids:
            self._active = min(self._selected or ids, default=0)

    def _put(self, info: ObjectInfo) -> None:
        self._infos[info.object_id] = info
        self._highest = max(self._highest, info.object_id)
        self._desk.submit(PutObject(info))

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


def _checked(object_id: int) -> int:
    if not 1 <= object_id <= MAX_OBJECT_ID:
        raise ValueError(f"an object id is a whole number from 1 to {MAX_OBJECT_ID}, not {object_id}")
    return int(object_id)

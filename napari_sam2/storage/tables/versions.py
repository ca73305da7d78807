"""Which version of a frame's result is the current one: undo without copying anything.

Every write carries the serial number of the action it belongs to. Nothing is overwritten while an action
can still be undone: a frame keeps the versions that some state in reach needs, and undo and redo only move
the number up to which versions count.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from napari_sam2.objects import checked_object_id
from napari_sam2.storage.schema import whole_number

Removal = tuple[int, int]  # (object id, serial)


@dataclass(frozen=True)
class Action:
    """One step of undo: the serials ``first`` to ``last``.

    Parameters
    ----------
    label : str
        What the user did.
    first, last : int
        Serials of its writes.
    whole : bool
        True: after a crash in its middle the action is taken back. False: what it did so far stays.
    """

    label: str
    first: int
    last: int
    whole: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {"label": self.label, "first": self.first, "last": self.last, "whole": self.whole}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Action:
        """Read what :meth:`to_json` wrote."""
        first = whole_number(data["first"], "a serial", 1)
        return cls(
            str(data["label"]), first, whole_number(data["last"], "a serial", first), bool(data["whole"])
        )


@dataclass(frozen=True)
class Versions:
    """Which serials count.

    Parameters
    ----------
    base : int
        Serial of the oldest state that undo can reach.
    actions : tuple of Action
        What can be undone (the first ``applied`` ones) and redone (the others), oldest first.
    applied : int
        How many actions are in effect.
    opened : Action, optional
        The action that is going on.
    next_serial : int
        Serials are never used twice.
    dead : tuple of (first, last)
        Serials of actions that were undone and can no longer be redone.
    removals : tuple of (object id, serial)
        At this serial everything older of this object was removed.
    reopened : int, optional
        The action that is going on is the last one, continued; up to this serial it is done whatever comes.
    """

    base: int = 0
    actions: tuple[Action, ...] = ()
    applied: int = 0
    opened: Action | None = None
    next_serial: int = 1
    dead: tuple[tuple[int, int], ...] = ()
    removals: tuple[Removal, ...] = ()
    reopened: int | None = None

    @property
    def settled(self) -> int:
        """Serial of the current state, not counting what is going on."""
        if self.reopened is not None:
            return self.reopened
        return self.actions[self.applied - 1].last if self.applied else self.base

    @property
    def head(self) -> int:
        """Serial up to which versions count."""
        return self.opened.last if self.opened else self.settled

    @property
    def states(self) -> list[int]:
        """Serials of all states that undo and redo can reach, in order."""
        states = [self.base, *(a.last for a in self.actions)]
        if self.reopened is not None:
            states.append(self.reopened)
        return states + [self.opened.last] if self.opened else states

    def is_dead(self, serial: int) -> bool:
        """Whether no state in reach has this serial."""
        return any(first <= serial <= last for first, last in self.dead)

    def floor(self, object_id: int, head: int) -> int:
        """Return the serial of an object's last removal that counts in the state ``head``; -1 without one."""
        return max(
            (s for i, s in self.removals if i == object_id and s <= head and not self.is_dead(s)), default=-1
        )

    def current(self, object_id: int, serials: Iterable[int]) -> int | None:
        """Return which of an object's versions is the current one; None when none is."""
        head = self.head
        floor = self.floor(object_id, head)
        return max((s for s in serials if floor < s <= head and not self.is_dead(s)), default=None)

    def needed(self, object_id: int, serials: Iterable[int]) -> set[int]:
        """Return which of an object's versions are the current one in some state in reach."""
        living = sorted(s for s in serials if not self.is_dead(s))
        removed = sorted(s for i, s in self.removals if i == object_id and not self.is_dead(s))
        states = self.states
        kept = set()
        for position, serial in enumerate(living):
            end = living[position + 1] if position + 1 < len(living) else self.next_serial
            cut = bisect_left(removed, serial)
            if cut < len(removed):
                end = min(end, removed[cut])
            state = bisect_left(states, serial)
            if state < len(states) and states[state] < end:
                kept.add(serial)
        return kept

    def begun(self, label: str, whole: bool) -> Versions:
        """Start an action; what could be redone is gone."""
        serial = self.next_serial
        return replace(
            self.without_redo(), opened=Action(label, serial, serial, whole), next_serial=serial + 1
        )

    def continued(self, label: str = "", whole: bool = False) -> Versions:
        """Open the last action again, so that what follows belongs to it.

        Parameters
        ----------
        label : str
            What it is called from now on; empty: as before.
        whole : bool
            True: after a crash what is added is taken back. False: it stays.
        """
        short = self.without_redo()
        serial, last = self.next_serial, short.actions[-1]
        return replace(
            short,
            actions=short.actions[:-1],
            applied=self.applied - 1,
            opened=Action(label or last.label, last.first, serial, whole),
            next_serial=serial + 1,
            reopened=last.last,
        )

    def removed(self, object_id: int) -> Versions:
        """Remove everything of an object inside the action that is going on."""
        assert self.opened is not None
        serial = self.next_serial  # older writes of this action are removed, later ones are not
        return replace(
            self,
            removals=(*self.removals, (object_id, serial)),
            opened=replace(self.opened, last=serial + 1),
            next_serial=serial + 2,
        )

    def committed(self) -> Versions:
        """End the action that is going on; it can be undone from now on."""
        assert self.opened is not None
        return replace(
            self,
            actions=(*self.actions[: self.applied], self.opened),
            applied=self.applied + 1,
            opened=None,
            reopened=None,
        )

    def abandoned(self) -> Versions:
        """Take back the action that is going on; of a continued one what was added."""
        opened, reopened = self.opened, self.reopened
        assert opened is not None
        if reopened is None:
            return replace(self, opened=None, dead=_joined(self.dead, (opened.first, opened.last)))
        short = replace(self, dead=_joined(self.dead, (reopened + 1, opened.last)))
        return replace(short, opened=replace(opened, last=reopened)).committed()

    def beyond(self, serial: int) -> Versions:
        """Take back writes up to a serial of which these versions do not know."""
        if serial < self.next_serial:
            return self
        dead = _joined(self.dead, (self.next_serial, serial))
        return replace(self, dead=dead, next_serial=serial + 1)

    def kept_to(self, count: int) -> Versions:
        """Forget how to undo the oldest of more than ``count`` actions."""
        versions = self
        while len(versions.actions) > count:
            versions = versions.without_oldest()
        return versions

    def without_redo(self) -> Versions:
        """Forget what was undone."""
        gone = self.actions[self.applied :]
        if not gone:
            return self
        dead = _joined(self.dead, (gone[0].first, gone[-1].last))
        return replace(self, actions=self.actions[: self.applied], dead=dead)

    def without_oldest(self) -> Versions:
        """Forget how to undo the oldest action."""
        if not self.applied:
            return self.without_redo()
        return replace(self, base=self.actions[0].last, actions=self.actions[1:], applied=self.applied - 1)

    def anchored(self) -> Versions:
        """Make the action that is going on part of the oldest state: it cannot be undone."""
        assert self.opened is not None
        return replace(self, base=self.opened.last, actions=(), applied=0, opened=None, reopened=None)

    def swept(self) -> Versions:
        """Forget what only concerned results that are no longer there."""
        removals = tuple((i, s) for i, s in self.removals if s > self.base and not self.is_dead(s))
        return replace(self, dead=(), removals=removals)

    def moved(self, step: int) -> Versions:
        """Undo (``step`` -1) or redo (+1) one action."""
        return replace(self, applied=self.applied + step)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "base": self.base,
            "actions": [a.to_json() for a in self.actions],
            "applied": self.applied,
            "opened": None if self.opened is None else self.opened.to_json(),
            "next_serial": self.next_serial,
            "dead": [list(d) for d in self.dead],
            "removals": [list(r) for r in self.removals],
            "reopened": self.reopened,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Versions:
        """Read what :meth:`to_json` wrote; ValueError, KeyError or TypeError when it is something else."""
        opened, reopened = data["opened"], data.get("reopened")
        versions = cls(
            whole_number(data["base"], "a serial"),
            tuple(Action.from_json(a) for a in data["actions"]),
            whole_number(data["applied"], "the number of applied actions"),
            None if opened is None else Action.from_json(opened),
            whole_number(data["next_serial"], "a serial", 1),
            tuple((whole_number(a, "a serial"), whole_number(b, "a serial")) for a, b in data["dead"]),
            tuple((checked_object_id(i), whole_number(s, "a serial")) for i, s in data["removals"]),
            None if reopened is None else whole_number(reopened, "a serial"),
        )
        if opened is None and reopened is not None:
            raise ValueError("an action that is not going on cannot be continued")
        states = versions.states
        if versions.applied > len(versions.actions) or states != sorted(set(states)):
            raise ValueError("the order of actions makes no sense")
        if states[-1] >= versions.next_serial:
            raise ValueError("the next serial has been used already")
        return versions


def _joined(ranges: tuple[tuple[int, int], ...], new: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    out: list[tuple[int, int]] = []
    for first, last in sorted((*ranges, new)):
        if out and first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], last))
        else:
            out.append((first, last))
    return tuple(out)

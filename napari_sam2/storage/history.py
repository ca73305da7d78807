"""Undo and redo of everything that changes prompts, objects or masks, within a budget on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from napari_sam2.objects import ObjectInfo
from napari_sam2.prompts import Prompt, PromptKey
from napari_sam2.storage.database import Database
from napari_sam2.storage.errors import ProjectDamagedError, ProjectError
from napari_sam2.storage.user_state import UserState

DEFAULT_BUDGET = 4 * 2**30
_MAX_STEPS = 500
_ROWS_AT_ONCE = 200
_TABLES = ("mask", "record")
_SECONDS_BETWEEN = 0.25  # of compaction after a step, when nobody waits


@dataclass
class Step:
    """One step that undo or redo can reach.

    Parameters
    ----------
    id : int
        Never used twice; later steps have higher ones.
    label : str
        What the user did.
    applied : bool
        Whether it counts; False: undone.
    replaced, written : int
        Bytes of older results that it replaced, and of its own.
    """

    id: int
    label: str
    applied: bool
    replaced: int = 0
    written: int = 0


class History:
    """Steps that can be undone and redone; they survive closing the project.

    Undoing copies nothing: every row of the database belongs to a step, and undo only changes which steps count.
    What no step in reach needs is removed in small portions when nobody waits.

    Parameters
    ----------
    database : Database
        The open project.
    state : UserState
        Its prompts and objects.
    budget_bytes : int
        How many bytes of superseded results may be kept. When there are more, the oldest steps can no longer be
        undone.
    """

    def __init__(self, database: Database, state: UserState, budget_bytes: int = DEFAULT_BUDGET) -> None:
        self._database = database
        self._state = state
        self.budget_bytes = budget_bytes
        self.defers = False
        self.when_quiet: Callable[[], None] = lambda: None
        self._steps: list[Step] = []
        self._floor = 0  # the newest step that can't be undone any more
        self._open: Step | None = None
        self.reload()

    def reload(self) -> None:
        """Read the steps again."""
        rows = self._database.rows(
            "SELECT id, label, applied, replaced, written FROM step WHERE reach = 1 ORDER BY id"
        )
        self._steps = [Step(i, label, bool(applied), *sizes) for i, label, applied, *sizes in rows]
        self._floor = self._database.value("SELECT MAX(id) FROM step WHERE applied AND reach < 1") or 0
        states = [step.applied for step in self._steps]
        if states != sorted(states, reverse=True) or not self._floor:
            raise ProjectDamagedError(
                f"{self._database.path} is damaged: the order of its steps makes no sense"
            )

    # What can be done ---------------------------------------------------------------------------------

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to undo."""
        return bool(self._undoable)

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to redo."""
        return bool(self._undone)

    @property
    def undo_label(self) -> str | None:
        """What the next undo takes back; None when there is nothing."""
        done = self._undoable
        return done[-1].label if done else None

    @property
    def redo_label(self) -> str | None:
        """What the next redo does again; None when there is nothing."""
        undone = self._undone
        return undone[0].label if undone else None

    @property
    def is_open(self) -> bool:
        """Whether a step is going on."""
        return self._open is not None

    @property
    def steps(self) -> tuple[tuple[int, str], ...]:
        """All steps that can be undone or redone, oldest first: (a number that stays with it, its label).

        The one that is going on is among them.
        """
        return tuple((step.id, step.label) for step in self._steps)

    @property
    def applied(self) -> int:
        """How many of ``steps`` are in effect."""
        return sum(step.applied for step in self._steps)

    @property
    def top(self) -> int:
        """Number of the newest step in effect, also when it can't be undone."""
        return max((step.id for step in self._steps if step.applied), default=self._floor)

    @property
    def superseded_bytes(self) -> int:
        """Bytes of results that are kept for undo and redo only."""
        return sum(step.replaced if step.applied else step.written for step in self._steps)

    @property
    def _undoable(self) -> list[Step]:
        return [step for step in self._steps if step.applied and step is not self._open]

    @property
    def _undone(self) -> list[Step]:
        return [step for step in self._steps if not step.applied]

    # Steps --------------------------------------------------------------------------------------------

    @contextmanager
    def action(self, label: str, whole: bool = True, joins: bool = False) -> Iterator[None]:
        """Make everything that is written inside one step of undo.

        Parameters
        ----------
        label : str
            What the user does; shown beside "Undo".
        whole : bool
            True: one transaction, which an error (or a crash) takes back. False: what was written stays, as is
            right for long work.
        joins : bool
            Make it part of the last step (when there is one), which keeps its label.

        Notes
        -----
        Inside another step this one is part of that.
        """
        joined = joins and self.can_undo and not self.is_open
        if not whole and not self.is_open:
            self.resume() if joined else self.begin(label)
            try:
                yield
            finally:
                self.commit()
            return
        outermost = not self.is_open
        try:
            with self._database.transaction():
                if outermost:
                    self._open = self._continued() if joined else self._begun(label)
                yield
                if outermost:
                    self._end()
        finally:
            if outermost:
                self._open = None
        if outermost:
            self._keep_room()

    def begin(self, label: str) -> None:
        """Start a step whose writes stay whatever happens; what could be redone is gone."""
        with self._database.transaction():
            self._require_closed()
            begun = self._begun(label)
        self._open = begun

    def resume(self, label: str = "") -> None:
        """Open the last step again, so that what follows belongs to it; what is written stays.

        Parameters
        ----------
        label : str
            What it is called from now on; empty: as before.
        """
        with self._database.transaction():
            self._require_closed()
            if not self.can_undo:
                raise ProjectError("there is no action to continue")
            step = self._continued(label)
        self._open = step

    def commit(self, tidies: bool = True) -> None:
        """End the step that is going on; nothing happens without one."""
        if self._open is None:
            return
        self._open = None
        if self._database.writable:
            with self._database.transaction():
                self._end()
            if tidies:
                self._keep_room()

    def undo(self) -> str:
        """Take back the last step and return its label; ProjectError when there is none."""
        return self._move(self._undoable[-1:], False)

    def redo(self) -> str:
        """Do the last undone step again and return its label; ProjectError when there is none."""
        return self._move(self._undone[:1], True)

    # Changes, inside a step or as part of the last one --------------------------------------------------

    def writing_step(self) -> int:
        """Return the step that what is written now belongs to; outside of steps it becomes part of the last one."""
        if self._open is not None:
            return self._open.id
        self._discard_undone()
        return self.top

    def in_reach(self, step: int) -> bool:
        """Whether a step can be undone, so that what it replaces has to be kept."""
        return step > self._floor

    def account(self, step: int, replaced: int, written: int) -> None:
        """Note how much a step replaced and wrote, in bytes."""
        for known in reversed(self._steps):
            if known.id == step:
                known.replaced += replaced
                known.written += written
                self._database.write(
                    "UPDATE step SET replaced = ?, written = ? WHERE id = ?",
                    (known.replaced, known.written, step),
                )
                return

    def put_prompt(self, key: PromptKey, prompt: Prompt | None) -> None:
        """Set or (None) delete the prompt of one object on one frame."""
        with self._database.transaction():
            self._state.put_prompt(self.writing_step(), key, prompt)

    def put_prompts(self, prompts: Mapping[PromptKey, Prompt]) -> None:
        """Replace all prompts."""
        with self._database.transaction():
            if list(prompts.items()) != list(self._state.prompts.items()):
                self._state.put_prompts(self.writing_step(), prompts)

    def put_object(self, info: ObjectInfo) -> None:
        """Add an object or change its name and colour."""
        with self._database.transaction():
            if self._state.object(info.object_id) != info:
                self._state.put_object(self.writing_step(), info)

    def remove_object(self, object_id: int) -> None:
        """Remove an object, its prompts and its results on all frames."""
        if not self.is_open:
            with self.action(f"Remove object {object_id}"):
                self.remove_object(object_id)
            return
        with self._database.transaction():
            step = self.writing_step()
            replaced = 0
            for table in _TABLES:
                where = f"FROM {table} WHERE object_id = ? AND step"
                replaced += self._database.value(f"SELECT SUM(bytes) {where} < ?", (object_id, step)) or 0
                self._database.write(f"DELETE {where} = ?", (object_id, step))
            self._database.write("INSERT OR IGNORE INTO removal VALUES (?, ?)", (object_id, step))
            self._state.remove_object(step, object_id)
            self.account(step, replaced, 0)

    # Room ---------------------------------------------------------------------------------------------

    def keep_budget(self) -> None:
        """Forget the oldest steps until what is kept for undo fits into the budget."""
        if self.superseded_bytes > self.budget_bytes:
            with self._database.transaction():
                while self.superseded_bytes > self.budget_bytes and self._forget_oldest():
                    pass
        if not self.defers:
            self.compact(_SECONDS_BETWEEN)

    def compact(self, seconds: float | None = None) -> bool:
        """Remove results that no undo or redo can reach, in small transactions.

        Parameters
        ----------
        seconds : float, optional
            Stop after this time; the rest is done another time.

        Returns
        -------
        bool
            True when nothing is left to remove.
        """
        self._database.require_writable()
        start = monotonic()
        for step, applied in self._database.rows("SELECT id, applied FROM step WHERE reach = 0 ORDER BY id"):
            for _ in self._sweep_kept(step) if applied else self._sweep_discarded(step):
                if seconds is not None and monotonic() - start > seconds:
                    return False
        return True

    def _keep_room(self) -> None:
        self.keep_budget()
        if not self.defers:
            self._database.give_back()
            self.when_quiet()

    def _sweep_discarded(self, step: int) -> Iterator[None]:
        """Remove all rows of a step that nothing can bring back."""
        for table in _TABLES:
            yield from self._deleted(table, "step = ?", (step,))
        with self._database.transaction():
            for table in ("prompt", "object", "removal"):
                self._database.write(f"DELETE FROM {table} WHERE step = ?", (step,))
            self._database.write("DELETE FROM step WHERE id = ?", (step,))
        yield

    def _sweep_kept(self, step: int) -> Iterator[None]:
        """Remove what a step replaced, because it will not be undone."""
        for table in _TABLES:
            yield from self._sweep_replaced(table, step)
        for (removed,) in self._database.rows("SELECT object_id FROM removal WHERE step = ?", (step,)):
            for table in _TABLES:
                yield from self._deleted(table, "object_id = ? AND step < ?", (removed, step))
        with self._database.transaction():
            self._database.write("DELETE FROM removal WHERE step = ?", (step,))
            for table, key in (("prompt", "frame, object_id"), ("object", "id")):
                older = f"step < :s AND ({key}) IN (SELECT {key} FROM {table} WHERE step = :s)"
                self._database.write(f"DELETE FROM {table} WHERE {older}", {"s": step})
                self._database.write(f"DELETE FROM {table} WHERE step = :s AND data IS NULL", {"s": step})
            self._database.write("UPDATE step SET reach = -1 WHERE id = ?", (step,))
        yield

    def _sweep_replaced(self, table: str, step: int) -> Iterator[None]:
        last = (-1, -1)
        while True:
            keys = self._database.rows(
                f"SELECT frame, object_id FROM {table} WHERE step = ? AND (frame, object_id) > (?, ?) "
                f"ORDER BY frame, object_id LIMIT {_ROWS_AT_ONCE}",
                (step, *last),
            )
            if not keys:
                return
            last = keys[-1]
            with self._database.transaction():
                self._database.write_rows(
                    f"DELETE FROM {table} WHERE frame = ? AND object_id = ? AND (step < ? OR step = ? AND NOT present)",
                    [(*key, step, step) for key in keys],
                )
            yield

    def _deleted(self, table: str, where: str, values: tuple[int, ...]) -> Iterator[None]:
        chosen = f"SELECT frame, object_id, step FROM {table} WHERE {where} LIMIT {_ROWS_AT_ONCE}"
        changed = _ROWS_AT_ONCE
        while changed == _ROWS_AT_ONCE:
            with self._database.transaction():
                changed = self._database.write(
                    f"DELETE FROM {table} WHERE (frame, object_id, step) IN ({chosen})", values
                )
            yield

    def _forget_oldest(self) -> bool:
        if not self._steps:
            return False
        oldest = self._steps[0]
        if not oldest.applied or (oldest is self._open and self._undone):
            self._discard_undone()
        else:
            # Even the one that is going on, when it alone is too large to be taken back.
            self._database.write("UPDATE step SET reach = 0 WHERE id = ?", (oldest.id,))
            self._steps.remove(oldest)
            self._floor = oldest.id
        return True

    # Inside -------------------------------------------------------------------------------------------

    def _begun(self, label: str) -> Step:
        self._discard_undone()
        self._database.write("INSERT INTO step (label, applied, reach) VALUES (?, 1, 1)", (label,))
        step = Step(self._database.value("SELECT MAX(id) FROM step"), label, True)
        self._steps.append(step)
        return step

    def _continued(self, label: str = "") -> Step:
        self._discard_undone()
        step = self._steps[-1]
        if label and label != step.label:
            self._database.write("UPDATE step SET label = ? WHERE id = ?", (label, step.id))
            step.label = label
        return step

    def _discard_undone(self) -> None:
        if self._steps and not self._steps[-1].applied:
            self._database.write("UPDATE step SET reach = 0 WHERE reach = 1 AND NOT applied")
            self._steps = [step for step in self._steps if step.applied]

    def _end(self) -> None:
        while len(self._steps) > _MAX_STEPS:
            self._forget_oldest()

    def _move(self, steps: list[Step], applied: bool) -> str:
        with self._database.transaction():
            self._require_closed()
            if not steps:
                raise ProjectError(f"there is nothing to {'redo' if applied else 'undo'}")
            self._database.write("UPDATE step SET applied = ? WHERE id = ?", (applied, steps[0].id))
            self._state.reread(steps[0].id)
            steps[0].applied = applied
        return steps[0].label

    def _require_closed(self) -> None:
        if self._open is not None:
            raise ProjectError(f"wait until this is done: {self._open.label}")

"""Undo and redo of everything that changes prompts, objects or masks, within a budget on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from napari_sam2.storage.database import Database
from napari_sam2.storage.errors import ProjectDamagedError, ProjectError

DEFAULT_BUDGET = 4 * 2**30
_MAX_STEPS = 500
_ROWS_AT_ONCE = 200
_TABLES = ("mask", "record")
_SECONDS_BETWEEN = 0.25  # of compaction after a step, when nobody waits


class History:
    """Steps that can be undone and redone; they survive closing the project.

    Undoing copies nothing: every row of the database belongs to a step, and undo only changes which steps count.
    Rows that no step in reach needs are removed in small portions when nobody waits. In the table ``step``, ``reach``
    is 1 for steps that can be undone or redone, 0 for others until their rows are swept, and then -1. When more than
    ``budget_bytes`` of superseded results are kept, the oldest steps can no longer be undone.
    """

    def __init__(self, database: Database, budget_bytes: int = DEFAULT_BUDGET) -> None:
        self._database = database
        self.budget_bytes = budget_bytes
        self.defers = False
        self.when_quiet: Callable[[], None] = lambda: None
        self.when_moved: Callable[[int], None] = lambda step: None  # after undo and redo of a step
        self._open = 0  # the step that is going on
        broken = (
            "SELECT MAX(CASE WHEN applied THEN id END) > MIN(CASE WHEN NOT applied THEN id END) FROM step"
        )
        if database.value(f"{broken} WHERE reach = 1") or not self._value("applied AND reach < 1"):
            raise ProjectDamagedError(f"{database.path} is damaged: the order of its steps makes no sense")

    # State --------------------------------------------------------------------------------------------

    @property
    def can_undo(self) -> bool:
        """True if there is a step to undo."""
        return self.undo_label is not None

    @property
    def can_redo(self) -> bool:
        """True if there is a step to redo."""
        return self.redo_label is not None

    @property
    def undo_label(self) -> str | None:
        """Label of the step that undo takes back; None without one."""
        return self._next(True)[1]

    @property
    def redo_label(self) -> str | None:
        """Label of the step that redo does again; None without one."""
        return self._next(False)[1]

    @property
    def is_open(self) -> bool:
        """True while a step is going on."""
        return self._open != 0

    @property
    def steps(self) -> tuple[tuple[int, str], ...]:
        """All steps that can be undone or redone, oldest first: (a number that stays with it, its label).

        The one that is going on is among them.
        """
        return tuple(self._database.rows("SELECT id, label FROM step WHERE reach = 1 ORDER BY id"))

    @property
    def applied(self) -> int:
        """Number of ``steps`` in effect."""
        return int(self._value("reach = 1 AND applied", "COUNT(*)"))

    @property
    def last_step(self) -> int:
        """Number of the newest of ``steps`` in effect; 0 without one."""
        return int(self._value("reach = 1 AND applied ORDER BY id DESC LIMIT 1") or 0)

    @property
    def top(self) -> int:
        """Number of the newest step in effect, also when it can't be undone."""
        return int(self._value("applied ORDER BY id DESC LIMIT 1"))

    @property
    def superseded_bytes(self) -> int:
        """Bytes of results that are kept for undo and redo only."""
        return self._value("reach = 1", "SUM(CASE WHEN applied THEN replaced ELSE written END)") or 0

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
        if self.is_open:
            with self._database.transaction():
                yield
            return
        if not whole:
            with self._database.transaction():
                begun = self._begun(label, joins)
            self._open = begun
            try:
                yield
            finally:
                self.commit()
            return
        try:
            with self._database.transaction():
                self._open = self._begun(label, joins)
                yield
                self._trim()
        finally:
            self._open = 0
        self._keep_room()

    def begin(self, label: str) -> None:
        """Start a step whose writes stay whatever happens; the undone steps are discarded."""
        with self._database.transaction():
            self._require_closed()
            begun = self._begun(label, False)
        self._open = begun

    def resume(self, label: str = "") -> None:
        """Open the last step again, so that further writes belong to it; what is written stays.

        Parameters
        ----------
        label : str
            What it is called from now on; empty: as before.
        """
        with self._database.transaction():
            self._require_closed()
            if not self.can_undo:
                raise ProjectError("there is no action to continue")
            step = self._begun(label, True)
            if label:
                self._database.write("UPDATE step SET label = ? WHERE id = ?", (label, step))
        self._open = step

    def commit(self, tidies: bool = True) -> None:
        """End the step that is going on; nothing happens without one."""
        if not self.is_open:
            return
        self._open = 0
        if self._database.writable:
            with self._database.transaction():
                self._trim()
            if tidies:
                self._keep_room()

    def undo(self) -> str:
        """Take back the last step and return its label; ProjectError when there is none."""
        return self._move(True)

    def redo(self) -> str:
        """Do the last undone step again and return its label; ProjectError when there is none."""
        return self._move(False)

    def writing_step(self) -> int:
        """Return the step that new rows belong to; outside of steps that is the last one."""
        if not self.is_open:
            self._discard_undone()
        return self._open or self.top

    def in_reach(self, step: int) -> bool:
        """Return True if a step can be undone, so that the results that it replaces are kept."""
        return bool(self._database.value("SELECT reach = 1 FROM step WHERE id = ?", (step,)))

    def account(self, step: int, replaced: int, written: int) -> None:
        """Add to the bytes that a step replaced and wrote."""
        self._database.write(
            "UPDATE step SET replaced = replaced + ?, written = written + ? WHERE id = ? AND reach = 1",
            (replaced, written, step),
        )

    # Room ---------------------------------------------------------------------------------------------

    def keep_budget(self) -> None:
        """Forget the oldest steps until the superseded results fit into the budget."""
        if self.superseded_bytes > self.budget_bytes:
            with self._database.transaction():
                while self.superseded_bytes > self.budget_bytes:
                    self._forget_oldest()
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
            for _ in self._sweep(step, applied):
                if seconds is not None and monotonic() - start > seconds:
                    return False
        return True

    def _keep_room(self) -> None:
        self.keep_budget()
        if not self.defers:
            self._database.tidy()
            self.when_quiet()

    def _sweep(self, step: int, applied: bool) -> Iterator[None]:
        """Remove the rows of a discarded step, or those that an applied one replaced; yields between transactions."""
        for table in _TABLES:
            if applied:
                yield from self._sweep_replaced(table, step)
                for key in self._database.rows("SELECT object_id, step FROM removal WHERE step = ?", (step,)):
                    yield from self._delete(table, "object_id = ? AND step < ?", key)
            else:
                yield from self._delete(table, "step = ?", (step,))
        with self._database.transaction():
            self._database.write("DELETE FROM removal WHERE step = ?", (step,))
            if applied:
                same = "(frame, object_id) IN (SELECT frame, object_id FROM entry WHERE step = ?)"
                self._database.write(f"DELETE FROM entry WHERE step < ? AND {same}", (step, step))
                self._database.write("DELETE FROM entry WHERE step = ? AND data IS NULL", (step,))
                self._database.write("UPDATE step SET reach = -1 WHERE id = ?", (step,))
            else:
                self._database.write("DELETE FROM entry WHERE step = ?", (step,))
                self._database.write("DELETE FROM step WHERE id = ?", (step,))
        yield

    def _sweep_replaced(self, table: str, step: int) -> Iterator[None]:
        keys = (
            f"SELECT frame, object_id FROM {table} WHERE step = ? AND (frame, object_id) > (?, ?) "
            f"ORDER BY frame, object_id LIMIT {_ROWS_AT_ONCE}"
        )
        older = "frame = ? AND object_id = ? AND (step < ? OR step = ? AND NOT present)"
        last = (-1, -1)
        while found := self._database.rows(keys, (step, *last)):
            last = found[-1]
            with self._database.transaction():
                self._database.write_rows(
                    f"DELETE FROM {table} WHERE {older}", [(*k, step, step) for k in found]
                )
            yield

    def _delete(self, table: str, where: str, values: tuple[int, ...]) -> Iterator[None]:
        chosen = f"SELECT frame, object_id, step FROM {table} WHERE {where} LIMIT {_ROWS_AT_ONCE}"
        statement = f"DELETE FROM {table} WHERE (frame, object_id, step) IN ({chosen})"
        changed = _ROWS_AT_ONCE
        while changed == _ROWS_AT_ONCE:
            with self._database.transaction():
                changed = self._database.write(statement, values)
            yield

    # Inside -------------------------------------------------------------------------------------------

    def _value(self, where: str, what: str = "id") -> Any:
        return self._database.value(f"SELECT {what} FROM step WHERE {where}")

    def _next(self, applied: bool) -> tuple[int, str | None]:
        """Return number and label of the step that undo (True) or redo (False) takes; (0, None) without one."""
        query = "SELECT id, label FROM step WHERE reach = 1 AND applied = ? AND id <> ? ORDER BY id"
        rows = self._database.rows(f"{query} {'DESC' if applied else 'ASC'} LIMIT 1", (applied, self._open))
        return rows[0] if rows else (0, None)

    def _begun(self, label: str, joins: bool) -> int:
        self._discard_undone()
        if joins and self.can_undo:
            return self.top
        self._database.write("INSERT INTO step (label) VALUES (?)", (label,))
        return self.top

    def _move(self, undoes: bool) -> str:
        with self._database.transaction():
            self._require_closed()
            step, label = self._next(undoes)
            if label is None:
                raise ProjectError(f"there is nothing to {'undo' if undoes else 'redo'}")
            self._database.write("UPDATE step SET applied = ? WHERE id = ?", (not undoes, step))
            self.when_moved(step)
        return label

    def _discard_undone(self) -> None:
        if self.can_redo:
            self._database.write("UPDATE step SET reach = 0 WHERE reach = 1 AND NOT applied")

    def _trim(self) -> None:
        while self._value("reach = 1", "COUNT(*)") > _MAX_STEPS:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        ((oldest, applied),) = self._database.rows(
            "SELECT id, applied FROM step WHERE reach = 1 ORDER BY id LIMIT 1"
        )
        if applied:  # even the one that is going on, when it alone is too large to be taken back
            self._database.write("UPDATE step SET reach = 0 WHERE id = ?", (oldest,))
        else:
            self._discard_undone()

    def _require_closed(self) -> None:
        if self.is_open:
            label = self._database.value("SELECT label FROM step WHERE id = ?", (self._open,))
            raise ProjectError(f"wait until this is done: {label}")

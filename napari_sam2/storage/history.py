"""Undo and redo of everything that changes prompts, objects or masks, within a budget on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic

from napari_sam2.objects import ObjectInfo
from napari_sam2.prompts import Prompt, PromptKey
from napari_sam2.storage.errors import ProjectDamagedError, ProjectError
from napari_sam2.storage.tables.snapshots import State
from napari_sam2.storage.tables.versions import Action, Versions
from napari_sam2.storage.workspace import Workspace

DEFAULT_BUDGET = 4 * 2**30
_MAX_ACTIONS = 500


class History:
    """Actions that can be undone and redone; they survive closing the project.

    Undoing copies nothing: superseded results stay in the files of their frames until they are out of reach
    or the budget is spent, and undo only changes which of them count.

    Parameters
    ----------
    workspace : Workspace
        The open project.
    budget_bytes : int
        How many bytes of superseded results may be kept (an estimate from the size of those written last).
        When there are more, the oldest actions can no longer be undone.
    """

    def __init__(self, workspace: Workspace, budget_bytes: int = DEFAULT_BUDGET) -> None:
        self._workspace = workspace
        self.budget_bytes = budget_bytes
        self._overdue = False

    # What can be done ---------------------------------------------------------------------------------

    @property
    def can_undo(self) -> bool:
        """Whether there is an action to undo."""
        return self.undo_label is not None

    @property
    def can_redo(self) -> bool:
        """Whether there is an action to redo."""
        return self.redo_label is not None

    @property
    def undo_label(self) -> str | None:
        """What the next undo takes back; None when there is nothing."""
        versions = self._workspace.versions
        return versions.actions[versions.applied - 1].label if versions.applied else None

    @property
    def redo_label(self) -> str | None:
        """What the next redo does again; None when there is nothing."""
        versions = self._workspace.versions
        return versions.actions[versions.applied].label if versions.applied < len(versions.actions) else None

    @property
    def is_open(self) -> bool:
        """Whether an action is going on."""
        return self._workspace.versions.opened is not None

    @property
    def superseded_bytes(self) -> int:
        """Estimate of the bytes that are kept for undo and redo only."""
        workspace = self._workspace
        records = workspace.index.superseded(workspace.versions)
        return int(records * workspace.memories.bytes_per_row)

    # Actions ------------------------------------------------------------------------------------------

    @contextmanager
    def action(self, label: str, whole: bool = True, joins: bool = False) -> Iterator[None]:
        """Make everything that is written inside one step of undo.

        Parameters
        ----------
        label : str
            What the user does; shown beside "Undo".
        whole : bool
            True: an error (or a crash) takes back what was written. False: what was written stays, as is
            right for long work.
        joins : bool
            Make it part of the last action (when there is one), which keeps its label.

        Notes
        -----
        Inside another action this one is part of that.
        """
        if self.is_open:
            yield
            return
        if joins and self.can_undo:
            self.resume(whole=whole)
        else:
            self.begin(label, whole)
        before = self._workspace.state
        try:
            yield
        except BaseException:
            if whole:
                self._abandon(before)
            else:
                self.commit()
            raise
        self.commit()

    def begin(self, label: str, whole: bool = True) -> None:
        """Start an action; what could be redone is gone."""
        workspace = self._workspace
        with workspace.lock:
            workspace.require_writable()
            self._require_closed()
            self._open(workspace.versions.begun(label, whole), whole)

    def resume(self, label: str = "", whole: bool = False) -> None:
        """Open the last action again, so that what follows belongs to it.

        Parameters
        ----------
        label : str
            What it is called from now on; empty: as before.
        whole : bool
            As for :meth:`action`, for what follows.
        """
        workspace = self._workspace
        with workspace.lock:
            workspace.require_writable()
            self._require_closed()
            if not self.can_undo:
                raise ProjectError("there is no action to continue")
            self._open(workspace.versions.continued(label, whole), whole)

    def commit(self) -> None:
        """End the action that is going on; nothing happens without one."""
        workspace = self._workspace
        with workspace.lock:
            if workspace.versions.opened is None:
                return
            self._overdue = True
            workspace.states.save(workspace.versions.opened.last, workspace.state)
            self._change(workspace.versions.committed().kept_to(_MAX_ACTIONS))
            self._overdue = False
            workspace.publish()
            self.keep_budget()

    @property
    def steps(self) -> tuple[tuple[int, str], ...]:
        """All actions that can be undone or redone, oldest first: (a number that stays with it, its label).

        The one that is going on is among them.
        """
        versions = self._workspace.versions
        opened = versions.opened
        actions = versions.actions if opened is None else (*versions.actions[: versions.applied], opened)
        return tuple((action.first, action.label) for action in actions)

    @property
    def applied(self) -> int:
        """How many of ``steps`` are in effect."""
        versions = self._workspace.versions
        return versions.applied + (versions.opened is not None)

    def undo(self) -> str:
        """Take back the last action and return its label; ProjectError when there is none."""
        return self._move(-1)

    def redo(self) -> str:
        """Do the last undone action again and return its label; ProjectError when there is none."""
        return self._move(1)

    # Changes, inside an action or as part of the last one ----------------------------------------------

    def serial(self) -> int:
        """Return the serial of what is written now; outside of actions it becomes part of the last one."""
        workspace = self._workspace
        if workspace.versions.opened is None and self.can_redo:
            self._change(workspace.versions.without_redo())
        return workspace.versions.head

    def put_prompts(self, prompts: Mapping[PromptKey, Prompt]) -> None:
        """Replace all prompts."""
        workspace = self._workspace
        with workspace.lock:
            workspace.require_writable()
            if dict(prompts) == workspace.prompts and list(prompts) == list(workspace.prompts):
                return
            self.serial()
            workspace.prompts = dict(prompts)
            self._save_unless_open()

    def put_object(self, info: ObjectInfo) -> None:
        """Add an object or change its name and colour."""
        workspace = self._workspace
        with workspace.lock:
            workspace.require_writable()
            if workspace.objects.get(info.object_id) == info:
                return
            self.serial()
            workspace.objects[info.object_id] = info
            self._save_unless_open()

    def remove_object(self, object_id: int) -> None:
        """Remove an object, its prompts and its results on all frames."""
        workspace = self._workspace
        with workspace.lock:
            workspace.require_writable()
            if not self.is_open:
                with self.action(f"Remove object {object_id}"):
                    self.remove_object(object_id)
                return
            frames = workspace.index.frames(object_id, workspace.versions)
            workspace.labels.mark_stale(frames)
            self._change(workspace.versions.removed(object_id))
            workspace.objects.pop(object_id, None)
            workspace.prompts = {k: p for k, p in workspace.prompts.items() if k[1] != object_id}

    # Room ---------------------------------------------------------------------------------------------

    def keep_budget(self) -> None:
        """Forget the oldest actions until what is kept for undo fits into the budget."""
        workspace = self._workspace
        with workspace.lock:
            if workspace.index.count * workspace.memories.bytes_per_row <= self.budget_bytes:
                return  # not even everything together would be too much
            if self.superseded_bytes <= self.budget_bytes:
                return
            self.compact()
            while self.superseded_bytes > self.budget_bytes and self._forget_oldest():
                self.compact()

    def compact(self, seconds: float | None = None) -> bool:
        """Remove results that no undo or redo can reach.

        Parameters
        ----------
        seconds : float, optional
            Stop after this time; the rest is done another time.

        Returns
        -------
        bool
            True when nothing is left to remove.
        """
        workspace = self._workspace
        with workspace.lock:
            workspace.require_writable()
            start = monotonic()
            for frame in sorted(workspace.index.garbage(workspace.versions)):
                if seconds is not None and monotonic() - start > seconds:
                    return False
                self._compact_frame(frame)
            if workspace.versions.dead or workspace.versions.removals:
                self._change(workspace.versions.swept())
            return True

    def _compact_frame(self, frame: int) -> None:
        workspace = self._workspace
        old = list(workspace.entries(frame))
        new = workspace.needed(old)
        workspace.replace(frame, old, new, draw=False)
        workspace.memories.compact(frame, (e.row for e in new if e.row is not None))

    def _forget_oldest(self) -> bool:
        versions = self._workspace.versions
        shorter = versions.without_oldest()
        if shorter == versions and versions.opened is not None:
            # Even the action that is going on is too large to be taken back.
            self._workspace.states.save(versions.opened.last, self._workspace.state)
            shorter = versions.anchored()
        if shorter == versions:
            return False
        self._change(shorter)
        return True

    # Inside -------------------------------------------------------------------------------------------

    def _open(self, versions: Versions, whole: bool) -> None:
        workspace = self._workspace
        # A short action need not be on disk before its end: what was written meanwhile counts only then. But
        # when something could be redone, its results go with the first write, and so it must be gone before.
        if workspace.defers and whole and not self.can_redo:
            workspace.versions = versions
        else:
            self._change(versions)

    def _change(self, versions: Versions) -> None:
        old = self._workspace.saved
        self._workspace.save_versions(versions)
        gone = set(old.states) - set(versions.states)
        if versions.opened is not None:
            gone.discard(versions.opened.last)
        for serial in gone:
            self._workspace.states.forget(serial)

    def _move(self, step: int) -> str:
        workspace = self._workspace
        with workspace.lock:
            workspace.require_writable()
            self._require_closed()
            if not (self.can_undo if step < 0 else self.can_redo):
                raise ProjectError(f"there is nothing to {'undo' if step < 0 else 'redo'}")
            action = workspace.versions.actions[workspace.versions.applied - (1 if step < 0 else 0)]
            moved = workspace.versions.moved(step)
            try:
                state = workspace.states.load(moved.settled)
            except ProjectDamagedError as error:
                raise ProjectDamagedError(f"{action.label} cannot be undone or redone: {error}") from error
            workspace.labels.mark_stale(self._touched(action))
            self._change(moved)
            workspace.adopt(state)
            workspace.publish()
            return action.label

    def _abandon(self, before: State) -> None:
        workspace = self._workspace
        with workspace.lock:
            opened = workspace.versions.opened
            if opened is None:
                return
            reopened = workspace.versions.reopened
            frames = self._touched(opened if reopened is None else replace(opened, first=reopened + 1))
            abandoned = workspace.versions.abandoned()
            # In memory first: the action does not count even when the disk is too full to say so. The file
            # still says that it is going on, and so it is taken back when the project is opened again.
            workspace.adopt(before)
            workspace.versions = abandoned
            for frame in frames:
                workspace.labels.forget(frame)
            workspace.labels.write_metadata()
            self._change(abandoned)

    def _touched(self, action: Action) -> set[int]:
        workspace = self._workspace
        frames = workspace.index.touched(action.first, action.last)
        for object_id, serial in workspace.versions.removals:
            if action.first <= serial <= action.last:
                frames |= workspace.index.frames_of(object_id)
        return frames

    def _require_closed(self) -> None:
        opened = self._workspace.versions.opened
        if opened is not None and self._overdue:
            self.commit()  # the disk was full when it ended
        elif opened is not None:
            raise ProjectError(f"wait until this is done: {opened.label}")

    def _save_unless_open(self) -> None:
        workspace = self._workspace
        opened = workspace.versions.opened
        if opened is not None and opened.whole:
            return  # commit() saves it
        serial = workspace.versions.settled
        if opened is None:
            workspace.states.save(serial, workspace.state)
            workspace.publish()
        else:  # read after a crash, because what a long action did so far stays
            workspace.states.publish(serial, workspace.state)

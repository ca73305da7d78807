"""A session on disk: a folder with one database that is never half written and forgets nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import napari_sam2
from napari_sam2.masks import FrameMasks, Masklet, compose_labels, compose_run_lengths
from napari_sam2.objects import ObjectInfo, checked_object_id
from napari_sam2.prompts import Prompt, PromptKey
from napari_sam2.storage.database import DATABASE, Database
from napari_sam2.storage.errors import ProjectDamagedError, ProjectError, ProjectNotFoundError, disk_errors
from napari_sam2.storage.history import DEFAULT_BUDGET, History
from napari_sam2.storage.label_stack import LabelStack
from napari_sam2.storage.project_folder import (
    check_place,
    exports_folder,
    move_in,
    new_folder,
    require_project,
    set_aside,
)
from napari_sam2.storage.readable_copies import ReadableCopies, has_copies
from napari_sam2.storage.record_store import ProjectRecords
from napari_sam2.storage.schema import (
    ModelDescription,
    PendingRun,
    ProjectHeader,
    SourceDescription,
    checked_color,
    packed,
    unpacked,
)
from napari_sam2.storage.user_state import UserState
from napari_sam2.storage.write_lock import WriterLock, is_copy_of_open, owner_of

SUFFIX = ".sam2"
_SECONDS_BETWEEN_COPIES = 5.0
_SETTING = "setting."
UNREADABLE_FRAMES = "unreadable_frames"


class Project:
    """An open project; made by :meth:`create` and :meth:`open`, used as a context manager.

    One process may write at a time, any number may read. All methods raise
    :class:`~napari_sam2.storage.errors.ProjectError` (or a subclass) when the disk does not play along, and
    ValueError for wrong arguments.

    Attributes
    ----------
    path : Path
        The folder.
    created : str
        Date and time when it was made, as ISO writes them.
    shape, frame_count, size : tuple of int, int, tuple of int
        (number of frames, height, width); the number; (height, width).
    history : History
        Undo and redo.
    store : ProjectRecords
        Masks and memories, as a session reads and writes them.
    labels : LabelStack
        Labels of all frames, uint16 (frames, H, W), composed when they are read.
    """

    def __init__(
        self, folder: Path, database: Database, lock: WriterLock | None, history_budget: int
    ) -> None:
        self.path = folder
        self._database = database
        self._lock = lock
        self._header = self._saved_header()
        self.created, self.shape = self._header.created, self._header.shape
        self.frame_count, self.size = self.shape[0], self.shape[1:]
        self._damage: dict[int | None, list[str]] = {}
        if database.problem:
            self._report(database.problem)
        self.history = History(database, history_budget)
        self._state = UserState(database, self.history, self.frame_count)
        self.store = ProjectRecords(database, self.history, self._state, self.shape, self._report)
        self.labels = LabelStack(self.shape, self._labels)
        self._seen = self._data_version
        self._run: PendingRun | None = None
        self._copied = self._state.revision if has_copies(folder) else -1
        self._copied_at = monotonic()
        self.history.when_quiet = self._copy_now_and_then

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        shape: tuple[int, int, int],
        *,
        source: SourceDescription | None = None,
        model: ModelDescription | None = None,
        options: Mapping[str, Any] | None = None,
        objects: Iterable[ObjectInfo] = (),
        overwrite: bool = False,
        history_budget: int = DEFAULT_BUDGET,
    ) -> Project:
        """Make a new project and open it for writing. It is there as a whole or not at all.

        Parameters
        ----------
        path : path-like
            Folder to make; by custom its name ends in ``.sam2``.
        shape : tuple of int
            (number of frames, height, width).
        source, model : SourceDescription, ModelDescription, optional
            Where the frames come from, and which network.
        options : mapping, optional
            JSON-ready options of the session.
        objects : iterable of ObjectInfo
            Objects that are known already.
        overwrite : bool
            Replace a project that is there. Anything else that is there is never replaced.
        history_budget : int
            Bytes of superseded results that undo may keep.

        Raises
        ------
        ProjectExistsError, ProjectLockedError, ProjectReadOnlyError, ProjectFullError
        """
        folder = Path(path).absolute()
        frames, height, width = (int(n) for n in shape)
        header = ProjectHeader(
            (frames, height, width),
            source or SourceDescription(),
            model or ModelDescription(),
            dict(options or {}),
            datetime.now(UTC).isoformat(timespec="seconds"),
            napari_sam2.__version__,
        )
        header = ProjectHeader.from_json(header.to_json())  # the checks of reading are those of writing
        check_place(folder, overwrite)
        with _made(folder, ReadableCopies(header, {}, {o.object_id: o for o in objects})) as place:
            move_in(place, folder, overwrite)
        return cls.open(folder, "a", history_budget=history_budget)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        mode: Literal["r", "a"] = "r",
        *,
        history_budget: int = DEFAULT_BUDGET,
    ) -> Project:
        """Open a project.

        Parameters
        ----------
        path : path-like
            The folder.
        mode : {"r", "a"}
            "r": read; always allowed, changes nothing. "a": read and write; the unfinished transaction of a killed
            process is taken back first.
        history_budget : int
            Bytes of superseded results that undo may keep.

        Raises
        ------
        ProjectNotFoundError, ProjectLockedError, ProjectDamagedError, ProjectVersionError, ProjectReadOnlyError
        """
        if mode not in ("r", "a"):
            raise ValueError(f"mode must be 'r' or 'a', not {mode!r}")
        folder = Path(path).absolute()
        require_project(folder)
        is_copy = is_copy_of_open(folder)
        lock = WriterLock(folder) if mode == "a" else None
        if lock is not None:
            lock.acquire()
        database = None
        try:
            database = Database(folder, mode == "a", is_copy)
            project = cls(folder, database, lock, history_budget)
            if lock is not None:
                database.begin_writing()
            return project
        except BaseException as error:
            with suppress(ProjectError):
                if database is not None:
                    database.close()
                if lock is not None:
                    lock.release()
            if isinstance(error, (ProjectDamagedError, ProjectNotFoundError)) and has_copies(folder):
                failure = ProjectDamagedError(
                    f"{error}; start again from the prompts, objects and settings beside it with "
                    f"'napari-sam2 info {folder} --restore' or Project.restore"
                )
                failure.restorable = folder
                raise failure from error
            raise

    @classmethod
    def restore(cls, path: str | os.PathLike[str]) -> Project:
        """Start a project whose database is destroyed again, from the readable copies of what was made by hand.

        Prompts, objects and settings are those of the copies; masks have to be tracked again. The destroyed
        database is kept as ``project.db.damaged-1``.

        Raises
        ------
        ProjectError
            The database is not damaged, or the copies are.
        """
        folder = Path(path).absolute()
        require_project(folder)
        with suppress(ProjectDamagedError, ProjectNotFoundError), cls.open(folder) as project:
            if not project.verify():
                raise ProjectError(f"{folder} is not damaged: open it")
        copies = ReadableCopies.read(folder).without_accepted()
        lock = WriterLock(folder)
        lock.acquire()
        try:
            with _made(folder, copies) as place, disk_errors(folder):
                set_aside(folder)
                (place / DATABASE).rename(folder / DATABASE)
        finally:
            lock.release()
        return cls.open(folder, "a")

    # Facts --------------------------------------------------------------------------------------------

    @property
    def mode(self) -> Literal["r", "a"]:
        """Mode in which the project is open: "r" for reading, "a" for writing."""
        return "a" if self._database.writable else "r"

    @property
    def source(self) -> SourceDescription:
        """Where the frames come from."""
        return self._header.source

    @property
    def model(self) -> ModelDescription:
        """The network that made the masks."""
        return self._header.model

    @property
    def options(self) -> dict[str, Any]:
        """Options of the session."""
        return dict(self._header.options)

    @property
    def writer(self) -> str:
        """Process and computer that have the project open for writing, as far as known; "" when none has."""
        owner = owner_of(self.path)
        return f"process {owner.get('process')} on {owner.get('host')}" if owner else ""

    @property
    def prompts(self) -> dict[PromptKey, Prompt]:
        """All prompts by (frame, object id), in the order in which they were made."""
        self._refresh()
        return self._state.prompts

    @property
    def objects(self) -> dict[int, ObjectInfo]:
        """Every object: those that were named, prompted or have masks, by id in order."""
        self._refresh()
        known = self._state.objects
        ids = known.keys() | {i for _, i in self._state.prompts}
        return {i: known.get(i) or ObjectInfo(i) for i in sorted(ids)}

    def decided(self, object_id: int, frame: int) -> Literal["accepted", "absent"] | None:
        """Return what the user decided about an object on a frame; see :class:`ObjectInfo`."""
        return info.decided(frame) if (info := self._state.object(object_id)) is not None else None

    @property
    def pending(self) -> PendingRun | None:
        """A propagation that did not reach its end, and where it goes on; None when there is none."""
        self._refresh()
        try:
            data = self._saved("run")
            if data is None or data["step"] != self.history.top:
                return None  # it was undone, or something else was done since
            return PendingRun.from_json(data)
        except (ValueError, KeyError, TypeError) as error:
            self._report(f"the interrupted propagation is damaged: {error}")
            return None

    def save_pending(self, run: PendingRun) -> None:
        """Save that the step that is going on is this propagation, so that it can be resumed."""
        if not self.history.is_open:
            raise ProjectError("a propagation can be resumed only when it is an action: begin one first")
        self._run = run
        self._save("run", {"step": self.history.top, **asdict(run)})

    def save_progress(self, frame: int) -> None:
        """Save that the propagation that is going on has done a frame."""
        if run := self._run or self.pending:
            self.save_pending(replace(run, done=frame))

    def clear_pending(self) -> None:
        """Save that no propagation is pending."""
        self._run = None
        with self._database.transaction():
            self._database.write("DELETE FROM project WHERE key = 'run'")

    def setting(self, name: str) -> Any:
        """Return a setting that was saved in the project, JSON-ready; None when there is none."""
        try:
            return self._saved(_SETTING + name)
        except ValueError as error:
            self._report(f"the setting {name} is damaged: {error}")
            return None

    def save_setting(self, name: str, value: Any) -> None:
        """Save a JSON-ready setting in the project; it is no step of undo."""
        self._save(_SETTING + name, value)
        self._copied = -1

    def require_writable(self) -> None:
        """Raise ProjectReadOnlyError when the project was opened for reading or is closed."""
        self._database.require_writable()

    @property
    def exports_folder(self) -> Path:
        """Folder for exports unless another is named; made when it is asked for."""
        folder = exports_folder(self.path)
        if self._database.writable:
            with disk_errors(folder):
                folder.mkdir(exist_ok=True)
        return folder

    @property
    def damage(self) -> list[str]:
        """Everything that could not be read so far, one sentence each."""
        for problem in self._state.problems:
            self._report(problem)
        frames = sorted(self._damage, key=lambda f: -1 if f is None else f)
        return [t if f is None else f"frame {f}: {t}" for f in frames for t in self._damage[f]]

    @property
    def damaged_frames(self) -> list[int]:
        """Frames with something that could not be read; reads the masks of all frames once."""
        self._damage = {f: texts for f, texts in self._damage.items() if f is None}
        self._read_everything()
        return sorted(f for f in self._damage if f is not None)

    # Results ------------------------------------------------------------------------------------------

    def masks(self, frame: int, object_ids: Iterable[int] | None = None) -> FrameMasks:
        """Return the masks of a frame, objects in the order of their ids; what is damaged is left out."""
        return self.store.masks(frame, object_ids)

    def scores(self, frame: int) -> dict[int, tuple[float, float]]:
        """Return (object score, predicted IoU) of every object on a frame; NaN for masks made by hand."""
        return {row.object_id: (row.object_score, row.predicted_iou) for row in self.store.mask_rows(frame)}

    def origins(self, frame: int) -> dict[int, str]:
        """Return the origin of every mask of a frame: "tracked", "draft", "painted" or "imported"."""
        return {row.object_id: row.origin for row in self.store.mask_rows(frame)}

    def frames(self, object_id: int | None = None) -> list[int]:
        """Return the frames on which an object (or any object) has a mask, in order."""
        return self.store.frames_of("mask", object_id)

    def masklet(self, object_id: int) -> Masklet:
        """Return one object's masks over all frames, as run lengths."""
        rows = ((frame, row) for frame in self.frames(object_id) for row in self.store.mask_rows(frame))
        return Masklet(object_id, self.size, {f: row.mask for f, row in rows if row.object_id == object_id})

    def iterate(self) -> Iterator[FrameMasks]:
        """Yield the masks of every frame that has some, in order; damaged frames are passed over."""
        for frame in self.frames():
            masks = self.masks(frame)
            if masks.object_ids:
                yield masks

    def verify(self) -> list[str]:
        """Read everything once and return what is damaged, one sentence each."""
        for problem in self._database.problems():
            self._report(problem)
        self._read_everything()
        return self.damage

    # Changes ------------------------------------------------------------------------------------------

    def save_prompts(self, prompts: Mapping[PromptKey, Prompt]) -> None:
        """Replace all prompts, and their order."""
        self._state.put_prompts(prompts)

    def put_prompt(self, frame: int, object_id: int, prompt: Prompt | None) -> None:
        """Set or (None) delete the prompt of one object on one frame; the others need not be looked at."""
        self._state.put_prompt((self.store.checked_frame(frame), checked_object_id(object_id)), prompt)

    def put_object(self, info: ObjectInfo) -> None:
        """Add an object, or change its name, colour and lock."""
        self._state.put_object(info)

    def change_object(self, object_id: int, name: str | None = None, color: Any = None) -> None:
        """Change the name or colour ("#rrggbb" or 8-bit RGB) of an object, or add it; None leaves what is there."""
        info = self._state.object(checked_object_id(object_id)) or ObjectInfo(int(object_id))
        name = info.name if name is None else str(name)
        self.put_object(replace(info, name=name, color=info.color if color is None else checked_color(color)))

    def save_options(self, options: Mapping[str, Any]) -> None:
        """Replace the options of the session."""
        self._save_header(options=dict(options))

    def save_source(self, source: SourceDescription) -> None:
        """Replace the description of the source, for example after the file was moved."""
        self._save_header(source=source)

    def save_model(self, model: ModelDescription) -> None:
        """Replace the description of the network."""
        self._save_header(model=model)

    def copy_to(self, path: str | os.PathLike[str]) -> None:
        """Write a copy of the project (without its exports) as it is now, also while it is written to.

        Raises
        ------
        ProjectExistsError
            There is something at ``path`` already.
        """
        folder = Path(path).absolute()
        check_place(folder, False)
        with new_folder(folder) as place:
            self._database.copy_to(place / DATABASE)
            self._copies().write(place)
            move_in(place, folder, False)

    def flush(self) -> None:
        """Force what was written to the disk, and write the readable copies."""
        self.store.flush()
        self._write_copies()

    def close(self) -> None:
        """End the step that is going on, write the readable copies and let others write."""
        try:
            if self._database.writable:
                self.history.commit(tidies=False)
                self._write_copies()
        finally:
            try:
                self._database.close()
            finally:
                if self._lock is not None:
                    self._lock.release()

    def __enter__(self) -> Project:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Project({str(self.path)!r}, mode={self.mode!r}, shape={self.shape})"

    # Inside -------------------------------------------------------------------------------------------

    def _labels(self, frame: int) -> NDArray[np.uint16]:
        """Return the labels of a frame, composed from its masks; the smaller object is on top."""
        try:
            masks = {row.object_id: row.mask for row in self.store.mask_rows(frame)}
            return compose_run_lengths(self.size, masks)
        except ProjectNotFoundError:  # it was taken away while something still shows it
            return np.zeros(self.size, np.uint16)
        except ValueError:  # one of them is damaged
            labels: NDArray[np.uint16] = compose_labels(self.masks(frame))
            return labels

    def _read_everything(self) -> None:
        for frame in self.store.frames_with_rows():
            for object_id in self.masks(frame).object_ids:
                self.store.get(object_id, frame)

    def _report(self, problem: str, frame: int | None = None) -> None:
        known = self._damage.setdefault(frame, [])
        if problem not in known:
            known.append(problem)

    @property
    def _data_version(self) -> int:
        """A number that changes when another connection wrote something."""
        return int(self._database.value("PRAGMA data_version"))

    def _refresh(self) -> None:
        """Read prompts and objects again when another process has changed something."""
        if not self._database.writable and (seen := self._data_version) != self._seen:
            self._seen = seen
            self._state.reload()

    def _saved(self, key: str) -> Any:
        for text, checksum in self._database.rows(
            "SELECT value, checksum FROM project WHERE key = ?", (key,)
        ):
            return unpacked(text, checksum)
        return None

    def _save(self, key: str, data: Any) -> None:
        with self._database.transaction():
            self._database.write("INSERT OR REPLACE INTO project VALUES (?, ?, ?)", (key, *packed(data)))

    def _saved_header(self) -> ProjectHeader:
        try:
            return ProjectHeader.from_json(self._saved("header"))
        except (ValueError, RecursionError) as error:
            raise ProjectDamagedError(f"{self._database.path} is damaged: {error}") from error

    def _save_header(self, **changes: Any) -> None:
        header = ProjectHeader.from_json(replace(self._header, **changes).to_json())
        self._save("header", header.to_json())
        self._header = header
        self._copied = -1

    def _copies(self) -> ReadableCopies:
        keys = self._database.rows("SELECT key FROM project WHERE key LIKE ?", (_SETTING + "%",))
        names = [key.removeprefix(_SETTING) for (key,) in keys]
        return ReadableCopies(self._header, self.prompts, self.objects, {n: self.setting(n) for n in names})

    def _copy_now_and_then(self) -> None:
        if self.history.defers or monotonic() - self._copied_at > _SECONDS_BETWEEN_COPIES:
            self._write_copies()

    def _write_copies(self) -> None:
        if self._database.writable and self._copied != self._state.revision:
            self._copies().write(self.path)
            self._copied, self._copied_at = self._state.revision, monotonic()


@contextmanager
def _made(folder: Path, copies: ReadableCopies) -> Iterator[Path]:
    """Make a project with this content beside ``folder``; what is not moved from there is removed at the end."""
    with new_folder(folder) as place:
        database = Database(place, True)
        try:
            database.begin_writing()
            with database.transaction():
                settings = {_SETTING + name: value for name, value in copies.settings.items()}
                for key, data in {"header": copies.header.to_json(), **settings}.items():
                    database.write("INSERT INTO project VALUES (?, ?, ?)", (key, *packed(data)))
                state = UserState(database, History(database), copies.header.shape[0])
                for info in copies.objects.values():
                    state.put_object(info)
                state.put_prompts(copies.prompts)
        finally:
            database.close()
        copies.write(place)
        yield place

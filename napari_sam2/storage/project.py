"""A session on disk: a folder that is never half written, opens with plain zarr and forgets nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import napari_sam2
from napari_sam2.masks import FrameMasks, Masklet
from napari_sam2.objects import ObjectInfo, checked_object_id
from napari_sam2.prompts import Prompt, PromptKey
from napari_sam2.storage.errors import ProjectError, ProjectNotFoundError
from napari_sam2.storage.files.atomic_files import make_folder
from napari_sam2.storage.files.group_attributes import WRITER
from napari_sam2.storage.files.write_lock import WriterLock
from napari_sam2.storage.history import DEFAULT_BUDGET, History
from napari_sam2.storage.interrupted_run import PendingRun
from napari_sam2.storage.project_layout import hide_from_zarr, is_project, lay_out, make_room, opened
from napari_sam2.storage.record_store import ProjectRecords
from napari_sam2.storage.schema import ModelDescription, ProjectHeader, SourceDescription, checked_color
from napari_sam2.storage.tables.label_stack import LabelStack
from napari_sam2.storage.tables.mask_table import Entry
from napari_sam2.storage.workspace import Workspace

SUFFIX = ".sam2"
_CLOSING_SECONDS = 2.0


class Project:
    """An open project; made by :meth:`create` and :meth:`open`, used as a context manager.

    One process may write at a time, any number may read. All methods raise
    :class:`~napari_sam2.storage.errors.ProjectError` (or a subclass) when the disk does not play along, and
    ValueError for wrong arguments.
    """

    def __init__(self, workspace: Workspace, lock: WriterLock | None, history_budget: int) -> None:
        self._workspace = workspace
        self._lock = lock
        self.history = History(workspace, history_budget)
        self.store = ProjectRecords(workspace, self.history)

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
        """Make a new project and open it for writing.

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
        header = ProjectHeader(
            (int(shape[0]), int(shape[1]), int(shape[2])),
            source or SourceDescription(),
            model or ModelDescription(""),
            dict(options or {}),
            datetime.now(UTC).isoformat(timespec="seconds"),
            napari_sam2.__version__,
        )
        header = ProjectHeader.from_json(header.to_json())  # the checks of reading are those of writing
        make_room(folder, overwrite)
        make_folder(folder / WRITER)
        lock = WriterLock(folder / WRITER)
        lock.acquire()
        try:
            workspace = Workspace(folder, header, writable=True)
            workspace.objects = {o.object_id: o for o in objects}
            lay_out(workspace)
        except BaseException:
            lock.release()
            raise
        return cls(workspace, lock, history_budget)

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
            "r": read; always allowed, touches nothing. "a": read and write; what an interrupted process left
            half done is brought in order first.
        history_budget : int
            Bytes of superseded results that undo may keep.

        Raises
        ------
        ProjectNotFoundError, ProjectLockedError, ProjectDamagedError, ProjectVersionError, ProjectReadOnlyError
        """
        if mode not in ("r", "a"):
            raise ValueError(f"mode must be 'r' or 'a', not {mode!r}")
        folder = Path(path).absolute()
        if not is_project(folder):
            raise ProjectNotFoundError(f"there is no project at {folder}: give the folder NAME.sam2")
        lock = None
        if mode == "a":
            make_folder(folder / WRITER)
            lock = WriterLock(folder / WRITER)
            lock.acquire()
        try:
            workspace = opened(folder, writable=lock is not None)
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        return cls(workspace, lock, history_budget)

    # What is known ------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The folder."""
        return self._workspace.folder

    @property
    def mode(self) -> Literal["r", "a"]:
        """Whether the project is open for reading ("r") or writing ("a")."""
        return "a" if self._workspace.writable else "r"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(number of frames, height, width)."""
        return self._workspace.header.shape

    @property
    def frame_count(self) -> int:
        """Number of frames."""
        return self.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame."""
        return self._workspace.size

    @property
    def source(self) -> SourceDescription:
        """Where the frames come from."""
        return self._workspace.header.source

    @property
    def model(self) -> ModelDescription:
        """Which network made the masks."""
        return self._workspace.header.model

    @property
    def options(self) -> dict[str, Any]:
        """Options of the session."""
        return dict(self._workspace.header.options)

    @property
    def created(self) -> str:
        """When the project was made, ISO date and time."""
        return self._workspace.header.created

    @property
    def prompts(self) -> dict[PromptKey, Prompt]:
        """All prompts by (frame, object id), in the order in which they were made."""
        with self._workspace.lock:
            return dict(self._workspace.prompts)

    @property
    def objects(self) -> dict[int, ObjectInfo]:
        """Every object: those that were named or prompted, and those that have masks, by id in order."""
        workspace = self._workspace
        with workspace.lock:
            ids = set(workspace.objects) | {i for _, i in workspace.prompts}
            ids.update(i for i in workspace.index.object_ids if workspace.index.frames(i, workspace.versions))
            return {i: workspace.objects.get(i) or ObjectInfo(i) for i in sorted(ids)}

    @property
    def pending(self) -> PendingRun | None:
        """A propagation that did not reach its end, and where it goes on; None when there is none."""
        with self._workspace.lock:
            return PendingRun.load(self._workspace)

    def save_pending(self, run: PendingRun) -> None:
        """Say that the action that is going on is this propagation, so that it can be resumed."""
        opened = self._workspace.versions.opened
        if opened is None:
            raise ProjectError("a propagation can be resumed only when it is an action: begin one first")
        run.save(self._workspace, opened.first, opened.last)

    def clear_pending(self) -> None:
        """Say that no propagation is pending."""
        self._workspace.require_writable()
        PendingRun.clear(self._workspace)

    def require_writable(self) -> None:
        """Raise ProjectReadOnlyError when the project was opened for reading or is closed."""
        self._workspace.require_writable()

    @property
    def labels(self) -> LabelStack:
        """The composed labels, uint16 (frames, H, W), read frame by frame."""
        return self._workspace.labels

    @property
    def exports_folder(self) -> Path:
        """Where exports go unless told otherwise; made when it is asked for."""
        if self._workspace.writable:
            hide_from_zarr(self.path / "exports")
        return self.path / "exports"

    @property
    def damage(self) -> list[str]:
        """What could not be read so far, one sentence each."""
        return self._workspace.damage_report()

    @property
    def damaged_frames(self) -> list[int]:
        """Frames with something that could not be read; reads the tables of all frames once."""
        self._workspace.reset_index()
        return sorted(f for f in self._workspace.damage if f is not None)

    # Results ------------------------------------------------------------------------------------------

    def masks(self, frame: int, object_ids: Iterable[int] | None = None) -> FrameMasks:
        """Return the masks of a frame, objects in the order of their ids; what is damaged is left out."""
        workspace = self._workspace
        with workspace.lock:
            frame = workspace.checked_frame(frame)
            return workspace.masks(frame, workspace.entries(frame), object_ids)

    def scores(self, frame: int) -> dict[int, tuple[float, float]]:
        """Return (object score, predicted IoU) of every object on a frame; NaN for masks made by hand."""
        return {i: (e.object_score, e.predicted_iou) for i, e in self._current(frame).items()}

    def origins(self, frame: int) -> dict[int, str]:
        """Return where every mask of a frame comes from: "tracked", "draft", "painted" or "imported"."""
        return {i: e.origin for i, e in self._current(frame).items()}

    def frames(self, object_id: int | None = None) -> list[int]:
        """Return the frames on which an object (or any object) has a mask, in order."""
        with self._workspace.lock:
            index, versions = self._workspace.index, self._workspace.versions
            if object_id is not None:
                return list(index.frames(object_id, versions))
            return sorted({f for i in index.object_ids for f in index.frames(i, versions)})

    def masklet(self, object_id: int) -> Masklet:
        """Return one object's masks over all frames, as run lengths."""
        masks = {}
        for frame in self.frames(object_id):
            entry = self._current(frame).get(object_id)
            if entry is not None and entry.mask is not None:
                masks[frame] = entry.mask
        return Masklet(object_id, self.size, masks)

    def iterate(self) -> Iterator[FrameMasks]:
        """Yield the masks of every frame that has some, in order; damaged frames are passed over."""
        for frame in self.frames():
            masks = self.masks(frame)
            if masks.object_ids:
                yield masks

    def verify(self) -> list[str]:
        """Read everything once and return what is damaged, one sentence each."""
        for frame in self._workspace.verified():
            self._workspace.check_labels(frame)
            _ = [self.store.get(i, frame) for i in self.masks(frame).object_ids]
        return self.damage

    # Changes ------------------------------------------------------------------------------------------

    def save_prompts(self, prompts: Mapping[PromptKey, Prompt]) -> None:
        """Replace all prompts."""
        self.history.put_prompts(prompts)

    def put_object(self, object_id: int, name: str | None = None, color: Any = None) -> ObjectInfo:
        """Add an object, or change its name and colour; None leaves what is there.

        Parameters
        ----------
        object_id : int
            The label value, 1 to 65535.
        name : str, optional
            Any text.
        color : str or tuple of int, optional
            "#rrggbb" or 8-bit RGB.
        """
        object_id = checked_object_id(object_id)
        info = self._workspace.objects.get(object_id, ObjectInfo(object_id))
        if name is not None:
            info = replace(info, name=str(name))
        if color is not None:
            info = replace(info, color=checked_color(color))
        self.history.put_object(info)
        return info

    def save_options(self, options: Mapping[str, Any]) -> None:
        """Replace the options of the session."""
        self._save_header(replace(self._workspace.header, options=dict(options)))

    def save_source(self, source: SourceDescription) -> None:
        """Replace the description of the source, for example after the file was moved."""
        self._save_header(replace(self._workspace.header, source=source))

    def save_model(self, model: ModelDescription) -> None:
        """Replace the description of the network."""
        self._save_header(replace(self._workspace.header, model=model))

    def flush(self) -> None:
        """Bring the label stack in step with the masks; everything else is on disk already."""
        self.store.flush()

    def close(self) -> None:
        """End the action that is going on, bring everything in order and let others write."""
        workspace = self._workspace
        if not workspace.writable:
            return
        with workspace.lock:
            try:
                self.history.commit()
                self.history.compact(_CLOSING_SECONDS)
                self.store.flush()
                workspace.note_index()
                workspace.settle()
            finally:
                workspace.writable = False
                workspace.labels.close()
                if self._lock is not None:
                    self._lock.release()

    def __enter__(self) -> Project:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Project({str(self.path)!r}, mode={self.mode!r}, shape={self.shape})"

    def _current(self, frame: int) -> dict[int, Entry]:
        workspace = self._workspace
        with workspace.lock:
            return workspace.current(workspace.entries(workspace.checked_frame(frame)))

    def _save_header(self, header: ProjectHeader) -> None:
        workspace = self._workspace
        with workspace.lock:
            workspace.require_writable()
            header = ProjectHeader.from_json(header.to_json())
            workspace.documents.write("", header.to_json())
            workspace.header = header

"""Laying out a new project, and bringing an existing one in order when it is opened."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from napari_sam2.storage.errors import ProjectDamagedError, ProjectError, ProjectExistsError
from napari_sam2.storage.files.atomic_files import (
    METADATA,
    array_document,
    make_folder,
    remove_partial_files,
    write_json,
)
from napari_sam2.storage.files.chunk_codecs import ZSTD
from napari_sam2.storage.files.group_attributes import WRITER, Documents
from napari_sam2.storage.files.write_lock import WriterLock
from napari_sam2.storage.migrations import migrate, version_of
from napari_sam2.storage.schema import ProjectHeader
from napari_sam2.storage.tables.snapshots import State
from napari_sam2.storage.tables.versions import Action, Versions
from napari_sam2.storage.workspace import Workspace

_FOLDERS = ("masks", "labels", "memories", "prompts", "objects", "run", "history", WRITER)


def lay_out(workspace: Workspace) -> None:
    """Write the files of an empty project; the root comes last, so that a half made one is none."""
    for name in _FOLDERS:
        make_folder(workspace.folder / name)
    hide_from_zarr(workspace.folder / WRITER)
    workspace.table.write_metadata()
    workspace.labels.write_metadata()
    workspace.memories.write_metadata()
    workspace.states.save(0, workspace.state)
    workspace.save_versions(Versions())
    workspace.publish()
    workspace.documents.write("run", {})
    workspace.documents.write("", workspace.header.to_json())


def hide_from_zarr(folder: Path) -> None:
    """Make a folder whose files plain zarr does not take for nodes: an array without elements."""
    if not (folder / METADATA).exists():
        make_folder(folder)
        document = array_document((0,), (1,), "uint8", ZSTD, ("none",))
        write_json(folder / METADATA, document)


def load(workspace: Workspace) -> None:
    """Read what is known about an existing project; when it may be written, repair what was interrupted."""
    if workspace.writable:
        for name in (*_FOLDERS, ""):
            make_folder(workspace.folder / name)
            remove_partial_files(workspace.folder / name)
    _load_memories(workspace)
    _load_labels(workspace)
    workspace.versions = _versions(workspace)
    workspace.adopt(_state(workspace, workspace.versions))
    unfinished = workspace.versions.opened
    _take_stock(workspace)
    if workspace.writable:
        _repair(workspace, unfinished)


def _load_memories(workspace: Workspace) -> None:
    try:
        workspace.memories.load(workspace.report)
    except ProjectDamagedError as error:
        workspace.report(str(error))


def _load_labels(workspace: Workspace) -> None:
    try:
        workspace.labels.load()
    except ProjectDamagedError as error:
        workspace.report(f"{error}; the labels are composed again")
        workspace.labels.forget_all()


def _versions(workspace: Workspace) -> Versions:
    problems: list[str] = []
    try:
        versions = workspace.states.read_versions(problems.append)
    except ProjectDamagedError as error:
        # Without the history nobody knows what was undone: everything that is there counts.
        newest = _newest(workspace, workspace.table.written())
        workspace.report(f"{error}; the history of undo is lost, and what was undone may be back")
        return Versions(base=newest, next_serial=newest + 1)
    for problem in problems:
        workspace.report(problem)
    # A copy may be older than the last action.
    return versions.beyond(_newest(workspace, workspace.table.written())) if problems else versions


def _newest(workspace: Workspace, frames: Iterable[int]) -> int:
    return max((entry.serial for frame in frames for entry in workspace.entries(frame)), default=0)


def _state(workspace: Workspace, versions: Versions) -> State:
    return workspace.states.read(versions.settled, workspace.report)


def _take_stock(workspace: Workspace) -> None:
    """Decide, in memory, what an interrupted process leaves: the frame and the action it was busy with."""
    interrupted = workspace.interrupted_frames()
    for frame in interrupted:
        workspace.labels.forget(frame)
    workspace.versions = workspace.versions.beyond(_newest(workspace, interrupted))
    opened = workspace.versions.opened
    if opened is None:
        return
    if opened.whole:
        frames = workspace.index.touched(opened.first, opened.last)
        for object_id, serial in workspace.versions.removals:
            if opened.first <= serial <= opened.last:
                frames |= workspace.index.frames_of(object_id)
        for frame in frames:
            workspace.labels.forget(frame)
        workspace.versions = workspace.versions.abandoned()
    else:
        workspace.versions = workspace.versions.committed()


def _repair(workspace: Workspace, unfinished: Action | None) -> None:
    """Write what was decided, and everything that follows from something else and may be damaged."""
    workspace.labels.write_metadata()
    if unfinished is not None and not unfinished.whole:
        workspace.states.save(unfinished.last, workspace.state)
    workspace.save_versions(workspace.versions)
    workspace.states.save(workspace.versions.settled, workspace.state)
    workspace.publish()
    workspace.documents.write("", workspace.header.to_json())
    workspace.table.write_metadata()
    if workspace.memories.layout is not None:
        workspace.memories.write_metadata()


def is_project(path: str | os.PathLike[str]) -> bool:
    """Whether there is a project (or what a damaged file left of one) at a path."""
    folder = Path(path)
    return (folder / WRITER / "copy-of-project.json").is_file() or (
        (folder / METADATA).is_file() and (folder / "masks").is_dir()
    )


def make_room(folder: Path, overwrite: bool) -> None:
    """Make sure that a project can be made at ``folder``; ProjectExistsError when something is there."""
    if not folder.exists():
        return
    if not is_project(folder):
        if folder.is_dir() and not any(folder.iterdir()):
            return
        raise ProjectExistsError(f"{folder} exists and is no project: choose another name")
    if not overwrite:
        raise ProjectExistsError(f"{folder} is a project already: open it, or choose another name")
    lock = WriterLock(folder / WRITER)
    lock.acquire()  # not while somebody else writes there
    lock.release()
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise ProjectError(f"{folder} could not be removed: {error.strerror}") from error


def opened(folder: Path, writable: bool) -> Workspace:
    """Read a project, bring it to the current layout and, when it may be written, in order."""
    problems: list[str] = []
    attributes = Documents(folder).read("", _root, problems.append)
    attributes = migrate(folder, attributes, writable=writable)
    try:
        header = ProjectHeader.from_json(attributes)
    except ValueError as error:
        raise ProjectDamagedError(f"{folder} is damaged: {error}") from error
    workspace = Workspace(folder, header, writable)
    for problem in problems:
        workspace.report(problem)
    load(workspace)
    return workspace


def _root(attributes: Mapping[str, Any]) -> dict[str, Any]:
    if version_of(attributes) == 1:
        ProjectHeader.from_json(attributes)
    return dict(attributes)

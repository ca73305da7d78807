"""Exports of a project, with progress; an interrupted export is repeated by the same command."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_sam2.cli.errors import CommandError, CommandInterrupted, UsageError
from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.terminal.interrupt import graceful_interrupt
from napari_sam2.cli.terminal.progress import ProgressBar
from napari_sam2.cli.workflow.source_frames import SourceFrames
from napari_sam2.formats.atomic_output import check_replaceable
from napari_sam2.formats.registry import FORMATS
from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.frames.errors import SourceError
from napari_sam2.frames.open_source import image_files
from napari_sam2.storage.project import Project
from napari_sam2.storage.project_folder import EXPORTS_JOURNAL, exports_folder
from napari_sam2.storage.readable_copies import write_document
from napari_sam2.storage.results import project_results
from napari_sam2.storage.schema import prompts_to_json

OverlayOptions = Mapping[str, Any]
# setting of a project: its content when exports were written last; of each path its content and the state of the file
EXPORTED = "exported"


class _Journal:
    """The exports that a run has finished so far; the file is there only while a run is not complete.

    Exports of an interrupted run may be replaced without ``--overwrite``, as long as nobody has changed them since.

    Parameters
    ----------
    folder : Path
        Folder of the exports.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / EXPORTS_JOURNAL
        self._written: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            data = json.loads(self._path.read_text(encoding="utf-8"))
            self._written = data if isinstance(data, dict) else {}

    def wrote(self, path: Path) -> bool:
        """Return whether an interrupted run wrote a file or folder as it is now."""
        return self._written.get(path.name) == file_state(path)

    def add(self, path: Path) -> None:
        """Note a finished export."""
        self._written[path.name] = file_state(path)
        write_document(self._path, json.dumps(self._written))

    def close(self) -> None:
        """Remove the journal: the run is complete."""
        self._path.unlink(missing_ok=True)


def file_state(path: Path) -> list[int]:
    """Return size in bytes, number of files and time of the last change (ns) of a file or folder."""
    files = [path, *(path.rglob("*") if path.is_dir() else ())]
    stats = [file.lstat() for file in files if file.is_symlink() or file.exists()]
    return [sum(s.st_size for s in stats), len(stats), max((s.st_mtime_ns for s in stats), default=0)]


def content_hash(project: Project) -> str:
    """Return a hash of what exports show: masks, scores, prompts, names and colours."""
    said = repr((prompts_to_json(project.prompts), project.objects, project.store.masks_hash()))
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()


def note_exports(project: Project, paths: Iterable[Path]) -> None:
    """Save in a project that exports hold its masks as they are now."""
    content = content_hash(project)
    known = (project.setting(EXPORTED) or {}).get("paths", {})
    written = {str(path): [content, file_state(path)] for path in paths}
    project.save_setting(EXPORTED, {"content": content, "paths": {**known, **written}})


def results_of(project: Project, recording: SourceFrames | None) -> TrackingResults:
    """Return a project's masks as the exports read them; without a recording there are no pictures."""
    if recording is None:
        return project_results(project)
    found = project_results(
        project,
        intensity=recording.intensity,
        channels=recording.channels,
        picture=recording.frames.frame,
    )
    return replace(found, calibration=recording.calibration, frame_names=recording.frame_names)


def export_paths(project: Path, names: Sequence[str], folder: Path | None) -> dict[str, Path]:
    """Return the file or folder of each format."""
    base = exports_folder(project.absolute()) if folder is None else folder
    return {name: base / FORMATS[name].file_name for name in names}


def taken(paths: Mapping[str, Path]) -> dict[str, Path]:
    """Return the exports that exist already, without those of an interrupted run."""
    return {n: path for n, path in paths.items() if path.exists() and not _Journal(path.parent).wrote(path)}


def check_targets(paths: Mapping[str, Path], overwrite: bool, source: str | None) -> None:
    """Raise CommandError when something is there that may not be replaced; the source never may."""
    for path in paths.values():
        check_not_source(path, source)
        if overwrite:
            check_replaceable(path, True)
    for path in () if overwrite else taken(paths).values():
        raise CommandError(
            f"{path} exists already: replace it with --overwrite, or choose --export-to FOLDER"
        )


def check_not_source(path: Path, source: str | None) -> None:
    """Raise UsageError when a file or folder to be written is the source, one of its files, or holds them."""
    if source is None or not path.exists():
        return
    files = [source]
    with suppress(SourceError):
        files += image_files(source, every_channel=True)
    if any(path.resolve() in (file, *file.parents) for file in map(Path.resolve, map(Path, files))):
        raise UsageError(f"{path} is the source itself and is not replaced: choose another name or folder")


def targets(
    project: Path, names: Sequence[str], folder: Path | None, overwrite: bool, source: str | None = None
) -> dict[str, Path]:
    """Return the file or folder of each format, checked by :func:`check_targets`."""
    paths = export_paths(project, names, folder)
    check_targets(paths, overwrite, source)
    return paths


def write_exports(
    results: TrackingResults,
    paths: Mapping[str, Path],
    console: Console,
    overwrite: bool = False,
    overlay: OverlayOptions | None = None,
    again: Sequence[str] = (),
) -> None:
    """Write each format in turn.

    Parameters
    ----------
    results : TrackingResults
        Masks to write.
    paths : mapping of str to Path
        Format to file or folder, all in one folder.
    console : Console
        Output of the command.
    overwrite : bool
        Replace what is there.
    overlay : mapping, optional
        Options of the overlay video.
    again : sequence of str
        The command that does it again, shown when the user stops it.
    """
    if not paths:
        return
    journal = _Journal(next(iter(paths.values())).parent)
    stopping = "\nstopping; the export that is being written is removed"
    with graceful_interrupt(lambda: console.note(stopping)) as interrupt:
        for name, path in paths.items():
            options = dict(overlay or {}) if name == "mp4" else {}
            first, end = options.get("frames") or (0, results.n_frames)
            progress = ProgressBar(console, f"writing {path.name}", end - first)

            def count(frame: int, progress: ProgressBar = progress) -> None:
                progress.step(frame)
                if interrupt:
                    raise CommandInterrupted(_stopped(again), interrupt.signal_number)

            try:
                replaces = overwrite or journal.wrote(path)
                FORMATS[name].write(results.watched(count), path, overwrite=replaces, **options)
            finally:
                progress.finish()
            journal.add(path)
    journal.close()


def export_command(project: Path, names: Sequence[str]) -> list[str]:
    """Return the command that writes exports of a project, to be shown to the user."""
    return ["napari-sam2", "export", str(project), "--export", ",".join(names)]


def listing(paths: Mapping[str, Path]) -> str:
    """Return one line for each export."""
    return "".join(f"\n  {name:9} {path}" for name, path in paths.items())


def _stopped(again: Sequence[str]) -> str:
    hint = f". Do it again with:\n  {shlex.join(again)}" if again else ""
    return f"stopped; the masks are saved, the export that was being written is not{hint}"

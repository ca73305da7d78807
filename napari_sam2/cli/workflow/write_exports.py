"""From a project to the files of other programs, with progress."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_sam2.cli.errors import CommandError, CommandInterrupted
from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.terminal.interrupt import graceful_interrupt
from napari_sam2.cli.terminal.progress import ProgressBar
from napari_sam2.cli.workflow.source_frames import SourceFrames
from napari_sam2.formats.registry import FORMATS
from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.storage.project import Project
from napari_sam2.storage.results import project_results

OverlayOptions = Mapping[str, Any]


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


def targets(project: Project, names: Sequence[str], folder: Path | None, overwrite: bool) -> dict[str, Path]:
    """Return where each format goes; CommandError when something is there that may not be replaced."""
    base = (project.path / "exports") if folder is None else folder
    paths = {name: base / FORMATS[name].file_name for name in names}
    taken = [path for path in paths.values() if path.exists()]
    if taken and not overwrite:
        raise CommandError(
            f"{taken[0]} exists already: replace it with --overwrite, or choose --export-to FOLDER"
        )
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
    results : Results
        What to write.
    paths : mapping of str to Path
        Format to file or folder.
    console : Console
        Where progress goes.
    overwrite : bool
        Replace what is there.
    overlay : mapping, optional
        Options of the overlay video.
    again : sequence of str
        The command that does it again, told when the user stops it.
    """

    def tell() -> None:
        console.note("\nstopping; what is half written is removed")

    with graceful_interrupt(tell) as wish:
        for name, path in paths.items():
            options = dict(overlay or {}) if name == "mp4" else {}
            first, end = options.get("frames") or (0, results.n_frames)
            progress = ProgressBar(console, f"writing {path.name}", end - first)

            def count(frame: int, progress: ProgressBar = progress) -> None:
                progress.step(frame)
                if wish:
                    raise CommandInterrupted(_stopped(again), wish.signal_number)

            try:
                FORMATS[name].write(results.watched(count), path, overwrite=overwrite, **options)
            finally:
                progress.finish()


def listing(paths: Mapping[str, Path]) -> str:
    """Return one line for each export."""
    return "".join(f"\n  {name:9} {path}" for name, path in paths.items())


def _stopped(again: Sequence[str]) -> str:
    hint = f". Do it again with:\n  {shlex.join(again)}" if again else ""
    return f"stopped; the masks are saved, the export that was being written is not{hint}"

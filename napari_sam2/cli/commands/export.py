"""``napari-sam2 export``: a project's masks for other programs."""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace

from napari_sam2.cli.errors import CommandError, UsageError
from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.workflow.plan import frame_limits
from napari_sam2.cli.workflow.source_frames import SourceFrames, source_frames_of
from napari_sam2.cli.workflow.write_exports import listing, results_of, targets, write_exports
from napari_sam2.formats.registry import FORMATS
from napari_sam2.storage.errors import ProjectMismatchError
from napari_sam2.storage.project import Project


def run(args: Namespace, console: Console) -> None:
    """Run the command."""
    with Project.open(args.project) as project:
        paths = targets(
            project.path, args.export, args.export_to, args.overwrite, args.source or project.source.path
        )
        recording = _frames_if_needed(args, project, console)
        results = results_of(project, recording)
        if args.objects:
            missing = set(args.objects) - set(results.object_ids)
            if missing:
                raise UsageError(
                    f"--objects: there is no object {min(missing)}, only {list(results.object_ids)}"
                )
            results = results.select(args.objects)
        first, last = frame_limits(args.range, project.frame_count)
        overlay = {"style": args.style, "ids": not args.no_ids, "frame_rate": args.frame_rate}
        overlay["frames"] = (first, last + 1)
        write_exports(results, paths, console, args.overwrite, overlay, again=_same_command())
        data = {"project": project.path, "exports": {name: str(path) for name, path in paths.items()}}
        console.result(data, f"exported {project.path}:{listing(paths)}")


def _frames_if_needed(args: Namespace, project: Project, console: Console) -> SourceFrames | None:
    if not any(FORMATS[name].needs_frames for name in args.export):
        return None
    try:
        return source_frames_of(project, args.source)
    except (CommandError, ProjectMismatchError) as error:
        if "mp4" in args.export:
            raise
        console.warning(f"{error}; the table has no intensities")
        return None


def _same_command() -> list[str]:
    return ["napari-sam2", *(shlex.quote(a) for a in sys.argv[1:])]

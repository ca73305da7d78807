"""``napari-sam2 resume``: go on where a run was stopped or killed."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_sam2.cli.commands.track import report, track
from napari_sam2.cli.errors import CommandError
from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.workflow.load_model import load_for
from napari_sam2.cli.workflow.plan import Plan, Summary
from napari_sam2.cli.workflow.source_frames import source_frames_of
from napari_sam2.cli.workflow.write_exports import (
    check_targets,
    export_command,
    export_paths,
    note_exports,
    results_of,
    taken,
    write_exports,
)
from napari_sam2.storage.project import Project


def run(args: Namespace, console: Console) -> None:
    """Run the command; a complete project gets the exports that are missing."""
    with Project.open(args.project, "a") as project:
        plan = unfinished_plan(project)
        if plan is None and not args.export:
            raise CommandError(f"there is nothing to resume: {args.project} is complete")
        paths = export_paths(project.path, args.export, args.export_to)
        kept = {} if plan is not None or args.overwrite else taken(paths)
        missing = {name: path for name, path in paths.items() if name not in kept}
        check_targets(missing, args.overwrite, args.source or project.source.path)
        for path in kept.values():
            console.warning(f"{path} exists already and is kept: replace it with --overwrite")
        recording = source_frames_of(project, args.source)
        if args.source:
            project.save_source(replace(project.source, path=str(Path(args.source).expanduser().absolute())))
        summary = Summary()
        if plan is not None:
            model = load_for(project, args.device, console)
            summary = track(project, model, recording, plan, console, args.export)
        again = export_command(args.project, args.export)
        write_exports(
            results_of(project, recording), missing, console, args.overwrite, _overlay(project), again
        )
        note_exports(project, missing.values())
        report(console, project, summary, paths)


def _overlay(project: Project) -> dict[str, Any]:
    """Return the options of the overlay: the frames that `track` was asked for."""
    plan = Plan.load(project) or Plan()
    last = project.frame_count - 1 if plan.last is None else plan.last
    return {"frames": (plan.first or 0, last + 1)}


def unfinished_plan(project: Project) -> Plan | None:
    """Return what is left to do in a project; None when it is complete."""
    plan = Plan.load(project)
    pending = project.pending
    if plan is not None and plan.remaining:
        return plan
    if pending is None:
        return None
    # Begun by another program than `track`, for example in napari.
    return Plan(("backward",) if pending.reverse else ("forward",), objects=pending.objects)

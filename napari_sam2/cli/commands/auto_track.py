"""``napari-sam2 auto --track``: what is found without a prompt becomes the objects of a project."""

from __future__ import annotations

from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from napari_sam2.automatic.options import AutomaticOptions
from napari_sam2.automatic.result import AutomaticResult
from napari_sam2.automatic.spatial_filter import SpatialFilter
from napari_sam2.automatic.tracking import NEWCOMER_OVERLAP
from napari_sam2.cli.commands.find_masks import BoolArray, check_file, look, planes
from napari_sam2.cli.commands.track import PASSES, check_free, default_project, make_project, report, track
from napari_sam2.cli.errors import CommandError, UsageError
from napari_sam2.cli.options.automatic_options import frame_numbers
from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.workflow.load_model import describe, load
from napari_sam2.cli.workflow.plan import Plan, frame_limits
from napari_sam2.cli.workflow.recording import Recording, open_recording
from napari_sam2.cli.workflow.run_plan import Summary
from napari_sam2.cli.workflow.write_exports import (
    LABEL_SUFFIXES,
    results_of,
    targets,
    write_exports,
    write_still,
)
from napari_sam2.model.sam2 import Sam2
from napari_sam2.session.options import SessionOptions
from napari_sam2.storage.project import Project

_MOST = 65535


def run_tracking(args: Namespace, options: AutomaticOptions, console: Console) -> None:
    """Find objects on the first frame, follow them, and do the same with what is new on the other frames."""
    folder, file = _places(args)
    recording = open_recording(args, args.source)
    count = len(recording.frames)
    first, last = frame_limits(args.range, count)
    wanted = frame_numbers(args, count)
    outside = [frame for frame in wanted if not first <= frame <= last]
    if outside:
        raise UsageError(
            f"frame {outside[0]} is outside --range {first}:{last + 1}: nothing is tracked there"
        )
    region, existing = planes(args, recording.frames.size)
    model = load(args.model, args.device, console)
    run = _Run(args, options, recording, model, console, folder, (region, existing))
    with ExitStack() as stack:
        for frame in wanted:
            run.visit(frame, (first, last), stack)
        project = run.project
        if project is None:
            _report_nothing(console, run.explanations)
            return
        results = results_of(project, recording)
        paths = targets(project, args.export, args.export_to, args.overwrite)
        again = ["napari-sam2", "export", str(folder), "--export", ",".join(args.export)]
        write_exports(results, paths, console, args.overwrite, {"frames": (first, last + 1)}, again)
        if file is not None:
            write_still(results, file, args.overwrite)
            paths = {**paths, "file": file}
        report(console, project, run.summary, paths)


class _Run:
    """Grows a project frame by frame; there is none before the first object is found."""

    def __init__(
        self,
        args: Namespace,
        options: AutomaticOptions,
        recording: Recording,
        model: Sam2,
        console: Console,
        folder: Path,
        given: tuple[BoolArray | None, BoolArray | None],
    ) -> None:
        self.args, self.options, self.recording = args, options, recording
        self.model, self.console, self.folder = model, console, folder
        self.region, self.existing = given
        self.project: Project | None = None
        self.summary = Summary()
        self.explanations: list[str] = []

    def visit(self, frame: int, limits: tuple[int, int], stack: ExitStack) -> None:
        """Find what no object covers on a frame, and track it."""
        result = self._found(frame)
        self.explanations.append(f"Frame {frame}: {result.explanation}")
        was = self.project is not None
        ids = self._add(frame, result, stack)
        self.console.note(f"frame {frame}: {len(ids)} {'new ' if was else ''}objects")
        if not ids or self.project is None:
            return
        plan = Plan(PASSES[self.args.direction], *limits, ids)
        self.summary.add(
            track(self.project, self.model, self.recording, plan, self.console, self.args.export)
        )

    def _found(self, frame: int) -> AutomaticResult:
        options, known, saved = self.options, self.existing, "nothing was written"
        if self.project is not None:
            tracked: BoolArray = np.asarray(self.project.masks(frame).masks.any(axis=0), bool)
            known = tracked if known is None else np.asarray(tracked | known, bool)
            saved = f"what was tracked so far is in {self.folder}"
            if options.max_overlap == 1:
                options = options.changed(max_overlap=NEWCOMER_OVERLAP)
        surroundings = SpatialFilter(self.region, known)
        stopped = f"stopped; {saved}"
        return look(self.model, self.recording, frame, options, surroundings, self.console, stopped)[0]

    def _add(self, frame: int, result: AutomaticResult, stack: ExitStack) -> tuple[int, ...]:
        prompts = {} if self.project is None else dict(self.project.prompts)
        start = 1 + max((i for _, i in prompts), default=0)
        # Numbered without gaps, also when a mask was left without a pixel of its own.
        new = dict(enumerate(result.prompts(start).values(), start))
        if max(new, default=0) > _MOST:
            raise CommandError(f"a project holds at most {_MOST} objects: raise --min-area or the thresholds")
        if not new:
            return ()
        prompts.update({(frame, i): prompt for i, prompt in new.items()})
        if self.project is not None:
            self.project.save_prompts(prompts)
        else:
            description = describe(self.model, self.args.model)
            made = make_project(
                self.folder,
                self.recording,
                description,
                SessionOptions(),
                prompts,
                overwrite=self.args.overwrite,
            )
            self.project = stack.enter_context(made)
        return tuple(new)


def _report_nothing(console: Console, explanations: list[str]) -> None:
    frames = f"{len(explanations)} frame{'s' if len(explanations) != 1 else ''}"
    text = f"no objects were found on {frames}, so there is nothing to track and no project was made"
    data: dict[str, Any] = {"project": None, "objects": [], "frames": 0, "explanations": explanations}
    console.result(data, "\n  ".join([text, *explanations]))


def _places(args: Namespace) -> tuple[Path, Path | None]:
    """Return the project folder, and the file that is written besides it."""
    folder, file = default_project(args.source), None
    if args.out is not None and args.out.suffix.lower() in LABEL_SUFFIXES:
        file = args.out
        check_file(file, args.overwrite)
    elif args.out is not None:
        folder = args.out
    if folder.suffix.lower() != ".sam2":
        raise UsageError(f"--out {args.out}: with --track choose a name that ends in .sam2, .tif or .json")
    check_free(folder, args.overwrite)
    return folder, file

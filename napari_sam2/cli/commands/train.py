"""``napari-sam2 train``: fine-tune a model on corrected projects, or train one as nano was trained."""

from __future__ import annotations

import math
from argparse import Namespace
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.cli.errors import CommandError, CommandInterrupted, UsageError
from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.terminal.interrupt import graceful_interrupt
from napari_sam2.cli.terminal.progress import ProgressBar
from napari_sam2.cli.workflow.source_frames import SourceFrames, source_frames_of
from napari_sam2.storage.project import Project
from napari_sam2.training.curves import draw_curves, read_log
from napari_sam2.training.data.clips import ClipSource, MaskletClips
from napari_sam2.training.data.sources import default_sources
from napari_sam2.training.recipe import TrainOptions
from napari_sam2.training.trainer import train

Sources = list[tuple[ClipSource, float]]
_HELD_OUT = 0.2


def run(args: Namespace, console: Console) -> None:
    """Run the command; an interrupted training goes on when the same command is given again."""
    if args.preset == "finetune" and not args.project:
        raise UsageError("say what to learn from: napari-sam2 train PROJECT.sam2 --out FOLDER")
    if args.preset != "finetune" and args.project:
        raise UsageError(
            f"--preset {args.preset} learns from synthetic clips and --images, not from projects"
        )
    if args.preset != "finetune" and args.image_size is not None:
        raise UsageError(f"--preset {args.preset} has input sizes of its own; leave out --image-size")
    options = TrainOptions.preset(args.preset)
    if args.preset == "finetune":
        options = replace(options, start=args.model)
    if args.image_size is not None:
        options = options.at_side(args.image_size)
    if args.precision is not None:
        options = replace(options, precision=args.precision)
    with ExitStack() as stack:
        sources, held_out = _sources(args, options, stack)
        finished_before = _steps_done(args.out) >= options.total_steps
        best, steps = _train(args, options, sources, held_out, console)
    data = {"checkpoint": best, "steps": steps, "steps_in_total": options.total_steps}
    text = f"{steps} of {options.total_steps} steps done; best checkpoint: {best}"
    if finished_before:
        text = (
            f"{args.out} holds a finished run: nothing was learnt anew, take another --out for that\n{text}"
        )
    with suppress(ImportError):  # a picture for who has matplotlib
        data["curves"] = draw_curves(args.out, Path(args.out) / "curves.png")
        text += f"\ncurves: {data['curves']}"
    console.result(data, f"{text}\nuse it with: napari-sam2 track SOURCE --model {best}")


def _train(
    args: Namespace, options: TrainOptions, sources: Sources, held_out: Sources, console: Console
) -> tuple[Path, int]:
    """Train, and return the best checkpoint and the number of steps that are done.

    Raises
    ------
    Interrupted
        When the user stopped it, after the step that was under way.
    """
    progress = ProgressBar(console, "training", options.total_steps, unit="steps")
    saved = f"saved every {options.checkpoint_minutes:g} minutes"
    console.note(f"training in {args.out}, {saved}; after Ctrl-C the same command goes on from there")

    def tell() -> None:
        console.note("\nstopping after this step")

    with graceful_interrupt(tell) as wish:

        def count(steps: int, loss: float) -> None:
            progress.advance_to(steps)
            if wish:
                raise CommandInterrupted(
                    f"stopped after step {steps}; the same command goes on", wish.signal_number
                )

        try:
            best = train(
                options,
                args.out,
                sources=sources,
                held_out=held_out,
                device=args.device,
                minutes=args.minutes,
                progress=count,
            )
        finally:
            progress.finish()
    return best, _steps_done(args.out)


def _steps_done(folder: Path | str) -> int:
    """Return the number of steps that the log of a run tells of; 0 where there is none."""
    if not (Path(folder) / "log.jsonl").exists():
        return 0
    return max((entry["step"] for entry in read_log(folder)), default=0)


class ProjectFrames:
    """Frames as an array that is read frame by frame, (T, H, W, 3) uint8; a part of a recording.

    Parameters
    ----------
    recording : SourceFrames
        What is read.
    first, end : int
        The part, ``end`` not included.
    """

    def __init__(self, recording: SourceFrames, first: int, end: int) -> None:
        self._frames = recording.frames
        self._first = first
        self.shape = (end - first, *recording.frames.size, 3)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return self._frames.frame(self._first + int(index))

    def __len__(self) -> int:
        return self.shape[0]


class ProjectLabels:
    """Labels of a part of a project, read frame by frame, (T, H, W) uint16."""

    def __init__(self, project: Project, first: int, end: int) -> None:
        self._project = project
        self._labels = project.labels
        self._first = first
        self.shape = (end - first, *project.size)

    def __getitem__(self, index: int) -> NDArray[Any]:
        return self._labels.frame(self._first + int(index))

    def __len__(self) -> int:
        return self.shape[0]

    def known(self, index: int) -> list[int]:
        """Return the objects that were tracked on a frame, visible or not."""
        return list(self._project.origins(self._first + int(index)))


def _sources(args: Namespace, options: TrainOptions, stack: ExitStack) -> tuple[Sources, Sources]:
    """Return what to train on and what to choose the best checkpoint by."""
    if args.preset != "finetune":
        share = options.synthetic_share
        return (
            default_sources(share, args.images, eventful=options.eventful),
            default_sources(share, args.images, held_out=True),
        )
    train_parts, held_parts = [], []
    for path in args.project:
        project = stack.enter_context(Project.open(path))
        recording = source_frames_of(project, None)
        tracked = project.frames()
        if len(tracked) < 5:
            raise CommandError(
                f"{path} has masks on {len(tracked)} frames only: track at least 5 to learn from"
            )
        first, end = tracked[0], tracked[-1] + 1
        # The last part of the time is examined on: neighbouring frames are too alike to be split at random.
        middle = end - max(2, math.ceil(_HELD_OUT * (end - first)))
        train_parts.append((ProjectFrames(recording, first, middle), ProjectLabels(project, first, middle)))
        held_parts.append((ProjectFrames(recording, middle, end), ProjectLabels(project, middle, end)))
    try:
        return [(_clips(train_parts), 1.0)], [(_clips(held_parts), 1.0)]
    except ValueError as error:
        raise CommandError(f"these projects can't be learned from: {error}") from error


def _clips(parts: list[Any]) -> MaskletClips:
    return MaskletClips(parts)

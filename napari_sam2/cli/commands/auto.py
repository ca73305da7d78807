"""``napari-sam2 auto``: everything on some frames, without a prompt, as a file or as the objects of a project."""

from __future__ import annotations

import shlex
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.automatic.files import FORMAT_OF_SUFFIX, FoundOnFrame, write_masks
from napari_sam2.automatic.instances import InstanceFinder, decoder_of
from napari_sam2.automatic.mask_generator import MaskFinder
from napari_sam2.automatic.options import AutomaticOptions
from napari_sam2.automatic.tracking import pixels_of, seed_new
from napari_sam2.cli.commands.track import PASSES, check_free, default_project, make_project, report, track
from napari_sam2.cli.errors import CommandError, CommandInterrupted, UsageError
from napari_sam2.cli.options.automatic_options import automatic_options, chosen_frames
from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.terminal.interrupt import InterruptFlag, graceful_interrupt
from napari_sam2.cli.terminal.progress import ProgressBar, duration
from napari_sam2.cli.workflow.load_model import describe, load_following_network, load_image_network
from napari_sam2.cli.workflow.plan import Plan, Summary, frame_limits
from napari_sam2.cli.workflow.source_frames import SourceFrames, open_frames
from napari_sam2.cli.workflow.write_exports import (
    check_not_source,
    export_command,
    results_of,
    targets,
    write_exports,
)
from napari_sam2.formats.atomic_output import check_replaceable
from napari_sam2.formats.detect_format import read_masks
from napari_sam2.formats.registry import FORMATS
from napari_sam2.model.sam1.sam import Sam
from napari_sam2.model.sam2 import Sam2
from napari_sam2.prompts import Prompt
from napari_sam2.session.embedding_files import USUAL_MB
from napari_sam2.session.image import ImageSession
from napari_sam2.session.options import SessionOptions
from napari_sam2.storage.project import Project

BoolArray = NDArray[np.bool_]


def run(args: Namespace, console: Console) -> None:
    """Run the command."""
    options = automatic_options(args)
    if args.track:
        _track(args, options, console)
    elif args.export:
        raise UsageError("--export writes what was tracked: add --track, or choose a file with --out")
    else:
        _find(args, options, console)


def _find(args: Namespace, options: AutomaticOptions, console: Console) -> None:
    out: Path = args.out or default_project(args.source).with_suffix(".labels.tif")
    _check_file(out, args)
    recording = open_frames(args, args.source)
    frames, size = recording.frames, recording.frames.size
    wanted = chosen_frames(args, len(frames))
    region, existing = _mask_flag(args, "region", size), _mask_flag(args, "existing", size)
    side = None if args.find_with else args.image_size
    model = load_image_network(args.find_with or args.model, args.device, console, side)
    began = time.monotonic()
    with _searching(console, "nothing was written") as progress:
        finder = _finder(args, model, frames, options, region, existing, progress)
        found = write_masks(
            finder.results(wanted),
            wanted,
            size,
            out,
            options=options,
            calibration=recording.calibration,
            name=Path(args.source).name,
            overwrite=args.overwrite,
        )
    _report_found(console, args, found, out, time.monotonic() - began, len(frames))


def _finder(args: Namespace, model: Sam | Sam2, *rest: Any) -> MaskFinder:
    """Return what finds objects: masks at points, or the instances of micro-sam's decoder."""
    kept = USUAL_MB if isinstance(model, Sam) else 0
    session = ImageSession(model, SessionOptions(resize="bilinear", embedding_cache_mb=kept))
    if not args.instances:
        return MaskFinder(session, *rest)
    decoder_of(session)  # without one it ends here, before anything is made
    return InstanceFinder(session, *rest)


def _track(args: Namespace, options: AutomaticOptions, console: Console) -> None:
    """Find objects on the first frame, follow them, and do the same with what is new on the other frames."""
    folder, file = _places(args)
    paths = targets(folder, args.export, args.export_to, args.overwrite, args.source)
    recording = open_frames(args, args.source)
    frames, size = recording.frames, recording.frames.size
    first, last = frame_limits(args.range, len(frames))
    wanted = chosen_frames(args, len(frames))
    outside = [frame for frame in wanted if not first <= frame <= last]
    if outside:
        raise UsageError(
            f"frame {outside[0]} is outside --range {first}:{last + 1}: nothing is tracked there"
        )
    region, existing = _mask_flag(args, "region", size), _mask_flag(args, "existing", size)
    model = load_following_network(args.model, args.device, console, args.frame_by_frame, args.image_size)
    # What a Segment Anything 1 finds are mask prompts like any other.
    finding = load_image_network(args.find_with, args.device, console) if args.find_with else model
    summary, explanations = Summary(), []
    with ExitStack() as stack:
        objects = _ProjectObjects(args, recording, model, folder, stack)
        for frame in wanted:
            with _searching(console, objects.saved) as progress:
                finder = _finder(args, finding, frames, options, region, existing, progress)
                new = "new " if objects.object_ids else ""
                ids, result = seed_new(objects, finder, frame)
            explanations.append(f"Frame {frame}: {result.explanation}")
            console.note(f"frame {frame}: {len(ids)} {new}objects")
            if objects.project is not None and ids:
                plan = Plan(PASSES[args.direction], first, last, ids)
                summary.add(track(objects.project, model, recording, plan, console, args.export))
        if objects.project is None:
            _report_nothing(console, explanations)
            return
        results = results_of(objects.project, recording)
        again = export_command(folder, args.export)
        write_exports(results, paths, console, args.overwrite, {"frames": (first, last + 1)}, again)
        if file is not None:
            FORMATS[FORMAT_OF_SUFFIX[file.suffix.lower()]].write(results, file, overwrite=args.overwrite)
            paths = {**paths, "file": file}
        report(console, objects.project, summary, paths)


class _ProjectObjects:
    """The objects of a project that is made when the first object is found."""

    def __init__(
        self, args: Namespace, recording: SourceFrames, model: Sam | Sam2, folder: Path, stack: ExitStack
    ) -> None:
        self.project: Project | None = None
        self._args, self._recording, self._model, self._folder = args, recording, model, folder
        self._stack = stack

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Ids of all objects with a prompt."""
        return () if self.project is None else tuple({i for _, i in self.project.prompts})

    @property
    def saved(self) -> str:
        """Sentence about what an interrupted search leaves behind."""
        return (
            "nothing was written" if self.project is None else f"what was tracked so far is in {self._folder}"
        )

    def covered(self, frame: int) -> BoolArray | None:
        """Return the pixels (H, W) of all objects on a frame; None when there is no object yet."""
        return None if self.project is None else pixels_of(self.project.masks(frame))

    def add(self, frame: int, prompts: Mapping[int, Prompt]) -> None:
        """Add new objects with their prompts on a frame."""
        new = {(frame, object_id): prompt for object_id, prompt in prompts.items()}
        if self.project is not None:
            self.project.save_prompts({**self.project.prompts, **new})
            return
        description = describe(self._model, self._args.model)
        made = make_project(
            self._folder,
            self._recording,
            description,
            SessionOptions(),
            new,
            overwrite=self._args.overwrite,
        )
        self.project = self._stack.enter_context(made)


class _SearchProgress:
    """Shows the progress of a search, frame by frame, and ends it when the user interrupts it."""

    def __init__(self, console: Console, flag: InterruptFlag, saved: str) -> None:
        self._console, self._flag, self._saved = console, flag, saved
        self._frame = -1
        self._bar: ProgressBar | None = None

    def __call__(self, frame: int, done: int, total: int) -> None:
        if self._bar is None or frame != self._frame:
            self.finish()
            self._frame = frame
            self._bar = ProgressBar(self._console, f"searching frame {frame}", total, unit="points")
        self._bar.advance_to(done)
        if self._flag:
            raise CommandInterrupted(f"stopped; {self._saved}", self._flag.signal_number)

    def finish(self) -> None:
        """Clear the terminal's line."""
        if self._bar is not None:
            self._bar.finish()


@contextmanager
def _searching(console: Console, saved: str) -> Iterator[_SearchProgress]:
    with graceful_interrupt(lambda: console.note("\nstopping")) as flag:
        progress = _SearchProgress(console, flag, saved)
        try:
            yield progress
        finally:
            progress.finish()


def _check_file(out: Path, args: Namespace) -> None:
    """Raise, before any work, when the result can't be written there."""
    if out.suffix.lower() not in FORMAT_OF_SUFFIX:
        raise UsageError(f"--out {out}: choose a name that ends in {' or '.join(FORMAT_OF_SUFFIX)}")
    check_not_source(out, args.source)
    if args.overwrite:
        check_replaceable(out, True)
    elif out.exists():
        raise CommandError(
            f"{out} exists already: replace it with --overwrite, or choose another name with --out"
        )


def _places(args: Namespace) -> tuple[Path, Path | None]:
    """Return the project folder, and the file that is written besides it."""
    folder, file = default_project(args.source), None
    if args.out is not None and args.out.suffix.lower() in FORMAT_OF_SUFFIX:
        file = args.out
        _check_file(file, args)
    elif args.out is not None:
        folder = args.out
    if folder.suffix.lower() != ".sam2":
        raise UsageError(f"--out {args.out}: with --track choose a name that ends in .sam2, .tif or .json")
    check_free(folder, args.overwrite)
    return folder, file


def _mask_flag(args: Namespace, name: str, size: tuple[int, int]) -> BoolArray | None:
    """Read the mask (H, W) of ``--region`` or ``--existing``; None where it is not given."""
    path = getattr(args, name)
    if path is None:
        return None
    found = read_masks(path)
    if found.n_frames != 1 or found.size != size:
        raise CommandError(
            f"--{name} {path} has {found.n_frames} frames of {found.size[0]} × {found.size[1]} pixels: "
            f"one image of {size[0]} × {size[1]} (height × width) is needed"
        )
    mask = np.zeros(size, bool)
    for masklet in found.masklets.values():
        mask |= masklet.mask(0)
    return mask


def _report_found(
    console: Console, args: Namespace, found: list[FoundOnFrame], out: Path, seconds: float, length: int
) -> None:
    total = sum(one.objects for one in found)
    where = f"frame {found[0].frame}" if len(found) == 1 else f"{len(found)} frames"
    lines = [f"found {total} object{'s' if total != 1 else ''} on {where} in {duration(seconds)}: {out}"]
    if len(found) > 1 or not total:
        lines += [f"  frame {one.frame}: {one.explanation}" for one in found]
    elif length > 1:
        hint = shlex.join(["napari-sam2", "track", args.source, "--mask", str(out)])
        first = found[0].frame
        lines += ["track them with:", f"  {hint}" + (f" --range {first}:" if first else "")]
    frames = [asdict(one) for one in found]
    data = {"path": out, "objects": total, "seconds": round(seconds, 3), "frames": frames}
    console.result(data, "\n".join(lines))


def _report_nothing(console: Console, explanations: list[str]) -> None:
    frames = f"{len(explanations)} frame{'s' if len(explanations) != 1 else ''}"
    text = f"no objects were found on {frames}, so there is nothing to track and no project was made"
    data = {"project": None, "objects": [], "frames": 0, "explanations": explanations}
    console.result(data, "\n  ".join([text, *explanations]))

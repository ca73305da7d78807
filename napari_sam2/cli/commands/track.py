"""``napari-sam2 track``: from prompts to masks, a project and exports."""

from __future__ import annotations

import hashlib
import json
import os
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

from napari_sam2.cli.errors import CommandError, UsageError
from napari_sam2.cli.options.dataclass_options import options_from
from napari_sam2.cli.options.parser import make_parser
from napari_sam2.cli.options.prompt_options import Prompts, collect_prompts, read_objects
from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.terminal.progress import duration, rate_text
from napari_sam2.cli.workflow.load_model import describe, load_following_network
from napari_sam2.cli.workflow.plan import Direction, Plan, Summary, frame_limits, run_plan
from napari_sam2.cli.workflow.source_frames import SourceFrames, open_frames
from napari_sam2.cli.workflow.write_exports import (
    export_command,
    listing,
    note_exports,
    results_of,
    targets,
    write_exports,
)
from napari_sam2.model.sam1.sam import Sam
from napari_sam2.model.sam2 import Sam2
from napari_sam2.objects import ObjectInfo
from napari_sam2.session.options import SessionOptions
from napari_sam2.storage.project import Project
from napari_sam2.storage.project_folder import is_project
from napari_sam2.storage.schema import ModelDescription
from napari_sam2.storage.sessions import open_session

INPUTS = "inputs"  # setting of a project: `inputs_hash` of the command that made it
_NO_INPUTS = ("out", "export", "export_to", "overwrite", "device", "as_json", "quiet", "debug", "command")
_SAMPLE = 65536  # bytes

PASSES: Mapping[str, tuple[Direction, ...]] = {
    "forward": ("forward",),
    "backward": ("backward",),
    "both": ("forward", "backward"),
}


def run(args: Namespace, console: Console) -> None:
    """Run the command."""
    folder = args.out or default_project(args.source)
    check_free(folder, args.overwrite)
    paths = targets(folder, args.export, args.export_to, args.overwrite, args.source)
    inputs = inputs_hash(args)
    recording = open_frames(args, args.source)
    frames = recording.frames
    first, last = frame_limits(args.range, len(frames))
    prompts = collect_prompts(args, len(frames), frames.size, first, recording.frame_names)
    check_prompts(prompts, first, last, args.objects)
    plan = Plan(PASSES[args.direction], first, last, args.objects)
    named = {} if args.prompts is None else read_objects(args.prompts)
    options = options_from(SessionOptions, args.set)
    model = load_following_network(args.model, args.device, console, args.frame_by_frame, args.image_size)
    description = describe(model, args.model)
    with make_project(folder, recording, description, options, prompts, named, args.overwrite) as project:
        project.save_setting(INPUTS, inputs)
        summary = track(project, model, recording, plan, console, args.export)
        again = export_command(folder, args.export)
        overlay = {"frames": (first, last + 1)}
        write_exports(results_of(project, recording), paths, console, args.overwrite, overlay, again)
        note_exports(project, paths.values())
        report(console, project, summary, paths)


def track(
    project: Project,
    model: Sam | Sam2,
    recording: SourceFrames,
    plan: Plan,
    console: Console,
    exports: Sequence[str] = (),
) -> Summary:
    """Run a plan in a project; ``exports`` are named when the user stops it."""
    if isinstance(model, Sam):
        console.note("Segment Anything 1 remembers nothing: each mask is the prompt on the next frame")
    session = open_session(project, model, recording.frames, verify=False)
    try:
        return run_plan(session, plan, console, exports)
    finally:
        session.close()


def make_project(
    folder: Path,
    recording: SourceFrames,
    model: ModelDescription,
    options: SessionOptions,
    prompts: Prompts,
    named: Mapping[int, ObjectInfo] = MappingProxyType({}),
    overwrite: bool = False,
) -> Project:
    """Create a project with everything that tracking needs, so that it can be resumed from the beginning."""
    frames = recording.frames
    project = Project.create(
        folder,
        (len(frames), *frames.size),
        source=recording.describe(),
        model=model,
        options=asdict(options),
        objects=named.values(),
        overwrite=overwrite,
    )
    project.save_prompts(prompts)
    return project


def report(console: Console, project: Project, summary: Summary, paths: Mapping[str, Path]) -> None:
    """Report the result of a run; objects count as found when any run found them."""
    ids = list(project.objects)
    for lost in (i for i, frames in summary.seen.items() if not frames and not found_anywhere(project, i)):
        console.warning(f"object {lost} was not found on any frame: check its prompts, or try a larger model")
    tracked = len(summary.covered - summary.unreadable)
    text = (
        f"{project.path} is complete"
        if not summary.visits
        else (
            f"tracked {len(ids)} object{'s' if len(ids) != 1 else ''} over {tracked} frames "
            f"in {duration(summary.seconds)} ({rate_text(summary.rate)}): {project.path}"
        )
    )
    data = {
        "project": project.path,
        "objects": ids,
        "frames": summary.frames,
        "seconds": round(summary.seconds, 3),
        "unreadable_frames": sorted(summary.unreadable),
        "frames_seen": {str(i): frames for i, frames in sorted(summary.seen.items())},
        "exports": {name: str(path) for name, path in paths.items()},
    }
    console.result(data, text + listing(paths))


def found_anywhere(project: Project, object_id: int) -> bool:
    """Return whether an object has a mask that is not empty."""
    return any(project.masks(frame, [object_id]).masks.any() for frame in project.frames(object_id))


def inputs_hash(args: Namespace) -> str:
    """Return a hash of everything that decides what ``track`` computes: options, and the content of files."""
    defaults = vars(make_parser().parse_args(["track", args.source]))
    # defaults are left out, so that an option of a later version does not change the hash
    said = {k: v for k, v in vars(args).items() if k not in _NO_INPUTS and v != defaults.get(k)}
    for name in ("prompts", "mask"):
        said[name] = "" if getattr(args, name) is None else _content(getattr(args, name))
    model = Path(args.model).expanduser()
    said["model"] = _ends(model) if model.is_file() else args.model
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def _content(path: Path) -> str:
    """Return a hash of a file, or of the files of a folder; "" where nothing is, of which its reader tells."""
    if not path.exists():
        return ""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    found = hashlib.sha256()
    for file in files:
        found.update(os.fsencode(file.name))
        with file.open("rb") as opened:
            found.update(hashlib.file_digest(opened, "sha256").digest())
    return found.hexdigest()


def _ends(path: Path) -> str:
    """Return a hash of the size, the beginning and the end of a file: weights are too large to be read for each job."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _SAMPLE))
        end = file.read(_SAMPLE)
        file.seek(0)
        return hashlib.sha256(b"%d" % size + file.read(_SAMPLE) + end).hexdigest()


def default_project(source: str) -> Path:
    """Return NAME.sam2 in the current folder for a source NAME."""
    return Path(f"{source_stem(source)}.sam2")


def source_stem(source: str) -> str:
    """Return the name of a source without its ending; of a pattern what is not a wildcard, or its folder's name."""
    stem = Path(source.rstrip("/\\")).name
    for ending in (".ome.tif", ".ome.tiff", ".ome.zarr"):
        if stem.lower().endswith(ending):
            stem = stem[: -len(ending)]
            break
    else:
        stem = Path(stem).stem
    # A pattern like img_*.png has no name of its own: its folder has.
    if any(c in stem for c in "*?["):
        stem = "".join(c for c in stem if c.isalnum() or c in "-_").strip("-_") or Path(source).parent.name
    return stem or "project"


def check_free(folder: Path, overwrite: bool) -> None:
    """Raise CommandError, before any work, when there is a project that may not be replaced."""
    if is_project(folder) and not overwrite:
        raise CommandError(
            f"{folder} exists already: go on with 'napari-sam2 resume {folder}', replace it with --overwrite, "
            "or choose another name with --out"
        )


def check_prompts(prompts: Prompts, first: int, last: int, objects: tuple[int, ...] | None) -> None:
    """Raise UsageError for prompts outside the range, and for wanted objects without prompts."""
    for frame, object_id in prompts:
        if not first <= frame <= last:
            raise UsageError(
                f"the prompt of object {object_id} on frame {frame} is outside --range {first}:{last + 1}"
            )
    missing = set(objects or ()) - {object_id for _, object_id in prompts}
    if missing:
        raise UsageError(f"--objects: object {min(missing)} has no prompt")

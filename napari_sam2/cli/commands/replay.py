"""``napari-sam2 replay``: compute a project again from its prompts, and compare."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from napari_sam2.cli.commands.track import check_free, make_project, track
from napari_sam2.cli.errors import CommandError
from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.terminal.progress import rate_text
from napari_sam2.cli.workflow.load_model import describe, load_for
from napari_sam2.cli.workflow.plan import Plan
from napari_sam2.cli.workflow.source_frames import source_frames_of
from napari_sam2.storage.project import Project
from napari_sam2.storage.sessions import options_of


@dataclass
class Comparison:
    """Numbers of masks of two projects that are equal, bit for bit.

    Parameters
    ----------
    equal : int
        Masks that are the same.
    different : list of (int, int)
        (frame, object id) of masks that differ or are missing in one of the two.
    """

    equal: int = 0
    different: list[tuple[int, int]] = field(default_factory=list)


def run(args: Namespace, console: Console) -> None:
    """Run the command."""
    with ExitStack() as stack:
        saved = stack.enter_context(Project.open(args.project))
        plan = whole_plan(saved)
        folder = args.out or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "replay.sam2"
        check_free(folder, args.overwrite)
        recording = source_frames_of(saved, args.source)
        model = load_for(saved, args.device, console)
        description = describe(model, saved.model.name)
        known = saved.model.weights_hash
        if known and description.weights_hash != known:
            raise CommandError(
                f"the weights of {saved.model.name!r} are not those that the project was made with"
            )
        options = options_of(saved)
        again = stack.enter_context(
            make_project(
                folder, recording, description, options, saved.prompts, saved.objects, args.overwrite
            )
        )
        summary = track(again, model, recording, plan, console)
        found = compare(saved, again)
        _report(args, console, found, rate_text(summary.rate))


def whole_plan(project: Project) -> Plan:
    """Return the plan that computes all masks of a project from its prompts."""
    if not project.prompts:
        raise CommandError(f"{project.path} has no prompts: there is nothing to replay")
    plan = Plan.load(project)
    if plan is not None:
        return replace(plan, done=0)
    first_prompt = min(frame for frame, _ in project.prompts)
    frames = project.frames()
    last = max(frames, default=first_prompt)
    if frames and min(frames) < first_prompt:
        return Plan(("forward", "backward"), min(frames), last)
    return Plan(("forward",), None, last)


def compare(saved: Project, again: Project) -> Comparison:
    """Compare tracked masks; those that a person painted or imported, and objects without prompts, don't count."""
    result = Comparison()
    prompted = {object_id for _, object_id in saved.prompts}
    for frame in range(saved.frame_count):
        origins = saved.origins(frame)
        ids = [i for i, o in origins.items() if o not in ("painted", "imported") and i in prompted]
        if not ids:
            continue
        old, new = saved.masks(frame, ids), again.masks(frame)
        for object_id in ids:
            same = object_id in new.object_ids and (old.of(object_id) == new.of(object_id)).all()
            if same:
                result.equal += 1
            else:
                result.different.append((frame, object_id))
    return result


def _report(args: Namespace, console: Console, found: Comparison, speed: str) -> None:
    total = found.equal + len(found.different)
    if found.different:
        frame, object_id = found.different[0]
        raise CommandError(
            f"{len(found.different)} of {total} masks differ from those saved, the first one of object {object_id} "
            f"on frame {frame}: another machine, device or version computes slightly different numbers"
        )
    data = {"project": args.project, "masks": total, "identical": found.equal, "out": args.out}
    kept = f" ({args.out})" if args.out else ""
    console.result(data, f"all {total} masks are identical, bit for bit; replayed at {speed}{kept}")

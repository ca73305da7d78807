"""``napari-sam2 info``: what a source or a project holds."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.terminal.progress import duration
from napari_sam2.cli.workflow.plan import Plan
from napari_sam2.cli.workflow.source_frames import SourceFrames, open_frames
from napari_sam2.frames.errors import frames_text
from napari_sam2.storage.project import UNREADABLE_FRAMES, Project
from napari_sam2.storage.project_folder import is_project
from napari_sam2.storage.review import Review

_MOST_MEASURED = 20_000  # masks; a fifth to half of a millisecond each


def run(args: Namespace, console: Console) -> None:
    """Run the command."""
    if args.restore:
        Project.restore(args.path).close()
    if is_project(args.path):
        with Project.open(args.path) as project:
            data = project_info(project)
        console.result(data, _project_text(data))
    else:
        data = source_info(open_frames(args, args.path))
        console.result(data, _source_text(data))


def source_info(recording: SourceFrames) -> dict[str, Any]:
    """Return what is known about a source, ready for JSON."""
    source, frames, cal = recording.source, recording.frames, recording.calibration
    shape = [int(n) for n in source.array.shape]
    return {
        "path": source.path,
        "kind": source.kind,
        "axes": list(source.axes),
        "shape": shape,
        "dtype": str(source.array.dtype),
        "travels_along": cal.axis,
        "frames": len(frames),
        "height": frames.size[0],
        "width": frames.size[1],
        "held": {source.axes[a]: p for a, p in frames.options.fixed},
        "channels": list(recording.channels),
        "series": list(source.series),
        "contrast_limits": [list(c.contrast_limits or ()) for c in frames.channels],
        "step": {axis: [size, unit] for axis, size, unit in zip((cal.axis, "y", "x"), cal.scale, cal.units)},
        "frames_per_second": cal.frame_rate,
        "variable_frame_rate": cal.frame_times is not None,
    }


def project_info(project: Project) -> dict[str, Any]:
    """Return what a project holds, ready for JSON."""
    prompts = Counter(object_id for _, object_id in project.prompts)
    plan, pending = Plan.load(project), project.pending
    masks = sum(len(project.frames(object_id)) for object_id in project.objects)
    states = Review(project).counts() if masks <= _MOST_MEASURED else {}
    unfinished = pending is not None or bool(plan is not None and plan.remaining)
    objects = []
    for info in project.objects.values():
        frames = project.frames(info.object_id)
        objects.append(
            {
                "id": info.object_id,
                "name": info.name,
                "frames_with_a_result": len(frames),
                "first": frames[0] if frames else None,
                "last": frames[-1] if frames else None,
                "prompted_frames": prompts[info.object_id],
                "states": states.get(info.object_id),
                "parent": None if info.parent is None else asdict(info.parent),
            }
        )
    exports = project.path / "exports"
    written = [p.name for p in exports.iterdir()] if exports.is_dir() else []
    return {
        "project": project.path,
        "created": project.created,
        "source": project.source.path,
        "frames": project.frame_count,
        "height": project.size[0],
        "width": project.size[1],
        "model": project.model.name,
        "image_size": project.model.image_size,
        "objects": objects,
        "unfinished": unfinished,
        "next_frame": None if pending is None else pending.next_frame,
        "exports": sorted(n for n in written if not n.startswith(".")),
        "open_in": project.writer,
        "bytes_on_disk": _folder_bytes(project.path),
        "unreadable_frames": project.setting(UNREADABLE_FRAMES) or [],
        "damage": project.damage,
    }


def _source_text(data: dict[str, Any]) -> str:
    shape = " × ".join(f"{axis} {n}" for axis, n in zip(data["axes"], data["shape"]))
    lines = [
        f"{data['path']}: {data['kind']}, {shape}, {data['dtype']}",
        f"  frames    {data['frames']} along {data['travels_along']}, {data['width']} × {data['height']} pixels "
        "(width × height)",
    ]
    if data["held"]:
        held = ", ".join(f"{axis}={position}" for axis, position in data["held"].items())
        lines.append(f"  held at   {held} (choose with --at)")
    if data["channels"]:
        lines.append(f"  channels  {', '.join(data['channels'])}")
    if data["series"]:
        lines.append(f"  series    {', '.join(data['series'])} (choose with --series)")
    limits = ", ".join(f"{low:g} to {high:g}" for low, high in data["contrast_limits"])
    lines.append(f"  contrast  {limits} (choose with --contrast)")
    if data["frames_per_second"]:
        seconds = data["frames"] / data["frames_per_second"]
        kind = " on average (variable)" if data["variable_frame_rate"] else ""
        lines.append(f"  rate      {data['frames_per_second']:.4g} frames/s{kind}, {duration(seconds)}")
    steps = [f"{axis} {size:.6g} {unit}" for axis, (size, unit) in data["step"].items() if unit]
    if steps and not data["frames_per_second"]:
        lines.append(f"  steps     {', '.join(steps)}")
    return "\n".join(lines)


def _project_text(data: dict[str, Any]) -> str:
    size = f" at {data['image_size']} pixels" if data["image_size"] else ""
    lines = [
        f"{data['project']}: {data['frames']} frames of {data['width']} × {data['height']} pixels "
        f"(width × height), model {data['model']}{size}, {data['bytes_on_disk'] / 1e6:.1f} MB",
        f"  source    {data['source'] or 'an array in memory'}",
    ]
    for one in data["objects"]:
        name = f" {one['name']}" if one["name"] else ""
        where = f" from {one['first']} to {one['last']}" if one["frames_with_a_result"] else ""
        lines.append(
            f"  object {one['id']}{name}: {one['frames_with_a_result']} frames{where}, "
            f"prompts on {one['prompted_frames']}"
        )
        parts = [f"{count} {state}" for state, count in (one["states"] or {}).items()]
        parent = f"from object {one['parent']['object_id']}; " if one["parent"] else ""
        if parent or parts:
            lines.append(f"    {parent}{', '.join(parts)}")
    if data["exports"]:
        lines.append(f"  exports   {', '.join(data['exports'])}")
    if data["open_in"]:
        lines.append(f"  open for writing in {data['open_in']}")
    elif data["unfinished"]:
        lines.append(f"  unfinished: go on with 'napari-sam2 resume {data['project']}'")
    if data["unreadable_frames"]:
        lines.append(f"  {frames_text(data['unreadable_frames'])} of the source can't be read")
    lines += [f"  damaged   {text}" for text in data["damage"]]
    return "\n".join(lines)


def _folder_bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())

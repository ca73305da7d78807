"""``napari-sam2 auto``: everything on some frames, without a prompt."""

from __future__ import annotations

import shlex
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from napari_sam2.automatic.files import write_found
from napari_sam2.automatic.result import AutomaticResult
from napari_sam2.automatic.spatial_filter import SpatialFilter
from napari_sam2.cli.commands.find_masks import check_file, look, planes
from napari_sam2.cli.commands.track import default_project
from napari_sam2.cli.errors import UsageError
from napari_sam2.cli.options.automatic_options import frame_numbers, options_of
from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.terminal.progress import duration
from napari_sam2.cli.workflow.load_model import load
from napari_sam2.cli.workflow.recording import open_recording


def run(args: Namespace, console: Console) -> None:
    """Run the command."""
    options = options_of(args)
    if args.track:
        from napari_sam2.cli.commands.auto_track import run_tracking

        run_tracking(args, options, console)
        return
    if args.export:
        raise UsageError("--export writes what was tracked: add --track, or choose a file with --out")
    out: Path = args.out or default_project(args.source).with_suffix(".labels.tif")
    check_file(out, args.overwrite)
    recording = open_recording(args, args.source)
    wanted = frame_numbers(args, len(recording.frames))
    region, existing = planes(args, recording.frames.size)
    model = load(args.model, args.device, console)
    found: dict[int, AutomaticResult] = {}
    seconds = 0.0
    for frame in wanted:
        found[frame], spent = look(model, recording, frame, options, SpatialFilter(region, existing), console)
        seconds += spent
    write_found(found, out, args.overwrite, recording.calibration, Path(args.source).name)
    _report(console, args, found, out, seconds, len(recording.frames))


def _report(
    console: Console,
    args: Namespace,
    found: dict[int, AutomaticResult],
    out: Path,
    seconds: float,
    length: int,
) -> None:
    frames: list[dict[str, Any]] = [
        {
            "frame": frame,
            "objects": len(result),
            "areas": sorted(int(mask.area) for mask in result.masks),
            "explanation": result.explanation,
            "stages": [asdict(stage) for stage in result.stages],
        }
        for frame, result in found.items()
    ]
    total = sum(len(result) for result in found.values())
    where = f"frame {frames[0]['frame']}" if len(frames) == 1 else f"{len(frames)} frames"
    lines = [f"found {total} object{'s' if total != 1 else ''} on {where} in {duration(seconds)}: {out}"]
    many = len(frames) > 1
    lines += [f"  frame {f['frame']}: {f['explanation']}" for f in frames] if many or not total else []
    if len(frames) == 1 and total and length > 1:
        hint = shlex.join(["napari-sam2", "track", args.source, "--mask", str(out)])
        first = frames[0]["frame"]
        lines += ["track them with:", f"  {hint}" + (f" --range {first}:" if first else "")]
    data = {"path": out, "objects": total, "seconds": round(seconds, 3), "frames": frames}
    console.result(data, "\n".join(lines))

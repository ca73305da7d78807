"""``napari-sam2 auto``: everything on some frames, without a prompt."""

from __future__ import annotations

import shlex
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.automatic.generate import generate_masks
from napari_sam2.automatic.options import AutomaticOptions
from napari_sam2.automatic.result import AutomaticResult
from napari_sam2.automatic.surroundings import Surroundings
from napari_sam2.cli.auto_files import write_found
from napari_sam2.cli.auto_flags import frame_numbers, options_of
from napari_sam2.cli.console import Console
from napari_sam2.cli.errors import CommandError, Interrupted, UsageError
from napari_sam2.cli.exporting import LABEL_SUFFIXES
from napari_sam2.cli.interrupt import graceful_stop
from napari_sam2.cli.models import load
from napari_sam2.cli.progress import Progress, duration
from napari_sam2.cli.recordings import Recording, open_recording
from napari_sam2.cli.track import default_project
from napari_sam2.model.sam2 import Sam2
from napari_sam2.storage.imports.detect import read_masks

BoolArray = NDArray[np.bool_]


def run(args: Namespace, console: Console) -> None:
    """Run the command."""
    options = options_of(args)
    if args.track:
        from napari_sam2.cli.auto_track import run_tracking

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
        found[frame], spent = look(model, recording, frame, options, Surroundings(region, existing), console)
        seconds += spent
    write_found(found, out, args.overwrite, recording.calibration, Path(args.source).name)
    _report(console, args, found, out, seconds, len(recording.frames))


def check_file(out: Path, overwrite: bool) -> None:
    """Raise, before any work, when the result can't be written there."""
    if out.suffix.lower() not in LABEL_SUFFIXES:
        raise UsageError(f"--out {out}: choose a name that ends in {' or '.join(LABEL_SUFFIXES)}")
    if out.exists() and not overwrite:
        raise CommandError(
            f"{out} exists already: replace it with --overwrite, or choose another name with --out"
        )


def planes(args: Namespace, size: tuple[int, int]) -> tuple[BoolArray | None, BoolArray | None]:
    """Return the masks (H, W) of ``--region`` and ``--existing``, None where not given."""
    return _plane(args.region, "--region", size), _plane(args.existing, "--existing", size)


def look(
    model: Sam2,
    recording: Recording,
    frame: int,
    options: AutomaticOptions,
    surroundings: Surroundings,
    console: Console,
    stopped: str = "stopped; nothing was written",
) -> tuple[AutomaticResult, float]:
    """Find everything on a frame, with progress; return it and the seconds it took.

    Raises
    ------
    Interrupted
        With ``stopped`` as the sentence, when the user stopped it.
    """
    progress = Progress(console, f"looking at frame {frame}", options.points_per_side or 0, unit="points")

    def tell() -> None:
        console.note("\nstopping")

    with graceful_stop(tell) as wish:

        def count(done: int, total: int) -> None:
            progress.total = total
            progress.advance_to(done)
            if wish:
                raise Interrupted(stopped, wish.signal_number)

        try:
            image = recording.frames.frame(frame)
            return generate_masks(model, image, options, surroundings, count), progress.seconds
        finally:
            progress.finish()


def _plane(path: Path | None, flag: str, size: tuple[int, int]) -> BoolArray | None:
    if path is None:
        return None
    found = read_masks(path)
    if found.n_frames != 1 or found.size != size:
        raise CommandError(
            f"{flag} {path} has {found.n_frames} frames of {found.size[0]} × {found.size[1]} pixels: "
            f"one image of {size[0]} × {size[1]} (height × width) is needed"
        )
    plane = np.zeros(size, bool)
    for masklet in found.masklets.values():
        plane |= masklet.mask(0)
    return plane


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

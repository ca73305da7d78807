"""``napari-sam2 auto``: everything on one frame, without a prompt."""

from __future__ import annotations

import shlex
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

import numpy as np

from napari_sam2.automatic.generate import generate_masks
from napari_sam2.automatic.options import AutomaticOptions
from napari_sam2.cli.console import Console
from napari_sam2.cli.errors import CommandError, Interrupted, UsageError
from napari_sam2.cli.exporting import LABEL_SUFFIXES, write_still
from napari_sam2.cli.interrupt import graceful_stop
from napari_sam2.cli.models import load
from napari_sam2.cli.option_values import options_from
from napari_sam2.cli.progress import Progress, duration
from napari_sam2.cli.recordings import open_recording
from napari_sam2.cli.track import default_project
from napari_sam2.storage.exports.results import ObjectInfo, Results


def run(args: Namespace, console: Console) -> None:
    """Run the command."""
    out: Path = args.out or default_project(args.source).with_suffix(".labels.tif")
    if out.exists() and not args.overwrite:
        raise CommandError(
            f"{out} exists already: replace it with --overwrite, or choose another name with --out"
        )
    if out.suffix.lower() not in LABEL_SUFFIXES:
        raise UsageError(f"--out {out}: choose a name that ends in {' or '.join(LABEL_SUFFIXES)}")
    options = options_from(AutomaticOptions, args.set)
    recording = open_recording(args, args.source)
    if not 0 <= args.frame < len(recording.frames):
        raise UsageError(f"--frame {args.frame}: the frames go from 0 to {len(recording.frames) - 1}")
    image = recording.frames.frame(args.frame)
    model = load(args.model, args.device, console)
    progress = Progress(console, "looking", options.points_per_side or 0, unit="points")

    def tell() -> None:
        console.note("\nstopping")

    with graceful_stop(tell) as wish:

        def count(done: int, total: int) -> None:
            progress.total = total
            progress.advance_to(done)
            if wish:
                raise Interrupted("stopped; nothing was written", wish.signal_number)

        try:
            found = generate_masks(model, image, options, progress=count)
        finally:
            progress.finish()
    if not len(found):
        raise CommandError(f"{found.explanation} Nothing was written.")
    # One file for one frame: its number is that of the frame only in the hint below.
    masks = found.frame_masks(0)
    infos = tuple(ObjectInfo(i) for i in masks.object_ids)
    results = Results(
        found.size, 1, lambda _: masks, infos, recording.calibration, name=Path(args.source).name
    )
    write_still(results, out, args.overwrite)
    areas = [int(a) for a in np.sort([m.area for m in found.masks])]
    hint = shlex.join(["napari-sam2", "track", args.source, "--mask", str(out)])
    hint += f" --range {args.frame}:" if args.frame else ""
    data = {
        "path": out,
        "frame": args.frame,
        "objects": len(found),
        "areas": areas,
        "stages": [asdict(stage) for stage in found.stages],
    }
    text = f"found {len(found)} objects on frame {args.frame} in {duration(progress.seconds)}: {out}"
    console.result(data, f"{text}\ntrack them with:\n  {hint}" if len(recording.frames) > 1 else text)

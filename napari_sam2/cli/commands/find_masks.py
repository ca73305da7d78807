"""Find masks on the planes of a source."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_sam2.automatic.mask_generator import generate_masks
from napari_sam2.automatic.options import AutomaticOptions
from napari_sam2.automatic.result import AutomaticResult
from napari_sam2.automatic.spatial_filter import SpatialFilter
from napari_sam2.cli.errors import CommandError, CommandInterrupted, UsageError
from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.terminal.interrupt import graceful_interrupt
from napari_sam2.cli.terminal.progress import ProgressBar
from napari_sam2.cli.workflow.recording import Recording
from napari_sam2.cli.workflow.write_exports import LABEL_SUFFIXES
from napari_sam2.formats.detect_format import read_masks
from napari_sam2.model.sam2 import Sam2

BoolArray = NDArray[np.bool_]


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
    surroundings: SpatialFilter,
    console: Console,
    stopped: str = "stopped; nothing was written",
) -> tuple[AutomaticResult, float]:
    """Find everything on a frame, with progress; return it and the seconds it took.

    Raises
    ------
    Interrupted
        With ``stopped`` as the sentence, when the user stopped it.
    """
    progress = ProgressBar(console, f"looking at frame {frame}", options.points_per_side or 0, unit="points")

    def tell() -> None:
        console.note("\nstopping")

    with graceful_interrupt(tell) as wish:

        def count(done: int, total: int) -> None:
            progress.total = total
            progress.advance_to(done)
            if wish:
                raise CommandInterrupted(stopped, wish.signal_number)

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

"""``napari-sam2 demo``: the built-in sample, tracked from its own prompts, compared with the truth."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import tifffile
from numpy.typing import NDArray

from napari_sam2.cli.commands.evaluate import evaluate, score_data
from napari_sam2.cli.commands.track import check_free, make_project, track
from napari_sam2.cli.options.prompt_options import read_prompts_file
from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.terminal.progress import duration, rate_text
from napari_sam2.cli.workflow.load_model import describe, load_network
from napari_sam2.cli.workflow.plan import Plan
from napari_sam2.cli.workflow.source_frames import SourceFrames
from napari_sam2.cli.workflow.write_exports import listing, results_of, targets, write_exports
from napari_sam2.formats.atomic_output import SIGNATURE, check_replaceable, staged
from napari_sam2.frames.open_source import open_source
from napari_sam2.session.options import SessionOptions
from napari_sam2.synthetic.samples import Sample, sample_timelapse

EXPORTS = ("mp4", "tiff", "csv")


def run(args: Namespace, console: Console) -> None:
    """Run the command."""
    folder: Path = args.out
    check_free(folder / "cells.sam2", args.overwrite)
    # First of all the network: without it there is no demo, and nothing should be left behind.
    model = load_network(args.model, args.device, console, args.image_size)
    sample = sample_timelapse()
    console.note(
        f"{sample.name}: {len(sample.labels)} frames, {len(sample.first_sight)} objects, one box each"
    )
    files = write_sample(sample, folder)
    source = open_source(str(files["recording"]))
    recording = SourceFrames(source, source.frames())
    frames = recording.frames
    prompts = read_prompts_file(files["prompts"], len(frames), frames.size)
    description = describe(model, args.model)
    with make_project(
        folder / "cells.sam2", recording, description, SessionOptions(), prompts, overwrite=args.overwrite
    ) as project:
        summary = track(project, model, recording, Plan(), console, EXPORTS)
        paths = targets(project.path, EXPORTS, None, args.overwrite)
        write_exports(results_of(project, recording), paths, console, args.overwrite)
        found = evaluate(project, files["truth"], console)
        data: dict[str, Any] = {"project": str(project.path), "frames": summary.frames, **score_data(found)}
        data |= {
            "exports": {k: str(v) for k, v in paths.items()},
            "files": {k: str(v) for k, v in files.items()},
        }
        said = {"project": project.path, **paths, "source": files["recording"], "prompts": files["prompts"]}
        score = found.score
        text = (
            f"tracked {len(sample.first_sight)} objects over {summary.frames} frames in "
            f"{duration(summary.seconds)} ({rate_text(summary.rate)}) with {args.model}\n"
            f"against the ground truth: J&F {score.j_and_f:.3f} (region J {score.j:.3f}, boundary F {score.f:.3f}; "
            f"1 is perfect), {score.identity_switches} identity switches{listing(said)}"
        )
        console.result(data, text)


def write_sample(sample: Sample, folder: Path) -> dict[str, Path]:
    """Write recording, ground truth and prompts, as a user would have them, in place of those of an earlier demo.

    Raises
    ------
    FileExistsError
        When a file of somebody else has one of these names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "recording": folder / "cells.ome.tif",
        "truth": folder / "ground_truth.tif",
        "prompts": folder / "prompts.json",
    }
    _, y, x = sample.scale
    micrometres = {
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeYUnit": "µm",
        "PhysicalSizeX": x,
        "PhysicalSizeY": y,
    }
    recording = {"axes": sample.axes, **micrometres}
    for file in files.values():
        check_replaceable(file, True)  # before the first is replaced
    _write_tiff(files["recording"], sample.image, recording)
    _write_tiff(files["truth"], sample.labels, {"axes": "TYX"})
    entries = [
        {"frame": sight.frame, "object_id": object_id, "box": list(sight.box)}
        for object_id, sight in sample.first_sight.items()
    ]
    text = json.dumps({"contributor": SIGNATURE, "prompts": entries}, indent=1) + "\n"
    with staged(files["prompts"], True) as part:
        part.write_text(text, encoding="utf-8")
    return files


def _write_tiff(path: Path, stack: NDArray[Any], metadata: dict[str, Any]) -> None:
    # Said outright, because tifffile takes three or four frames for colours.
    ome = path.name.endswith(".ome.tif")
    with staged(path, True) as part:
        tifffile.imwrite(
            part,
            stack,
            ome=ome,
            photometric="minisblack",
            compression="zlib",
            software=SIGNATURE,
            metadata=metadata,
        )

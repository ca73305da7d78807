"""A lazy dask stack of 16-bit numbers, read frame by frame into a project on disk; its masks as a label stack."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np

from napari_sam2 import (
    BoxPrompt,
    FrameStack,
    FrameStackOptions,
    Project,
    Prompt,
    load_model,
    open_session,
    sample_timelapse,
)
from napari_sam2.formats import export_format
from napari_sam2.storage import SourceDescription, describe_model, project_results


def main(folder: Path, frames: int = 10) -> Path:
    """Return the path of the label stack."""
    sample = sample_timelapse()
    raw = da.from_array(sample.image[:frames].astype(np.uint16) * 40 + 300, chunks=(1, -1, -1))
    frames_only = FrameStackOptions(axis=0)  # contrast by percentiles, as for every 16-bit array
    stack = FrameStack(raw - 300, frames_only)  # any dask graph; a frame is computed when it is read
    print("contrast", [channel.contrast_limits for channel in stack.options.channels])

    model = load_model("nano")
    project = Project.create(
        folder / "dask.sam2",
        (len(stack), *stack.size),
        source=SourceDescription(path=None, kind="array"),
        model=describe_model(model, "nano"),
    )
    with project:
        session = open_session(project, model, stack)
        session.set_prompt(0, 1, Prompt(box=BoxPrompt(*sample.first_sight[1].box)))
        for masks in session.propagate():  # each frame is on disk before it is here
            print(masks.frame, int(masks.of(1).sum()), "pixels")
        return export_format("tiff").write(project_results(project), folder / "labels.tif")


if __name__ == "__main__":
    here = Path("napari-sam2-examples")
    here.mkdir(exist_ok=True)
    print(main(here))

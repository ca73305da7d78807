"""The plugin from a script: prompt two cells, track them, and look where the model is unsure.

With a window: ``python napari_session.py --window``. Without it no display is needed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from napari_sam2 import open_tracker, sample_timelapse


def main(folder: Path, frames: int = 10, viewer: Any = None) -> list[dict[str, Any]]:
    """Return one row of measurements for each object and frame."""
    if viewer is None:
        from napari.components import ViewerModel  # napari's model: layers and sliders, nothing to see

        viewer = ViewerModel()
    sample = sample_timelapse()
    image = viewer.add_image(sample.image[:frames], name="cells")
    tracker = open_tracker(viewer, image, model="nano", project=folder / "cells.sam2")
    tracker.wait()  # the model is loaded in a thread of its own

    for object_id in (1, 2):
        x0, y0, x1, y1 = sample.first_sight[object_id].box
        if object_id > 1:
            tracker.objects.add(f"cell {object_id}")
        tracker.prompts.add_box(x0, y0, x1, y1, frame=0)
    tracker.propagate()
    tracker.wait()
    print("uncertain frames:", tracker.timeline.uncertain_frames())
    table = tracker.wait(until=tracker.results.measure())
    tracker.wait(until=tracker.results.export("csv", folder / "cells.csv"))
    if not hasattr(viewer, "window"):
        tracker.close()
    return table


if __name__ == "__main__":
    here = Path("napari-sam2-examples")
    here.mkdir(exist_ok=True)
    if "--window" in sys.argv:
        import napari

        window = napari.Viewer()
        main(here, viewer=window)
        napari.run()
    else:
        for row in main(here):
            print(row["frame"], row["object_id"], row["area_px"])

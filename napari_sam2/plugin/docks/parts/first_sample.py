"""The sample time-lapse, for those who have no recording at hand."""

from __future__ import annotations

from typing import Any


def open_first_sample(viewer: Any) -> None:
    """Add the sample time-lapse to a viewer, as File > Open Sample does, and show its first frame."""
    # It draws with torch: imported only when it is wanted.
    from napari_sam2.plugin.contributions.samples import timelapse

    for data, meta, kind in timelapse():
        getattr(viewer, f"add_{kind}")(data, **meta)
    image = next(layer for layer in reversed(viewer.layers) if layer.visible)
    viewer.layers.selection.active = image
    viewer.dims.set_point(0, 0)

"""Sample data of File > Open Sample: small synthetic recordings with their ground truth."""

from __future__ import annotations

from typing import Any

from napari_sam2.synthetic.samples import Sample, sample_timelapse, sample_two_channel, sample_zstack

LayerData = tuple[Any, dict[str, Any], str]


def timelapse() -> list[LayerData]:
    """Return a time-lapse of fluorescent cells (t, y, x) with ground truth."""
    return _layers(sample_timelapse(), "t")


def zstack() -> list[LayerData]:
    """Return a z-stack of growing and vanishing sections (z, y, x) with ground truth."""
    return _layers(sample_zstack(), "z")


def two_channel() -> list[LayerData]:
    """Return a 16-bit time-lapse with two channels as two layers, with ground truth."""
    return _layers(sample_two_channel(), "t")


def _layers(sample: Sample, axis: str) -> list[LayerData]:
    placement: dict[str, Any] = {
        "scale": sample.scale,
        "axis_labels": (axis, "y", "x"),
        "units": ("pixel" if axis == "t" else "um", "um", "um"),
    }
    name = sample.name.partition(" (")[0]  # short: the layer list is narrow
    image: dict[str, Any] = {"name": name, **placement}
    if "C" in sample.axes:
        image |= {"channel_axis": sample.axes.index("C"), "colormap": ["magenta", "green"]}
        image["name"] = [f"{name} {channel}" for channel in (1, 2)]
    truth = {"name": f"{name} ground truth", "visible": False, **placement}
    return [(sample.image, image, "image"), (sample.labels, truth, "labels")]

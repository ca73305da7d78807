"""Steps, units and times in the metadata of a TIFF: OME-XML and ImageJ's description."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from napari_sam2 import calibration

# Sizes outside of these are damage, not physics.
_SMALLEST_STEP, _LARGEST_STEP = 1e-12, 1e12


@dataclass(frozen=True)
class TiffScale:
    """Steps and units by axis letter, and times of frames in seconds."""

    steps: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    times: tuple[float, ...] = ()
    channel_names: tuple[str, ...] = ()

    def step(self, letter: str) -> float:
        """Return the size of a step; 1 where unknown."""
        return self.steps.get(letter, 1.0)

    def unit(self, letter: str) -> str:
        """Return the unit of a step; pixel where unknown."""
        return self.units.get(letter, "" if letter in "cs" else "pixel")

    def times_of(self, count: int) -> NDArray[np.float64] | None:
        """Return the times of ``count`` frames in seconds after the first, or None where unknown."""
        if count and len(self.times) == count:
            return np.array(self.times, dtype=np.float64) - self.times[0]
        seconds = calibration.SECONDS.get(self.units.get("t", ""))
        if count and seconds and "t" in self.steps:
            return np.arange(count, dtype=np.float64) * self.steps["t"] * seconds
        return None


def full_unit_name(unit: str) -> str:
    """Return a unit's full name, as napari and OME-Zarr write it."""
    return calibration.unit_name(unit.strip()) or unit.strip().lower()


def tiff_calibration(file: Any) -> TiffScale:
    """Return steps, units and times of a ``tifffile.TiffFile``; empty where its description is broken."""
    with contextlib.suppress(ElementTree.ParseError, ValueError, TypeError, KeyError):
        if file.ome_metadata:
            return ome_calibration(file.ome_metadata)
        if file.imagej_metadata:
            return _imagej_calibration(file.imagej_metadata, file.pages[0])
    return TiffScale()


def ome_calibration(xml: str) -> TiffScale:
    """Return steps, units, times and channel names of the first image of an OME-XML text."""
    pixels = next((e for e in ElementTree.fromstring(xml).iter() if _tag(e) == "Pixels"), None)
    if pixels is None:
        return TiffScale()
    steps, units = {}, {}
    for letter in "xyz":
        size = positive_step(pixels.get(f"PhysicalSize{letter.upper()}"))
        if size:
            steps[letter] = size
            units[letter] = full_unit_name(pixels.get(f"PhysicalSize{letter.upper()}Unit", "µm"))
    increment = positive_step(pixels.get("TimeIncrement"))
    if increment:
        steps["t"], units["t"] = increment, full_unit_name(pixels.get("TimeIncrementUnit", "s"))
    names = tuple(e.get("Name") or "" for e in pixels if _tag(e) == "Channel")
    return TiffScale(steps, units, _plane_times(pixels), names if all(names) else ())


def _plane_times(pixels: ElementTree.Element) -> tuple[float, ...]:
    times: dict[int, float] = {}
    for plane in pixels:
        delta = plane.get("DeltaT")
        if _tag(plane) == "Plane" and delta and plane.get("TheC") == "0" and plane.get("TheZ") == "0":
            unit = full_unit_name(plane.get("DeltaTUnit", "s"))
            times[int(plane.get("TheT", "0"))] = float(delta) * calibration.SECONDS.get(unit, 1.0)
    if sorted(times) != list(range(len(times))):
        return ()
    ordered = tuple(times[t] for t in range(len(times)))
    return ordered if all(np.diff(ordered) > 0) else ()


def _imagej_calibration(metadata: Mapping[str, Any], page: Any) -> TiffScale:
    steps, units = {}, {}
    unit = full_unit_name(str(metadata.get("unit", "pixel")))
    for letter, tag in (("x", "XResolution"), ("y", "YResolution")):
        if tag in page.tags:
            above, below = page.tags[tag].value
            if above and below and unit not in ("", "pixel"):
                steps[letter], units[letter] = below / above, unit
    spacing = positive_step(metadata.get("spacing"))
    if spacing:
        steps["z"], units["z"] = spacing, unit
    interval = positive_step(metadata.get("finterval"))
    if interval:
        steps["t"], units["t"] = interval, full_unit_name(str(metadata.get("tunit", "s")))
    elif positive_step(metadata.get("fps")):
        steps["t"], units["t"] = 1.0 / float(metadata["fps"]), "second"
    return TiffScale(steps, units)


def positive_step(value: Any) -> float | None:
    """Return the size of a step; None where it is no number, or one that no recording has."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if _SMALLEST_STEP <= number <= _LARGEST_STEP else None


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]

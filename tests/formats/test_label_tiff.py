from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_sam2.calibration import Calibration
from napari_sam2.formats import TrackingResults
from napari_sam2.formats import label_tiff as tiff_module
from napari_sam2.formats.label_tiff import write_ome_tiff, write_tiff
from napari_sam2.masks import FrameMasks
from napari_sam2.objects import ObjectInfo

OME = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"


def test_tiff_holds_the_composed_labels(run: TrackingResults, labels: np.ndarray, tmp_path: Path) -> None:
    path = write_tiff(run, tmp_path / "labels.tif")
    read = tifffile.imread(path)
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, labels)


def test_tiff_can_be_read_page_by_page_with_pillow(
    run: TrackingResults, labels: np.ndarray, tmp_path: Path
) -> None:
    with Image.open(write_tiff(run, tmp_path / "labels.tif")) as image:
        assert image.n_frames == len(labels)
        for frame, expected in enumerate(labels):
            image.seek(frame)
            np.testing.assert_array_equal(np.asarray(image), expected)


def test_tiff_tells_fiji_axes_pixel_size_and_interval(run: TrackingResults, tmp_path: Path) -> None:
    with tifffile.TiffFile(write_tiff(run, tmp_path / "labels.tif")) as file:
        assert file.is_imagej
        assert file.series[0].axes == "TYX"
        about = file.imagej_metadata
        assert (about["unit"], about["finterval"], about["frames"]) == ("um", 2.5, 8)
        numerator, denominator = file.pages[0].tags["XResolution"].value
    assert denominator / numerator == pytest.approx(0.25)


def test_z_stack_is_stored_along_z_with_its_spacing(
    run: TrackingResults, labels: np.ndarray, tmp_path: Path
) -> None:
    stack = replace(run, calibration=Calibration("z", (2.0, 0.5, 0.25), ("µm", "µm", "µm")))
    with tifffile.TiffFile(write_tiff(stack, tmp_path / "z.tif")) as file:
        assert file.series[0].axes == "ZYX"
        assert file.imagej_metadata["spacing"] == 2.0
    with tifffile.TiffFile(write_ome_tiff(stack, tmp_path / "z.ome.tif")) as file:
        pixels = ET.fromstring(file.ome_metadata).find(f".//{OME}Pixels")
        np.testing.assert_array_equal(file.asarray(), labels)
    found = {k: pixels.get(k) for k in ("SizeZ", "SizeT", "PhysicalSizeZ", "PhysicalSizeY", "PhysicalSizeX")}
    assert found == {
        "SizeZ": "8",
        "SizeT": "1",
        "PhysicalSizeZ": "2.0",
        "PhysicalSizeY": "0.5",
        "PhysicalSizeX": "0.25",
    }


def test_ome_tiff_has_sizes_units_and_time_step(
    run: TrackingResults, labels: np.ndarray, tmp_path: Path
) -> None:
    with tifffile.TiffFile(write_ome_tiff(run, tmp_path / "labels.ome.tif")) as file:
        assert file.is_ome
        assert file.series[0].axes == "TYX"
        np.testing.assert_array_equal(file.asarray(), labels)
        pixels = ET.fromstring(file.ome_metadata).find(f".//{OME}Pixels")
    keys = ("SizeT", "SizeX", "PhysicalSizeX", "PhysicalSizeXUnit", "TimeIncrement", "TimeIncrementUnit")
    assert [pixels.get(k) for k in keys] == ["8", "11", "0.25", "µm", "2.5", "s"]


@pytest.mark.parametrize(
    ("calibration", "increment"),
    [
        (Calibration("t", (10.0, 1, 1), ("minute", None, None)), 600.0),
        (Calibration("t", frame_rate=25.0), 0.04),
        (Calibration("t"), None),
    ],
)
def test_ome_time_step_is_in_seconds_or_left_out(
    run: TrackingResults, tmp_path: Path, calibration: Calibration, increment: float | None
) -> None:
    path = write_ome_tiff(replace(run, calibration=calibration), tmp_path / "labels.ome.tif")
    with tifffile.TiffFile(path) as file:
        pixels = ET.fromstring(file.ome_metadata).find(f".//{OME}Pixels")
    found = pixels.get("TimeIncrement")
    assert (None if found is None else float(found)) == increment
    assert pixels.get("PhysicalSizeXUnit") == "pixel"


def test_large_runs_become_bigtiff(
    run: TrackingResults, labels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff_module, "_CLASSIC_LIMIT", 100)
    for write in (write_tiff, write_ome_tiff):
        with tifffile.TiffFile(write(run, tmp_path / f"{write.__name__}.tif")) as file:
            assert file.is_bigtiff
            assert file.series[0].axes == "TYX"
            np.testing.assert_array_equal(file.asarray(), labels)


def test_one_frame_is_enough(tmp_path: Path) -> None:
    run = TrackingResults.from_frames([FrameMasks.empty(0, (4, 6))])
    assert tifffile.imread(write_tiff(run, tmp_path / "a.tif")).reshape(4, 6).sum() == 0


def test_an_id_that_does_not_fit_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    one = np.ones(1, np.float32)
    frame = FrameMasks(0, (70000,), np.ones((1, 4, 4), bool), one, one, np.zeros(1, bool))
    run = TrackingResults((4, 4), 1, lambda t: frame, (ObjectInfo(70000),))
    with pytest.raises(ValueError, match="65535"):
        write_tiff(run, tmp_path / "a.tif")
    assert list(tmp_path.iterdir()) == []

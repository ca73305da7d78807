from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from napari_sam2.calibration import Calibration
from napari_sam2.formats import TrackingResults
from napari_sam2.formats.ome_zarr import write_ome_zarr
from napari_sam2.masks import FrameMasks


def test_plain_zarr_reads_the_labels(run: TrackingResults, labels: np.ndarray, tmp_path: Path) -> None:
    group = zarr.open_group(write_ome_zarr(run, tmp_path / "labels.ome.zarr"), mode="r")
    array = group["0"]
    assert array.chunks == (1, 7, 11)
    assert array.metadata.dimension_names == ("t", "y", "x")
    np.testing.assert_array_equal(array[:], labels)


def test_metadata_says_scale_units_names_and_colours(run: TrackingResults, tmp_path: Path) -> None:
    path = write_ome_zarr(run, tmp_path / "labels.ome.zarr")
    ome = json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]["ome"]
    multiscale = ome["multiscales"][0]
    assert ome["version"] == "0.5"
    assert [a["name"] for a in multiscale["axes"]] == ["t", "y", "x"]
    assert [a.get("unit") for a in multiscale["axes"]] == ["second", "micrometer", "micrometer"]
    assert multiscale["datasets"][0]["coordinateTransformations"] == [
        {"type": "scale", "scale": [2.5, 0.25, 0.25]}
    ]
    label = ome["image-label"]
    assert {p["label-value"]: p["name"] for p in label["properties"]} == {
        1: "mother",
        7: "object 7",
        40: "Zelle ü",
    }
    assert label["colors"][0] == {"label-value": 1, "rgba": [255, 0, 0, 255]}


@pytest.mark.filterwarnings("ignore")  # the reader's own imports warn
def test_the_field_s_reader_opens_it(run: TrackingResults, labels: np.ndarray, tmp_path: Path) -> None:
    path = write_ome_zarr(run, tmp_path / "labels.ome.zarr")
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    nodes = list(Reader(parse_url(str(path)))())
    np.testing.assert_array_equal(np.asarray(nodes[0].data[0]), labels)
    assert nodes[0].metadata["coordinateTransformations"][0][0]["scale"] == [2.5, 0.25, 0.25]


@pytest.mark.filterwarnings("ignore")  # the validator's own imports warn
def test_a_validator_of_the_standard_accepts_it(run: TrackingResults, tmp_path: Path) -> None:
    models = pytest.importorskip("ome_zarr_models.v05.image_label")
    group = zarr.open_group(write_ome_zarr(run, tmp_path / "labels.ome.zarr"), mode="r")
    label = models.ImageLabel.from_zarr(group)
    assert {c.label_value for c in label.attributes.ome.image_label.colors} == {1, 7, 40}


def test_large_frames_get_smaller_levels_without_made_up_ids(tmp_path: Path) -> None:
    mask = np.zeros((1, 1100, 701), bool)
    mask[0, 200:900, 33:500] = True
    one = np.ones(1, np.float32)
    frames = [FrameMasks(t, (9,), mask, one, one, np.zeros(1, bool)) for t in range(2)]
    calibration = Calibration("z", (3.0, 0.5, 0.5), ("µm", "µm", "µm"))
    run = replace(TrackingResults.from_frames(frames), calibration=calibration)
    group = zarr.open_group(write_ome_zarr(run, tmp_path / "big.ome.zarr"), mode="r")
    assert [group[k].shape for k in ("0", "1", "2")] == [(2, 1100, 701), (2, 550, 351), (2, 275, 176)]
    for level in range(3):
        np.testing.assert_array_equal(group[str(level)][1], np.where(mask[0, :: 2**level, :: 2**level], 9, 0))
    scales = [
        d["coordinateTransformations"][0]["scale"] for d in group.attrs["ome"]["multiscales"][0]["datasets"]
    ]
    assert scales == [[3.0, 0.5, 0.5], [3.0, 1.0, 1.0], [3.0, 2.0, 2.0]]
    assert group.attrs["ome"]["multiscales"][0]["axes"][0] == {
        "name": "z",
        "type": "space",
        "unit": "micrometer",
    }

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_sam2.calibration import Calibration
from napari_sam2.formats import TrackingResults
from napari_sam2.formats.tracks import centroid, tracks_array, write_tracks


def expected_rows(masks: list[np.ndarray]) -> list[tuple[float, ...]]:
    rows = []
    for k, object_id in enumerate((1, 7, 40)):
        for t, frame in enumerate(masks):
            if frame[k].any():
                rows.append((object_id, t, *np.argwhere(frame[k]).mean(0)))
    return rows


def test_array_is_sorted_and_has_each_object_s_own_centroid(
    run: TrackingResults, masks: list[np.ndarray]
) -> None:
    np.testing.assert_allclose(tracks_array(run), expected_rows(masks))


@pytest.mark.filterwarnings("ignore")  # napari's own imports warn
def test_napari_takes_the_array(run: TrackingResults) -> None:
    layers = pytest.importorskip("napari.layers")
    layer = layers.Tracks(tracks_array(run))
    assert sorted(set(layer.data[:, 0])) == [1, 7, 40]


def test_csv_gives_the_same_tracks(run: TrackingResults, tmp_path: Path) -> None:
    table = pd.read_csv(write_tracks(run, tmp_path / "tracks.csv"))
    assert list(table.columns) == ["track_id", "t", "y", "x", "name", "parent", "generation"]
    rows = table.sort_values(["track_id", "t"])[["track_id", "t", "y", "x"]].to_numpy()
    np.testing.assert_allclose(rows, tracks_array(run), atol=5e-4)
    assert set(table["name"]) == {"mother", "object 7", "Zelle ü"}


def test_z_stacks_have_a_column_z(run: TrackingResults, tmp_path: Path) -> None:
    path = write_tracks(replace(run, calibration=Calibration("z")), tmp_path / "tracks.csv")
    with path.open(encoding="utf-8", newline="") as file:
        assert next(csv.reader(file))[:2] == ["track_id", "z"]


def test_nothing_seen_gives_no_rows(run: TrackingResults) -> None:
    empty = replace(run, masks=lambda t: run.masks(7), n_frames=1)
    assert tracks_array(empty).shape == (0, 4)
    assert centroid(np.zeros((3, 3), bool)) is None

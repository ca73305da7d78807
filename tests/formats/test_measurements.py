from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_sam2.calibration import Calibration
from napari_sam2.formats import TrackingResults
from napari_sam2.formats.measurements import measurements, write_measurements
from napari_sam2.masks import FrameMasks

IDS = (1, 7, 40)


@pytest.fixture
def table(run: TrackingResults, tmp_path: Path) -> pd.DataFrame:
    return pd.read_csv(write_measurements(run, tmp_path / "m.csv")).set_index(["frame", "object_id"])


def test_every_looked_for_object_has_a_row(table: pd.DataFrame) -> None:
    assert set(table.index) == {(t, i) for t in range(8) for i in IDS if i != 40 or t >= 2}
    assert table.index.is_unique


def test_area_centroid_box_and_intensity_are_those_of_the_masks(
    table: pd.DataFrame, masks: list[np.ndarray], intensities: np.ndarray
) -> None:
    for (t, object_id), row in table.iterrows():
        mask = masks[t][IDS.index(object_id)]
        assert row["area_px"] == mask.sum()
        assert row["visible"] == mask.any()
        if not mask.any():
            assert np.isnan(row["centroid_y_px"])
            continue
        y, x = np.argwhere(mask).mean(0)
        assert (row["centroid_y_px"], row["centroid_x_px"]) == pytest.approx((y, x), rel=1e-6)
        ys, xs = np.nonzero(mask)
        box = [row[f"box_{k}_px"] for k in ("y0", "x0", "y1", "x1")]
        assert box == [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1]
        for channel, name in enumerate(("dapi", "gfp")):
            assert row[f"mean_{name}"] == pytest.approx(intensities[t, ..., channel][mask].mean(), rel=1e-6)


def test_physical_units(table: pd.DataFrame) -> None:
    seen = table[table["visible"] == 1]
    np.testing.assert_allclose(seen["area_µm2"], seen["area_px"] * 0.0625)
    np.testing.assert_allclose(seen["centroid_y_µm"], seen["centroid_y_px"] * 0.25, rtol=1e-6)
    np.testing.assert_allclose(seen["perimeter_µm"], seen["perimeter_px"] * 0.25, rtol=1e-6)
    assert (table["time_s"] == table.index.get_level_values("frame") * 2.5).all()


def test_perimeter_of_a_disc_and_of_one_that_fills_the_frame() -> None:
    yy, xx = np.mgrid[:101, :101]
    disc = np.hypot(yy - 50, xx - 50) <= 40
    for mask, expected, tolerance in ((disc, 2 * np.pi * 40, 0.06), (np.ones((20, 30), bool), 96, 0.05)):
        one = np.ones(1, np.float32)
        run = TrackingResults.from_frames([FrameMasks(0, (3,), mask[None], one, one, np.zeros(1, bool))])
        assert next(iter(measurements(run)))["perimeter_px"] == pytest.approx(expected, rel=tolerance)


def test_scores_are_written(table: pd.DataFrame) -> None:
    assert table.loc[(0, 1), "object_score"] == 3.5
    assert table.loc[(3, 1), "object_score"] == -2.25
    assert table.loc[(0, 1), "predicted_iou"] == 0.5
    assert table.loc[(0, 1), "prompted"] == 1
    assert table.loc[(1, 1), "prompted"] == 0


@pytest.mark.parametrize(
    ("calibration", "there", "absent"),
    [
        (Calibration("z", (2.0, 0.5, 0.25), ("µm", "µm", "µm")), ["z_µm", "area_µm2"], ["perimeter_µm"]),
        (Calibration("t", frame_rate=25.0), ["time_s", "area_px"], ["area_µm2"]),
        (Calibration("t"), ["frame"], ["time_s", "area_µm2"]),
        (Calibration("t", (1, 1, 1), (None, "µm", "nm")), ["area_px"], ["area_µm2", "area_nm2"]),
        (
            Calibration("t", frame_times=(0.0, 0.5, 0.6, 2.0, 3.0, 4.0, 5.0, 7.25)),
            ["time_s"],
            ["centroid_y_µm"],
        ),
    ],
)
def test_columns_follow_what_is_known(
    run: TrackingResults, tmp_path: Path, calibration: Calibration, there: list[str], absent: list[str]
) -> None:
    table = pd.read_csv(write_measurements(replace(run, calibration=calibration), tmp_path / "m.csv"))
    assert set(there) <= set(table.columns)
    assert not set(absent) & set(table.columns)
    if calibration.frame_times is not None:
        times = table.groupby("frame")["time_s"].first()
        assert tuple(times) == calibration.frame_times
    if calibration.frame_rate is not None:
        assert table["time_s"].iloc[-1] == pytest.approx(7 / 25)


def test_nan_pixels_are_left_out_of_the_mean(run: TrackingResults, tmp_path: Path) -> None:
    image = np.full((7, 11), 4.0)
    image[1, 1] = np.nan
    image[1, 2] = np.inf
    image[3, 1] = 11.0
    path = write_measurements(replace(run, intensity=lambda t: image, channels=()), tmp_path / "m.csv")
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert float(rows[0]["mean_intensity"]) == 5.0  # (6 × 4 + 11) / 7


def test_without_intensities_there_are_no_means(run: TrackingResults, tmp_path: Path) -> None:
    table = pd.read_csv(write_measurements(replace(run, intensity=None), tmp_path / "m.csv"))
    assert not [c for c in table.columns if c.startswith("mean_")]


def test_intensities_of_another_size_are_refused(run: TrackingResults, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\(7, 11\).*\(7, 12\)"):
        write_measurements(replace(run, intensity=lambda t: np.zeros((7, 12))), tmp_path / "m.csv")
    assert list(tmp_path.iterdir()) == []

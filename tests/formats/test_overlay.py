from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from napari_sam2.calibration import Calibration
from napari_sam2.formats import TrackingResults
from napari_sam2.formats.overlay import draw, write_overlay
from napari_sam2.masks import FrameMasks
from napari_sam2.objects import ObjectInfo

RED = (255, 0, 0)


def disc(height: int, width: int, y: int, x: int, radius: int) -> np.ndarray:
    yy, xx = np.mgrid[:height, :width]
    return np.hypot(yy - y, xx - x) <= radius


def moving(height: int = 121, width: int = 161, n_frames: int = 6, **rest: object) -> TrackingResults:
    """A red disc that moves to the right over grey."""
    one = np.ones(1, np.float32)
    frames = [
        FrameMasks(t, (12,), disc(height, width, 60, 40 + 10 * t, 20)[None], one, one, np.zeros(1, bool))
        for t in range(n_frames)
    ]
    grey = np.full((height, width, 3), 90, np.uint8)
    return TrackingResults.from_frames(frames, [ObjectInfo(12, "", RED)], picture=lambda t: grey, **rest)


def read_video(path: Path) -> tuple[str, list[np.ndarray]]:
    """What ffmpeg says about the file, and its frames as it decodes them."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-fps_mode", "passthrough"]
    done = subprocess.run(
        [*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True
    )
    about = done.stderr.decode()
    width, height = (int(n) for n in re.search(r"Video: .*?, (\d+)x(\d+)", about).groups())
    return about, list(np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3).astype(int))


@pytest.mark.parametrize("rate", [25.0, 29.97, 7.5])
def test_video_has_the_source_s_rate_and_every_frame(tmp_path: Path, rate: float) -> None:
    run = moving(calibration=Calibration(frame_rate=rate))
    about, frames = read_video(write_overlay(run, tmp_path / "o.mp4"))
    assert len(frames) == 6
    assert float(re.search(r"([\d.]+) fps", about).group(1)) == rate
    assert "Video: h264" in about
    assert "yuv420p" in about


def test_a_part_of_the_frames(tmp_path: Path) -> None:
    _, frames = read_video(write_overlay(moving(), tmp_path / "o.mp4", ids=False, frames=(2, 5)))
    assert len(frames) == 3
    assert (frames[0][60, 60, 0] - frames[0][60, 60, 1]) > 60  # where the disc is on frame 2
    with pytest.raises(ValueError, match="2:9"):
        write_overlay(moving(), tmp_path / "p.mp4", frames=(2, 9))


def test_odd_sides_are_padded_by_one_and_not_scaled(tmp_path: Path) -> None:
    _, frames = read_video(write_overlay(moving(121, 161), tmp_path / "o.mp4"))
    assert frames[0].shape == (122, 162, 3)


def test_objects_are_painted_where_the_masks_are(tmp_path: Path) -> None:
    _, frames = read_video(write_overlay(moving(), tmp_path / "o.mp4", ids=False))
    for t, frame in enumerate(frames):
        x = 40 + 10 * t
        redness = frame[..., 0] - frame[..., 1]
        assert redness[60, x] > 60
        assert redness[60, x - 18] > 60
        assert abs(redness[60, x + 26]) < 25
        assert abs(redness[10, 10]) < 25


def test_outline_leaves_the_inside_as_it_is() -> None:
    run = moving()
    found = run.masks(0)
    drawn = draw(np.full((121, 161, 3), 90, np.uint8), found, run, style="outline", ids=False)
    mask = found.masks[0]
    changed = (drawn != 90).any(-1)
    assert changed[60, 20]
    assert not changed[60, 40]
    assert not (changed & ~mask).any()
    filled = draw(np.full((121, 161, 3), 90, np.uint8), found, run, style="fill", ids=False)
    assert ((filled != 90).any(-1) == mask).all()


def test_ids_are_written_above_the_object_and_inside_the_frame() -> None:
    run = moving()
    grey = np.full((121, 161, 3), 90, np.uint8)
    extra = draw(grey, run.masks(0), run, ids=True) != draw(grey, run.masks(0), run, ids=False)
    rows, columns = np.nonzero(extra.any(-1))
    assert 20 < len(rows) < 400
    assert rows.max() <= 42
    assert columns.min() > 25
    assert columns.max() < 55
    high = disc(121, 161, 5, 3, 8)[None]
    at_rim = FrameMasks(0, (12,), high, *(np.ones(1, np.float32),) * 2, np.zeros(1, bool))
    extra = draw(grey, at_rim, run, ids=True) != draw(grey, at_rim, run, ids=False)
    assert extra.any()


def test_the_id_of_scattered_pieces_is_at_the_largest() -> None:
    run = moving()
    grey = np.full((121, 161, 3), 90, np.uint8)
    mask = disc(121, 161, 90, 130, 15) | disc(121, 161, 40, 20, 5)
    found = FrameMasks(0, (12,), mask[None], *(np.ones(1, np.float32),) * 2, np.zeros(1, bool))
    extra = (draw(grey, found, run, ids=True) != draw(grey, found, run, ids=False)).any(-1)
    _, columns = np.nonzero(extra)
    assert columns.min() > 115
    assert columns.max() < 145


def test_small_objects_are_drawn_over_large_ones() -> None:
    large, small = disc(60, 60, 30, 30, 25), disc(60, 60, 30, 30, 8)
    two = np.ones(2, np.float32)
    blue = (0, 0, 255)
    for ids in ((1, 2), (2, 1)):
        found = FrameMasks(0, ids, np.stack([small, large]), two, two, np.zeros(2, bool))
        infos = [ObjectInfo(ids[0], "", blue), ObjectInfo(ids[1], "", RED)]
        run = TrackingResults.from_frames([found], infos)
        drawn = draw(np.zeros((60, 60, 3), np.uint8), found, run, style="outline", ids=False)
        assert tuple(drawn[30, 22]) == blue


def test_the_given_frame_is_not_painted_on() -> None:
    run = moving()
    grey = np.full((121, 161, 3), 90, np.uint8)
    draw(grey, run.masks(0), run)
    assert (grey == 90).all()


def test_masks_without_frames_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="masks only"):
        write_overlay(replace(moving(), picture=None), tmp_path / "o.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_fails_midway_leaves_nothing(tmp_path: Path) -> None:
    def picture(t: int) -> np.ndarray:
        if t == 3:
            raise RuntimeError("frame 3 is damaged")
        return np.zeros((121, 161, 3), np.uint8)

    with pytest.raises(RuntimeError, match="frame 3"):
        write_overlay(replace(moving(), picture=picture), tmp_path / "o.mp4")
    assert list(tmp_path.iterdir()) == []

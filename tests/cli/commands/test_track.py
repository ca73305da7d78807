from __future__ import annotations

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import tifffile

from napari_sam2.cli.commands.track_jobs import TrackJob
from napari_sam2.cli.workflow import plan as tracking
from napari_sam2.cli.workflow.plan import Plan
from napari_sam2.frames import open_source
from napari_sam2.frames.stack import FrameStack
from napari_sam2.model.weights.checkpoints import load_model
from napari_sam2.storage import Project
from napari_sam2.storage.errors import ProjectMismatchError
from napari_sam2.storage.sessions import open_session
from tests.cli.conftest import LENGTH

TWO = ("--box", "0:1:0,8,14,20", "--point", "0:1:7,14", "--box", "2:2:35,25,48,37", "--point", "2:2:5,5:-")


def all_masks(project: Path) -> dict[tuple[int, int], bytes]:
    with Project.open(project) as opened:
        found = {}
        for frame in range(opened.frame_count):
            masks = opened.masks(frame)
            for row, object_id in enumerate(masks.object_ids):
                found[frame, object_id] = masks.masks[row].tobytes() + masks.object_scores[row].tobytes()
        return found


def test_track_makes_a_project_and_exports(napari_sam2, movie: Path, checkpoint: Path) -> None:
    run = napari_sam2(
        "track", movie, *TWO, "--model", checkpoint, "--export", "tiff,coco,csv,mp4,tracks", "--json"
    )
    result = run.ok()
    assert result["frames"] == 12
    assert result["objects"] == [1, 2]
    assert Path(result["project"]).name == "movie.sam2"
    masks = all_masks(Path("movie.sam2"))
    assert {f for f, i in masks if i == 1} == set(range(12))
    assert {f for f, i in masks if i == 2} == set(range(2, 12))
    exports = {name: Path(path) for name, path in result["exports"].items()}
    assert all(p.exists() and p.parent == Path(result["project"]) / "exports" for p in exports.values())
    with Project.open("movie.sam2") as project:
        np.testing.assert_array_equal(tifffile.imread(exports["tiff"]), project.labels[:])
    with tifffile.TiffFile(exports["tiff"]) as file:
        assert file.imagej_metadata["finterval"] == 2.0


def test_text_names_the_project_and_every_file(napari_sam2, movie: Path, checkpoint: Path) -> None:
    run = napari_sam2("track", movie, *TWO, "--model", checkpoint, "--export", "ctc", "--out", "a.sam2")
    assert run.code == 0
    assert "tracked 2 objects over 12 frames" in run.out
    assert str(Path("a.sam2").absolute() / "exports" / "01_RES") in run.out
    assert "\r" not in run.err  # not a terminal


@pytest.mark.parametrize(
    ("options", "frames_of_1", "frames_of_2"),
    [
        (("--range", "0:5"), range(5), range(2, 5)),
        (("--direction", "backward"), range(1), range(3)),
        (("--direction", "both"), range(12), range(12)),
        (("--direction", "both", "--range", ":8"), range(8), range(8)),
        (("--objects", "2"), range(1), range(2, 12)),
    ],
)
def test_ranges_directions_and_objects(
    napari_sam2, movie: Path, checkpoint: Path, options: tuple, frames_of_1: range, frames_of_2: range
) -> None:
    napari_sam2("track", movie, *TWO, "--model", checkpoint, *options, "--json").ok()
    masks = all_masks(Path("movie.sam2"))
    assert {f for f, i in masks if i == 1} == set(frames_of_1)
    assert {f for f, i in masks if i == 2} == set(frames_of_2)


def test_masks_and_files_are_prompts(napari_sam2, movie: Path, truth: Path, checkpoint: Path) -> None:
    labels = tifffile.imread(truth)
    tifffile.imwrite("first.tif", labels[0])
    napari_sam2("track", movie, "--mask", "first.tif", "--model", checkpoint, "--json").ok()
    with Project.open("movie.sam2") as project:
        mask, wanted = project.masks(0).of(1), labels[0] == 1
        assert set(project.prompts) == {(0, 1), (0, 2)}
    # A mask is taken over at the network's low resolution, 16 × 16 here.
    assert (mask & wanted).sum() > 0.7 * (mask | wanted).sum()
    entries = [{"frame": 0, "object_id": 1, "box": [0, 8, 14, 20]}]
    objects = [{"id": 1, "name": "left block", "color": "#ff0000"}]
    Path("p.json").write_text(json.dumps({"prompts": entries, "objects": objects}), encoding="utf-8")
    words = ("track", movie, "--prompts", "p.json", "--model", checkpoint, "--out", "b.sam2", "--json")
    napari_sam2(*words).ok()
    with Project.open("b.sam2") as project:
        assert project.objects[1].name == "left block"
        assert project.objects[1].color == (255, 0, 0)


def test_prompts_that_a_project_stores_can_be_given_again(napari_sam2, movie: Path, checkpoint: Path) -> None:
    napari_sam2("track", movie, *TWO, "--model", checkpoint, "--json").ok()
    words = ("--prompts", "movie.sam2/prompts.json", "--model", checkpoint, "--out", "b.sam2", "--json")
    napari_sam2("track", movie, *words).ok()
    assert all_masks(Path("b.sam2")) == all_masks(Path("movie.sam2"))


def stop_after(monkeypatch: pytest.MonkeyPatch, frames: int, number: int = signal.SIGINT) -> None:
    """Press Ctrl-C while a frame is being reported."""

    class Stopping(tracking.ProgressBar):
        def step(self, frame: int | None = None) -> None:
            super().step(frame)
            if self.n == frames:
                os.kill(os.getpid(), number)
                time.sleep(0.01)

    monkeypatch.setattr(tracking, "ProgressBar", Stopping)


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
@pytest.mark.parametrize("frames", [1, 3])
def test_ctrl_c_saves_and_resume_gives_the_same_as_without_it(
    napari_sam2, movie: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, direction: str, frames: int
) -> None:
    prompts = ("--box", "6:1:12,8,26,20", "--box", "4:2:32,25,44,37")
    words = ("track", movie, *prompts, "--model", checkpoint, "--direction", direction)
    napari_sam2(*words, "--out", "whole.sam2", "--json").ok()
    with monkeypatch.context() as patch:
        stop_after(patch, frames)
        run = napari_sam2(*words, "--out", "parts.sam2", "--export", "tiff")
    assert run.code == 130
    assert "is saved" in run.err
    assert f"napari-sam2 resume {Path('parts.sam2').absolute()} --export tiff" in run.err
    assert "Traceback" not in run.err
    saved = all_masks(Path("parts.sam2"))
    whole = all_masks(Path("whole.sam2"))
    assert 0 < len(saved) < len(whole)
    assert saved.items() <= whole.items()
    info = napari_sam2("info", "parts.sam2", "--json").ok()
    assert info["unfinished"]
    result = napari_sam2("resume", "parts.sam2", "--export", "tiff", "--json").ok()
    assert all_masks(Path("parts.sam2")) == whole
    assert Path(result["exports"]["tiff"]).exists()
    assert not napari_sam2("info", "parts.sam2", "--json").ok()["unfinished"]


def test_segment_anything_1_follows_frame_by_frame_and_is_resumed(
    napari_sam2, movie: Path, sam1_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("track", movie, *TWO, "--model", sam1_file, "--direction", "both")
    run = napari_sam2(*words)
    assert run.code == 1
    assert "--frame-by-frame" in run.err
    run = napari_sam2(*words, "--frame-by-frame", "--out", "whole.sam2")
    assert run.code == 0
    assert "each mask is the prompt on the next frame" in run.err
    whole = all_masks(Path("whole.sam2"))
    assert {f for f, i in whole if i == 2} == set(range(12))
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        assert napari_sam2(*words, "--frame-by-frame", "--out", "parts.sam2").code == 130
    napari_sam2("resume", "parts.sam2", "--export", "tiff", "--json").ok()
    assert all_masks(Path("parts.sam2")) == whole
    assert "identical" in napari_sam2("replay", "parts.sam2").out


def test_frame_by_frame_is_refused_for_sam2(napari_sam2, movie: Path, checkpoint: Path) -> None:
    run = napari_sam2("track", movie, *TWO, "--model", checkpoint, "--frame-by-frame")
    assert run.code == 2
    assert "is a SAM 2: leave it out" in run.err


def test_ctrl_c_on_the_last_frame_of_the_last_pass(
    napari_sam2, movie: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("track", movie, "--box", "0:1:0,8,14,20", "--model", checkpoint)
    with monkeypatch.context() as patch:
        stop_after(patch, 12)
        assert napari_sam2(*words).code == 130
    assert napari_sam2("resume", "movie.sam2", "--json").ok()["project"]
    assert {f for f, _ in all_masks(Path("movie.sam2"))} == set(range(12))


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_termination_and_hang_up_save_and_resume_goes_on(
    napari_sam2, movie: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    number = getattr(signal, name, None)
    if number is None:
        pytest.skip("Windows has no hang-up")
    words = ("track", movie, *TWO, "--model", checkpoint)
    napari_sam2(*words, "--out", "whole.sam2", "--json").ok()
    with monkeypatch.context() as patch:
        stop_after(patch, 2, number)
        run = napari_sam2(*words, "--out", "parts.sam2")
    assert run.code == 128 + number
    assert "everything up to it is saved. Go on with:" in run.err
    assert "Traceback" not in run.err
    whole, saved = all_masks(Path("whole.sam2")), all_masks(Path("parts.sam2"))
    assert 0 < len(saved) < len(whole)
    assert saved.items() <= whole.items()
    napari_sam2("resume", "parts.sam2", "--json").ok()
    assert all_masks(Path("parts.sam2")) == whole


def test_resume_of_a_complete_project_says_so(napari_sam2, movie: Path, checkpoint: Path) -> None:
    napari_sam2("track", movie, *TWO, "--model", checkpoint, "--json").ok()
    run = napari_sam2("resume", "movie.sam2")
    assert run.code == 1
    assert run.err == "error: there is nothing to resume: movie.sam2 is complete\n"
    assert napari_sam2("resume", "movie.sam2", "--export", "davis", "--json").ok()["frames"] == 0


def frames_so_far(path: Path) -> int:
    if not path.exists():
        return 0
    with Project.open(path) as project:
        return len(project.frames())


def test_kill_loses_nothing_but_the_frame_in_flight(
    napari_sam2, movie: Path, checkpoint: Path, tmp_path: Path
) -> None:
    words = ["track", str(movie), *TWO, "--model", str(checkpoint)]
    napari_sam2(*words, "--out", "whole.sam2", "--json").ok()
    whole = all_masks(tmp_path / "whole.sam2")
    command = [sys.executable, "-m", "napari_sam2.cli", *words, "--out", "killed.sam2", "--direction", "both"]
    process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.getcwd()})
    deadline = time.monotonic() + 120
    while frames_so_far(tmp_path / "killed.sam2") < 4:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.wait()
    before = all_masks(tmp_path / "killed.sam2")
    assert 0 < len(before) < len(whole)
    assert before.items() <= whole.items()
    napari_sam2("resume", "killed.sam2", "--json").ok()
    after = all_masks(tmp_path / "killed.sam2")
    assert {k: v for k, v in after.items() if k in whole} == whole
    assert {f for f, i in after if i == 2} == set(range(12))  # the second pass was done as well


def test_an_existing_project_is_not_touched(napari_sam2, movie: Path, checkpoint: Path) -> None:
    words = ("track", movie, *TWO, "--model", checkpoint)
    napari_sam2(*words, "--json").ok()
    before = all_masks(Path("movie.sam2"))
    run = napari_sam2(*words, "--range", "0:3")
    assert run.code == 1
    assert "napari-sam2 resume movie.sam2" in run.err
    assert "--overwrite" in run.err
    assert all_masks(Path("movie.sam2")) == before
    napari_sam2(*words, "--range", "0:3", "--overwrite", "--json").ok()
    assert len(all_masks(Path("movie.sam2"))) == 4


def test_moved_frames_are_found_again_with_source(
    napari_sam2, movie: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        napari_sam2("track", movie, *TWO, "--model", checkpoint)
    movie.rename("elsewhere.tif")
    run = napari_sam2("resume", "movie.sam2")
    assert run.code == 1
    assert "--source PATH" in run.err
    tifffile.imwrite("other.tif", np.zeros((12, 40, 56), np.uint8))
    run = napari_sam2("resume", "movie.sam2", "--source", "other.tif")
    assert run.code == 1
    assert "does not hold the frames" in run.err
    napari_sam2("resume", "movie.sam2", "--source", "elsewhere.tif", "--json").ok()
    napari_sam2("export", "movie.sam2", "--export", "mp4", "--json").ok()  # it remembers


def test_an_unreadable_frame_costs_nothing_that_was_done(
    napari_sam2, movie: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = FrameStack.frame

    def damaged(self: FrameStack, frame: int) -> np.ndarray:
        if frame == 5:
            raise RuntimeError("Frame 5 can't be read.")
        return read(self, frame)

    with monkeypatch.context() as patch:
        patch.setattr(FrameStack, "frame", damaged)
        run = napari_sam2("track", movie, *TWO, "--model", checkpoint)
    assert run.code == 1
    assert run.err.startswith("error: Frame 5 can't be read; everything up to frame 4 is saved")
    assert "napari-sam2 resume" in run.err
    assert {f for f, _ in all_masks(Path("movie.sam2"))} == set(range(5))
    napari_sam2("resume", "movie.sam2", "--json").ok()
    assert {f for f, _ in all_masks(Path("movie.sam2"))} == set(range(12))


def test_times_of_a_video_with_variable_frame_rate(napari_sam2, checkpoint: Path) -> None:
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    source = [
        "-f",
        "lavfi",
        "-i",
        "testsrc=size=64x48:rate=10:duration=1",
        "-vf",
        "settb=1/1000,setpts='N*N*20'",
    ]
    made = [ffmpeg, "-v", "error", *source, "-fps_mode", "vfr", "-enc_time_base", "1:1000", "-y", "v.mkv"]
    subprocess.run(made, check=True)
    data = napari_sam2("info", "v.mkv", "--json").ok()
    assert data["variable_frame_rate"]
    assert data["frames"] == 10
    words = ("--box", "0:1:5,5,30,30", "--model", checkpoint, "--export", "csv,mp4", "--json")
    exports = napari_sam2("track", "v.mkv", *words).ok()["exports"]
    rows = list(csv.DictReader(Path(exports["csv"]).read_text(encoding="utf-8").splitlines()))
    assert [float(r["time_s"]) for r in rows] == pytest.approx([n * n * 0.02 for n in range(10)], abs=0.002)
    counted = subprocess.run(
        [ffmpeg, "-i", exports["mp4"], "-f", "framecrc", "-"], capture_output=True, text=True, check=True
    )
    assert sum(not line.startswith("#") for line in counted.stdout.splitlines()) == 10


def test_replay_is_bit_identical(napari_sam2, movie: Path, checkpoint: Path) -> None:
    napari_sam2("track", movie, *TWO, "--model", checkpoint, "--direction", "both", "--json").ok()
    result = napari_sam2("replay", "movie.sam2", "--json").ok()
    assert result["masks"] == result["identical"] == 24
    napari_sam2("replay", "movie.sam2", "--out", "again.sam2", "--json").ok()
    assert all_masks(Path("again.sam2")) == all_masks(Path("movie.sam2"))


def test_the_input_size_is_part_of_the_project(napari_sam2, movie: Path, checkpoint: Path) -> None:
    small = ("track", movie, *TWO, "--model", checkpoint, "--image-size", 32, "--out", "small.sam2", "--json")
    napari_sam2("track", movie, *TWO, "--model", checkpoint, "--json").ok()
    napari_sam2(*small).ok()
    assert all_masks(Path("small.sam2")) != all_masks(Path("movie.sam2"))
    assert [napari_sam2("info", p, "--json").ok()["image_size"] for p in ("movie.sam2", "small.sam2")] == [
        64,
        32,
    ]
    assert napari_sam2("replay", "small.sam2", "--json").ok()["identical"] == 22
    with Project.open("small.sam2", "a") as project:
        saved = {i: project.masks(i) for i in (10, 11)}
        assert project.store.get(1, 5).logits.shape == (8, 8)
        Plan(("forward",), first=0, last=LENGTH - 1).save(project)  # as if it had been stopped
    napari_sam2("resume", "small.sam2", "--json").ok()
    with Project.open("small.sam2") as project:
        for frame, masks in saved.items():
            np.testing.assert_array_equal(project.masks(frame).masks, masks.masks)
    said = napari_sam2("track", movie, *TWO, "--model", checkpoint, "--image-size", 100, "--out", "x.sam2")
    assert said.code == 2
    assert "multiple of 32" in said.err
    assert not Path("x.sam2").exists()


def test_a_session_at_another_input_size_is_refused(napari_sam2, movie: Path, checkpoint: Path) -> None:
    napari_sam2("track", movie, *TWO, "--model", checkpoint, "--image-size", 32, "--json").ok()
    frames = open_source(movie).frames()
    with (
        Project.open("movie.sam2", "a") as project,
        pytest.raises(ProjectMismatchError, match="made at an input size of 32 pixels and not 64: use that"),
    ):
        open_session(project, load_model(checkpoint, device="cpu"), frames, verify=False)


def test_a_job_of_a_batch_has_an_input_size(movie: Path, checkpoint: Path, tmp_path: Path) -> None:
    job = TrackJob.of(movie, tmp_path, model=str(checkpoint), point=["0:1:10,10"], image_size=32)
    assert job.args.image_size == 32


def test_replay_finds_a_mask_that_differs(napari_sam2, movie: Path, checkpoint: Path) -> None:
    napari_sam2("track", movie, *TWO, "--model", checkpoint, "--json").ok()
    with Project.open("movie.sam2", "a") as project:
        masks = project.masks(5, [1])
        changed = masks.masks.copy()
        changed[0, 0, 0] ^= True
        with project.history.action("tamper"):
            project.store.put_masks(type(masks)(**{**masks.__dict__, "masks": changed}), "tracked")
    run = napari_sam2("replay", "movie.sam2")
    assert run.code == 1
    assert "1 of 22 masks differ" in run.err
    assert "object 1 on frame 5" in run.err


def test_replay_without_a_plan_covers_what_is_there(napari_sam2, movie: Path, checkpoint: Path) -> None:
    words = ("--box", "6:1:12,8,26,20", "--model", checkpoint, "--direction", "both", "--range", "2:9")
    napari_sam2("track", movie, *words, "--json").ok()
    with Project.open("movie.sam2", "a") as project:
        project.save_setting("track", None)
    assert napari_sam2("replay", "movie.sam2", "--json").ok()["masks"] == 7


def test_a_damaged_plan_is_no_plan(napari_sam2, movie: Path, checkpoint: Path) -> None:
    napari_sam2("track", movie, *TWO, "--model", checkpoint, "--json").ok()
    for text in ("", "[", "[]", "{}", '{"passes": ["sideways"], "objects": null}', "null", '{"passes": 1}'):
        with closing(sqlite3.connect("movie.sam2/project.db")) as database, database:
            database.execute(
                "UPDATE project SET value = ?, checksum = NULL WHERE key = 'setting.track'", (text,)
            )
        with Project.open("movie.sam2") as project:
            assert Plan.load(project) is None


def test_a_project_in_use_is_told(napari_sam2, movie: Path, checkpoint: Path) -> None:
    napari_sam2("track", movie, *TWO, "--model", checkpoint, "--json").ok()
    with Project.open("movie.sam2", "a"):
        run = napari_sam2("resume", "movie.sam2")
        assert run.code == 1
        assert run.err.startswith("error: ")
        assert napari_sam2("info", "movie.sam2").code == 0  # reading is always allowed

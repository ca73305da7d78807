from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import tifffile
import torch
import yaml

import napari_sam2 as napari_sam2_package
from napari_sam2.cli.commands import demo, gui, train
from napari_sam2.cli.commands.train import ProjectLabels
from napari_sam2.cli.main import main
from napari_sam2.cli.options import parser as arguments
from napari_sam2.cli.options.parser import MODELS, make_parser
from napari_sam2.cli.workflow import write_exports as exporting
from napari_sam2.formats import FORMATS
from napari_sam2.masks import Rle, encode_rle
from napari_sam2.storage import Project
from napari_sam2.synthetic.samples import Sample, sample_timelapse
from napari_sam2.training.benchmarks import suites as benchmark
from napari_sam2.training.benchmarks.suites import Extent
from napari_sam2.training.recipe import TrainOptions
from tests.cli.conftest import HEIGHT, LENGTH, WIDTH

COMMANDS = (
    "demo",
    "track",
    "resume",
    "batch",
    "export",
    "replay",
    "review",
    "info",
    "evaluate",
    "benchmark",
    "weights",
    "auto",
    "train",
    "gui",
)
BOX = ("--box", "0:1:0,8,14,20", "--box", "0:2:40,26,52,36")


def python(*words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=env)


@pytest.fixture
def project(napari_sam2, movie: Path, checkpoint: Path) -> Path:
    napari_sam2("track", movie, *BOX, "--model", checkpoint, "--json").ok()
    return Path("movie.sam2")


# Help and errors -------------------------------------------------------------------------------------------


def test_help_loads_nothing_heavy_and_is_instant() -> None:
    code = (
        "import sys, resource, napari_sam2.cli as c; c.main(['--help']); c.main(['export', '--help']);"
        "heavy = {'torch', 'numpy', 'zarr', 'dask', 'tifffile', 'skimage', 'napari'} & set(sys.modules);"
        "print(sorted(heavy), resource.getrusage(resource.RUSAGE_SELF).ru_utime, file=sys.stderr)"
    )
    done = python("-c", code)
    heavy, seconds = done.stderr.strip().rsplit(" ", 1)
    assert heavy == "[]"
    assert float(seconds) < 0.3
    assert all(command in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"usage: napari-sam2 {command}" in text
    assert "--json" in text


def test_help_lists_the_models_and_formats_that_exist() -> None:
    from napari_sam2.model.weights.registry import RELEASED

    assert set(MODELS[1:]) == {m.size for m in RELEASED.values()}
    text = make_parser().format_help()
    assert "examples:" in text
    assert set(FORMATS) >= {"tiff", "ome-tiff", "ome-zarr", "coco", "ctc", "tracks", "csv", "mp4", "davis"}


def test_the_page_about_the_command_line_names_every_option() -> None:
    page = Path("docs/cli.md").read_text(encoding="utf-8")
    subparsers = next(
        a for a in make_parser()._actions if a.dest == "command" or (hasattr(a, "choices") and a.choices)
    )
    for name, parser in subparsers.choices.items():
        assert f"## {name}" in page, name
        for action in parser._actions:
            for flag in action.option_strings:
                assert flag in ("-h", "--help", "-q") or f"`{flag}" in page, (name, flag)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("fly",),
        ("track",),
        ("track", "a.mp4", "--range", "5"),
        ("track", "a.mp4", "--range", "5:2"),
        ("track", "a.mp4", "--objects", "0"),
        ("track", "a.mp4", "--export", "gif"),
        ("track", "a.mp4", "--at", "t3"),
        ("export", "a.sam2"),
        ("weights", "eat"),
        ("track", "a.mp4", "--direction", "up"),
        ("info", "a", "--channels", "x"),
    ],
)
def test_what_cannot_be_meant_is_usage(napari_sam2, words: tuple) -> None:
    run = napari_sam2(*words)
    assert run.code == 2
    assert "usage: napari-sam2" in run.err
    assert "Traceback" not in run.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("track", "{movie}"), "--point"),
        (("track", "{movie}", "--point", "0:1:5"), "0:1:320,240"),
        (("track", "{movie}", "--point", "0:1:500,5"), "56 wide and 40 high"),
        (("track", "{movie}", "--point", "20:1:5,5"), "0 to 11"),
        (("track", "{movie}", "--point", "0:1:5,5", "--range", "5:9"), "outside --range 5:9"),
        (("track", "{movie}", "--point", "0:1:5,5", "--range", "5:99"), "frames 0 to 11"),
        (("track", "{movie}", "--point", "0:1:5,5", "--objects", "2"), "object 2 has no prompt"),
        (("track", "{movie}", "--point", "0:1:5,5", "--set", "speed=9"), "fill_hole_area"),
        (("track", "{movie}", "--point", "0:1:5,5", "--set", "fill_hole_area=x"), "whole number"),
        (("track", "{movie}", "--point", "0:1:5,5", "--set", "non_overlap=maybe"), "true or false"),
        (("track", "{movie}", "--point", "0:1:5,5", "--set", "precision=best"), "exact"),
        (("track", "{movie}", "--axis", "q", "--point", "0:1:5,5"), "its axes are t, y, x"),
        (("track", "{movie}", "--axis", "y", "--point", "0:1:5,5"), "lies within a frame"),
        (("track", "{movie}", "--at", "t=3", "--point", "0:1:5,5"), "is the frame axis and can't be held"),
        (("info", "{movie}", "--contrast", "9,1"), "below the second"),
        (("info", "{movie}", "--contrast", "dark"), "LOW,HIGH"),
        (("info", "{movie}", "--channels", "3"), "channels 0 to 0"),
        (("weights", "path", "enormous"), "nano"),
        (("weights", "download"), "needs a model"),
        (("train", "--out", "x"), "PROJECT"),
        (("benchmark", "--suite", "sequences", "clicks"), "--data FOLDER"),
        (("train", "--out", "x", "--preset", "nano", "--image-size", "512"), "of its own"),
    ],
)
def test_usage_errors_are_one_sentence_with_the_remedy(
    napari_sam2, movie: Path, words: tuple, message: str
) -> None:
    run = napari_sam2(*(w.format(movie=movie) for w in words))
    assert run.code == 2
    assert run.err.startswith("error: ")
    assert run.err.count("\n") == 1
    assert message in run.err
    assert run.out == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("benchmark", "--image-size", "100"), "100 is no input size: it must be a positive multiple of 32"),
        (("train", "p.sam2", "--out", "x", "--image-size", "many"), "many is no input size"),
        (("track", "movie.mp4", "--range", "9:5"), "'9:5' is not a range of frames: write A:B"),
        (("track", "movie.mp4", "--objects", "0"), "'0' is not a list of object ids: write numbers"),
        (("track", "movie.mp4", "--channels", "-1"), "'-1' is not a list of channels: write numbers"),
        (("track", "movie.mp4", "--at", "t:3"), "'t:3' is not a position: write AXIS=NUMBER"),
    ],
)
def test_flags_that_cannot_be_read_say_what_to_write(napari_sam2, words: tuple, message: str) -> None:
    run = napari_sam2(*words)
    assert run.code == 2
    assert message in run.err.splitlines()[-1]
    assert run.out == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("track", "none.mp4", "--point", "0:1:5,5"), "none.mp4 does not exist"),
        (("info", "none.mp4"), "none.mp4"),
        (("resume", "none.sam2"), "no project"),
        (("export", "none.sam2", "--export", "tiff"), "no project"),
        (("replay", "none.sam2"), "no project"),
        (("evaluate", "none.sam2", "gt.tif"), "no project"),
        (("benchmark", "--data", "nowhere"), "not a folder"),
        (("track", "{movie}", "--point", "0:1:5,5", "--model", "none.pt"), "none.pt"),
        (("track", "{movie}", "--point", "0:1:5,5", "--prompts", "none.json"), "none.json"),
        (("track", "{movie}", "--mask", "none.tif"), "none.tif does not exist"),
        (("track", "{movie}", "--point", "0:1:5,5", "--model", "{checkpoint}", "--device", "warp"), "warp"),
    ],
)
def test_failures_are_one_sentence(
    napari_sam2, movie: Path, checkpoint: Path, words: tuple, message: str
) -> None:
    run = napari_sam2(*(w.format(movie=movie, checkpoint=checkpoint) for w in words))
    assert run.code == 1
    assert run.err.startswith("error: ")
    assert run.err.count("\n") == 1
    assert message in run.err
    assert "Traceback" not in run.err
    assert not list(Path().glob("*.sam2"))  # nothing is left behind


def test_a_pattern_without_quotes_is_explained(napari_sam2) -> None:
    Path("f").mkdir()
    for t in range(3):
        tifffile.imwrite(f"f/{t}.tif", np.zeros((8, 8), np.uint8))
    run = napari_sam2("info", "f/0.tif", "f/1.tif", "f/2.tif")
    assert run.code == 2
    assert (
        "there are 2 more files than expected (f/1.tif and so on): put a pattern in quotes, like 'f/*.tif'"
        in run.err
    )
    assert napari_sam2("info", "f/*.tif", "--json").ok()["frames"] == 3
    assert "unrecognized arguments: f/9.tif" in napari_sam2("info", "f/0.tif", "f/9.tif").err


def test_debug_shows_the_traceback(napari_sam2) -> None:
    for words in (("--debug", "info", "none.mp4"), ("info", "none.mp4", "--debug")):
        run = napari_sam2(*words)
        assert run.code == 1
        assert "Traceback" in run.err


def test_errors_are_json_for_machines(napari_sam2) -> None:
    run = napari_sam2("info", "none.mp4", "--json")
    assert run.code == 1
    assert run.err == ""
    assert run.events[0]["event"] == "error"
    assert run.events[0]["exit_code"] == 1


def test_a_reader_that_leaves_is_no_error(movie: Path) -> None:
    code = (
        f"import napari_sam2.cli as c, sys; sys.stdout.reconfigure(line_buffering=True); "
        f"sys.exit(c.main(['info', {str(movie)!r}]))"
    )
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, env=env)
    os.close(write)
    assert b"Traceback" not in done.stderr


# Info ------------------------------------------------------------------------------------------------------


def test_info_of_a_source(napari_sam2, movie: Path) -> None:
    data = napari_sam2("info", movie, "--json").ok()
    assert (data["kind"], data["axes"], data["shape"]) == ("tiff", ["t", "y", "x"], [12, 40, 56])
    assert (data["frames"], data["height"], data["width"], data["dtype"]) == (12, 40, 56, "uint8")
    assert data["step"]["t"] == [2.0, "s"]
    text = napari_sam2("info", movie).out
    assert "12 along t, 56 × 40 pixels" in text


def test_info_of_a_project(napari_sam2, project: Path) -> None:
    data = napari_sam2("info", project, "--json").ok()
    assert [o["id"] for o in data["objects"]] == [1, 2]
    assert [o["frames_with_a_result"] for o in data["objects"]] == [12, 12]
    assert [o["prompted_frames"] for o in data["objects"]] == [1, 1]
    assert not data["unfinished"]
    assert data["bytes_on_disk"] > 1000
    text = napari_sam2("info", project).out
    assert "object 2: 12 frames from 0 to 11, prompts on 1" in text


def test_axes_positions_contrast_and_channels(napari_sam2, checkpoint: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 4000, (3, 2, 5, 40, 56)).astype(np.uint16)
    metadata = {"axes": "TCZYX", "PhysicalSizeZ": 2.0, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite("five.ome.tif", stack, ome=True, photometric="minisblack", metadata=metadata)
    data = napari_sam2("info", "five.ome.tif", "--json").ok()
    assert (data["travels_along"], data["frames"], data["held"]) == ("t", 3, {"z": 2})
    words = ("--axis", "z", "--at", "t=1", "--contrast", "100,2000", "--channels", "1")
    data = napari_sam2("info", "five.ome.tif", *words, "--json").ok()
    assert (data["travels_along"], data["frames"], data["held"]) == ("z", 5, {"t": 1})
    assert data["contrast_limits"] == [[100.0, 2000.0]]
    words += (
        "--model",
        checkpoint,
        "--point",
        "2:4:20,20",
        "--direction",
        "both",
        "--export",
        "csv,ome-tiff",
    )
    result = napari_sam2("track", "five.ome.tif", *words, "--json").ok()
    assert result["frames"] == 5  # 2, 3, 4 and 2, 1, 0; frame 2 twice
    with tifffile.TiffFile(result["exports"]["ome-tiff"]) as file:
        assert file.series[0].axes == "ZYX"
        assert 'PhysicalSizeZ="2.0"' in file.ome_metadata
    table = Path(result["exports"]["csv"]).read_text(encoding="utf-8").splitlines()
    assert "z_µm" in table[0]
    assert "mean_channel0,mean_channel1" in table[0]
    # The project opens exactly these frames again.
    assert napari_sam2("replay", "five.sam2", "--json").ok()["masks"] == 5


# Export ----------------------------------------------------------------------------------------------------


def test_all_formats_at_once(napari_sam2, project: Path) -> None:
    result = napari_sam2("export", project, "--export", "all", "--json").ok()
    assert set(result["exports"]) == {name for name, known in FORMATS.items() if known.available}
    assert all(Path(p).exists() for p in result["exports"].values())
    tasks = {e["task"] for e in napari_sam2("info", project, "--json").events if e["event"] == "progress"}
    assert not tasks
    run = napari_sam2("export", project, "--export", "coco,tiff")
    assert run.code == 1
    assert "--overwrite" in run.err
    assert napari_sam2("export", project, "--export", "coco,tiff", "--overwrite").code == 0


def test_chosen_objects_and_folder(napari_sam2, project: Path) -> None:
    words = ("--export", "tiff", "--objects", "2", "--export-to", "there")
    napari_sam2("export", project, *words, "--json").ok()
    assert set(np.unique(tifffile.imread("there/labels.tif"))) <= {0, 2}
    run = napari_sam2("export", project, "--export", "tiff", "--objects", "9")
    assert run.code == 2
    assert "no object 9" in run.err


def test_overlay_of_a_range(napari_sam2, project: Path) -> None:
    result = napari_sam2("export", project, "--export", "mp4,tiff", "--range", "3:8", "--json").ok()
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", result["exports"]["mp4"], "-f", "framecrc", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len([line for line in done.stdout.splitlines() if not line.startswith("#")]) == 5
    assert len(tifffile.imread(result["exports"]["tiff"])) == 12  # labels always fit the source
    assert napari_sam2("export", project, "--export", "mp4", "--range", "3:99", "--overwrite").code == 2


def test_without_frames_the_table_has_no_intensities_and_there_is_no_video(
    napari_sam2, project: Path, movie: Path
) -> None:
    movie.unlink()
    run = napari_sam2("export", project, "--export", "csv")
    assert run.code == 0
    assert run.err.startswith("warning: ")
    header = (project / "exports" / "measurements.csv").read_text(encoding="utf-8").splitlines()[0]
    assert "mean_" not in header
    assert "time_s" in header  # the project remembers times and scale
    run = napari_sam2("export", project, "--export", "mp4")
    assert run.code == 1
    assert "--source PATH" in run.err


def test_stopping_an_export_leaves_no_half_file(
    napari_sam2, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopping(exporting.ProgressBar):
        def step(self, frame: int | None = None) -> None:
            super().step(frame)
            if self.n == 4:
                os.kill(os.getpid(), 2)

    monkeypatch.setattr(exporting, "ProgressBar", Stopping)
    run = napari_sam2("export", project, "--export", "mp4")
    assert run.code == 130
    assert "napari-sam2" in run.err
    assert [p.name for p in (project / "exports").iterdir() if p.name != "zarr.json"] == []


def test_an_interrupted_export_is_repeated_by_the_same_command(
    napari_sam2, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("export", project, "--export", "coco,davis,mp4", "--export-to", "out")

    class Stopping(exporting.ProgressBar):
        def step(self, frame: int | None = None) -> None:
            super().step(frame)
            if self.n == 4 and "mp4" in self.desc:
                os.kill(os.getpid(), 2)

    with monkeypatch.context() as patch:
        patch.setattr(exporting, "ProgressBar", Stopping)
        assert napari_sam2(*words).code == 130
    assert {p.name for p in Path("out").iterdir()} == {"coco.json", "davis", ".napari-sam2-exports.json"}
    assert napari_sam2(*words).code == 0
    assert {p.name for p in Path("out").iterdir()} == {"coco.json", "davis", "overlay.mp4"}
    # After a complete run, and after a change by somebody else, nothing is replaced without being told to.
    run = napari_sam2(*words)
    assert run.code == 1
    assert "coco.json exists already: replace it with --overwrite" in run.err
    (Path("out") / "overlay.mp4").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(exporting, "ProgressBar", Stopping)
        assert napari_sam2(*words, "--overwrite").code == 130
    Path("out/coco.json").write_text("edited", encoding="utf-8")
    run = napari_sam2(*words)
    assert run.code == 1
    assert "coco.json exists already" in run.err
    assert Path("out/coco.json").read_text(encoding="utf-8") == "edited"


def test_resume_of_a_complete_project_writes_the_exports_that_are_missing(napari_sam2, project: Path) -> None:
    napari_sam2("export", project, "--export", "csv", "--json").ok()
    table = project / "exports" / "measurements.csv"
    table.write_text("edited", encoding="utf-8")
    run = napari_sam2("resume", project, "--export", "csv,coco,tiff")
    assert run.code == 0
    assert "measurements.csv exists already and is kept: replace it with --overwrite" in run.err
    assert table.read_text(encoding="utf-8") == "edited"
    assert "movie.sam2 is complete" in run.out
    assert tifffile.imread(project / "exports" / "labels.tif").shape == (12, 40, 56)
    assert len(json.loads((project / "exports" / "coco.json").read_text())["images"]) == 12
    assert napari_sam2("resume", project, "--export", "csv,coco").code == 0
    run = napari_sam2("resume", project, "--export", "csv", "--overwrite")
    assert run.code == 1
    assert (
        "measurements.csv is no export of napari-sam2 and is not replaced: choose another name, or" in run.err
    )
    assert table.read_text(encoding="utf-8") == "edited"
    table.unlink()
    for _ in range(2):
        assert napari_sam2("resume", project, "--export", "csv", "--overwrite").code == 0
    assert table.read_text(encoding="utf-8").startswith("frame")


def test_what_is_no_export_is_found_before_anything_is_tracked(
    napari_sam2, movie: Path, checkpoint: Path
) -> None:
    Path("labels.tif").write_bytes(b"a week of painting")
    words = ("--overwrite", "--model", checkpoint)
    for run in (
        napari_sam2("track", movie, *BOX, "--export", "tiff", "--export-to", ".", *words),
        napari_sam2("auto", movie, "--out", "labels.tif", *words),
        napari_sam2("auto", movie, "--track", "--out", "labels.tif", *words),
    ):
        assert run.code == 1
        assert "labels.tif is no export of napari-sam2 and is not replaced" in run.err
    assert Path("labels.tif").read_bytes() == b"a week of painting"
    assert not Path("movie.sam2").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("auto", "labels.tif", "--out", "labels.tif"),
        ("auto", "labels.tif", "--track", "--out", "./labels.tif"),
        ("track", "labels.tif", *BOX, "--export", "tiff", "--export-to", "."),
        ("track", "labels*.tif", *BOX, "--export", "tiff", "--export-to", "."),
        ("track", ".", *BOX, "--export", "tiff", "--export-to", "."),
    ],
)
def test_the_source_is_never_replaced(napari_sam2, movie: Path, words: tuple[str, ...]) -> None:
    movie.rename("labels.tif")
    before = Path("labels.tif").read_bytes()
    run = napari_sam2(*words, "--overwrite")
    assert run.code == 2
    assert "labels.tif is the source itself and is not replaced: choose another name or folder" in run.err
    assert Path("labels.tif").read_bytes() == before
    assert [p.name for p in Path().iterdir()] == ["labels.tif"]


def test_an_export_of_a_project_does_not_replace_its_source(
    napari_sam2, movie: Path, checkpoint: Path
) -> None:
    movie.rename("labels.tif")
    napari_sam2("track", "labels.tif", *BOX, "--model", checkpoint, "--json").ok()
    for command in ("export", "resume"):
        run = napari_sam2(command, "labels.sam2", "--export", "tiff", "--export-to", ".", "--overwrite")
        assert run.code == 2
        assert "labels.tif is the source itself" in run.err


# Evaluate, weights, auto, train, demo, gui -----------------------------------------------------------------


def block(x: int, y: int, side: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y : y + side, x : x + side] = True
    return mask


def write_coco(path: Path, masks: dict[int, dict[int, np.ndarray]]) -> None:
    """Write masks (H, W) by frame and object; the images of other frames are not listed."""
    size = {"height": HEIGHT, "width": WIDTH}
    images = [{"id": t + 1, "file_name": f"{t:06d}.png", "frame_index": t, **size} for t in masks]
    annotations = []
    for t, found in masks.items():
        for i, mask in found.items():
            rle = encode_rle(mask)
            annotation = {"id": len(annotations) + 1, "image_id": t + 1, "category_id": 1, "track_id": i}
            annotations.append({**annotation, "segmentation": {"size": rle.size, "counts": rle.counts}})
    path.write_text(json.dumps({"images": images, "annotations": annotations}), encoding="utf-8")


@pytest.fixture
def nested_project(napari_sam2, movie: Path, checkpoint: Path) -> Path:
    """Three objects on all frames, two of which lie inside the third."""
    masks = {
        t: {1: block(15 + t, 15, 8), 2: block(10 + t, 10, 20), 3: block(22 + t, 12, 16)}
        for t in range(LENGTH)
    }
    write_coco(Path("nested.json"), masks)
    napari_sam2("track", movie, "--mask", "nested.json", "--model", checkpoint, "--json").ok()
    return Path("movie.sam2")


@pytest.mark.parametrize("kind", ["folder", "coco"])
def test_frames_without_ground_truth_do_not_count(napari_sam2, nested_project: Path, kind: str) -> None:
    napari_sam2("export", nested_project, "--export", "tiff", "--export-to", "e", "--json").ok()
    labels, labelled = tifffile.imread("e/labels.tif"), (0, 4, 8)
    assert all((labels[t] == i).any() for t in range(LENGTH) for i in (1, 2, 3))
    truth = Path("truth.json" if kind == "coco" else "truth")
    if kind == "coco":
        write_coco(truth, {t: {i: labels[t] == i for i in (1, 2, 3)} for t in labelled})
    else:
        truth.mkdir()
        for t in labelled:
            tifffile.imwrite(truth / f"{t:05d}.tif", labels[t])
    words = ("evaluate", nested_project, truth)
    score = napari_sam2(*words, "--json").ok()
    assert (score["j_and_f"], score["frames_compared"]) == (1.0, 3)
    assert [one["frames"] for one in score["objects"]] == [3, 3, 3]
    assert "frames with ground truth: 3" in napari_sam2(*words).out
    absent = napari_sam2(*words, "--unlabelled", "absent", "--json").ok()
    assert (absent["j"], absent["frames_compared"]) == (0.25, 12)  # masks on 9 of 12 frames are wrong then
    part = napari_sam2(*words, "--range", "3:8", "--json").ok()
    assert (part["j"], part["frames_compared"]) == (1.0, 1)
    if kind == "folder":  # a black image is ground truth, too: nothing is there
        tifffile.imwrite(truth / "00006.tif", np.zeros_like(labels[0]))
        score = napari_sam2(*words, "--json").ok()
        assert (score["j"], score["frames_compared"]) == (0.75, 4)


def test_a_project_equals_its_own_exports_also_where_objects_overlap(
    napari_sam2, nested_project: Path
) -> None:
    napari_sam2("export", nested_project, "--export", "coco,tiff,davis", "--export-to", "e", "--json").ok()
    coco = json.loads(Path("e/coco.json").read_text(encoding="utf-8"))
    first = [
        Rle(tuple(a["segmentation"]["size"]), a["segmentation"]["counts"]).decode()
        for a in coco["annotations"]
    ]
    assert (first[0] & first[1]).any()
    for truth in ("e/coco.json", "e/labels.tif", "e/davis"):
        score = napari_sam2("evaluate", nested_project, truth, "--json").ok()
        assert (score["j_and_f"], score["visibility_accuracy"], score["frames_compared"]) == (1.0, 1.0, 12), (
            truth
        )


def test_masks_against_themselves_are_perfect(napari_sam2, project: Path) -> None:
    napari_sam2("export", project, "--export", "tiff,ctc", "--export-to", "gt", "--json").ok()
    labels = tifffile.imread("gt/labels.tif")
    if not (labels == 2).any():
        pytest.skip("the untrained network lost object 2")
    score = napari_sam2("evaluate", project, "gt/labels.tif", "--json").ok()
    assert score["j"] == 1.0
    assert score["matching"] == "ids"
    assert [o["matched_id"] for o in score["objects"]] == [1, 2]
    swapped = np.select([labels == 1, labels == 2], [20, 10], 0).astype(np.uint16)
    tifffile.imwrite("swapped.tif", swapped)
    score = napari_sam2("evaluate", project, "swapped.tif", "--json").ok()
    assert score["matching"] == "overlap"
    assert {o["id"]: o["matched_id"] for o in score["objects"]} == {10: 2, 20: 1}
    text = napari_sam2("evaluate", project, "gt/labels.tif").out
    assert "| mean of 2 |" in text


def test_evaluation_is_of_the_frames_that_are_asked_for(napari_sam2, project: Path, truth: Path) -> None:
    whole = napari_sam2("evaluate", project, truth, "--json").ok()
    part = napari_sam2("evaluate", project, truth, "--range", "3:7", "--json").ok()
    assert whole["objects"][0]["frames"] == 12
    assert part["objects"][0]["frames"] == 4
    skipped = napari_sam2("evaluate", project, truth, "--skip-prompted", "--json").ok()
    assert skipped["objects"][0]["frames"] == 11
    labels = tifffile.imread(truth)
    tifffile.imwrite("part.tif", labels[3:7], photometric="minisblack")
    again = napari_sam2("evaluate", project, "part.tif", "--range", "3:7", "--json").ok()
    assert again["j"] == part["j"]
    for bad, message in ((labels[:5], "5 frames"), (labels[:, :30], "30 × 56"), (labels * 0, "no object")):
        tifffile.imwrite("bad.tif", bad, photometric="minisblack")
        run = napari_sam2("evaluate", project, "bad.tif")
        assert run.code == 1
        assert message in run.err


def test_weights_are_listed(napari_sam2) -> None:
    models = napari_sam2("weights", "list", "--json").ok()["models"]
    assert [m["name"] for m in models][:5] == ["nano", "tiny", "small", "base_plus", "large"]
    text = napari_sam2("weights", "list").out
    assert len(text.splitlines()) == len(models)
    vit_b = next(m for m in models if m["name"] == "vit_b")
    assert (vit_b["release"], vit_b["megabytes"], vit_b["licence"]) == ("SAM 1", 375, "Apache-2.0")
    assert vit_b["sha256"].startswith("ec2df627")
    assert "vit_b_lm            SAM 1      375 MB" in text
    absent = next(m["name"] for m in models if m["path"] is None)
    run = napari_sam2("weights", "path", absent)
    assert run.code in (1,)
    assert f"weights download {absent}" in run.err or absent == "nano"


def test_a_model_in_micro_sam_s_cache_is_found(
    napari_sam2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path))
    run = napari_sam2("weights", "download", "vit_b_lm")
    assert run.code == 1
    assert "diplomatic-bug/1.2/files/vit_b.pt" in run.err
    file = tmp_path / "models" / "vit_b_lm"
    file.parent.mkdir()
    file.write_bytes(b"")
    for action in ("path", "download"):
        assert napari_sam2("weights", action, "vit_b_lm", "--json").ok()["path"] == str(file)


def test_gui_opens_napari_in_a_process_of_its_own(napari_sam2, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def run(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        calls.append(command[1:])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(gui.subprocess, "run", run)
    assert napari_sam2("gui", "movie.mp4").code == 0
    assert calls == [["-m", "napari", "movie.mp4", "--with", "napari-sam2", gui.TRACKER]]
    manifest = yaml.safe_load(
        Path(napari_sam2_package.__file__).parents[1].joinpath("napari.yaml").read_text()
    )
    names = {w["display_name"] for w in manifest["contributions"]["widgets"]}
    assert gui.TRACKER in names
    monkeypatch.setattr(gui, "find_spec", lambda name: None)
    run = napari_sam2("gui")
    assert run.code == 1
    assert "pip install" in run.err


def test_benchmark_prints_one_table_a_suite(napari_sam2, checkpoint: Path, monkeypatch) -> None:
    monkeypatch.setattr(Extent, "quick", lambda: Extent(images=2, videos=2, frames=3, side=64, objects=2))
    words = ("benchmark", "--model", checkpoint, "--quick", "--suite", "images", "presence", "clicks")
    found = napari_sam2(*words, "--image-size", "64", "--json").ok()
    titles = [table["title"] for table in found["tables"]]  # without --data there are no real clicks
    assert [title.split(":")[0] for title in titles] == [
        "held-out synthetic images",
        "object score with occlusion and re-entry",
    ]
    row = found["tables"][0]["rows"][0]
    assert 0 <= float(row["1 click"]) <= float(row["best of 1 click's masks"]) <= 1
    assert found["image_size"] == 64
    assert "| 1 click | box | 3 clicks | best of 1 click's masks |" in napari_sam2(*words[:-2]).out


def test_benchmark_offers_every_suite() -> None:
    assert arguments.SUITES == benchmark.SUITES


def test_train_knows_what_was_not_tracked_yet(napari_sam2, movie: Path, checkpoint: Path) -> None:
    prompts = ("--box", "0:1:10,10,40,40", "--box", "2:2:20,20,50,50")
    napari_sam2("track", movie, *prompts, "--model", checkpoint, "--json").ok()
    with Project.open("movie.sam2") as project:
        labels = ProjectLabels(project, 1, project.frame_count)
        assert [labels.known(i) for i in range(3)] == [[1], [1, 2], [1, 2]]
        assert labels.shape == (project.frame_count - 1, *project.size)


def test_train_learns_from_a_project(napari_sam2, project: Path, checkpoint: Path) -> None:
    words = ("train", project, "--out", "run", "--model", checkpoint, "--minutes", "0.001", "--device", "cpu")
    result = napari_sam2(*words, "--image-size", "96", "--precision", "bfloat16", "--json").ok()
    assert " 96 " in Path("run/log.jsonl").read_text()
    recipe = json.loads(torch.load("run/state.pt", weights_only=True)["recipe"])
    assert recipe["precision"] == "bfloat16"
    assert Path(result["checkpoint"]).exists()
    assert 0 < result["steps"] < result["steps_in_total"]
    assert Path(result["curves"]).stat().st_size > 1000


def test_ctrl_c_ends_training_after_a_step_and_the_same_command_goes_on(
    napari_sam2, project: Path, checkpoint: Path, monkeypatch
) -> None:
    finetune = TrainOptions.preset("finetune").scaled(3 / 600)
    monkeypatch.setattr(TrainOptions, "preset", lambda name: finetune)
    words = ("train", project, "--out", "run", "--model", checkpoint, "--image-size", "96", "--device", "cpu")

    class Stopping(train.ProgressBar):
        def advance_to(self, done: int, frame: int | None = None) -> None:
            super().advance_to(done, frame)
            if done == 2:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)

    with monkeypatch.context() as patch:
        patch.setattr(train, "ProgressBar", Stopping)
        run = napari_sam2(*words)
    assert run.code == 130
    assert "stopped after step 2; the same command goes on" in run.err
    assert "Traceback" not in run.err
    assert torch.load("run/state.pt", weights_only=True)["step"] == 2
    third = napari_sam2(*words)
    assert third.code == 0
    assert "3 of 3 steps done" in third.out
    assert "finished run" not in third.out
    # where nothing is left to do, that is what it says
    again = napari_sam2(*words)
    assert "run holds a finished run: nothing was learnt anew, take another --out" in again.out
    other = napari_sam2(*words[:-4], "--image-size", "128", "--device", "cpu")
    assert other.code != 0
    assert "run holds a run with input sizes [[96]], not [[128]]" in other.err


@pytest.fixture
def short_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first frames of the sample, so that the demo takes a moment."""

    def short() -> Sample:
        whole, n = sample_timelapse(), 4
        seen = {i: s for i, s in whole.first_sight.items() if s.frame < n}
        return replace(
            whole, image=whole.image[:n], labels=whole.labels[:n], visible=whole.visible[:n], first_sight=seen
        )

    monkeypatch.setattr(demo, "sample_timelapse", short)


@pytest.mark.usefixtures("short_sample")
def test_demo_tracks_the_sample_and_scores_it(napari_sam2, checkpoint: Path) -> None:
    result = napari_sam2("demo", "--model", checkpoint, "--out", "d", "--json").ok()
    assert 0 <= result["j_and_f"] <= 1
    assert result["frames"] == 4
    assert len(result["objects"]) == len(json.loads(Path("d/prompts.json").read_text())["prompts"])
    assert all(Path(p).exists() for p in [*result["exports"].values(), *result["files"].values()])
    # Its files are a user's files: the same can be done by hand.
    words = ("track", "d/cells.ome.tif", "--prompts", "d/prompts.json", "--model", checkpoint, "--json")
    napari_sam2(*words).ok()
    score = napari_sam2("evaluate", "cells.sam2", "d/ground_truth.tif", "--json").ok()
    assert score["j_and_f"] == result["j_and_f"]
    run = napari_sam2("demo", "--model", checkpoint, "--out", "d")
    assert run.code == 1
    assert "--overwrite" in run.err
    assert napari_sam2("demo", "--model", checkpoint, "--out", "d", "--overwrite").code == 0


@pytest.mark.usefixtures("short_sample")
def test_demo_replaces_no_file_of_somebody_else(napari_sam2, checkpoint: Path) -> None:
    Path("prompts.json").write_text("my own")
    run = napari_sam2("demo", "--model", checkpoint, "--out", ".")
    assert run.code == 1
    assert "prompts.json is no export of napari-sam2 and is not replaced" in run.err
    assert [p.name for p in Path().iterdir()] == ["prompts.json"]
    assert Path("prompts.json").read_text() == "my own"


def test_demo_without_the_embedded_model_says_so(
    napari_sam2, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from napari_sam2.model.weights import checkpoints

    monkeypatch.setattr(checkpoints, "NANO_FILE", tmp_path / "nowhere.safetensors")
    run = napari_sam2("demo")
    assert run.code == 1
    assert "embedded model is missing" in run.err
    assert not Path("napari-sam2-demo").exists()


def test_a_destroyed_project_starts_again_from_its_readable_copies(napari_sam2, project: Path) -> None:
    with Project.open(project) as opened:
        prompts = opened.prompts
    (project / "project.db").write_bytes(b"gone")
    run = napari_sam2("info", project)
    assert run.code == 1
    assert "--restore" in run.err
    restored = napari_sam2("info", project, "--restore", "--json").ok()
    assert sum(one["prompted_frames"] for one in restored["objects"]) == len(prompts) > 0
    assert (project / "project.db.damaged-1").read_bytes() == b"gone"
    with Project.open(project) as opened:
        assert opened.prompts == prompts


@pytest.mark.parametrize("module", ["info", "export", "evaluate", "weights"])
def test_commands_without_a_network_do_not_load_torch(module: str) -> None:
    code = f"import sys, napari_sam2.cli.commands.{module}, napari_sam2.formats.coco; print('torch' in sys.modules)"
    assert python("-c", code).stdout.strip() == "False"

"""`napari-sam2 auto`: flags from the options, files of one and several frames, and objects that are tracked."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_sam2.automatic import AutomaticOptions
from napari_sam2.automatic.options import PRESETS
from napari_sam2.cli.errors import UsageError
from napari_sam2.cli.options.automatic_options import automatic_options, chosen_frames, flag, preset_flag
from napari_sam2.cli.options.parser import make_parser
from napari_sam2.masks import Rle
from napari_sam2.storage import Project

KEEP_ALL = ("--pred-iou-thresh", "0", "--stability-score-thresh", "0", "--points-per-side", "3")
NOTHING = ("--pred-iou-thresh", "1", "--points-per-side", "2")


def parsed(*words: str):
    return make_parser().parse_args(["auto", "a.tif", *words])


# Flags -----------------------------------------------------------------------------------------------------


def test_every_option_has_a_flag_with_its_docstring_as_help() -> None:
    auto = make_parser()._subparsers._group_actions[0].choices["auto"]
    by_flag = {text: action for action in auto._actions for text in action.option_strings}
    for field in fields(AutomaticOptions):
        assert len(by_flag[flag(field.name)].help) > 30, field.name
    assert "islands" in by_flag["--min-mask-region-area"].help
    assert "exact decides on masks" in by_flag["--mode"].help
    # Fields that share a paragraph of the docstring.
    assert by_flag["--min-area"].help.startswith("Keep masks of at least")


@pytest.mark.parametrize("preset", PRESETS)
def test_presets(preset: str) -> None:
    assert automatic_options(parsed("--preset", preset_flag(preset))) == AutomaticOptions.preset(preset)


def test_presets_are_typed_without_spaces() -> None:
    assert automatic_options(parsed("--preset", "few-large")).min_area == 400
    assert automatic_options(parsed("--preset", "many-small")).points_per_side == 48


def test_flags_of_every_kind_and_their_order(tmp_path: Path) -> None:
    words = (
        "--preset",
        "cells",
        "--min-area",
        "7",
        "--mode",
        "exact",
        "--use-m2m",
        "yes",
        "--max-overlap",
        "0.5",
    )
    changed = {"min_area": 7, "mode": "exact", "use_m2m": True, "max_overlap": 0.5}
    assert automatic_options(parsed(*words)) == AutomaticOptions.preset("cells", **changed)
    assert automatic_options(parsed("--min-area", "7", "--set", "min_area=9")).min_area == 9
    grid = tmp_path / "points.json"
    grid.write_text("[[0.25, 0.5], [0.75, 1]]")
    found = automatic_options(parsed("--point-grids", str(grid)))
    assert found.point_grids == (((0.25, 0.5), (0.75, 1.0)),)
    assert found.points_per_side is None
    grid.write_text("[[[0.25, 0.5]], [[0.1, 0.1], [0.2, 0.2]]]")
    assert len(automatic_options(parsed("--point-grids", str(grid), "--crop-n-layers", "1")).point_grids) == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--points-per-side", "0"), "points_per_side must be at least 1, got 0"),
        (("--points-per-side", "none"), "either points_per_side or point_grids"),
        (("--points-per-side", "4", "--point-grids", "points.json"), "either points_per_side or point_grids"),
        (("--points-per-side", "many"), "--points-per-side 'many': a whole number is needed"),
        (("--pred-iou-thresh", "1.5"), "pred_iou_thresh must be between 0 and 1, got 1.5"),
        (("--stability-score-thresh", "nan"), "stability_score_thresh must be between 0 and 1"),
        (("--mode", "quick"), "mode must be one of fast, exact, got 'quick'"),
        (("--use-m2m", "maybe"), "--use-m2m 'maybe': true or false is needed"),
        (("--point-grids", "absent.json"), "absent.json: the file can't be read"),
        (("--point-grids", "broken.json"), "broken.json: write a JSON list of points"),
        (("--point-grids", "outside.json"), "points of point_grids go from 0 to 1"),
        (("--max-area", "3", "--min-area", "5"), "max_area (3) is smaller than min_area (5)"),
        (
            ("--crop-n-layers", "10"),
            "crop_n_layers must be at most 5 (1,365 parts of the frame), got 10 (1,398,101",
        ),
        (("--frame", "12"), "there is no frame 12, the frames go from 0 to 11"),
        (("--export", "csv"), "add --track"),
        (("--out", "a.png"), "ends in .tif"),
        (("--track", "--out", "a.png"), "ends in .sam2, .tif or .json"),
        (("--track", "--frame", "9", "--range", "0:5"), "frame 9 is outside --range 0:5"),
    ],
)
def test_errors_are_one_sentence(napari_sam2, movie: Path, words: tuple[str, ...], sentence: str) -> None:
    Path("points.json").write_text("[[0.5, 0.5]]")
    Path("broken.json").write_text('{"x": 1}')
    Path("outside.json").write_text("[[0.5, 2]]")
    run = napari_sam2("auto", movie, *words)
    assert run.code == 2
    assert sentence in run.err
    assert run.err.count("\n") == 1
    assert not list(Path().glob("movie.*[!f]"))


@pytest.mark.parametrize(
    ("words", "frames"),
    [
        ((), [0]),
        (("--frame", "3"), [3]),
        (("--frames", "1:4"), [1, 2, 3]),
        (("--frames", "7:"), [7, 8, 9]),
        (("--frames", "::4"), [0, 4, 8]),
        (("--frames", "5,2,5"), [2, 5]),
        (("--frames", "0:2,9"), [0, 1, 9]),
    ],
)
def test_frames(words: tuple[str, ...], frames: list[int]) -> None:
    assert chosen_frames(parsed(*words), 10) == frames


@pytest.mark.parametrize("text", ["", "a", "1:2:3:4", "3:3", "0:11", "-1", "0:5:0", "1,,2", "0.5"])
def test_frames_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(UsageError, match="--frames"):
        chosen_frames(parsed(f"--frames={text}"), 10)


# Files -----------------------------------------------------------------------------------------------------


def test_labels_of_a_frame_are_handed_over_to_track(napari_sam2, movie: Path, checkpoint: Path) -> None:
    run = napari_sam2("auto", movie, *KEEP_ALL, "--frame", "3", "--model", checkpoint)
    assert run.code == 0, run.err
    assert "napari-sam2 track" in run.out
    assert "--range 3:" in run.out
    labels = tifffile.imread("movie.labels.tif")
    assert labels.shape == (40, 56)
    found = len(set(np.unique(labels)) - {0})
    assert found > 0
    words = ("track", movie, "--mask", "movie.labels.tif", "--range", "3:5", "--model", checkpoint, "--json")
    assert len(napari_sam2(*words).ok()["objects"]) == found
    run = napari_sam2("auto", movie, *KEEP_ALL, "--model", checkpoint)
    assert run.code == 1
    assert "--overwrite" in run.err


def test_json_is_coco_with_all_scores(napari_sam2, movie: Path, checkpoint: Path) -> None:
    words = ("auto", movie, *KEEP_ALL, "--frames", "2,5", "--model", checkpoint, "--json", "--out")
    data = napari_sam2(*words, "a.json").ok()
    coco = json.loads(Path("a.json").read_text(encoding="utf-8"))
    assert [image["frame_index"] for image in coco["images"]] == [2, 5]
    assert len(coco["annotations"]) == data["objects"] == sum(f["objects"] for f in data["frames"]) > 0
    for entry in coco["annotations"]:
        mask = Rle(tuple(entry["segmentation"]["size"]), entry["segmentation"]["counts"]).decode()
        rows, columns = np.nonzero(mask)
        assert entry["area"] == mask.sum()
        x, y, width, height = entry["bbox"]
        assert (x, y, x + width, y + height) == (
            columns.min(),
            rows.min(),
            columns.max() + 1,
            rows.max() + 1,
        )
        assert {"predicted_iou", "stability_score", "point_coords", "crop_box"} <= set(entry)
    assert coco["automatic"]["options"]["points_per_side"] == 3
    napari_sam2(*words, "a.tif").ok()
    labels = tifffile.imread("a.tif")
    assert labels.shape == (2, 40, 56)
    assert labels[0].any()


def test_nothing_found_is_a_result_that_is_explained(napari_sam2, movie: Path, checkpoint: Path) -> None:
    run = napari_sam2("auto", movie, *NOTHING, "--model", checkpoint)
    assert run.code == 0
    assert "found 0 objects on frame 0" in run.out
    assert "most (12) were dropped by 'predicted IoU'" in run.out
    assert "napari-sam2 track" not in run.out
    assert not tifffile.imread("movie.labels.tif").any()
    napari_sam2("auto", movie, *NOTHING, "--model", checkpoint, "--out", "none.json", "--json").ok()
    assert json.loads(Path("none.json").read_text())["annotations"] == []


def test_only_in_a_region_and_beside_what_is_there(napari_sam2, movie: Path, checkpoint: Path) -> None:
    everything = np.ones((40, 56), np.uint8)
    tifffile.imwrite("all.tif", everything)
    tifffile.imwrite("small.tif", everything[:5])
    words = ("auto", movie, *KEEP_ALL, "--model", checkpoint, "--json", "--overwrite")
    free = napari_sam2(*words).ok()["objects"]
    assert free > 0
    assert napari_sam2(*words, "--region", "all.tif").ok()["objects"] == free
    assert napari_sam2(*words, "--existing", "all.tif", "--max-overlap", "0.2").ok()["objects"] == 0
    run = napari_sam2(*words, "--region", "small.tif")
    assert run.code == 1
    assert "one image of 40 × 56 (height × width) is needed" in run.out


# Tracking --------------------------------------------------------------------------------------------------


def test_what_is_found_is_tracked_into_a_project(napari_sam2, movie: Path, checkpoint: Path) -> None:
    words = (
        "auto",
        movie,
        *KEEP_ALL,
        "--track",
        "--frame",
        "2",
        "--direction",
        "both",
        "--model",
        checkpoint,
    )
    run = napari_sam2(*words, "--export", "csv", "--out", "stack.tif", "--json")
    data = run.ok()
    assert data["frames"] == 12  # 2 to 11, and 2 to 0; frame 2 twice
    with Project.open("movie.sam2", mode="r") as project:
        assert list(project.objects) == data["objects"]
        assert {frame for frame, _ in project.prompts} == {2}
        assert all(len(project.masks(t).object_ids) == len(data["objects"]) for t in range(12))
    assert Path(data["exports"]["csv"]).is_file()
    assert tifffile.imread("stack.tif").shape == (12, 40, 56)
    run = napari_sam2(*words)
    assert run.code == 1
    assert "--overwrite" in run.err


def test_new_objects_of_later_frames_overlap_no_object(napari_sam2, movie: Path, checkpoint: Path) -> None:
    words = ("--box-nms-thresh", "0.5", "--frames", "0,6", "--track", "--out", "new.sam2", "--json")
    napari_sam2("auto", movie, *KEEP_ALL, *words, "--model", checkpoint).ok()
    with Project.open("new.sam2", mode="r") as project:
        first = [i for frame, i in project.prompts if frame == 0]
        later = {i: prompt.mask.array() for (frame, i), prompt in project.prompts.items() if frame == 6}
        known = project.masks(6).select(first).masks.any(axis=0)
    assert first
    assert not set(first) & set(later)
    assert all((mask & known).sum() <= 0.2 * mask.sum() for mask in later.values())


def test_nothing_to_track_makes_no_project(napari_sam2, movie: Path, checkpoint: Path) -> None:
    run = napari_sam2("auto", movie, *NOTHING, "--frames", "0,4", "--track", "--model", checkpoint)
    assert run.code == 0
    assert (
        "no objects were found on 2 frames, so there is nothing to track and no project was made" in run.out
    )
    assert "Frame 4: No masks" in run.out
    assert not Path("movie.sam2").exists()


# Models that find and models that track --------------------------------------------------------------------


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_sam1_finds_masks(napari_sam2, movie: Path, sam1_file: Path) -> None:
    words = ("auto", movie, *KEEP_ALL, "--model", sam1_file, "--json", "--out", "found.json")
    assert napari_sam2(*words).ok()["objects"] > 1
    assert Path("found.json").is_file()
    assert len(list(Path("cache/napari-sam2/embeddings").glob("*.safetensors"))) == 1  # for the next time


def test_instances_of_a_micro_sam_model(napari_sam2, movie: Path, sam1_file: Path, checkpoint: Path) -> None:
    words = ("auto", movie, "--instances", "--json", "--overwrite", "--model")
    assert napari_sam2(*words, sam1_file).ok()["objects"] == 1
    run = napari_sam2(*words, checkpoint)
    assert run.code != 0
    assert "no decoder for instances" in run.out


def test_sam1_finds_and_sam2_tracks(napari_sam2, movie: Path, sam1_file: Path, checkpoint: Path) -> None:
    words = ("auto", movie, "--instances", "--find-with", sam1_file, "--track", "--range", "0:3")
    assert napari_sam2(*words, "--model", checkpoint, "--out", "hybrid.sam2").code == 0
    with Project.open("hybrid.sam2") as project:
        assert project.model.name == str(checkpoint)
        assert len(project.objects) == 1
        (prompt,) = project.prompts.values()
        assert prompt.mask is not None
    run = napari_sam2("auto", movie, "--model", sam1_file, "--track", "--out", "other.sam2")
    assert run.code != 0
    assert "Segment Anything 1" in run.err
    assert "--find-with" in run.err
    words = (
        "auto",
        movie,
        "--instances",
        "--model",
        sam1_file,
        "--track",
        "--frame-by-frame",
        "--range",
        "0:3",
    )
    assert napari_sam2(*words, "--out", "other.sam2", "--json").ok()["frames"] == 3

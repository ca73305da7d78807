"""Masks are matched to the frames of an image folder by name, and exports carry the names of its images."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_sam2.formats import ImportProblem, TrackingResults, export_format, read_masks
from napari_sam2.formats.imported_masks import match_names

GAP = [f"f{n:03d}.png" for n in (1, 2, 3, 5, 6, 7)]  # f004 is missing


@pytest.mark.parametrize(
    ("names", "source", "places"),
    [
        (["f006.png", "f001.png"], GAP, [4, 0]),
        (["F001.PNG"], GAP, [0]),
        (["f006_cp_masks.tif", "f001_cp_masks.tif"], GAP, [4, 0]),
        (["mask5.tif"], GAP, [3]),
        (["00000.png", "00001.png"], ["t1.tif", "t2.tif"], [0, 1]),  # one series begins at 0, the other at 1
        (["00000.png", "00001.png"], GAP, None),
        (["f004.png"], GAP, None),
        (["x.png"], ["a.png", "b.png"], None),
        (["b.png"], ["a.png", "b.png"], [1]),
        # prefixes and suffixes, several numbers, other padding, single masks
        (["pred_f006_v2.png", "pred_f001_v2.png"], GAP, [4, 0]),
        (["exp2_t0003_label1.png"], ["exp2_t0001.png", "exp2_t0002.png", "exp2_t0003.png"], [2]),
        (["t3_cell2.png"], ["t01_cell2.png", "t02_cell2.png", "t03_cell2.png"], [2]),
        (["mask_3_1.png", "mask_2_1.png"], ["1.png", "2.png", "3.png"], [2, 1]),
        (["mask_3_1.png"], ["1.png", "2.png", "3.png"], None),  # the frame or the object: which?
        (["f002_a.png", "f002_b.png"], GAP, None),  # two masks of one frame
        (["f00006.png"], GAP, [4]),
        (["run_2_z03_t01.png"], ["run_2_z03_t00.png", "run_2_z03_t01.png"], [1]),
        (["3.png", "4.png"], ["t0_z3.png", "t0_z4.png", "t0_z5.png"], [0, 1]),
        (["t1_z0.png"], ["t0_z0.png", "t0_z1.png", "t1_z0.png", "t1_z1.png"], [2]),
        (["1.png"], ["t0_z0.png", "t0_z1.png", "t1_z0.png"], None),
        (["photo_mask.png"], ["photo.jpg"], [0]),
        (["img_000_DAPI_007.png"], ["img_000_GFP_006.png", "img_000_GFP_007.png"], [1]),
    ],
)
def test_names_are_matched_by_stem_then_by_number(
    names: list[str], source: list[str], places: object
) -> None:
    assert match_names(names, source) == places


def write_masks(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    for k, name in enumerate(names, 1):
        Image.fromarray(np.full((4, 5), k, np.uint8)).save(folder / name)
    return folder


def test_a_folder_of_masks_goes_to_the_frames_of_the_same_names(tmp_path: Path) -> None:
    found = read_masks(write_masks(tmp_path / "masks", ["f001.png", "f006.png"]), GAP)
    assert {i: m.frames for i, m in found.masklets.items()} == {1: (0,), 2: (4,)}
    assert found.n_frames == len(GAP)


def test_names_that_do_not_fit_are_refused_with_both_beginnings(tmp_path: Path) -> None:
    path = write_masks(tmp_path / "masks", ["f001.png", "f004.png"])
    with pytest.raises(
        ImportProblem, match=r"masks f001\.png, f004\.png; frames f001\.png, f002\.png, f003\.png, …"
    ):
        read_masks(path, GAP)


def test_one_mask_of_another_name_keeps_its_place_and_one_of_the_same_name_finds_it(tmp_path: Path) -> None:
    folder = write_masks(tmp_path / "masks", ["cell.png", "f006.png"])
    assert read_masks(folder / "cell.png", GAP).masklets[1].frames == (0,)
    assert read_masks(folder / "f006.png", GAP).masklets[2].frames == (4,)


@pytest.mark.parametrize("index", [{}, {"frame_index": 3}])
def test_coco_goes_by_file_name_before_any_index(tmp_path: Path, index: dict) -> None:
    image = {"id": 7, "file_name": "run/f006.png", "height": 3, "width": 4, **index}
    annotation = {"id": 1, "image_id": 7, "segmentation": {"size": [3, 4], "counts": [0, 12]}}
    (tmp_path / "a.json").write_text(json.dumps({"images": [image], "annotations": [annotation]}))
    assert read_masks(tmp_path / "a.json", GAP).masklets[1].frames == (4,)
    if not index:
        with pytest.raises(ImportProblem, match=r"masks f006\.png; frames a\.png, b\.png"):
            read_masks(tmp_path / "a.json", ["a.png", "b.png"])


@pytest.mark.parametrize("name", ["coco", "davis", "ctc"])
def test_exports_of_an_image_folder_come_back_to_its_frames(
    run: TrackingResults, tmp_path: Path, name: str
) -> None:
    names = tuple(f"f{n:03d}.jpg" for n in (1, 2, 3, 5, 6, 7, 8, 9))
    fmt = export_format(name)
    path = fmt.write(replace(run, frame_names=names), tmp_path / fmt.file_name)
    if name == "coco":
        assert [i["file_name"] for i in json.loads(path.read_text())["images"]] == list(names)
    if name == "davis":
        assert sorted(p.name for p in path.iterdir()) == [n.replace("jpg", "png") for n in names]
    found = read_masks(path, names)
    expected = read_masks(fmt.write(run, tmp_path / f"plain-{fmt.file_name}"))
    assert {i: m.frames for i, m in found.masklets.items()} == {
        i: m.frames for i, m in expected.masklets.items()
    }


@pytest.mark.parametrize("suffix", ["_cp_masks", "_seg", ""])
def test_numbers_inside_of_names_order_the_masks_of_a_source_without_names(
    tmp_path: Path, suffix: str
) -> None:
    names = [f"mask_{k}{suffix}.png" for k in range(1, 13)]
    found = read_masks(write_masks(tmp_path / "all", names))
    assert {i: m.frames[0] for i, m in found.masklets.items()} == {k: k - 1 for k in range(1, 13)}
    some = read_masks(write_masks(tmp_path / "some", [f"mask_{k}{suffix}.png" for k in (2, 10)]))
    assert {i: m.frames for i, m in some.masklets.items()} == {1: (2,), 2: (10,)}


def test_masks_without_numbers_are_in_their_natural_order(tmp_path: Path) -> None:
    found = read_masks(write_masks(tmp_path / "masks", ["a2b1.png", "a10b1.png", "a1b1.png", "x.png"]))
    assert [found.masklets[i].frames[0] for i in (1, 2, 3, 4)] == [1, 2, 0, 3]


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_a_damaged_mask_of_a_folder_is_named(tmp_path: Path, ending: str) -> None:
    names = [f"m{k}.{ending}" for k in range(4)]
    folder = write_masks(tmp_path / "masks", names)
    content = (folder / names[2]).read_bytes()
    (folder / names[2]).write_bytes(content[: len(content) // 2])
    with pytest.raises(
        ImportProblem, match=rf"masks.m2\.{ending} (can't be read as masks|is not a readable)"
    ):
        read_masks(folder)

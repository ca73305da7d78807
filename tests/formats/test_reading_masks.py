from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_sam2.formats import (
    ImportedMasks,
    ImportProblem,
    TrackingResults,
    export_format,
    read_coco,
    read_ctc,
    read_davis,
    read_label_stack,
    read_masks,
)
from napari_sam2.masks import FrameMasks, encode_rle
from napari_sam2.objects import ObjectInfo
from napari_sam2.prompts import MaskPrompt, Prompt

IDS = (1, 7, 40)
LABEL_FORMATS = ["tiff", "ome-tiff", "ome-zarr", "davis"]


def as_labels(imported: ImportedMasks) -> np.ndarray:
    """Non-overlapping masks as (T, H, W)."""
    out = np.zeros((imported.n_frames, *imported.size), np.uint16)
    for object_id, masklet in imported.masklets.items():
        for frame in masklet.frames:
            mask = masklet.mask(frame)
            assert mask.any()
            assert not out[frame][mask].any()
            out[frame][mask] = object_id
    return out


@pytest.mark.parametrize("name", LABEL_FORMATS)
def test_label_exports_come_back(run: TrackingResults, labels: np.ndarray, tmp_path: Path, name: str) -> None:
    fmt = export_format(name)
    imported = read_masks(fmt.write(run, tmp_path / fmt.file_name))
    np.testing.assert_array_equal(as_labels(imported), labels)
    if name == "ome-zarr":
        assert imported.objects[0] == ObjectInfo(1, "mother", (255, 0, 0))


def test_the_challenge_s_folder_comes_back_with_gaps_joined(
    run: TrackingResults, labels: np.ndarray, tmp_path: Path
) -> None:
    folder = export_format("ctc").write(run, tmp_path / "01_RES")
    np.testing.assert_array_equal(as_labels(read_masks(folder)), labels)
    assert set(read_ctc(folder, join_gaps=False).masklets) == {1, 2, 7, 40}


def test_coco_comes_back_with_its_overlaps(
    run: TrackingResults, masks: list[np.ndarray], tmp_path: Path
) -> None:
    imported = read_masks(export_format("coco").write(run, tmp_path / "coco.json"))
    assert imported.n_frames == 8
    assert [o.name for o in imported.objects] == ["mother", "object 7", "Zelle ü"]
    for k, object_id in enumerate(IDS):
        masklet = imported.masklets[object_id]
        assert masklet.frames == tuple(t for t in range(8) if masks[t][k].any())
        for t in range(8):
            np.testing.assert_array_equal(masklet.mask(t), masks[t][k])


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_labels_survive_any_format(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(2, 6), st.integers(2, 7)))
    seed = data.draw(st.integers(0, 2**31))
    ids = data.draw(st.lists(st.integers(1, 254), min_size=1, max_size=4, unique=True))
    name = data.draw(st.sampled_from([*LABEL_FORMATS, "coco", "ctc"]))
    stack = np.random.default_rng(seed).choice([0, *ids], size=shape)
    stack[0, 0, 0] = ids[0]  # the challenge has no empty results
    frames = []
    for t, labels in enumerate(stack):
        one = np.ones(len(ids), np.float32)
        there = np.stack([labels == i for i in ids])
        frames.append(FrameMasks(t, tuple(ids), there, one, one, np.zeros(len(ids), bool)))
    fmt = export_format(name)
    path = fmt.write(TrackingResults.from_frames(frames), tmp_path_factory.mktemp("any") / fmt.file_name)
    np.testing.assert_array_equal(as_labels(read_masks(path)), stack)


def test_masks_become_prompts(run: TrackingResults, tmp_path: Path) -> None:
    imported = read_masks(export_format("coco").write(run, tmp_path / "coco.json"))
    every = imported.prompts()
    assert list(every) == sorted(every)
    assert len(every) == sum(len(m.frames) for m in imported.masklets.values())
    first = imported.prompts(on="first", shift=100)
    assert set(first) == {(100, 1), (100, 7), (103, 40)}
    mask = imported.masklets[40].mask(3)
    assert first[103, 40] == Prompt(mask=MaskPrompt.from_array(mask))


def test_imports_can_be_exported_again(run: TrackingResults, labels: np.ndarray, tmp_path: Path) -> None:
    imported = read_masks(export_format("tiff").write(run, tmp_path / "a.tif"))
    path = export_format("ome-tiff").write(imported.results(), tmp_path / "b.ome.tif")
    np.testing.assert_array_equal(tifffile.imread(path), labels)
    assert next(imported.results().frames()).object_scores.tolist() == [1.0, 1.0]


def test_one_label_image_is_one_frame(tmp_path: Path) -> None:
    labels = np.array([[0, 3], [5, 5]])
    tifffile.imwrite(tmp_path / "a.tif", labels.astype(np.uint8))
    np.save(tmp_path / "a.npy", labels)
    Image.fromarray(labels.astype(np.uint8)).save(tmp_path / "a.png")
    for name in ("a.tif", "a.npy", "a.png"):
        np.testing.assert_array_equal(as_labels(read_masks(tmp_path / name))[0], labels)


def test_stacks_of_other_programs(labels: np.ndarray, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "plain.tif", labels.astype(np.uint8))
    tifffile.imwrite(tmp_path / "ij.tif", labels[:, None], imagej=True, metadata={"axes": "TCYX"})
    tifffile.imwrite(tmp_path / "five.ome.tif", labels[:, None, None], ome=True, metadata={"axes": "TCZYX"})
    np.save(tmp_path / "a.npy", labels.astype(np.int64)[None])
    zarr.save_array(str(tmp_path / "a.zarr"), labels)
    zarr.save_array(str(tmp_path / "five.zarr"), labels[:, None, None], zarr_format=2)
    for name in ("plain.tif", "ij.tif", "five.ome.tif", "a.npy", "a.zarr", "five.zarr"):
        np.testing.assert_array_equal(as_labels(read_masks(tmp_path / name)), labels, err_msg=name)


@pytest.mark.filterwarnings("ignore:<tifffile")
@pytest.mark.parametrize("n_frames", [3, 4])
def test_three_frames_are_not_colours(labels: np.ndarray, tmp_path: Path, n_frames: int) -> None:
    tifffile.imwrite(tmp_path / "a.tif", labels[:n_frames])  # tifffile takes them for colour planes
    np.testing.assert_array_equal(as_labels(read_masks(tmp_path / "a.tif")), labels[:n_frames])


def test_labels_inside_an_ome_zarr_image(labels: np.ndarray, tmp_path: Path) -> None:
    root = zarr.create_group(str(tmp_path / "image.zarr"))
    root.create_array("0", data=np.zeros_like(labels))
    multiscales = [{"axes": [], "datasets": [{"path": "0"}]}]
    root.attrs["ome"] = {"version": "0.5", "multiscales": multiscales}
    group = root.create_group("labels")
    group.attrs["ome"] = {"labels": ["cells"]}
    cells = group.create_group("cells")
    cells.create_array("0", data=labels)
    cells.attrs["ome"] = {"version": "0.5", "multiscales": multiscales, "image-label": {}}
    np.testing.assert_array_equal(as_labels(read_masks(tmp_path / "image.zarr")), labels)


@pytest.mark.parametrize(
    ("names", "frames"),
    [
        (["00000", "00001", "00002"], [0, 1, 2]),
        (["1", "2", "3"], [0, 1, 2]),
        (["00000", "00005", "00010"], [0, 5, 10]),
        (["frame7"], [7]),
        (["b", "a"], [1, 0]),
    ],
)
def test_numbers_of_images_are_frames(tmp_path: Path, names: list[str], frames: list[int]) -> None:
    for k, name in enumerate(names):
        Image.fromarray(np.full((2, 2), k + 1, np.uint8)).save(tmp_path / f"{name}.png")
    imported = read_davis(tmp_path)
    assert {m.frames[0]: i for i, m in imported.masklets.items()} == {f: k + 1 for k, f in enumerate(frames)}


def test_dont_care_pixels_are_background(tmp_path: Path) -> None:
    Image.fromarray(np.array([[255, 1]], np.uint8)).save(tmp_path / "0.png")
    assert list(read_davis(tmp_path).masklets) == [1]


def test_ground_truth_of_the_challenge_with_a_division(tmp_path: Path) -> None:
    for t, row in enumerate(([1, 1], [1, 1], [2, 3], [2, 3])):
        tifffile.imwrite(tmp_path / f"man_track{t:03d}.tif", np.array([row], np.uint16))
    (tmp_path / "man_track.txt").write_text("1 0 1 0\n2 2 3 1\n3 2 3 1\n", encoding="ascii")
    assert {i: m.frames for i, m in read_masks(tmp_path).masklets.items()} == {
        1: (0, 1),
        2: (2, 3),
        3: (2, 3),
    }


def coco_file(path: Path, **changes: object) -> Path:
    image = {"id": 5, "file_name": "f2.png", "height": 3, "width": 4}
    earlier = {"id": 9, "file_name": "f1.png", "height": 3, "width": 4}
    annotation = {"id": 2, "image_id": 5, "segmentation": {"size": [3, 4], "counts": [0, 12]}} | changes
    path.write_text(json.dumps({"images": [image, earlier], "annotations": [annotation]}), encoding="utf-8")
    return path


def test_coco_of_other_programs(tmp_path: Path) -> None:
    full = encode_rle(np.ones((3, 4), bool)).counts
    for changes, object_id, area in (
        ({}, 2, 12),
        ({"track_id": 8}, 8, 12),
        ({"attributes": {"track_id": 4}}, 4, 12),
        ({"segmentation": {"size": [3, 4], "counts": full}}, 2, 12),
        ({"segmentation": [[0, 0, 4, 0, 4, 3, 0, 3]]}, 2, 12),
        ({"segmentation": [[0, 0, 2, 0, 2, 3, 0, 3], [2, 0, 4, 0, 4, 3, 2, 3]]}, 2, 12),
        ({"segmentation": {"size": [3, 4], "counts": [3, 2, 7]}}, 2, 2),
    ):
        masklet = read_coco(coco_file(tmp_path / "a.json", **changes)).masklets[object_id]
        assert masklet.frames == (1,)  # f2.png comes after f1.png
        assert masklet.masks[1].area == area
    mask = read_coco(coco_file(tmp_path / "a.json", segmentation={"counts": [3, 2, 7]})).masklets[2].mask(1)
    assert mask[:2, 1].all()
    assert mask.sum() == 2  # runs go down the columns


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_id": 77}, "image 77"),
        ({"segmentation": {"size": [3, 4], "counts": "zzz"}}, "damaged"),
        ({"segmentation": {"size": [3, 4], "counts": [5]}}, "do not fill"),
        ({"segmentation": {"size": [9, 9], "counts": [81]}}, "size"),
        ({"segmentation": [[1, 2, 3]]}, "polygon"),
        ({"segmentation": [[1, 2, 3, 4, 1e9, 4]]}, "far outside"),
        ({"track_id": "seven"}, "seven"),
        ({"segmentation": 5}, "a.json"),
    ],
)
def test_broken_coco_is_one_sentence(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ImportProblem, match=message):
        read_coco(coco_file(tmp_path / "a.json", **changes))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 6, 4, 5), np.uint8), r"\(2, 6, 4, 5\)"),
        (np.full((2, 4, 5), 0.5, np.float32), "whole numbers, frame 0 has others"),
    ],
)
def test_what_is_not_labels_is_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", array)
    tifffile.imwrite(tmp_path / "a.tif", array)
    for name in ("a.npy", "a.tif"):
        with pytest.raises(ImportProblem, match=message):
            read_label_stack(tmp_path / name)


def test_colour_images_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "0.png")
    tifffile.imwrite(tmp_path / "0.tif", np.zeros((4, 5, 3), np.uint8), photometric="rgb")
    for path in (tmp_path, tmp_path / "0.png", tmp_path / "0.tif"):
        with pytest.raises(ImportProblem, match="colours are not labels"):
            read_masks(path)


def test_frames_of_different_size_are_refused(tmp_path: Path) -> None:
    for t, width in enumerate((4, 5)):
        tifffile.imwrite(tmp_path / f"{t}.tif", np.ones((3, width), np.uint8))
    with pytest.raises(ImportProblem, match="frame 1 is 3 × 5"):
        read_masks(tmp_path)


def test_missing_and_unknown_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_masks(tmp_path / "nothing.tif")
    (tmp_path / "a.docx").touch()
    with pytest.raises(ImportProblem, match="not a format"):
        read_masks(tmp_path / "a.docx")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImportProblem, match="no label images"):
        read_masks(tmp_path / "empty")


@pytest.mark.filterwarnings("ignore")  # readers warn about damage, each in its own way
@pytest.mark.parametrize("name", ["tiff", "ome-tiff", "coco", "davis", "ctc", "ome-zarr"])
def test_damaged_files_give_one_kind_of_error(run: TrackingResults, tmp_path: Path, name: str) -> None:
    """Flip, cut and insert bytes everywhere: masks come out, or an ImportProblem, never anything else."""
    rng = np.random.default_rng(7)
    fmt = export_format(name)
    path = fmt.write(run, tmp_path / fmt.file_name)
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    problems = []
    for _ in range(120):
        file = files[rng.integers(len(files))]
        good = file.read_bytes()
        file.write_bytes(damaged(good, rng))
        try:
            read_masks(path)
        except ImportProblem as problem:
            problems.append(str(problem))
        finally:
            file.write_bytes(good)
    assert len(problems) > 20
    assert all(str(path) in p for p in problems)
    assert read_masks(path).n_frames == 8


def damaged(good: bytes, rng: np.random.Generator) -> bytes:
    bad = bytearray(good)
    kind = rng.integers(3)
    if kind == 0:
        return bytes(bad[: rng.integers(len(bad))])
    where = rng.integers(len(bad), size=rng.integers(1, 8))
    for position in where:
        if kind == 1:
            bad[position] = rng.integers(256)
        else:
            bad[position:position] = bytes(rng.integers(256, size=3).tolist())
    return bytes(bad)

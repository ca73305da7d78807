"""Label images and COCO files of other programs: ids, ignore values, boxes, videos, absurd numbers."""

import json
from dataclasses import replace
from pathlib import Path
from time import process_time

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_sam2.formats import (
    ImportNotice,
    ImportProblem,
    TrackingResults,
    export_format,
    read_coco,
    read_masks,
)
from napari_sam2.formats.measurements import csv_text
from napari_sam2.frames import PartialSourceWarning
from napari_sam2.prompts import BoxPrompt, Prompt

LABELS = np.zeros((2, 6, 8), np.int64)
LABELS[0, 1:3, 1:4] = 1
LABELS[1, 2:4, 2:5] = 2


@pytest.mark.parametrize("suffix", ["tif", "npy"])
def test_ids_above_the_label_range_are_renumbered_alike_on_all_frames(tmp_path: Path, suffix: str) -> None:
    big = np.where(LABELS == 2, 70000, LABELS).astype(np.int32)
    big[0, 5, 5] = 70000
    path = tmp_path / f"a.{suffix}"
    tifffile.imwrite(path, big, photometric="minisblack") if suffix == "tif" else np.save(path, big)
    with pytest.warns(
        ImportNotice, match=r"object ids are 1 to 65535, so others were renumbered \(70000 → 2\)"
    ):
        found = read_masks(path)
    assert {i: m.frames for i, m in found.masklets.items()} == {1: (0,), 2: (0, 1)}
    np.testing.assert_array_equal(found.masklets[2].mask(1), big[1] == 70000)


def test_negative_labels_and_nan_are_background_and_whole_floats_are_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.where(LABELS == 0, -1, LABELS))
    with pytest.warns(ImportNotice, match="negative labels are background"):
        found = read_masks(tmp_path / "a.npy")
    np.testing.assert_array_equal(found.masklets[1].mask(0), LABELS[0] == 1)
    np.save(tmp_path / "a.npy", np.where(LABELS == 0, np.nan, LABELS).astype(np.float32))
    np.testing.assert_array_equal(read_masks(tmp_path / "a.npy").masklets[2].mask(1), LABELS[1] == 2)


@pytest.mark.parametrize("kind", ["tif", "npy", "zarr", "folder"])
@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint32", "int64", "uint64", "float32", "float64", ">u2", ">f4"]
)
def test_labels_of_any_type_of_number_are_read_alike(tmp_path: Path, kind: str, dtype: str) -> None:
    labels = LABELS.astype(dtype)
    if labels.dtype.kind == "f":
        labels[0, 5, 5] = np.nan
    path = tmp_path / f"a.{kind}"
    if kind == "tif":
        tifffile.imwrite(path, labels, photometric="minisblack")
    elif kind == "npy":
        np.save(path, labels)
    elif kind == "zarr":
        zarr.save_array(str(path), labels)
    else:
        path.mkdir()
        for t, frame in enumerate(labels):
            tifffile.imwrite(path / f"{t}.tif", frame, photometric="minisblack")
    found = read_masks(path)
    ids = (1,) if dtype == "bool" else (1, 2)
    assert sorted(found.masklets) == list(ids)
    for object_id in ids:
        for t in range(2):
            expected = LABELS[t] > 0 if dtype == "bool" else LABELS[t] == object_id
            np.testing.assert_array_equal(found.masklets[object_id].mask(t), expected)


def coco(path: Path, *annotations: dict, size: tuple[int, int] = (6, 8)) -> Path:
    image = {"id": 1, "file_name": "a.png", "height": size[0], "width": size[1]}
    listed = [{"id": k, "image_id": 1, **a} for k, a in enumerate(annotations, 1)]
    path.write_text(json.dumps({"images": [image], "annotations": listed}), encoding="utf-8")
    return path


def test_track_ids_that_count_from_zero_are_renumbered(tmp_path: Path) -> None:
    full = {"size": [6, 8], "counts": [0, 48]}
    path = coco(
        tmp_path / "a.json", {"track_id": 0, "segmentation": full}, {"track_id": 1, "segmentation": full}
    )
    with pytest.warns(ImportNotice, match="0 → 2"):
        assert sorted(read_coco(path).masklets) == [1, 2]


def test_boxes_without_masks_become_box_prompts(tmp_path: Path) -> None:
    path = coco(
        tmp_path / "a.json", {"track_id": 3, "bbox": [-2, 1, 5, 3]}, {"track_id": 4, "bbox": [50, 50, 2, 2]}
    )
    found = read_coco(path)
    assert found.prompts() == {(0, 3): Prompt(box=BoxPrompt(0, 1, 3, 4))}
    assert found.prompts("first", shift=5) == {(5, 3): Prompt(box=BoxPrompt(0, 1, 3, 4))}


def test_youtube_vis(tmp_path: Path) -> None:
    full = {"size": [6, 8], "counts": [0, 48]}
    video = {
        "id": 1,
        "height": 6,
        "width": 8,
        "length": 3,
        "file_names": ["v/00000.jpg", "v/00005.jpg", "v/00010.jpg"],
    }
    one = {
        "id": 9,
        "video_id": 1,
        "segmentations": [None, full, None],
        "bboxes": [None, [0, 0, 8, 6], [1, 1, 2, 2]],
    }
    (tmp_path / "a.json").write_text(json.dumps({"videos": [video], "annotations": [one]}))
    found = read_masks(tmp_path / "a.json", ["00000.jpg", "00005.jpg", "00010.jpg"])
    assert found.masklets[9].frames == (1,)
    assert found.prompts()[2, 9] == Prompt(box=BoxPrompt(1, 1, 3, 3))


def test_one_of_several_videos_is_chosen(tmp_path: Path) -> None:
    full = {"size": [6, 8], "counts": [0, 48]}
    videos = [
        {
            "id": 5 + k,
            "height": 6,
            "width": 8,
            "length": 2,
            "file_names": [f"v{k}/00000.jpg", f"v{k}/00001.jpg"],
        }
        for k in range(2)
    ]
    tracks = [{"id": 9 + k, "video_id": 5 + k, "segmentations": [full, None][:: 1 - 2 * k]} for k in range(2)]
    (tmp_path / "vis.json").write_text(json.dumps({"videos": videos, "annotations": tracks}))
    images = [
        {"id": 10 * k + t, "video_id": 5 + k, "height": 6, "width": 8, "frame_id": t, "file_name": f"{t}.jpg"}
        for k in range(2)
        for t in range(2)
    ]
    ones = [{"id": k, "image_id": 10 * k + k, "track_id": 9 + k, "segmentation": full} for k in range(2)]
    named = [{"id": 5, "name": "v0"}, {"id": 6, "name": "v1"}]
    (tmp_path / "vid.json").write_text(json.dumps({"videos": named, "images": images, "annotations": ones}))
    for name in ("vis.json", "vid.json"):
        with pytest.raises(
            ImportProblem, match=r"lists 2 videos \(0 v0, 1 v1\): choose one with series \(--mask-series"
        ):
            read_masks(tmp_path / name)
        for series in ("v1", 1, "1"):
            found = read_masks(tmp_path / name, series=series)
            assert (found.n_frames, list(found.masklets), found.masklets[10].frames) == (2, [10], (1,))
        assert list(read_masks(tmp_path / name, series=0).masklets) == [9]
        with pytest.raises(ImportProblem, match="has no video 'x': there are 0 v0, 1 v1"):
            read_masks(tmp_path / name, series="x")


def test_one_of_several_label_images_is_chosen(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for k in (1, 2):
            writer.write(np.full((2, 6 + k, 8), k, np.uint8), photometric="minisblack")
    assert list(read_masks(tmp_path / "a.tif", series=0).masklets) == [1]
    assert list(read_masks(tmp_path / "a.tif", series=1).masklets) == [2]
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    group.create_group("labels").attrs["labels"] = ["cells", "nuclei"]
    for k, name in enumerate(("cells", "nuclei"), 1):
        label = group.create_group(f"labels/{name}")
        label.create_array("0", data=np.full((2, 6, 8), k, np.uint8))
        axes = [{"name": c} for c in "tyx"]
        label.attrs.update({"image-label": {}, "multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}]})
    with pytest.warns(PartialSourceWarning, match=r"holds 2 series \(0 cells, 1 nuclei\); 0 is opened"):
        assert list(read_masks(tmp_path / "a.zarr").masklets) == [1]
    assert list(read_masks(tmp_path / "a.zarr", series="nuclei").masklets) == [2]
    with pytest.raises(ImportProblem, match="holds one series: there is no series 1"):
        read_masks(tmp_path, series=1)


@pytest.mark.parametrize("counts", [[2**63, 2**63, 48], [2**62] * 4 + [48], [-5, 53], [10**30], [1e300]])
def test_run_lengths_that_overflow_are_refused(tmp_path: Path, counts: list) -> None:
    with pytest.raises(ImportProblem, match="run lengths do not fill 6 × 8 pixels"):
        read_coco(coco(tmp_path / "a.json", {"segmentation": {"size": [6, 8], "counts": counts}}))


def test_a_billion_frames_are_refused(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.ones((4, 4), np.uint8)).save(tmp_path / "masks" / "999999999.png")
    image = {"id": 1, "height": 6, "width": 8, "frame_index": 10**9}
    (tmp_path / "a.json").write_text(json.dumps({"images": [image], "annotations": []}))
    video = {"id": 1, "height": 6, "width": 8, "length": 10**12}
    (tmp_path / "b.json").write_text(json.dumps({"videos": [video], "annotations": []}))
    for name, frame in (("masks", 10**9 - 1), ("a.json", 10**9), ("b.json", 10**12 - 1)):
        with pytest.raises(
            ImportProblem, match=f"{name} has a frame {frame}, but frames are read up to 9999999"
        ):
            read_masks(tmp_path / name)


def test_polygons_far_outside_cost_nothing_and_keep_their_inside(tmp_path: Path) -> None:
    far = [[-9e5, 2, 9e5, 2, 9e5, 5, -9e5, 5]] * 40
    start = process_time()
    found = read_coco(coco(tmp_path / "a.json", *[{"track_id": 1, "segmentation": [p]} for p in far]))
    assert process_time() - start < 2
    expected = np.zeros((6, 8), bool)
    expected[2:5] = True
    np.testing.assert_array_equal(found.masklets[1].mask(0), expected)
    outside = read_coco(coco(tmp_path / "a.json", {"segmentation": [[900, 900, 999, 900, 999, 999]]}))
    assert not outside.masklets
    zigzag = [v for k in range(40000) for v in (1000 * (k % 2), k % 7)]
    with pytest.raises(ImportProblem, match="an outline of more than 2e"):
        read_coco(coco(tmp_path / "a.json", {"segmentation": [zigzag]}, size=(1000, 1000)))


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-3", "'-3"),
        ("+x", "'+x"),
        ("\n\t=1", "'  =1"),
        ("＝1", "'＝1"),
        ("a\nb\x1b[2J\u202e\0", "a b [2J  "),
        ("cell = 1", "cell = 1"),
        ("Zelle µ 細胞", "Zelle µ 細胞"),
    ],
)
def test_cells_are_no_formulas(run: TrackingResults, tmp_path: Path, name: str, cell: str) -> None:
    assert csv_text(name) == cell
    named = replace(run, objects=tuple(replace(o, name=name) for o in run.objects))
    for kind in ("csv", "tracks"):
        text = export_format(kind).write(named, tmp_path / f"{kind}.csv").read_text(encoding="utf-8")
        assert f",{cell}" in text
        assert f",{name}" not in text or cell == name


def test_control_characters_of_names_reach_no_file(run: TrackingResults, tmp_path: Path) -> None:
    odd = "a\x1b]0;x\x07\0\nb"
    named = replace(
        run, name=odd, channels=(odd, "gfp"), objects=tuple(replace(o, name=odd) for o in run.objects)
    )
    for kind in ("csv", "tracks", "ome-tiff", "coco", "ome-zarr"):
        fmt = export_format(kind)
        path = fmt.write(named, tmp_path / fmt.file_name)
        for file in [path] if path.is_file() else path.rglob("zarr.json"):
            found = file.read_bytes()
            if kind == "ome-tiff":
                with tifffile.TiffFile(file) as tiff:
                    found = tiff.ome_metadata.encode()
            assert not {0x1B, 0x07} & set(found)
        fmt.write(named, path, overwrite=True)
    assert tifffile.imread(tmp_path / "labels.ome.tif").shape == (8, 7, 11)
    assert "mean_a ]0;x   b" in (tmp_path / "measurements.csv").read_text(encoding="utf-8").splitlines()[0]

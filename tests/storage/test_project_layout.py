"""A project is read with zarr alone, as docs/project-format.md says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr
from pycocotools import mask as coco

from napari_sam2.objects import ObjectInfo
from napari_sam2.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt
from napari_sam2.storage import (
    ModelDescription,
    Project,
    ProjectExistsError,
    ProjectNotFoundError,
    SourceDescription,
    is_project,
)

SHAPE = (12, 20, 30)


@pytest.fixture
def filled(tmp_path: Path, make_record, make_mask) -> Path:
    path = tmp_path / "a.sam2"
    source = SourceDescription("a.tif", "sha256:12", "tiff", {"axis": "t"}, {"scale": [1.0, 0.5, 0.5]})
    with Project.create(path, SHAPE, source=source, model=ModelDescription("nano", "ab12")) as project:
        project.put_object(5, "Zelle ä", "#00ff10")
        project.save_prompts({(3, 5): Prompt((PointPrompt(1.5, 2, False),), BoxPrompt(0, 0, 3, 4))})
        for frame in range(3, 12):
            project.store.put_frame(
                frame, {i: (make_record(i + frame), make_mask(i + frame)) for i in (2, 5)}
            )
    return path


def test_plain_zarr_shows_the_labels(filled, make_mask) -> None:
    labels = zarr.open(filled, mode="r")["labels"]
    assert labels.shape == SHAPE
    assert labels.dtype == np.uint16
    assert labels.chunks == (1, 20, 30)
    project = Project.open(filled)
    for frame in range(12):
        assert np.array_equal(labels[frame], project.labels[frame])
    top = make_mask(7) if make_mask(7).sum() < make_mask(10).sum() else None
    assert not labels[2].any()
    both = make_mask(4 + 2) & ~make_mask(4 + 5)
    assert (labels[4][both] == 2).all()
    assert (labels[4] > 0).sum() == (make_mask(6) | make_mask(9)).sum()
    assert top is None or top.any()


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools under numpy 2
def test_plain_zarr_and_pycocotools_show_masks_that_overlap(filled, make_mask) -> None:
    text = zarr.open(filled, mode="r")["masks"][4]
    frame = json.loads(str(text))
    assert frame["frame"] == 4
    for item in frame["objects"]:
        rle = {"size": frame["size"], "counts": item["rle"].encode()}
        assert np.array_equal(coco.decode(rle).astype(bool), make_mask(item["id"] + 4))
        assert item["object_score"] == 2.0 + item["id"] + 4
        assert item["predicted_iou"] == 0.5


def test_plain_zarr_shows_logits_and_pointers_in_the_rows_that_the_masks_name(filled, make_record) -> None:
    group = zarr.open(filled, mode="r")
    for item in json.loads(str(group["masks"][11]))["objects"]:
        record = make_record(item["id"] + 11)
        assert np.array_equal(group["memories/logits"][11, item["row"]], record.logits)
        assert np.array_equal(group["memories/pointers"][11, item["row"]], record.pointer)


def test_plain_zarr_lists_the_tree_without_a_warning(filled) -> None:
    with Project.open(filled, "a") as project:
        (project.exports_folder / "labels.tif").write_bytes(b"something that zarr does not know")
    tree = str(zarr.open(filled, mode="r").tree())
    for name in ("labels", "masks", "memories", "logits", "pointers", "objects", "prompts", "history"):
        assert name in tree


def test_people_can_read_the_prompts(filled) -> None:
    text = (filled / "prompts" / "zarr.json").read_text(encoding="utf-8")
    prompts = json.loads(text)["attributes"]["prompts"]
    assert prompts == [
        {"frame": 3, "object_id": 5, "prompt": {"points": [[1.5, 2.0]], "labels": [0], "box": [0, 0, 3, 4]}}
    ]
    assert len(text.splitlines()) > 10, "one value per line, not one line"
    assert "Zelle ä" in (filled / "objects" / "zarr.json").read_text(encoding="utf-8")


def test_prompts_that_a_person_edited_are_taken_over(filled) -> None:
    path = filled / "prompts" / "zarr.json"
    path.write_text(path.read_text(encoding="utf-8").replace("1.5", "7.25"), encoding="utf-8")
    for mode in ("r", "a"):
        project = Project.open(filled, mode)
        assert project.prompts[3, 5].points[0].x == 7.25
        project.close()


def test_everything_comes_back(filled, make_mask, make_record) -> None:
    project = Project.open(filled)
    assert project.mode == "r"
    assert project.shape == SHAPE
    assert project.source.path == "a.tif"
    assert project.source.fingerprint == "sha256:12"
    assert dict(project.source.calibration) == {"scale": [1.0, 0.5, 0.5]}
    assert project.model == ModelDescription("nano", "ab12")
    assert project.objects == {2: ObjectInfo(2), 5: ObjectInfo(5, "Zelle ä", (0, 255, 16))}
    assert project.frames() == list(range(3, 12))
    masklet = project.masklet(5)
    assert masklet.frames == tuple(range(3, 12))
    assert np.array_equal(masklet.mask(6), make_mask(11))
    assert project.scores(6)[2] == (10.0, 0.5)
    assert [m.frame for m in project.iterate()] == list(range(3, 12))
    record, expected = project.store.get(2, 6), make_record(8)
    assert record is not None
    assert record.logits.dtype == expected.logits.dtype
    assert np.array_equal(record.logits, expected.logits)
    assert np.array_equal(record.pointer, expected.pointer)
    assert (record.object_score, record.prompt_hash) == (expected.object_score, expected.prompt_hash)
    assert project.damage == []
    assert project.verify() == []


def test_a_frame_takes_four_files(filled) -> None:
    files = [p for p in filled.rglob("*") if p.is_file() and p.name.startswith("c.4")]
    assert sorted(p.relative_to(filled).parts[-2] for p in files) == ["labels", "logits", "masks", "pointers"]


def test_more_objects_than_fit_into_one_file(tmp_path, make_record, make_mask) -> None:
    path = tmp_path / "a.sam2"
    with Project.create(path, SHAPE) as project:
        project.store.put_frame(0, {i: (make_record(i), make_mask(i)) for i in range(1, 41)})
        project.store.put(41, 0, make_record(41), make_mask(41))
    reader = Project.open(path)
    for i in range(1, 42):
        record = reader.store.get(i, 0)
        assert record is not None
        assert np.array_equal(record.logits, make_record(i).logits)
    logits = zarr.open(path, mode="r")["memories/logits"]
    assert logits.shape[1] == 48
    rows = {
        item["id"]: item["row"] for item in json.loads(str(zarr.open(path, mode="r")["masks"][0]))["objects"]
    }
    assert np.array_equal(logits[0, rows[33]], make_record(33).logits)


def test_labels_are_an_array_for_napari(filled) -> None:
    labels = Project.open(filled).labels
    whole = np.asarray(labels)
    assert whole.shape == labels.shape == SHAPE
    assert labels.ndim == 3
    for key in (3, -1, slice(2, 5), (4, slice(2, 8)), (slice(None), 3, 4), (..., 3), [1, 5], np.int64(7)):
        assert np.array_equal(labels[key], whole[key]), key
    with pytest.raises(IndexError):
        labels[12]


def test_labels_are_composed_again_when_their_file_is_lost(filled) -> None:
    expected = Project.open(filled).labels[5]
    assert expected.any()
    (filled / "labels" / "c.5.0.0").write_bytes(b"?")
    assert np.array_equal(Project.open(filled).labels[5], expected)
    assert (filled / "labels" / "c.5.0.0").read_bytes() == b"?", "a reader writes nothing"


def test_a_reader_changes_no_file(filled) -> None:
    def content() -> dict[str, tuple[bytes, int]]:
        files = [p for p in filled.rglob("*") if p.is_file()]
        return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}

    before = content()
    with Project.open(filled) as project:
        project.verify()
        _ = project.labels[4], project.objects, project.pending, project.exports_folder
        project.flush()
    assert content() == before


def test_nothing_is_overwritten_by_chance(filled, tmp_path) -> None:
    with pytest.raises(ProjectExistsError, match="open it"):
        Project.create(filled, SHAPE)
    other = tmp_path / "photos"
    other.mkdir()
    (other / "precious.jpg").write_bytes(b"x")
    for overwrite in (False, True):
        with pytest.raises(ProjectExistsError, match="is no project"):
            Project.create(other, SHAPE, overwrite=overwrite)
    assert (other / "precious.jpg").exists()
    with Project.create(filled, SHAPE, overwrite=True) as project:
        assert project.frames() == []


def test_a_folder_that_is_no_project_is_not_opened(tmp_path) -> None:
    zarr.open(tmp_path / "other.zarr", mode="w", shape=(2,), dtype="u1")
    for path in (tmp_path, tmp_path / "nothing.sam2", tmp_path / "other.zarr"):
        assert not is_project(path)
        with pytest.raises(ProjectNotFoundError):
            Project.open(path)


@pytest.mark.parametrize("shape", [(0, 5, 5), (3, 0, 5), (3, 10**6, 10**6), (-1, 2, 2)])
def test_impossible_shapes_are_refused(tmp_path, shape) -> None:
    with pytest.raises(ValueError):
        Project.create(tmp_path / "a.sam2", shape)
    assert not (tmp_path / "a.sam2").exists()


def test_order_and_content_of_prompts_survive(tmp_path) -> None:
    mask = np.zeros(SHAPE[1:], bool)
    mask[3:9, 2:20] = True
    prompts = {
        (9, 3): Prompt(mask=MaskPrompt.from_array(mask)),
        (2, 1): Prompt((PointPrompt(1 / 3, 0.1), PointPrompt(2, 2, False))),
        (5, 3): Prompt(box=BoxPrompt(0.5, 1, 2, 3)),
    }
    with Project.create(tmp_path / "a.sam2", SHAPE) as project:
        project.save_prompts(prompts)
    assert list(Project.open(tmp_path / "a.sam2").prompts.items()) == list(prompts.items())

"""A project is read with SQLite alone, as docs/project-format.md says."""

from __future__ import annotations

import json
import pickle
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

import napari_sam2
from napari_sam2.formats.coco import write_coco
from napari_sam2.objects import ObjectInfo
from napari_sam2.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt
from napari_sam2.storage import (
    ModelDescription,
    Project,
    ProjectExistsError,
    ProjectFullError,
    ProjectNotFoundError,
    SourceDescription,
    is_project,
)
from napari_sam2.storage.results import project_results

SHAPE = (12, 20, 30)


@pytest.fixture
def filled(tmp_path: Path, make_record, make_mask) -> Path:
    path = tmp_path / "a.sam2"
    source = SourceDescription("a.tif", "sha256:12", "tiff", {"axis": "t"}, {"scale": [1.0, 0.5, 0.5]})
    with Project.create(path, SHAPE, source=source, model=ModelDescription("nano", "ab12")) as project:
        project.change_object(5, "Zelle ä", "#00ff10")
        project.save_prompts({(3, 5): Prompt((PointPrompt(1.5, 2, False),), BoxPrompt(0, 0, 3, 4))})
        for frame in range(3, 12):
            project.store.put_frame(
                frame, {i: (make_record(i + frame), make_mask(i + frame)) for i in (2, 5)}
            )
    return path


def test_a_project_at_rest_is_one_database_and_its_readable_copies(filled) -> None:
    names = sorted(p.name for p in filled.iterdir())
    assert names == ["objects.json", "project.db", "prompts.json", "settings.json", "writer.lock"]
    assert (filled / "project.db").read_bytes()[18:20] == b"\1\1", "no log is needed to read it"


def test_people_can_read_the_prompts(filled) -> None:
    text = (filled / "prompts.json").read_text(encoding="utf-8")
    assert json.loads(text)["prompts"] == [
        {"frame": 3, "object_id": 5, "prompt": {"points": [[1.5, 2.0]], "labels": [0], "box": [0, 0, 3, 4]}}
    ]
    assert len(text.splitlines()) > 10, "one value per line, not one line"
    assert "Zelle ä" in (filled / "objects.json").read_text(encoding="utf-8")
    settings = json.loads((filled / "settings.json").read_text(encoding="utf-8"))
    assert (settings["format"], settings["frames"]) == ("napari-sam2-project", 12)
    assert settings["source"]["path"] == "a.tif"


def test_readable_copies_follow_when_it_is_quiet(filled) -> None:
    with Project.open(filled, "a") as project:
        project.store.defer()
        project.change_object(2, "two")
        assert "two" not in (filled / "objects.json").read_text()
        project.store.tidy()
        assert "two" in (filled / "objects.json").read_text()
        changed = (filled / "prompts.json").stat().st_mtime_ns
        project.store.tidy()
        assert (filled / "prompts.json").stat().st_mtime_ns == changed, "what did not change is not written"


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools under numpy 2
def test_sqlite_and_pycocotools_show_masks_that_overlap(filled, make_mask) -> None:
    with closing(sqlite3.connect(filled / "project.db")) as database:
        rows = database.execute(
            "SELECT object_id, rle, object_score, predicted_iou FROM current_mask WHERE frame = 4"
        ).fetchall()
    assert [row[0] for row in rows] == [2, 5]
    for object_id, rle, score, iou in rows:
        assert np.array_equal(
            coco.decode({"size": [20, 30], "counts": rle.encode()}) > 0, make_mask(object_id + 4)
        )
        assert (score, iou) == (2.0 + object_id + 4, 0.5)


def test_the_queries_in_the_documentation_say_what_they_promise(filled) -> None:
    text = (Path(__file__).parents[2] / "docs" / "project-format.md").read_text(encoding="utf-8")
    queries = [block.split("```")[0] for block in text.split("```sql\n")[1:]]
    assert len(queries) == 5
    with Project.open(filled, "a") as project:
        for name in ("one", "two"):
            with project.history.action(name):
                project.change_object(2, name)
        project.history.undo()
    with closing(sqlite3.connect(filled / "project.db")) as database:
        found = [database.execute(query).fetchall() for query in queries]
    assert found[0] == [(2, "one", 9), (5, "Zelle ä", 9)], "frames of each object"
    assert found[1] == [], "frames on which an object was lost"
    assert found[2] == [(3, 5, '{"points":[[1.5,2.0]],"labels":[0],"box":[0.0,0.0,3.0,4.0]}')], "prompts"
    assert found[3] == [(2, "one", 1), (3, "two", 0)], "steps of undo"
    assert found[4] == [(t, 2) for t in range(3, 12)], "objects on each frame"


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


def test_labels_are_an_array_for_napari(filled) -> None:
    labels = Project.open(filled).labels
    whole = np.asarray(labels)
    assert whole.shape == labels.shape == SHAPE
    assert labels.ndim == 3
    for key in (3, -1, slice(2, 5), (4, slice(2, 8)), (slice(None), 3, 4), (..., 3), [1, 5], np.int64(7)):
        assert np.array_equal(labels[key], whole[key]), key
    with pytest.raises(IndexError):
        labels[12]


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
    (filled / "movie.tif").write_bytes(b"x")
    with pytest.raises(ProjectExistsError, match=r"'movie.tif', which is no part of a project"):
        Project.create(filled, SHAPE, overwrite=True)
    (filled / "movie.tif").rename(tmp_path / "movie.tif")
    with Project.open(filled) as project:
        write_coco(project_results(project), filled / "exports" / "coco.json")
    (filled / "exports" / "notes.txt").write_bytes(b"x")
    with pytest.raises(ProjectExistsError, match=r"'exports/notes.txt', which is no part of a project"):
        Project.create(filled, SHAPE, overwrite=True)
    assert (filled / "exports" / "notes.txt").read_bytes() == b"x"
    (filled / "exports" / "notes.txt").unlink()
    with Project.create(filled, SHAPE, overwrite=True) as project:
        assert project.frames() == []


def test_a_folder_that_is_no_project_is_not_opened(tmp_path) -> None:
    (tmp_path / "other").mkdir()
    sqlite3.connect(tmp_path / "other" / "project.db").execute("CREATE TABLE x (y)").connection.close()
    for path in (tmp_path, tmp_path / "nothing.sam2", tmp_path / "other"):
        assert not is_project(path)
        with pytest.raises(ProjectNotFoundError):
            Project.open(path)
    (tmp_path / "old.sam2" / "writer").mkdir(parents=True)
    (tmp_path / "old.sam2" / "zarr.json").write_text("{}")
    with pytest.raises(ProjectNotFoundError, match="unreleased version"):
        Project.open(tmp_path / "old.sam2")


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


def test_a_project_is_made_whole_or_not_at_all(tmp_path, monkeypatch) -> None:
    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail)
        with pytest.raises(ProjectFullError, match="free some space"):
            Project.create(tmp_path / "a.sam2", SHAPE)
    assert list(tmp_path.iterdir()) == [], "nothing half done is left"
    dead = tmp_path / ".a.sam2.999999999-abcd.new"
    dead.mkdir()
    Project.create(tmp_path / "a.sam2", SHAPE).close()
    assert [p.name for p in tmp_path.iterdir()] == ["a.sam2"], "what a killed process left is removed"


def test_a_copy_that_is_made_while_it_is_written_to_opens(filled, tmp_path, make_record, make_mask) -> None:
    with Project.open(filled, "a") as project:
        with project.history.action("more"):
            project.store.put(9, 1, make_record(1), make_mask(1))
        shutil.copytree(filled, tmp_path / "files.sam2")
        project.copy_to(tmp_path / "backup.sam2")
        project.history.begin("running")
        project.store.put(9, 2, make_record(2), make_mask(2))
        Project.open(filled).copy_to(tmp_path / "by a reader.sam2")
        project.history.commit()
    for name, frames in (("files", [1]), ("backup", [1]), ("by a reader", [1, 2])):
        with Project.open(tmp_path / f"{name}.sam2", "a") as copy:
            assert copy.frames(9) == frames
            assert copy.verify() == []
            assert copy.prompts.keys() == {(3, 5)}
    with pytest.raises(ProjectExistsError):
        Project.open(filled).copy_to(tmp_path / "backup.sam2")


def test_settings_are_kept(filled) -> None:
    with Project.open(filled, "a") as project:
        assert project.setting("track") is None
        project.save_setting("track", {"done": 2})
    assert Project.open(filled).setting("track") == {"done": 2}


def test_open_project_gives_lazy_labels_and_tables(filled, make_mask) -> None:
    found = napari_sam2.open_project(filled)
    assert found.labels.shape == SHAPE
    assert found.labels.dtype == np.uint16
    assert found.labels.chunks[0] == (1,) * 12
    assert np.array_equal(found.labels[4].compute(), Project.open(filled).labels[4])
    assert np.array_equal(pickle.loads(pickle.dumps(found.labels))[5].compute(), found.labels[5].compute())
    assert found.tables["objects"] == {
        "object_id": [2, 5],
        "name": ["", "Zelle ä"],
        "color": [None, "#00ff10"],
    }
    assert found.tables["prompts"]["frame"] == [3]
    masks = found.tables["masks"]
    assert masks["frame"] == [t for t in range(3, 12) for _ in (2, 5)]
    assert masks["area"][0] == int(make_mask(5).sum())
    frame = found.dataframe("masks")
    assert list(frame.columns) == list(masks)
    assert frame["object_score"].tolist() == masks["object_score"]
    with pytest.raises(KeyError, match="masks, objects, prompts"):
        found.dataframe("cells")

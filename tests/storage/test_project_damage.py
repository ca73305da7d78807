"""Damaged and hostile projects: a clear sentence, nothing wrong is shown, nothing is overwritten."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import ModuleType

import numcodecs
import numpy as np
import pytest

from napari_sam2.session import sqlite_store
from napari_sam2.storage import Project, ProjectDamagedError, ProjectError, ProjectVersionError, is_project
from napari_sam2.storage import database as databases

HERE = Path(__file__).parent


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fuzz(cases: int, seed: int, folder: Path) -> dict[str, int]:
    process = subprocess.run(
        [sys.executable, str(HERE / "damaged_projects.py"), str(cases), str(seed)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(folder)},
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout)


def test_random_damage_shows_nothing_wrong_and_overwrites_nothing(tmp_path) -> None:
    seen = fuzz(200, 1, tmp_path)
    assert sum(seen.values()) == 400
    assert seen["r refused"] + seen["r reported"] > 30, "the damage was done"
    assert seen["r unharmed"] > 10


@pytest.mark.slow
@pytest.mark.skipif("NAPARI_SAM2_LONG" not in os.environ, reason="takes half an hour: set NAPARI_SAM2_LONG")
def test_ten_thousand_kinds_of_damage(tmp_path) -> None:
    assert sum(sum(fuzz(1000, seed, tmp_path).values()) for seed in range(100, 110)) == 20_000


@pytest.fixture
def made(tmp_path: Path) -> Path:
    script("damaged_projects").make(tmp_path / "a.sam2")
    return tmp_path / "a.sam2"


def edit(folder: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(folder / "project.db")) as database, database:
        database.execute(statement, values)


def test_a_damaged_mask_is_named_and_passed_over(made) -> None:
    edit(made, "UPDATE mask SET rle = 'zz' || rle WHERE frame = 3 AND step = 3")
    project = Project.open(made)
    assert project.damaged_frames == [3]
    assert any("frame 3: object 1: its checksum does not fit" in text for text in project.damage)
    assert [m.frame for m in project.iterate()] == [0, 1, 2, 4]
    assert project.masks(3).object_ids == ()
    assert not project.labels[3].any()


def test_a_damaged_frame_is_healed_by_tracking_it_again(made) -> None:
    module = script("damaged_projects")
    edit(made, "UPDATE mask SET rle = 'zz' WHERE frame = 3 AND object_id = 1")
    with Project.open(made, "a") as project:
        assert project.damaged_frames == [3]
        project.store.put(1, 3, module.record_of(9), module.mask_of(9))
        assert project.damaged_frames == []
        assert project.verify() == []
        assert np.array_equal(project.masks(3).of(1), module.mask_of(9))


def test_a_memory_of_another_frame_is_not_taken_for_the_right_one(made) -> None:
    edit(
        made,
        "UPDATE record SET (logits, pointer, checksum) = (SELECT logits, pointer, checksum FROM record WHERE frame = 1 "
        "AND object_id = 1 AND step = 3) WHERE frame = 2 AND object_id = 1 AND step = 3",
    )
    project = Project.open(made)
    assert project.store.get(1, 2) is None
    assert project.damaged_frames == [2]
    assert project.masks(2).object_ids == (1, 3), "the masks are there all the same"


def test_a_mask_that_was_edited_by_hand_is_taken_over(made) -> None:
    counts = script("damaged_projects").mask_of(5)
    from napari_sam2.masks import encode_rle

    edit(
        made,
        "UPDATE mask SET rle = ?, checksum = NULL WHERE frame = 0 AND object_id = 1",
        encode_rle(counts).counts,
    )
    assert np.array_equal(Project.open(made).masks(0).of(1), counts)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE mask SET rle = ?, checksum = NULL WHERE frame = 2",  # more runs than pixels
        "UPDATE record SET logits = CAST(? AS BLOB), checksum = NULL WHERE frame = 2",
        "UPDATE entry SET data = ?, checksum = NULL WHERE frame >= 0",
        "UPDATE entry SET data = ?, checksum = NULL WHERE frame < 0",
    ],
)
def test_absurd_content_is_told_before_anything_is_allocated(made, statement) -> None:
    edit(made, statement, "[" * 3_000_000)
    project = Project.open(made)
    project.verify()
    assert project.damage


def test_a_record_that_would_fill_the_memory_is_not_unpacked(made) -> None:
    """A few kilobytes may claim to be gigabytes, with a checksum that fits."""
    project = Project.open(made)
    row = project._database.rows(f"SELECT {', '.join(sqlite_store.NAMES)} FROM record WHERE id = 1")[0]
    bomb = numcodecs.Zstd(1).encode(np.zeros(2**27, np.uint8))
    columns = (*row[:3], 2 * (len(bomb).to_bytes(4, "little") + bomb), *row[4:-1])
    with pytest.raises(ValueError, match="cannot be decompressed"):
        sqlite_store.row_record((*columns, sqlite_store._checksum(columns, 0, 1)), 0, 1)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "CREATE TRIGGER evil AFTER INSERT ON mask BEGIN DELETE FROM entry; END",
            "its tables are not those",
        ),
        ("CREATE VIEW evil AS SELECT load_extension('x')", "its tables are not those"),
        ("DROP TABLE removal", "its tables are not those"),
        ("PRAGMA application_id = 7", "is no database of napari-sam2"),
        ("UPDATE project SET value = '{}', checksum = NULL", "frames must be a whole number"),
        ("UPDATE project SET value = replace(value, '12', '13')", "checksum"),
        ("UPDATE step SET applied = 1 - applied", "order of its steps"),
    ],
)
def test_what_is_no_project_of_this_version_is_refused_and_not_touched(made, statement, words) -> None:
    edit(made, statement)
    before = (made / "project.db").read_bytes()
    for mode in ("r", "a"):
        with pytest.raises(ProjectError, match=words):
            Project.open(made, mode)
    assert (made / "project.db").read_bytes() == before


def test_a_newer_project_is_left_alone(made) -> None:
    edit(made, "PRAGMA user_version = 99")
    before = (made / "project.db").read_bytes()
    for mode in ("r", "a"):
        with pytest.raises(ProjectVersionError, match="layout version 99.*update napari-sam2"):
            Project.open(made, mode)
    assert (made / "project.db").read_bytes() == before


def test_a_destroyed_database_starts_again_from_the_readable_copies(made) -> None:
    with Project.open(made, "a") as project:
        project.save_setting("track", {"passes": ["forward"]})
    ruin = b"\0" * 5000
    (made / "project.db").write_bytes(ruin)
    assert is_project(made)
    for mode in ("r", "a"):
        with pytest.raises(
            ProjectDamagedError, match=r"no SQLite database; start again .* info .* --restore"
        ):
            Project.open(made, mode)
    assert (made / "project.db").read_bytes() == ruin
    with Project.restore(made) as project:
        assert project.prompts == script("damaged_projects").PROMPTS
        assert (project.objects[3].name, project.objects[3].color) == ("three 1", (1, 2, 3))
        assert project.shape == (5, 12, 16)
        assert project.setting("track") == {"passes": ["forward"]}
        assert project.frames() == []
        assert not project.history.can_undo
    assert (made / "project.db.damaged-1").read_bytes() == ruin, "nothing is deleted"
    with pytest.raises(ProjectError, match="is not damaged: open it"):
        Project.restore(made)


def test_a_lost_database_starts_again_as_well(made) -> None:
    (made / "project.db").unlink()
    with pytest.raises(ProjectDamagedError, match="is missing; start again"):
        Project.open(made)
    with Project.restore(made) as project:
        assert project.prompts == script("damaged_projects").PROMPTS


def test_without_readable_copies_there_is_nothing_to_start_from(made) -> None:
    (made / "project.db").write_bytes((made / "project.db").read_bytes()[:3000])
    (made / "prompts.json").write_text('{"prompts": [{"frame": 99}]}')
    with pytest.raises(ProjectDamagedError, match="readable copies are damaged: a prompt"):
        Project.restore(made)
    assert not list(made.parent.glob(".*")), "nothing half done is left"


def test_a_truncated_database_is_refused_and_can_be_looked_at_no_more_than_it_holds(made) -> None:
    data = (made / "project.db").read_bytes()
    (made / "project.db").write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(ProjectDamagedError, match="damaged"):
        Project.open(made, "a")


def test_links_are_not_followed_for_writing(made, tmp_path) -> None:
    thesis = tmp_path / "thesis"
    thesis.write_bytes(b"precious")
    (made / "prompts.json").unlink()
    for name in ("prompts.json", "writer.json", "project.db-wal"):
        (made / name).symlink_to(thesis)
    with pytest.raises(ProjectDamagedError, match="project.db-wal is a link"):
        Project.open(made, "a")
    (made / "project.db-wal").unlink()
    home = tmp_path / "home"
    home.mkdir()
    (made / "exports").symlink_to(home)
    with Project.open(made, "a") as project:
        project.change_object(9, "new")
        with pytest.raises(ProjectError, match="exports is a link"):
            _ = project.exports_folder
    assert thesis.read_bytes() == b"precious"
    assert not (made / "prompts.json").is_symlink()
    assert list(home.iterdir()) == []
    (made / "writer.lock").unlink()
    (made / "writer.lock").symlink_to(thesis)
    with pytest.raises(ProjectDamagedError, match="writer.lock is a link"):
        Project.open(made, "a")
    (made / "writer.lock").unlink()
    (made / "project.db").rename(tmp_path / "moved.db")
    (made / "project.db").symlink_to(tmp_path / "moved.db")
    with pytest.raises(ProjectDamagedError, match="is a link"):
        Project.open(made, "a")
    assert Project.open(made).frames(1) == [0, 1, 2, 3, 4], "reading through a link is harmless"


def test_larger_databases_are_checked_where_it_is_fast(made, monkeypatch) -> None:
    monkeypatch.setattr(databases, "_CHECKED_BYTES", 1000)
    with Project.open(made, "a") as project:
        assert project.verify() == []
        assert project.frames(1) == [0, 1, 2, 3, 4]


def test_an_old_python_is_told(made, monkeypatch) -> None:
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 31, 1))
    with pytest.raises(ProjectError, match=r"SQLite 3\.37"):
        Project.open(made)

"""Damaged projects: only what is damaged is lost, and it is named."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from napari_sam2.storage import Project, ProjectDamagedError

HERE = Path(__file__).parent


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", range(5))
def test_random_damage_loses_only_what_it_hits(tmp_path, seed) -> None:
    seen = script("damaged_projects").run(30, seed, tmp_path)
    assert sum(seen.values()) == 60
    assert seen["r reported"] > 5, "the damage was done"


@pytest.mark.slow
def test_much_random_damage_loses_only_what_it_hits(tmp_path) -> None:
    assert sum(script("damaged_projects").run(600, 100, tmp_path).values()) == 1200


@pytest.fixture
def made(tmp_path: Path) -> Path:
    module = script("damaged_projects")
    module.make(tmp_path / "a.sam2")
    return tmp_path / "a.sam2"


def test_a_damaged_frame_is_named_and_passed_over(made) -> None:
    (made / "masks" / "c.3").write_bytes(b"\0" * 40)
    project = Project.open(made)
    assert project.damaged_frames == [3]
    assert any("frame 3" in text and "checksum" in text for text in project.damage)
    assert [m.frame for m in project.iterate()] == [0, 1, 2, 4]
    assert project.store.frames(1) == [0, 1, 2, 4]
    assert project.masks(3).object_ids == ()
    assert project.store.get(1, 3) is None


def test_a_damaged_frame_is_healed_by_tracking_it_again(made) -> None:
    module = script("damaged_projects")
    (made / "masks" / "c.3").write_bytes(b"")
    with Project.open(made, "a") as project:
        assert project.damaged_frames == [3]
        project.store.put(1, 3, module.record_of(9), module.mask_of(9))
        assert project.damaged_frames == []
        assert project.verify() == []
        assert np.array_equal(project.masks(3).of(1), module.mask_of(9))


def test_a_memory_of_another_time_is_not_taken_for_the_right_one(made) -> None:
    logits = made / "memories" / "logits"
    (logits / "c.2.0.0.0").write_bytes((logits / "c.1.0.0.0").read_bytes())
    project = Project.open(made)
    assert project.store.get(1, 2) is None
    assert project.damaged_frames == [2]
    assert project.masks(2).object_ids == (1, 3), "the masks are there all the same"


def test_every_document_has_a_copy(made) -> None:
    for name in (".", "prompts", "objects", "history", "memories", "run"):
        (made / name / "zarr.json").unlink()
    with Project.open(made) as project:
        assert project.prompts == script("damaged_projects").PROMPTS
        assert project.history.undo_label == "round 1"
        assert project.store.get(1, 4) is not None
        assert len(project.damage[0]) > 10
    with Project.open(made, "a"):
        pass
    assert (made / "zarr.json").exists(), "opened for writing, it is repaired"
    assert Project.open(made).damage == []


def test_without_its_history_everything_that_is_there_counts(made) -> None:
    (made / "history" / "zarr.json").unlink()
    (made / "writer" / "copy-of-history.json").write_text("{}")
    with Project.open(made, "a") as project:
        assert any("history of undo is lost" in text for text in project.damage)
        assert not project.history.can_undo
        assert project.scores(2)[1][0] == 221.0, "the newest version, which had been undone"
        assert project.prompts == script("damaged_projects").PROMPTS


def test_without_both_root_documents_it_cannot_be_opened(made) -> None:
    (made / "zarr.json").write_text("[]")
    (made / "writer" / "copy-of-project.json").write_text("{")
    for mode in ("r", "a"):
        with pytest.raises(ProjectDamagedError, match="zarr.json"):
            Project.open(made, mode)


def test_a_lost_layout_of_memories_does_not_lose_the_memories(made) -> None:
    module = script("damaged_projects")
    content = (made / "memories" / "zarr.json").read_bytes()
    (made / "memories" / "zarr.json").write_text("")
    (made / "writer" / "copy-of-memories.json").write_text("")
    with Project.open(made, "a") as project:
        assert project.store.get(1, 2) is None
        assert project.masks(2).object_ids == (1, 3)
        project.store.put(2, 0, module.record_of(5), module.mask_of(5))
        assert project.store.get(1, 2) is not None, "the first new record says what the layout is"
    assert json.loads((made / "memories" / "zarr.json").read_bytes()) == json.loads(content)


def test_a_document_of_absurd_size_or_depth(made) -> None:
    for text in ("[" * 100_000, '{"attributes":' * 50_000, "1" * 10_000, '{"a": 1e999}'):
        (made / "prompts" / "zarr.json").write_text(text)
        assert Project.open(made).prompts == script("damaged_projects").PROMPTS


def test_damage_from_the_root_document_that_still_parses(made) -> None:
    path = made / "zarr.json"
    path.write_text(path.read_text().replace('"frames": 5', '"frames": 7'))
    project = Project.open(made)
    assert project.frame_count == 5
    assert any("checksum" in text for text in project.damage)


def test_the_reader_in_the_documentation_finds_what_the_project_finds(tmp_path, monkeypatch) -> None:
    text = (HERE.parents[1] / "docs" / "project-format.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    (code,) = [block for block in blocks if "import json, zarr" in block]
    monkeypatch.chdir(tmp_path)
    script("damaged_projects").make(tmp_path / "cells.sam2")
    project = Project.open("cells.sam2")
    for frame in range(5):
        names: dict = {}
        exec(code.replace("[12]", f"[{frame}]"), names)
        found = {i: item["object_score"] for i, item in names["current"].items()}
        assert found == {i: score for i, (score, _) in project.scores(frame).items()}

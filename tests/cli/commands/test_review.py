"""``napari-sam2 review``: the queue of a project, and the verbs that decide it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_sam2.objects import Parent
from napari_sam2.prompts import BoxPrompt, Prompt
from napari_sam2.storage import Project
from tests.cli.conftest import HEIGHT, LENGTH, WIDTH, drawn_truth


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The true masks, object 1 missing on frame 5; from frame 8 on object 2 grows into it."""
    truth = drawn_truth()
    path = tmp_path / "a.sam2"
    with Project.create(path, (LENGTH, HEIGHT, WIDTH)) as project:
        for frame in range(LENGTH):
            masks = np.stack([truth[frame] == 1, truth[frame] == 2])
            masks[0] &= frame != 5
            if frame >= 8:
                masks[1, :, 30:] = True
            project.store.put_masks(_masks(frame, masks), "tracked")
        project.put_prompt(0, 1, Prompt(box=BoxPrompt(0, 8, 13, 19)))
    return path


def _masks(frame, masks):
    from napari_sam2.masks import FrameMasks

    high = np.full(2, 8, np.float32)
    return FrameMasks(frame, (1, 2), masks, high, np.full(2, 0.9, np.float32), np.zeros(2, bool))


def test_the_list_names_what_is_open_and_info_counts_states(napari_sam2, project):
    result = napari_sam2("review", project, "--order", "time", "--json").ok()
    found = {(i["object_id"], i["kind"], i["first"], i["last"], i["frame"]) for i in result["items"]}
    assert found == {
        (1, "missing", 5, 5, 5),
        (1, "uncertain", 6, 6, 6),
        (1, "uncertain", 11, 11, 11),
        (2, "uncertain", 8, 8, 8),
    }
    assert [item["frame"] for item in result["items"]] == [5, 6, 8, 11]
    said = napari_sam2("review", project)
    assert "missing     object 1, frame 5: look at frame 5" in said.out
    [first, second] = napari_sam2("info", project, "--json").ok()["objects"]
    assert first["states"] == {"tracked": LENGTH - 4, "uncertain": 2, "missing": 1, "prompted": 1}
    assert second["states"] == {"tracked": LENGTH - 1, "uncertain": 1}
    assert "8 tracked, 2 uncertain, 1 missing, 1 prompted" in napari_sam2("info", project).out


def test_decisions_close_items_and_are_undone(napari_sam2, project):
    napari_sam2("review", project, "absent", 1, "--range", "5:6", "--json").ok()
    napari_sam2("review", project, "accept", 1, "--range", "6:12", "--json").ok()
    napari_sam2("review", project, "accept", 2, "--json").ok()
    assert napari_sam2("review", project).out.strip() == "nothing is open"
    states = [o["states"] for o in napari_sam2("info", project, "--json").ok()["objects"]]
    assert states == [{"tracked": 4, "accepted": 6, "prompted": 1, "absent": 1}, {"accepted": LENGTH}]
    undone = napari_sam2("review", project, "undo", "--json").ok()
    assert undone["done"] == f"undone: Accept object 2 on frames 0 to {LENGTH - 1}"
    assert napari_sam2("review", project, "--json").ok()["open"] == 1
    napari_sam2("review", project, "reopen", 1, "--json").ok()
    assert napari_sam2("review", project, "--json").ok()["open"] == 4


def test_swaps_ends_divisions_and_parents(napari_sam2, project):
    truth = drawn_truth()
    napari_sam2("review", project, "swap", 1, 2, "--frame", 6, "--json").ok()
    with Project.open(project) as reader:
        assert np.array_equal(reader.masks(7).of(1), truth[7] == 2)
        assert np.array_equal(reader.masks(4).of(1), truth[4] == 1)
    napari_sam2("review", project, "undo", "--json").ok()
    napari_sam2("review", project, "divide", 2, 2, 1, "--frame", 3, "--json").ok()
    with Project.open(project) as reader:
        assert {i: o.parent for i, o in reader.objects.items()} == {
            1: Parent(2, 3),
            2: None,
            3: Parent(2, 3),
        }
        assert reader.masks(4).object_ids == (1, 3)
        assert reader.masks(2).object_ids == (2,)
    assert "from object 2; " in napari_sam2("info", project).out
    napari_sam2("review", project, "parent", 3, "--json").ok()
    napari_sam2("review", project, "end", 3, "--frame", 9, "--json").ok()
    with Project.open(project) as reader:
        assert reader.objects[3].parent is None
        assert reader.objects[3].absent == ((9, LENGTH - 1),)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("accept",), "accept takes one object"),
        (("absent", 1), "absent takes one object and --range"),
        (("swap", 1, 2), "swap takes two objects and --frame"),
        (("divide", 1, 2, "--frame", 3), "divide takes the mother, its daughters"),
    ],
)
def test_what_is_missing_is_named(napari_sam2, project, words, sentence):
    said = napari_sam2("review", project, *words)
    assert said.code == 2
    assert sentence in said.err


def test_what_makes_no_sense_is_refused_in_a_sentence(napari_sam2, project):
    said = napari_sam2("review", project, "accept", 7)
    assert said.code == 1
    assert "object 7 does not exist" in said.err
    assert napari_sam2("review", project, "accept", "x").code == 2
    assert napari_sam2("review", project, "end", 1, "--frame", "-3").code == 2


def test_info_of_a_large_project_does_not_measure_every_mask(napari_sam2, project, monkeypatch):
    monkeypatch.setattr("napari_sam2.cli.commands.info._MOST_MEASURED", 2 * LENGTH - 1)
    objects = napari_sam2("info", project, "--json").ok()["objects"]
    assert [o["states"] for o in objects] == [None, None]
    assert "tracked" not in napari_sam2("info", project).out

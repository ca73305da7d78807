"""Undo and redo: random sequences of everything that changes a project, against copies of every state."""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam2.masks import FrameMasks
from napari_sam2.prompts import PointPrompt, Prompt
from napari_sam2.session.protocols import ObjectRecord
from napari_sam2.storage import Project, ProjectError, ProjectReadOnlyError

SHAPE = (4, 12, 14)
OBJECTS = st.integers(1, 3)
FRAMES = st.integers(0, SHAPE[0] - 1)
SEEDS = st.integers(0, 50)

CHANGES = st.one_of(
    st.tuples(st.just("track"), FRAMES, st.dictionaries(OBJECTS, SEEDS, min_size=1)),
    st.tuples(st.just("paint"), FRAMES, st.dictionaries(OBJECTS, SEEDS, min_size=1)),
    st.tuples(st.just("remove"), FRAMES, OBJECTS),
    st.tuples(st.just("remove object"), OBJECTS, st.none()),
    st.tuples(st.just("prompt"), FRAMES, st.tuples(OBJECTS, SEEDS)),
    st.tuples(st.just("clear"), FRAMES, OBJECTS),
    st.tuples(st.just("rename"), OBJECTS, st.text(max_size=5)),
    st.tuples(st.just("recolour"), OBJECTS, st.tuples(*[st.integers(0, 255)] * 3)),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("action"), st.lists(CHANGES, min_size=1, max_size=4)),
        st.tuples(st.just("joined action"), st.lists(CHANGES, min_size=1, max_size=3)),
        st.tuples(st.just("failing action"), st.lists(CHANGES, min_size=1, max_size=3)),
        st.tuples(st.just("failing joined action"), st.lists(CHANGES, min_size=1, max_size=3)),
        st.tuples(st.just("killed"), st.lists(CHANGES, max_size=3)),
        st.tuples(st.just("tidy"), st.none()),
        st.tuples(st.just("undo"), st.none()),
        st.tuples(st.just("redo"), st.none()),
        st.tuples(st.just("reopen"), st.none()),
        st.tuples(st.just("compact"), st.none()),
    ),
    min_size=1,
    max_size=10,
)


def mask_of(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x, h, w = rng.integers(0, 8, 4)
    mask = np.zeros(SHAPE[1:], bool)
    mask[y : y + h, x : x + w] = True
    return mask


def record_of(seed: int) -> ObjectRecord:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(4, 4)).astype(np.float16)
    pointer = rng.normal(size=3).astype(np.float32)
    return ObjectRecord(logits, pointer, float(seed), 0.25, seed % 2 == 0, seed % 3 == 0, prompt_hash=seed)


def finished(frame: int, seeds: dict[int, int]) -> FrameMasks:
    ids = tuple(seeds)
    unknown = np.full(len(ids), np.nan, np.float32)
    masks = np.stack([mask_of(s) for s in seeds.values()])
    return FrameMasks(frame, ids, masks, unknown, unknown, np.zeros(len(ids), bool))


def change(project: Project, kind: str, first, second) -> None:
    if kind == "track":
        project.store.put_frame(first, {i: (record_of(s), mask_of(s)) for i, s in second.items()})
    elif kind == "paint":
        project.store.put_masks(finished(first, second), "painted")
    elif kind == "remove":
        project.store.remove(second, first)
    elif kind == "remove object":
        project.store.remove_object(first)
    elif kind == "prompt":
        key = (first, second[0])
        project.save_prompts(project.prompts | {key: Prompt((PointPrompt(second[1] / 5, 1.0),))})
    elif kind == "clear":
        project.save_prompts({k: p for k, p in project.prompts.items() if k != (first, second)})
    elif kind == "rename":
        project.change_object(first, name=second)
    elif kind == "recolour":
        project.change_object(first, color=second)


def snapshot(project: Project) -> dict:
    """Everything that can be seen of a project."""
    frames = {}
    for frame in range(SHAPE[0]):
        masks = project.masks(frame)
        records = {}
        for object_id in range(1, 4):
            record = project.store.get(object_id, frame)
            assert (record is not None) == (frame in project.store.frames(object_id))
            assert (object_id in masks.object_ids) == (frame in project.frames(object_id))
            if record is not None:
                facts = (record.object_score, record.prompted, record.conditioning, record.prompt_hash)
                records[object_id] = (record.logits.tobytes(), record.pointer.tobytes(), *facts)
        shown = {i: masks.of(i).tobytes() for i in masks.object_ids}
        frames[frame] = (shown, records, project.origins(frame), project.labels[frame].tobytes())
    return {"frames": frames, "prompts": list(project.prompts.items()), "objects": project.objects}


class Fault(Exception):
    pass


def fail(project: Project, changes, joins: bool, last=lambda: None) -> None:
    with project.history.action("fail", joins=joins):
        for item in changes:
            change(project, *item)
        last()
        raise Fault


@given(STEPS, st.booleans())
@settings(max_examples=100, deadline=None)
def test_undo_and_redo_lead_back_to_every_state(steps, defers) -> None:
    folder = Path(tempfile.mkdtemp())
    path = folder / "0.sam2"
    project = Project.create(path, SHAPE)
    project.store.defer(defers)
    states, at = [snapshot(project)], 0
    try:
        for kind, changes in steps:
            if kind == "action":
                with project.history.action("do"):
                    for item in changes:
                        change(project, *item)
                states, at = [*states[: at + 1], snapshot(project)], at + 1
            elif kind == "joined action":
                with project.history.action("do", joins=True):
                    for item in changes:
                        change(project, *item)
                at = max(at, 1)
                states = [*states[:at], snapshot(project)]
            elif kind.startswith("failing"):
                with pytest.raises(Fault):
                    fail(project, changes, "joined" in kind)
            elif kind == "killed":  # in the middle of an action: the disk is as it is then
                copy = folder / f"{path.stem}0.sam2"
                with pytest.raises(Fault):
                    fail(project, changes, bool(len(changes) % 2), partial(shutil.copytree, path, copy))
                project.close()
                path = copy
                reader = Project.open(path)
                assert snapshot(reader) == states[at]
                project = Project.open(path, "a")
                project.store.defer(defers)
            elif kind == "tidy":
                project.store.tidy()
            elif kind == "undo":
                assert project.history.can_undo == (at > 0)
                if at:
                    project.history.undo()
                    at -= 1
            elif kind == "redo":
                assert project.history.can_redo == (at < len(states) - 1)
                if at < len(states) - 1:
                    project.history.redo()
                    at += 1
            elif kind == "reopen":
                project.close()
                project = Project.open(path, "a")
                project.store.defer(defers)
            elif kind == "compact":
                assert project.history.compact()
            assert snapshot(project) == states[at], kind
            assert not project.damage
        while project.history.can_undo:
            project.history.undo()
            at -= 1
            assert snapshot(project) == states[at]
        assert at == 0, "undoing everything leads to the empty project"
        while project.history.can_redo:
            project.history.redo()
            at += 1
        assert snapshot(project) == states[-1], "redoing everything leads to the last state"
        assert [label for _, label in project.history.steps] == ["do"] * (len(states) - 1)
        assert project.history.applied == at
        reader = Project.open(path)
        assert snapshot(reader) == states[-1], "a reader sees the same"
    finally:
        project.close()
        shutil.rmtree(folder)


def used(path: Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def test_the_budget_bounds_what_undo_keeps(tmp_path: Path) -> None:
    def fill(project: Project, rounds: int) -> None:
        rng = np.random.default_rng(0)
        for seed in range(rounds):
            with project.history.action(f"track {seed}"):
                for frame in range(SHAPE[0]):
                    logits = rng.normal(size=(128, 128)).astype(np.float16)  # 32 KiB that do not compress
                    record = ObjectRecord(logits, np.zeros(3, np.float32), 1.0, 1.0, False, False)
                    project.store.put(1, frame, record, mask_of(seed))

    budget = 1_000_000
    with Project.create(tmp_path / "small.sam2", SHAPE, history_budget=budget) as small:
        fill(small, 50)
        assert small.history.superseded_bytes <= budget
        assert small.history.can_undo, "the budget is enough for the last actions"
        expected = small.masks(0).of(1).copy()
        small.history.undo()
        assert not np.array_equal(small.masks(0).of(1), expected)
        small.history.redo()
        assert np.array_equal(small.masks(0).of(1), expected)
    assert used(tmp_path / "small.sam2") < 2.5 * budget
    with Project.create(tmp_path / "large.sam2", SHAPE) as large:
        fill(large, 50)
        assert sum(1 for _ in iter(lambda: large.history.can_undo and large.history.undo(), False)) == 50
        assert used(tmp_path / "large.sam2") > 5 * budget


def test_an_action_larger_than_the_budget_cannot_be_undone_but_is_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with Project.create(tmp_path / "a.sam2", (200, 12, 14), history_budget=1000) as project:
        for label in ("first", "second"):
            with project.history.action(label, whole=False):
                for frame in range(200):
                    logits = rng.normal(size=(8, 8)).astype(np.float16)
                    record = ObjectRecord(logits, np.zeros(3, np.float32), 1.0, 1.0, False, False)
                    project.store.put(1, frame, record, mask_of(len(label)))
        assert project.store.frames(1) == list(range(200))
        assert not project.history.can_undo
        assert project.history.superseded_bytes <= 1000
        assert np.array_equal(project.masks(7).of(1), mask_of(len("second")))


def test_actions_inside_actions_are_one_step(project, make_record, make_mask) -> None:
    with project.history.action("outer"):
        with project.history.action("inner"):
            project.store.put(1, 0, make_record(), make_mask())
        project.store.put(1, 1, make_record(), make_mask())
    assert project.history.undo() == "outer"
    assert project.store.frames(1) == []


def test_there_is_no_undo_in_the_middle_of_an_action(project, make_record, make_mask) -> None:
    project.history.begin("long")
    project.store.put(1, 0, make_record(), make_mask())
    with pytest.raises(ProjectError, match="wait until this is done: long"):
        project.history.undo()
    project.history.commit()
    assert project.history.undo_label == "long"


def test_nothing_to_undo_is_said(project) -> None:
    with pytest.raises(ProjectError, match="nothing to undo"):
        project.history.undo()
    with pytest.raises(ProjectError, match="nothing to redo"):
        project.history.redo()


def test_a_reader_cannot_undo(project, make_record, make_mask) -> None:
    with project.history.action("a"):
        project.store.put(1, 0, make_record(), make_mask())
    reader = Project.open(project.path)
    with pytest.raises(ProjectReadOnlyError):
        reader.history.undo()


def test_undoing_the_removal_of_an_object_brings_back_prompts_name_and_masks(
    project, make_record, make_mask
) -> None:
    prompt = Prompt((PointPrompt(3, 4),))
    with project.history.action("make"):
        for frame in range(12):
            project.store.put(7, frame, make_record(frame), make_mask(frame))
        project.save_prompts({(0, 7): prompt})
        project.change_object(7, "cell", "#ff0080")
    project.store.remove_object(7)
    assert project.objects == {}
    assert project.prompts == {}
    assert not project.labels[:].any()
    assert project.history.undo() == "Remove object 7"
    assert project.prompts == {(0, 7): prompt}
    assert (project.objects[7].name, project.objects[7].color) == ("cell", (255, 0, 128))
    assert project.store.frames(7) == list(range(12))
    assert (project.labels[5] == 7).sum() == make_mask(5).sum()


def test_an_id_can_be_used_again_after_its_object_was_removed(project, make_record, make_mask) -> None:
    with project.history.action("first"):
        project.store.put(1, 0, make_record(1), make_mask(1))
        project.store.put(1, 1, make_record(1), make_mask(1))
    project.store.remove_object(1)
    with project.history.action("second"):
        project.store.put(1, 1, make_record(2), make_mask(2))
    assert project.store.frames(1) == [1]
    project.history.undo()
    project.history.undo()
    assert project.store.frames(1) == [0, 1]
    assert np.array_equal(project.masks(1).of(1), make_mask(1))

"""Review of a project: states, decisions, swaps and divisions, on disk, undone, and respected by tracking."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from napari_sam2.objects import ObjectInfo, Parent
from napari_sam2.prompts import PointPrompt, Prompt
from napari_sam2.review import FrameState as S
from napari_sam2.storage import Project, Review, open_session

_spec = importlib.util.spec_from_file_location("tiny_sessions", Path(__file__).parent / "tiny_sessions.py")
assert _spec is not None
assert _spec.loader is not None
tiny = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny)

SHAPE = (tiny.LENGTH, tiny.HEIGHT, tiny.WIDTH)
LAST = tiny.LENGTH - 1


@pytest.fixture(scope="module")
def model():
    return tiny.network()


@pytest.fixture
def session(tmp_path, model):
    """Objects 1 (prompts on 4 and 15) and 2 (a box on 9), tracked to the end."""
    with Project.create(tmp_path / "a.sam2", SHAPE) as project:
        session = open_session(project, model, tiny.frames(), tiny.OPTIONS)
        for (frame, object_id), prompt in tiny.PROMPTS.items():
            session.set_prompt(frame, object_id, prompt)
        list(session.propagate())
        yield session


def masks_of(project, object_id, first=0):
    found = {}
    for frame in range(first, project.frame_count):
        masks = project.masks(frame, [object_id])
        if masks.object_ids:
            found[frame] = masks.masks[0]
    return found


def same(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[t], second[t]) for t in first)


def everything(project):
    return [
        (row.object_id, frame, row.mask, row.origin, row.prompted, record and record.prompt_hash)
        for frame in project.frames()
        for row in project.store.mask_rows(frame, hidden=True)
        for record in [project.store.get(row.object_id, frame)]
    ], (project.prompts, project.objects)


def stale_frames(session, object_id):
    """What the session itself would track again."""
    tracked = session._objects[object_id]
    return {
        t for t in session.project.store.frames(object_id) if not tracked.is_current(t, tracked.stored(t))
    }


def test_a_changed_prompt_makes_stale_what_was_tracked_from_it_until_it_is_tracked_again(session):
    states = session.review.states()
    assert set(states[1][:4]) == {S.NOT_REACHED}
    assert states[1][4] == states[1][15] == states[2][9] == S.PROMPTED
    assert not np.isin([S.STALE, S.NOT_REACHED], states[1][4:]).any()
    session.set_prompt(15, 1, Prompt((PointPrompt(22, 15),)))
    states = session.review.states()
    stale = np.flatnonzero(states[1] == S.STALE).tolist()
    assert stale == [t for t in range(5, LAST + 1) if t != 15]  # all answered the prompts on both sides
    session.commit()
    assert set(stale) == stale_frames(session, 1)
    assert S.STALE not in states[2]
    list(session.propagate())
    assert S.STALE not in session.review.states()[1]


def test_without_its_prompts_an_object_is_stale_everywhere(session):
    session.clear_prompt(9, 2)
    known = session.project.frames(2)
    assert np.flatnonzero(session.review.states()[2] == S.STALE).tolist() == known


def test_a_painted_mask_is_not_stale(session):
    session.set_mask(20, 1, np.ones(session.size, bool))
    session.set_prompt(15, 1, Prompt((PointPrompt(22, 15),)))
    states = session.review.states()[1]
    assert states[20] != S.STALE
    assert states[21] == S.STALE


def test_accepted_frames_stay_as_they_are_when_tracked_again(session):
    before = masks_of(session.project, 1)
    session.review.accept(1, 16, 19)
    session.set_prompt(15, 1, Prompt((PointPrompt(44, 32),)))  # elsewhere
    assert np.flatnonzero(session.review.states()[1] == S.ACCEPTED).tolist() == [16, 17, 18, 19]
    list(session.propagate())
    after = masks_of(session.project, 1)
    assert all(np.array_equal(before[t], after[t]) for t in range(16, 20))
    assert not all(np.array_equal(before[t], after[t]) for t in range(20, LAST + 1))
    # Accepted results are recalled, whatever prompts they answered.
    assert {17, 18, 19} <= {t for _, t in session._objects[1].recall(20, False, True).spatial}
    session.set_prompt(17, 1, Prompt((PointPrompt(22, 15),)))
    assert session.objects[1].accepted == ((16, 16), (18, 19))


def test_what_was_never_tracked_cannot_be_accepted(session):
    with pytest.raises(ValueError, match="no result on the frames 0 to 3"):
        session.review.accept(1, 0, 3)
    session.review.accept(1, 2, 6)
    assert session.objects[1].accepted == ((4, 6),)


def test_an_absent_object_has_no_mask_is_not_looked_for_and_not_recalled(session):
    project, others = session.project, masks_of(session.project, 2)
    session.review.mark_absent(1, 14, 18)
    assert (15, 1) not in session.prompts
    assert (15, 1) not in project.prompts
    assert not set(range(14, 19)) & set(masks_of(project, 1))
    assert 1 not in session.masks(16).object_ids
    assert 1 not in np.unique(project.labels[16])
    assert set(session.review.states()[1][14:19]) == {S.ABSENT}
    shown = {masks.frame: masks.object_ids for masks in session.propagate()}
    assert all((1 in ids) == (not 14 <= t <= 18) for t, ids in shown.items() if t >= 4)
    recalled = session._objects[1].recall(20, False, True)
    assert not {t for _, t in recalled.spatial + recalled.pointers} & set(range(14, 19))
    assert same(masks_of(project, 2), others)
    session.set_prompt(16, 1, Prompt((PointPrompt(22, 15),)))  # it is there after all
    assert session.objects[1].absent == ((14, 15), (17, 18))
    assert session.review.states()[1][16] == S.PROMPTED


def test_reopened_frames_are_looked_for_again(session):
    session.review.mark_absent(2, 20, 25)
    session.review.reopen(2, 22, 23)
    assert session.objects[2].absent == ((20, 21), (24, 25))
    list(session.propagate())
    assert {20, 21, 22, 23, 24, 25} & set(masks_of(session.project, 2)) == {22, 23}


@pytest.mark.parametrize(
    "decide",
    [
        lambda r: r.accept(1, 16, 19),
        lambda r: r.mark_absent(1, 14, 18),
        lambda r: r.end(2, 12),
        lambda r: r.swap(1, 2, 12),
        lambda r: r.divide(1, 12, [1, 2]),
        lambda r: r.set_parent(2, 1),
    ],
)
def test_each_verb_is_one_step_that_undo_takes_back_and_survives_closing(session, decide):
    project = session.project
    before, steps = everything(project), project.history.applied
    decide(session.review)
    after = everything(project)
    assert after != before
    assert project.history.applied == steps + 1
    session.undo()
    assert everything(project) == before
    session.redo()
    assert everything(project) == after
    project.flush()
    with Project.open(project.path) as reader:
        assert everything(reader) == after
        assert Review(reader).counts() == session.review.counts()


def test_a_failed_verb_changes_nothing(session):
    before = everything(session.project)
    review = session.review
    for wrong in (
        lambda: review.swap(1, 1, 5),
        lambda: review.swap(1, 9, 5),
        lambda: review.accept(1, 8, 6),
        lambda: review.mark_absent(1, 0, 99),
        lambda: review.divide(1, 12, [2]),
        lambda: review.divide(1, 0, [1, 2]),
        lambda: review.set_parent(1, 1),
    ):
        with pytest.raises(ValueError):
            wrong()
    assert everything(session.project) == before


def test_swapped_masks_stay_swapped_when_tracked_again(session):
    project = session.project
    one, two = masks_of(project, 1), masks_of(project, 2)
    session.review.swap(1, 2, 12)
    new_one, new_two = masks_of(project, 1), masks_of(project, 2)
    assert same({t: m for t, m in new_one.items() if t < 12}, {t: m for t, m in one.items() if t < 12})
    assert same({t: m for t, m in new_one.items() if t >= 12}, {t: m for t, m in two.items() if t >= 12})
    assert same({t: m for t, m in new_two.items() if t >= 12}, {t: m for t, m in one.items() if t >= 12})
    assert sorted(project.prompts) == [(4, 1), (9, 2), (12, 1), (12, 2), (15, 2)]
    states = session.review.states()
    # From the swap on all is current; before it, the new prompts are an answer to look at again.
    assert not any((states[i][12:] == S.STALE).any() for i in (1, 2))
    assert (states[1][5:12] == S.STALE).all()
    list(session.propagate())
    assert same(masks_of(project, 1, 12), {t: m for t, m in two.items() if t >= 12})
    assert same(masks_of(project, 2, 12), {t: m for t, m in one.items() if t >= 12})


def test_a_swap_takes_decisions_and_daughters_along(session):
    review = session.review
    session.add_object(3)
    review.set_parent(3, 1, 20)
    review.accept(1, 10, 18)
    review.mark_absent(2, 25, LAST)
    review.swap(1, 2, 14)
    objects = session.objects
    assert (objects[1].accepted, objects[2].accepted) == (((10, 13),), ((14, 18),))
    assert (objects[1].absent, objects[2].absent) == (((25, LAST),), ())
    assert objects[3].parent == Parent(2, 20)


def test_a_division_ends_the_mother_and_begins_the_daughters(session):
    project = session.project
    one, two = masks_of(project, 1), masks_of(project, 2)
    ids = session.review.divide(1, 12, [1, 2])
    assert ids == (3, 2)
    objects = project.objects
    assert objects[3].parent == objects[2].parent == Parent(1, 12)
    assert objects[1].absent == ((12, LAST),)
    assert same(masks_of(project, 1), {t: m for t, m in one.items() if t < 12})
    assert same(masks_of(project, 3), {t: m for t, m in one.items() if t >= 12})
    assert same(masks_of(project, 2), {t: m for t, m in two.items() if t >= 12})
    list(session.propagate())
    assert same(masks_of(project, 3), {t: m for t, m in one.items() if t >= 12})
    with pytest.raises(ValueError, match="own ancestor"):
        session.review.set_parent(1, 3)
    session.review.set_parent(3, None)
    assert project.objects[3].parent is None


def test_names_and_colours_change_nothing_that_was_decided(session):
    session.review.accept(1, 10, 12)
    session.review.set_parent(2, 1, 9)
    session.put_object(ObjectInfo(1, "cell"))
    session.rename(2, "daughter")
    assert session.objects[1] == ObjectInfo(1, "cell", accepted=((10, 12),))
    assert session.objects[2].parent == Parent(1, 9)


def test_decisions_are_in_the_readable_copy_and_a_restored_project_has_those_that_need_no_masks(session):
    project = session.project
    session.review.accept(1, 10, 12)
    session.review.mark_absent(2, 20, 25)
    session.review.set_parent(2, 1, 9)
    project.close()
    objects = json.loads((project.path / "objects.json").read_text())["objects"]
    assert objects[0]["accepted"] == [[10, 12]]
    assert objects[1]["absent"] == [[20, 25]]
    assert objects[1]["parent"] == {"id": 1, "frame": 9}
    (project.path / "project.db").write_bytes(b"no database")
    with Project.restore(project.path) as restored:
        assert restored.objects[1].accepted == ()
        assert restored.objects[2] == ObjectInfo(2, parent=Parent(1, 9), absent=((20, 25),))


@pytest.mark.parametrize(
    "damage",
    [
        {"accepted": [[5, 3]]},
        {"accepted": [[5]]},
        {"absent": "all"},
        {"parent": {"id": 0, "frame": 3}},
        {"parent": {"id": 2, "frame": -1}},
        {"absent": [[0, 2**40]]},
    ],
)
def test_damaged_decisions_are_reported(tmp_path, damage):
    with Project.create(tmp_path / "a.sam2", SHAPE) as project:
        project.change_object(1, "cell")
        row = json.dumps({"id": 1, "name": "cell", "color": None} | damage)
        with project._database.transaction():
            project._database.write("UPDATE entry SET data = ?, checksum = NULL WHERE frame = -1", (row,))
    with Project.open(tmp_path / "a.sam2") as project:
        assert project.objects == {}
        assert any("object 1" in text for text in project.damage)

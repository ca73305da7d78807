"""Steps of undo that belong together by their group, and objects that are put as a whole."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from napari_sam2.objects import ObjectInfo
from napari_sam2.storage import Project, open_session

_spec = importlib.util.spec_from_file_location("tiny_groups", Path(__file__).parent / "tiny_sessions.py")
assert _spec is not None
assert _spec.loader is not None
tiny = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny)

SHAPE = (tiny.LENGTH, tiny.HEIGHT, tiny.WIDTH)
(FIRST, SECOND, AHEAD) = tiny.PROMPTS


@pytest.fixture
def session(tmp_path):
    with Project.create(tmp_path / "a.sam2", SHAPE) as project:
        yield open_session(project, tiny.network(), tiny.frames(), tiny.OPTIONS)


def prompt(session, key, label, group) -> None:
    with session.step(label, group=group):
        session.set_prompt(*key, tiny.PROMPTS[key])


def labels(session) -> list[str]:
    return [label for _, label in session.history.steps]


def test_steps_of_one_group_are_one_and_zero_is_no_group(session) -> None:
    prompt(session, FIRST, "a", 5)
    prompt(session, SECOND, "b", 5)
    list(session.propagate(stop=FIRST[0] + 1, label="track", group=5))
    assert labels(session) == ["track"], "a run gives the joint step its label"
    prompt(session, AHEAD, "c", 0)
    with session.step("d", group=0):
        session.rename(FIRST[1], "one")
    assert labels(session) == ["track", "c", "d"]


def test_a_group_ends_with_anything_else(session) -> None:
    prompt(session, FIRST, "a", 5)
    session.rename(FIRST[1], "one")
    prompt(session, SECOND, "b", 5)
    session.undo()
    prompt(session, SECOND, "c", 5)
    assert labels(session) == ["a", f"Rename object {FIRST[1]}", "c"]


def test_an_object_is_put_with_its_lock_and_may_have_been_removed_before(session) -> None:
    prompt(session, FIRST, "a", 1)
    session.remove_object(FIRST[1])
    info = ObjectInfo(FIRST[1], "again", (1, 2, 3), locked=True)
    session.put_object(info)
    assert session.objects == {FIRST[1]: info}
    session.set_prompt(*FIRST, tiny.PROMPTS[FIRST])
    assert list(session.prompts) == [FIRST]
    assert session.tracked_frames() == [FIRST[0]]

"""Steps of undo that are made of several verbs, and runs that are part of another step."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_sam2.storage import Project, open_session

_spec = importlib.util.spec_from_file_location("tiny_steps", Path(__file__).parent / "tiny_sessions.py")
assert _spec is not None
assert _spec.loader is not None
tiny = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny)

SHAPE = (tiny.LENGTH, tiny.HEIGHT, tiny.WIDTH)
(FIRST, SECOND, AHEAD) = tiny.PROMPTS


@pytest.fixture(params=[False, True], ids=["at once", "deferring"])
def session(tmp_path, request):
    with Project.create(tmp_path / "a.sam2", SHAPE) as project:
        project.store.defer(request.param)
        yield open_session(project, tiny.network(), tiny.frames(), tiny.OPTIONS)


def say(session, key) -> None:
    session.set_prompt(*key, tiny.PROMPTS[key])


def masks(project) -> list[bytes]:
    return [project.masks(t).masks.tobytes() for t in range(SHAPE[0])]


def test_verbs_in_a_step_are_one_and_a_joined_one_is_part_of_it(session) -> None:
    with session.step("all of it"):
        say(session, FIRST)
        say(session, SECOND)
    with session.step("more", joins=True):
        session.rename(1, "one")
    assert session.history.undo_label == "all of it"
    session.undo()
    assert session.prompts == {}
    assert session.objects == {}
    session.redo()
    assert (len(session.prompts), session.objects[1].name) == (2, "one")


def test_an_error_takes_back_the_step_that_joined_and_not_the_one_it_joined(session) -> None:
    say(session, FIRST)
    before = masks(session.project)

    def fail() -> None:
        with session.step("more", joins=True):
            say(session, SECOND)
            session.set_prompt(10**6, 3, tiny.PROMPTS[FIRST])

    with pytest.raises(ValueError, match="frame"):
        fail()
    assert list(session.prompts) == [FIRST]
    assert masks(session.project) == before
    say(session, SECOND)
    session.undo()
    assert list(session.prompts) == [FIRST]


def test_a_killed_run_that_joined_a_prompt_knows_how_far_it_came(session, tmp_path) -> None:
    say(session, FIRST)
    run = session.propagate()
    for _ in range(3):
        next(run)
    run.close()
    say(session, AHEAD)
    run = session.propagate(start=FIRST[0], label="both", joins=True)
    for _ in range(4):
        last = next(run).frame
    copy = shutil.copytree(session.project.path, tmp_path / "killed.sam2")
    list(run)
    assert [label for _, label in session.history.steps] == [
        "Prompt object 1 on frame 4", "Propagate", "both",
    ]  # fmt: skip
    with Project.open(copy, "a") as project:
        other = open_session(project, tiny.network(), tiny.frames())
        assert other.pending is not None
        assert other.pending.done == last < AHEAD[0]
        assert other.history.undo_label == "both"
        list(other.resume())
        assert masks(project) == masks(session.project)
        other.undo()
        assert list(other.prompts) == [FIRST]
        assert not np.frombuffer(masks(project)[AHEAD[0]], bool).any()
    session.undo()
    assert project.frames() == session.project.frames()


def test_prompts_are_where_people_look_once_it_is_tidy(session) -> None:
    say(session, FIRST)
    session.project.store.defer()
    session.project.store.tidy()
    assert '"object_id": 1' in (session.project.path / "prompts.json").read_text()


def test_a_click_is_one_transaction(session) -> None:
    """Mask, prompt and step of a click are there together or not at all: nothing else is written."""
    committed: list[str] = []
    session.project.store.defer()
    database = session.project._database
    database._connection.set_trace_callback(lambda text: committed.append(text) if text == "COMMIT" else None)
    say(session, FIRST)
    assert committed == ["COMMIT"]
    session.undo()
    session.redo()
    assert committed == ["COMMIT"] * 3
    database._connection.set_trace_callback(None)

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
    assert session.undo_label == "all of it"
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
    session.project.store.tidy()
    shown = (session.project.path / "prompts" / "zarr.json").read_text()
    assert '"object_id": 1' in shown
    labels = session.project.path / "labels" / f"c.{FIRST[0]}.0.0"
    assert labels.exists()


def test_a_click_writes_three_files_and_a_second_one_on_the_frame_no_more(tmp_path, monkeypatch) -> None:
    """What a click waits for: the masks of its frame, the prompts, and which actions count."""
    written: list[str] = []
    from napari_sam2.storage.files import atomic_files as files

    swap = files._swap

    def counted(partial: Path, path: Path) -> None:
        written.append(path.name)
        swap(partial, path)

    monkeypatch.setattr(files, "_swap", counted)
    with Project.create(tmp_path / "a.sam2", SHAPE) as project:
        project.store.defer()
        session = open_session(project, tiny.network(), tiny.frames(), tiny.OPTIONS)
        say(session, FIRST)
        project.store.tidy()
        written.clear()
        session.set_prompt(*FIRST, tiny.PROMPTS[AHEAD])
        assert sorted(written) == ["c.2", f"c.{FIRST[0]}", "zarr.json"]
        project.store.tidy()
        assert len(written) == 9
        project.store.tidy()
        assert len(written) == 9, "tidy once"

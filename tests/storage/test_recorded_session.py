"""A session in a project: the same masks as without one, on disk, undone, resumed, and opened again."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from napari_sam2.masks import FrameMasks
from napari_sam2.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt
from napari_sam2.session import ArrayFrames, SessionOptions, VideoSession
from napari_sam2.storage import (
    ModelDescription,
    Project,
    ProjectError,
    ProjectFullError,
    ProjectMismatchError,
    ProjectReadOnlyError,
    RecordedSession,
    SourceDescription,
    describe_model,
    open_session,
)
from napari_sam2.storage.frames_fingerprint import frames_hash

_spec = importlib.util.spec_from_file_location("tiny_sessions", Path(__file__).parent / "tiny_sessions.py")
assert _spec is not None
assert _spec.loader is not None
tiny = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny)

LENGTH, SHAPE = tiny.LENGTH, (tiny.LENGTH, tiny.HEIGHT, tiny.WIDTH)


@pytest.fixture(scope="module")
def model():
    return tiny.network()


@pytest.fixture(scope="module")
def frames():
    return tiny.frames()


@pytest.fixture(scope="module")
def reference(model, frames):
    """What a session without a project computes."""
    session = VideoSession(model, frames, tiny.OPTIONS)
    for (frame, object_id), prompt in tiny.PROMPTS.items():
        session.set_prompt(frame, object_id, prompt)
    list(session.propagate())
    return session


@pytest.fixture
def session(tmp_path, model, frames):
    with Project.create(tmp_path / "a.sam2", SHAPE) as project:
        yield open_session(project, model, frames, tiny.OPTIONS)


def prompted(session: RecordedSession) -> RecordedSession:
    for (frame, object_id), prompt in tiny.PROMPTS.items():
        session.set_prompt(frame, object_id, prompt)
    return session


def same(first: FrameMasks, second: FrameMasks) -> bool:
    second = second.select(first.object_ids)
    return (
        np.array_equal(first.masks, second.masks)
        and np.array_equal(first.object_scores, second.object_scores)
        and np.array_equal(first.predicted_ious, second.predicted_ious)
        and np.array_equal(first.prompted, second.prompted)
    )


def state(project: Project) -> list:
    out: list = [sorted(project.prompts), project.objects]
    for frame in range(LENGTH):
        masks = project.masks(frame)
        for i in masks.object_ids:
            record = project.store.get(i, frame)
            kept = (
                None
                if record is None
                else (record.logits.tobytes(), record.pointer.tobytes(), record.prompt_hash)
            )
            out.append((frame, i, masks.of(i).tobytes(), project.scores(frame)[i], kept))
        out.append(project.labels[frame].tobytes())
    return out


def test_it_computes_what_a_session_without_a_project_computes(session, reference) -> None:
    prompted(session)
    for masks in session.propagate():
        assert same(masks, reference.masks(masks.frame))
        assert same(masks, session.project.masks(masks.frame))
    for frame in range(LENGTH):
        assert same(reference.masks(frame), session.masks(frame))
        assert session.scores(frame) == reference.scores(frame)
    assert session.prompts == reference.prompts


def test_a_frame_is_on_disk_before_it_is_reported(session, make_mask) -> None:
    prompted(session)
    reader_path = session.project.path
    for masks in session.propagate(stop=12):
        assert same(masks, Project.open(reader_path).masks(masks.frame))


def test_the_answer_to_a_prompt_is_on_disk_before_it_is_reported(session) -> None:
    answer = session.set_prompt(4, 1, tiny.PROMPTS[4, 1])
    reader = Project.open(session.project.path)
    assert same(answer, reader.masks(4))
    assert reader.prompts == session.prompts == {(4, 1): tiny.PROMPTS[4, 1]}
    assert reader.origins(4) == {1: "draft"}
    assert reader.labels[4].any()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("stop_after", [0, 3, 11])
def test_stopped_closed_and_resumed_is_as_uninterrupted(
    tmp_path, model, frames, session, reverse, stop_after
) -> None:
    prompted(session)
    list(session.propagate(reverse=reverse))
    assert session.pending is None
    expected = state(session.project)
    path = tmp_path / "b.sam2"
    with Project.create(path, SHAPE) as project:
        other = prompted(open_session(project, model, frames, tiny.OPTIONS))
        steps = other.propagate(reverse=reverse)
        for count, _ in enumerate(steps):
            if count == stop_after:
                break
        steps.close()
        assert other.pending is not None
    with Project.open(path, "a") as project:
        other = open_session(project, model, frames)
        assert asdict(other.options) == asdict(tiny.OPTIONS), "options come from the project"
        assert other.pending is not None
        assert other.pending.reverse == reverse
        list(other.resume())
        assert other.pending is None
        assert state(project) == expected
        assert other.undo() == "Propagate"
        assert {f for i in project.objects for f in project.frames(i)} == {4, 9, 15}, "one step of undo"
        other.redo()
        assert state(project) == expected


def test_there_is_nothing_to_resume_after_something_else_was_done(session) -> None:
    with pytest.raises(ProjectError, match="nothing to resume"):
        session.resume()
    prompted(session)
    steps = session.propagate()
    next(steps)
    steps.close()
    assert session.pending is not None
    session.rename(1, "x")
    assert session.pending is None
    session.undo()
    assert session.pending is not None
    session.undo()
    assert session.pending is None


def test_undo_leads_back_and_what_follows_is_as_if_it_had_never_been_done(session, reference) -> None:
    prompted(session)
    before = state(session.project)
    session.set_prompt(20, 3, Prompt(box=BoxPrompt(2, 2, 30, 30)))
    session.set_prompt(4, 1, Prompt((PointPrompt(30, 30),)))
    list(session.propagate(stop=22))
    session.remove_object(2)
    for label in (
        "Remove object 2",
        "Propagate",
        "Prompt object 1 on frame 4",
        "Prompt object 3 on frame 20",
    ):
        assert session.history.undo_label == label
        assert session.undo() == label
    assert state(session.project) == before
    assert session.prompts == reference.prompts
    for masks in session.propagate():
        assert same(masks, reference.masks(masks.frame))


def test_redo_leads_forward(session) -> None:
    states = [state(session.project)]
    session.set_prompt(4, 1, tiny.PROMPTS[4, 1])
    states.append(state(session.project))
    list(session.propagate(stop=9))
    states.append(state(session.project))
    session.set_prompt(6, 1, Prompt((PointPrompt(20, 20),)))
    states.append(state(session.project))
    session.clear_prompt(6, 1)
    states.append(state(session.project))
    session.add_object(7, "seven", "#070707")
    states.append(state(session.project))
    session.recolour(7, (1, 2, 3))
    states.append(state(session.project))
    session.set_mask(3, 7, np.eye(*SHAPE[1:]))
    states.append(state(session.project))
    session.remove_object(1)
    states.append(state(session.project))
    for expected in states[-2::-1]:
        session.undo()
        assert state(session.project)[0] == expected[0]
        assert state(session.project)[1] == expected[1]
        assert [x[:3] if isinstance(x, tuple) else x for x in state(session.project)[2:]] == [
            x[:3] if isinstance(x, tuple) else x for x in expected[2:]
        ]
    assert not session.history.can_undo
    for expected in states[1:]:
        session.redo()
        assert [x[:3] if isinstance(x, tuple) else x for x in state(session.project)[2:]] == [
            x[:3] if isinstance(x, tuple) else x for x in expected[2:]
        ]
    assert not session.history.can_redo


def test_clearing_a_correction_brings_back_what_was_tracked(session) -> None:
    prompted(session)
    list(session.propagate())
    tracked = session.masks(7).of(1)
    session.set_prompt(7, 1, Prompt(mask=MaskPrompt.from_array(np.eye(*SHAPE[1:]) > 0)))
    assert not np.array_equal(session.masks(7).of(1), tracked)
    session.clear_prompt(7, 1)
    assert np.array_equal(session.masks(7).of(1), tracked)
    assert session.prompts == tiny.PROMPTS


def test_clearing_the_only_prompt_takes_its_mask_away(session) -> None:
    session.set_prompt(4, 1, tiny.PROMPTS[4, 1])
    session.clear_prompt(4, 1)
    assert session.masks(4).object_ids == ()
    assert not session.project.labels[4].any()
    session.undo()
    assert session.masks(4).object_ids == (1,)


def test_a_painted_mask_stays_until_its_frame_is_tracked_again(session) -> None:
    prompted(session)
    list(session.propagate())
    painted = np.eye(*SHAPE[1:], dtype=np.uint8)
    session.set_mask(10, 1, painted)
    shown = {m.frame: m for m in session.propagate()}
    assert np.array_equal(shown[10].of(1), painted > 0), "nothing changed, so nothing is tracked again"
    assert np.array_equal(session.masks(10).of(1), painted > 0)
    session.set_prompt(8, 1, Prompt((PointPrompt(20, 20),)))
    list(session.propagate())
    assert not np.array_equal(session.masks(10).of(1), painted > 0)


def test_masks_are_imported_as_finished_ones_or_as_prompts(session) -> None:
    def masks(frame: int, *ids: int) -> FrameMasks:
        stack = np.zeros((len(ids), *SHAPE[1:]), bool)
        for row, i in enumerate(ids):
            stack[row, i : i + 10, frame : frame + 8] = True
        nan = np.full(len(ids), np.nan, np.float32)
        return FrameMasks(frame, ids, stack, nan, nan, np.zeros(len(ids), bool))

    session.import_masks(masks(t, 1, 2) for t in range(5))
    assert session.history.undo_label == "Import masks"
    assert session.object_ids == (1, 2)
    assert np.array_equal(session.masks(3).of(2), masks(3, 2).of(2))
    assert session.prompts == {}
    session.import_masks([masks(6, 3)], as_prompts=True)
    assert session.prompts == {(6, 3): Prompt(mask=MaskPrompt.from_array(masks(6, 3).of(3)))}
    assert [m.frame for m in session.propagate(stop=8)] == [6, 7, 8]
    for _ in range(3):
        session.undo()
    assert session.object_ids == ()


def test_objects_have_names_and_colours(session) -> None:
    assert session.add_object() == 1
    assert session.add_object(name="b", color="#ff0000") == 2
    assert session.objects[2].color == (255, 0, 0)
    session.rename(1, "a")
    session.recolour(1, (0, 1, 2))
    assert (session.objects[1].name, session.objects[1].color) == ("a", (0, 1, 2))
    with pytest.raises(ValueError, match="exists already"):
        session.add_object(2)
    with pytest.raises(ValueError, match="does not exist"):
        session.rename(9, "x")
    with pytest.raises(ValueError, match="colour"):
        session.recolour(1, "red")
    for verb in ("Recolour", "Rename", "Add", "Add"):
        assert session.undo().startswith(verb)
    assert session.object_ids == ()


def test_a_removed_id_can_be_used_again(session) -> None:
    session.set_prompt(4, 1, tiny.PROMPTS[4, 1])
    session.remove_object(1)
    session.add_object(1)
    session.set_prompt(5, 1, tiny.PROMPTS[4, 1])
    assert session.project.frames(1) == [5]
    session.remove_object(1)
    session.set_prompt(6, 1, tiny.PROMPTS[4, 1])
    assert session.project.frames(1) == [6]
    for expected in ([], [5], [], [], [4]):
        session.undo()
        assert session.project.frames(1) == expected


@pytest.mark.parametrize("room", [0, 1, 2, 5, 8])
def test_a_full_disk_stops_tracking_and_with_room_it_goes_on(tmp_path, model, frames, session, room) -> None:
    prompted(session)
    list(session.propagate())
    expected = state(session.project)
    with Project.create(tmp_path / "b.sam2", SHAPE) as project:
        other = prompted(open_session(project, model, frames, tiny.OPTIONS))
        other.commit()
        database = project._database
        pages = database.value("PRAGMA page_count")
        database.value(f"PRAGMA max_page_count = {pages + room}")  # as a full disk: SQLITE_FULL
        done: list[int] = []

        def track() -> None:
            done.extend(masks.frame for masks in other.propagate())

        with pytest.raises(ProjectFullError, match="free some space"):
            track()
        assert project.frames(1)[-1] >= max(done, default=0), "what was reported stays"
        database.value("PRAGMA max_page_count = 1000000")
        list(other.resume() if other.pending else other.propagate())
        assert state(project) == expected
        while other.history.can_undo:
            other.undo()
        assert project.frames() == []


def test_a_prompt_that_fails_changes_nothing(session) -> None:
    session.set_prompt(4, 1, tiny.PROMPTS[4, 1])
    before = state(session.project)
    with pytest.raises(ValueError, match="outside"):
        session.set_prompt(4, 1, Prompt((PointPrompt(1000, 0),)))
    with pytest.raises(ValueError, match="out of range"):
        session.set_prompt(400, 2, tiny.PROMPTS[4, 1])
    assert state(session.project) == before
    assert session.history.undo_label == "Prompt object 1 on frame 4"
    assert session.object_ids == (1,)


def test_other_frames_another_model_or_a_reader_are_refused(tmp_path, model, frames) -> None:
    path = tmp_path / "a.sam2"
    known = SourceDescription(fingerprint=frames_hash(frames))
    Project.create(path, SHAPE, source=known, model=describe_model(model, "tiny one")).close()
    with pytest.raises(ProjectReadOnlyError):
        open_session(Project.open(path), model, frames)
    with Project.open(path, "a") as project:
        open_session(project, model, frames)
        changed = np.array([frames.frame(t) for t in range(LENGTH)])
        changed[0, 0, 0] ^= 1
        with pytest.raises(ProjectMismatchError, match="other frames"):
            open_session(project, model, ArrayFrames(changed))
        open_session(project, model, ArrayFrames(changed), verify=False)
        with pytest.raises(ProjectMismatchError, match="30 frames of 40 × 56"):
            open_session(project, model, ArrayFrames(changed[:7]))
        other = tiny.network()
        next(other.parameters()).data += 0.5
        with pytest.raises(ProjectMismatchError, match="'tiny one'"):
            open_session(project, other, frames)
        project.save_model(ModelDescription("any"))
        open_session(project, other, frames)


def test_options_are_kept(tmp_path, model, frames) -> None:
    options = SessionOptions(precision="exact", store_dtype="float32", max_conditioning=3)
    with Project.create(tmp_path / "a.sam2", SHAPE) as project:
        open_session(project, model, frames, options)
        assert open_session(project, model, frames).options == options
        project.save_options(project.options | {"of the future": 1})
        assert open_session(project, model, frames).options == options
        project.save_options({"precision": "magic"})
        with pytest.raises(ProjectError, match="precision"):
            open_session(project, model, frames)


def test_without_overlap_no_pixel_is_shown_twice(tmp_path, model, frames) -> None:
    options = SessionOptions(precision="exact", non_overlap=True)
    with Project.create(tmp_path / "a.sam2", SHAPE) as project:
        session = prompted(open_session(project, model, frames, options))
        list(session.propagate(stop=12))
        assert session.masks(10).masks.sum(0).max() == 1
        assert project.masks(10).masks.sum(0).max() == 2, "what is saved is not touched by this"
        session.set_mask(10, 5, np.ones(SHAPE[1:]))
        assert session.masks(10).object_ids == (1, 2, 5)


def test_prompts_may_change_while_propagating(session) -> None:
    prompted(session)
    for masks in session.propagate(stop=14):
        if masks.frame == 10:
            session.rename(1, "during")
            session.set_prompt(20, 3, tiny.PROMPTS[4, 1])
            with pytest.raises(ProjectError, match="wait until this is done"):
                session.undo()
    assert Project.open(session.project.path).prompts.keys() == {*tiny.PROMPTS, (20, 3)}
    assert session.undo() == "Propagate"
    assert session.prompts == tiny.PROMPTS

"""The store of a session: the same answers as the temporary store, whatever is asked."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam2.masks import Rle
from napari_sam2.session.protocols import ObjectRecord, RecordStore
from napari_sam2.session.sqlite_store import TemporaryStore
from napari_sam2.storage import Project, ProjectMismatchError, ProjectReadOnlyError

SHAPE = (6, 10, 12)
CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 3), st.integers(0, 5), st.integers(0, 99)),
        st.tuples(st.just("frame"), st.sets(st.integers(1, 20)), st.integers(0, 5), st.integers(0, 99)),
        st.tuples(st.just("remove"), st.integers(1, 3), st.integers(0, 5), st.none()),
        st.tuples(st.just("remove object"), st.integers(1, 3), st.none(), st.none()),
    ),
    max_size=15,
)
MASK = np.zeros(SHAPE[1:], bool)


def record_of(seed: int) -> ObjectRecord:
    rng = np.random.default_rng(seed)
    return ObjectRecord(
        rng.normal(size=(4, 4)).astype(np.float16),
        rng.normal(size=3).astype(np.float32),
        float(rng.normal()),
        float(rng.random()),
        bool(rng.integers(2)),
        bool(rng.integers(2)),
        bool(rng.integers(2)),
        bool(rng.integers(2)),
        int(rng.integers(2**63 - 1)),
    )


def facts(record: ObjectRecord | None) -> tuple | None:
    if record is None:
        return None
    arrays = (record.logits.tobytes(), str(record.logits.dtype), record.pointer.tobytes())
    flags = (record.prompted, record.conditioning, record.tracked, record.reverse, record.prompt_hash)
    return (*arrays, record.object_score, record.predicted_iou, *flags)


@given(CALLS)
@settings(max_examples=60, deadline=None)
def test_it_answers_like_the_temporary_store(calls) -> None:
    folder = Path(tempfile.mkdtemp())
    with Project.create(folder / "a.sam2", SHAPE) as project, TemporaryStore() as known:
        for kind, who, frame, seed in calls:
            for store in (project.store, known):
                if kind == "put":
                    store.put(who, frame, record_of(seed), MASK)
                elif kind == "frame":
                    store.put_frame(frame, {i: (record_of(seed + i), MASK) for i in who})
                elif kind == "remove":
                    store.remove(who, frame)
                else:
                    store.remove_object(who)
        reader = Project.open(folder / "a.sam2")
        for object_id in range(1, 21):
            assert project.store.frames(object_id) == known.frames(object_id)
            assert reader.store.frames(object_id) == known.frames(object_id)
            for frame in range(SHAPE[0]):
                expected = facts(known.get(object_id, frame))
                assert facts(project.store.get(object_id, frame)) == expected
                assert facts(reader.store.get(object_id, frame)) == expected
    shutil.rmtree(folder)


def test_it_is_a_record_store(project) -> None:
    assert isinstance(project.store, RecordStore)


def test_numbers_that_json_does_not_know_survive(project, make_record, make_mask) -> None:
    for frame, score in enumerate((float("inf"), float("-inf"), float("nan"), 1e-320, -0.0, np.float32(0.1))):
        project.store.put(1, frame, make_record(object_score=score), make_mask())
        record = Project.open(project.path).store.get(1, frame)
        assert record is not None
        assert np.array_equal(record.object_score, float(score), equal_nan=True)


def test_a_painted_mask_leaves_the_record_alone(project, make_record, make_mask) -> None:
    from napari_sam2.masks import FrameMasks

    project.store.put(1, 2, make_record(4), make_mask(4))
    nan = np.full(1, np.nan, np.float32)
    painted = FrameMasks(2, (1,), make_mask(9)[None], nan, nan, np.zeros(1, bool))
    project.store.put_masks(painted, "painted")
    assert project.origins(2) == {1: "painted"}
    assert np.array_equal(project.masks(2).of(1), make_mask(9))
    assert np.array_equal(project.labels[2] == 1, make_mask(9))
    assert facts(project.store.get(1, 2)) == facts(make_record(4))
    project.store.put_masks(FrameMasks(3, (1,), make_mask(9)[None], nan, nan, np.zeros(1, bool)), "imported")
    assert project.store.get(1, 3) is None
    assert project.store.frames(1) == [2]
    assert project.frames(1) == [2, 3]


def test_what_does_not_fit_is_refused(project, make_record, make_mask) -> None:
    project.store.put(1, 0, make_record(), make_mask())
    with pytest.raises(ValueError, match="no frame 12"):
        project.store.put(1, 12, make_record(), make_mask())
    with pytest.raises(ValueError, match="no frame -1"):
        project.store.get(1, -1)
    for object_id in (0, -3, 65536, True, 1.5):
        with pytest.raises(ValueError, match="object id"):
            project.store.put(object_id, 0, make_record(), make_mask())
    with pytest.raises(ValueError, match="shape"):
        project.store.put(1, 0, make_record(), np.zeros((3, 3), bool))
    other = ObjectRecord(np.zeros((8, 8), np.float32), np.zeros(8, np.float32), 0.0, 0.0, False, False)
    with pytest.raises(ProjectMismatchError, match="16 × 16 float16"):
        project.store.put(1, 0, other, make_mask())
    assert facts(project.store.get(1, 0)) == facts(make_record())


def test_a_closed_project_is_not_written_to(project, make_record, make_mask) -> None:
    project.close()
    with pytest.raises(ProjectReadOnlyError, match="mode='a'"):
        project.store.put(1, 0, make_record(), make_mask())
    with pytest.raises(ProjectReadOnlyError):
        project.save_prompts({})
    project.close()


def test_what_a_record_leaves_is_not_shared(project, make_record, make_mask) -> None:
    project.store.put(1, 0, make_record(1), make_mask())
    first = project.store.get(1, 0)
    assert first is not None
    first.logits[:] = 0
    assert facts(project.store.get(1, 0)) == facts(make_record(1))


def test_a_record_is_a_handful_of_rows_and_no_file(project, make_record, make_mask) -> None:
    def files() -> int:
        return sum(1 for p in project.path.rglob("*") if p.is_file())

    project.store.put_frame(0, {1: (make_record(1), make_mask(1))})
    before = files()
    for frame in range(12):
        project.store.put_frame(frame, {i: (make_record(i), make_mask(i)) for i in range(1, 9)})
    assert files() == before <= 9
    assert project._database.value("SELECT COUNT(*) FROM record") == 96


def test_labels_of_run_lengths_are_those_of_masks(project) -> None:
    from napari_sam2.masks import FrameMasks, compose_labels

    rng = np.random.default_rng(4)
    for frame in range(12):
        ids = tuple(int(i) for i in rng.choice(np.arange(1, 60), 9, replace=False))
        masks = rng.random((9, 20, 30)) < rng.uniform(0, 0.4, (9, 1, 1))
        masks[0], masks[1], masks[2] = masks[3], True, False  # equal areas, everything, nothing
        nan = np.full(9, np.nan, np.float32)
        found = FrameMasks(frame, ids, masks, nan, nan, np.zeros(9, bool))
        project.store.put_masks(found, "imported")
        assert np.array_equal(project.labels[frame], compose_labels(found))


def test_masks_of_a_frame_are_decoded_once(project, make_record, make_mask, monkeypatch) -> None:
    project.store.put_frame(3, {i: (make_record(i), make_mask(i)) for i in (1, 2, 3)})
    calls, decode = [], Rle.decode
    monkeypatch.setattr(Rle, "decode", lambda rle: calls.append(rle) or decode(rle))
    reader = Project.open(project.path)
    for _ in range(3):
        assert np.array_equal(reader.masks(3).of(2), make_mask(2))
    assert len(calls) == 3


def test_a_mask_that_changes_after_it_was_written_is_not_what_is_read(
    project, make_record, make_mask
) -> None:
    mask = make_mask(1)
    project.store.put(1, 0, make_record(1), mask)
    mask[:] = True
    assert np.array_equal(project.masks(0).of(1), make_mask(1))

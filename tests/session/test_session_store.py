"""The temporary store: what goes in comes out, on disk, and nothing is left behind."""

import gc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam2.session import ObjectRecord, RecordStore, TemporaryStore

MASK = np.zeros((4, 5), bool)


def record(value=1.5, dtype=np.float16, **changes):
    logits = np.full((16, 16), value, dtype)
    values = dict(
        logits=logits,
        pointer=np.arange(8, dtype=np.float32),
        object_score=0.1,
        predicted_iou=0.9,
        prompted=True,
        conditioning=False,
        tracked=False,
        reverse=True,
        prompt_hash=2**62 + 12345,
    )
    return ObjectRecord(**(values | changes))


def same(a, b):
    plain = ("object_score", "predicted_iou", "prompted", "conditioning", "tracked", "reverse", "prompt_hash")
    return (
        a.logits.dtype == b.logits.dtype
        and np.array_equal(a.logits, b.logits)
        and np.array_equal(a.pointer, b.pointer)
        and all(getattr(a, f) == getattr(b, f) for f in plain)
    )


@pytest.fixture
def store():
    with TemporaryStore() as opened:
        yield opened


def test_it_is_a_record_store(store):
    assert isinstance(store, RecordStore)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_records_come_back_bit_for_bit(store, dtype):
    written = record(np.pi, dtype)
    store.put(3, 7, written, MASK)
    assert same(store.get(3, 7), written)
    assert store.get(3, 8) is None
    assert store.get(4, 7) is None


def test_a_frame_is_written_at_once_and_replaced(store):
    store.put_frame(2, {1: (record(1), MASK), 5: (record(2), MASK)})
    store.put_frame(2, {5: (record(3), MASK)})
    assert store.get(1, 2).logits[0, 0] == 1
    assert store.get(5, 2).logits[0, 0] == 3


def test_a_frame_that_cannot_be_written_whole_is_not_written(store):
    with pytest.raises(AttributeError):
        store.put_frame(2, {1: (record(1), MASK), 5: (None, MASK)})
    assert store.get(1, 2) is None


def test_removal_touches_one_object_only(store):
    for frame in (5, 1, 3):
        store.put_frame(frame, {1: (record(), MASK), 2: (record(), MASK)})
    assert store.frames(1) == [1, 3, 5]
    store.remove(1, 3)
    store.remove(1, 99)
    assert store.frames(1) == [1, 5]
    store.remove_object(1)
    assert store.frames(1) == []
    assert store.frames(2) == [1, 3, 5]


@given(
    st.dictionaries(
        st.tuples(st.integers(1, 2**31), st.integers(0, 2**31)),
        st.tuples(st.floats(-1000, 1000, width=16), st.integers(-1, 2**63 - 1), st.booleans()),
        max_size=6,
    )
)
@settings(max_examples=25, deadline=None)
def test_any_ids_frames_and_flags(entries):
    with TemporaryStore() as store:
        written = {k: record(v, prompt_hash=b, conditioning=c) for k, (v, b, c) in entries.items()}
        for (object_id, frame), value in written.items():
            store.put(object_id, frame, value, MASK)
        for (object_id, frame), value in written.items():
            assert same(store.get(object_id, frame), value)


def test_nothing_is_left_behind(tmp_path):
    store = TemporaryStore(tmp_path)
    store.put(1, 1, record(), MASK)
    assert list(tmp_path.rglob("*.sqlite"))
    store.close()
    assert not list(tmp_path.iterdir())
    forgotten = TemporaryStore(tmp_path)
    del forgotten
    gc.collect()
    assert not list(Path(tmp_path).iterdir())

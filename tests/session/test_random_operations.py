"""Any sequence of operations: never an error that is not ours, never a changed mask of an untouched object."""

import traceback

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_sam2.session import ArrayFrames, SessionOptions, VideoSession
from tests.session.conftest import HEIGHT, WIDTH, box, click, moving_discs, painted
from tests.session.test_video_session import stored

LENGTH = 9
SOURCE = ArrayFrames(moving_discs(LENGTH))
# Mostly possible values, so that sequences get somewhere, and now and then an impossible one.
frame_index = st.sampled_from([*range(LENGTH), *range(LENGTH), -1, LENGTH])
object_id = st.sampled_from([1, 2, 3, 1, 2, 3, 1, 2, 0])
discs = [np.zeros((HEIGHT, WIDTH), bool), np.tri(HEIGHT, WIDTH, dtype=bool)]
prompt = st.one_of(
    st.builds(click, st.integers(-2, WIDTH + 1), st.integers(0, HEIGHT - 1), st.booleans()),
    st.sampled_from([box(5, 5, 30, 30), box(40, 20, 60, 45), painted(discs[0]), painted(discs[1])]),
)
operation = st.one_of(
    st.tuples(st.just("prompt"), frame_index, object_id, prompt),
    st.tuples(st.just("clear"), frame_index, object_id),
    st.tuples(st.just("remove"), object_id),
    st.tuples(st.just("commit")),
    st.tuples(
        st.just("propagate"),
        st.none() | frame_index,
        st.none() | frame_index,
        st.booleans(),
        st.none() | st.lists(object_id, max_size=2, unique=True),
        st.integers(1, LENGTH),
    ),
)
# Begins with two prompts, so that most of the rest has something to work on.
sequence = st.builds(
    lambda first, second, rest: [first, second, *rest],
    st.tuples(st.just("prompt"), st.integers(0, LENGTH - 1), st.just(1), st.just(click(15, 12))),
    st.tuples(st.just("prompt"), st.integers(0, LENGTH - 1), st.just(2), prompt),
    st.lists(operation, min_size=3, max_size=10),
)


def touched(session, op):
    """The objects that an operation may change."""
    kind = op[0]
    if kind in ("prompt", "clear"):
        return {op[2]}
    if kind == "remove":
        return {op[1]}
    return None  # propagation and commits may change every object that is not up to date


def apply(session, op):
    kind = op[0]
    if kind == "prompt":
        session.set_prompt(*op[1:])
    elif kind == "clear":
        session.clear_prompt(*op[1:])
    elif kind == "remove":
        session.remove_object(op[1])
    elif kind == "commit":
        session.commit()
    else:
        _, start, stop, reverse, objects, steps = op
        generator = session.propagate(start, stop, reverse, objects)
        for _, masks in zip(range(steps), generator):
            assert masks.masks.shape == (len(masks.object_ids), HEIGHT, WIDTH)
            shown = session.masks(masks.frame).select(masks.object_ids)
            assert np.array_equal(shown.masks, masks.masks) or any(
                (masks.frame, i) in session.prompts for i in masks.object_ids
            )
        generator.close()


def is_ours(error):
    """An error that our own code raised on purpose, not one that came up from a library."""
    innermost = traceback.extract_tb(error.__traceback__)[-1]
    return "napari_sam2" in innermost.filename and (innermost.line or "raise").startswith(("raise", ")"))


def check_invariants(session):
    for (frame, i), said in session.prompts.items():
        assert i in session.object_ids
        assert i in session.masks(frame).object_ids, (frame, i, said)
    for i in session.object_ids:
        assert len(session._objects[i].bank.frames) <= 16 + len(session.conditioning_frames(i)) + 1


@pytest.mark.parametrize("reference", [False, True])
def test_any_sequence_of_operations(model, reference):
    options = SessionOptions.reference() if reference else SessionOptions(non_overlap=False)

    @given(st.lists(operation, min_size=3, max_size=10))
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
    def run(operations):
        session = VideoSession(model, SOURCE, options)
        for op in operations:
            before = {i: stored(session, i) for i in session.object_ids}
            prompts = session.prompts
            changed = touched(session, op)
            try:
                apply(session, op)
            except (ValueError, TypeError) as error:
                assert is_ours(error)
                if op[0] != "propagate":
                    assert session.prompts == prompts
            after = {i: stored(session, i) for i in session.object_ids}
            if changed is not None:
                for i in set(before) - changed:
                    assert after[i] == before[i], (op, i)
            check_invariants(session)
        session.close()

    run()


@given(sequence, st.integers(1, 10))
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_a_resumed_session_is_the_session(model, operations, cut):
    """Making the session again from its store and prompts, at any point, changes nothing of what comes after."""
    results = []
    for resume_at in (None, cut):
        session = VideoSession(model, SOURCE)
        store = session.store
        for index, op in enumerate(operations):
            if index == resume_at:
                session.commit()
                again = VideoSession(model, SOURCE, store=store, prompts=session.prompts)
                again._objects._removed, again._own_store = session._objects._removed, session._own_store
                for i in session.object_ids:
                    if i not in again.object_ids:
                        again._objects.add(again._objects.known_or_new(i))
                session = again
            elif index == cut:
                session.commit()
            try:
                apply(session, op)
            except (ValueError, TypeError) as error:
                assert is_ours(error)
        session.commit()
        results.append({i: stored(session, i) for i in sorted(session.object_ids)})
        session.close()
    assert results[0] == results[1]

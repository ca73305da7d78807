"""A session that is made again from its store and prompts goes on as if it had never stopped."""

import numpy as np
import pytest

from napari_sam2.session import SessionOptions, TemporaryStore, VideoSession
from tests.session.conftest import HEIGHT, WIDTH, click, painted
from tests.session.test_video_session import Counted, run, stored


@pytest.fixture
def store():
    with TemporaryStore() as opened:
        yield opened


def start(model, frames, store):
    session = VideoSession(model, frames, store=store)
    session.set_prompt(0, 1, click(15, 12))
    session.set_prompt(2, 2, click(45, 30))
    return session


def whole(session):
    run(session)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[8:20, 10:30] = True
    session.set_prompt(7, 1, painted(mask))
    run(session, start=7)
    run(session, start=7, reverse=True)
    return {i: stored(session, i) for i in session.object_ids}


@pytest.mark.parametrize("after", [1, 5, 17, 23])
def test_interrupted_equals_uninterrupted(model, frames, store, after):
    with TemporaryStore() as other:
        expected = whole(start(model, frames, other))
    session = start(model, frames, store)
    for masks in session.propagate():
        if masks.frame == after:
            break
    prompts = session.prompts
    del session
    resumed = VideoSession(model, frames, store=store, prompts=prompts)
    assert whole(resumed) == expected


def test_what_is_there_is_not_computed_again(model, frames, store, monkeypatch):
    session = start(model, frames, store)
    run(session)
    resumed = VideoSession(model, frames, store=store, prompts=session.prompts)
    counted = Counted(resumed, monkeypatch)
    masks = run(resumed)
    assert counted.tracked == 0
    assert resumed.features.encoded == 0
    assert np.array_equal(masks[20].masks, session.masks(20).masks)
    assert resumed.scores(11) == session.scores(11)


def test_prompts_that_were_never_committed_are_answered(model, frames, store):
    session = start(model, frames, store)
    shown = session.masks(2)
    resumed = VideoSession(model, frames, store=store, prompts=session.prompts)
    assert store.frames(2) == []
    assert np.array_equal(resumed.masks(2).masks, shown.masks)
    resumed.commit()
    assert store.frames(2) == [2]


def test_a_prompt_that_changed_meanwhile_is_answered_anew(model, frames, store):
    session = start(model, frames, store)
    run(session)
    prompts = session.prompts | {(0, 1): click(40, 40)}
    resumed = VideoSession(model, frames, store=store, prompts=prompts)
    resumed.commit()
    fresh = VideoSession(model, frames, prompts={(0, 1): click(40, 40)})
    fresh.commit()
    assert stored(resumed, 1)[0] == stored(fresh, 1)[0]


def test_a_store_of_yours_is_not_deleted(model, frames, store):
    session = start(model, frames, store)
    session.commit()
    session.close()
    assert store.frames(1) == [0]


def test_reference_options_resume_too(model, frames, store):
    options = SessionOptions.reference()
    session = VideoSession(model, frames, options, store)
    session.set_prompt(3, 1, click(15, 12))
    run(session, stop=12)
    resumed = VideoSession(model, frames, options, store, session.prompts)
    a, b = run(session, start=3, stop=20), run(resumed, start=3, stop=20)
    assert all(np.array_equal(a[t].masks, b[t].masks) for t in a)


@pytest.mark.parametrize("stop", [9, 12])
def test_conditioning_frames_beyond_the_most_that_are_recalled_stand_in_as_tracked_ones(
    model, frames, store, stop
):
    options = SessionOptions(max_conditioning=2)
    with TemporaryStore() as other:
        whole, part = (VideoSession(model, frames, options, s) for s in (other, store))
        for session in (whole, part):
            for frame in (0, 5, 8, 9):
                session.set_prompt(frame, 1, click(15 + frame, 12))
            run(session, stop=stop)
        resumed = VideoSession(model, frames, options, store, part.prompts)
        assert resumed._objects[1].bank.frames == []  # nothing is in RAM yet
        recalled = [s._objects[1].recall(10, False, own=True) for s in (whole, resumed)]
        # The two nearest condition; frame 5, the next one, is recalled by its age among the recent ones.
        assert recalled[0].spatial == ((0, 9), (0, 8), (6, 4), (5, 5), (4, 6), (3, 7))
        assert recalled[1] == recalled[0]
        for session in (whole, resumed):
            run(session)
        assert stored(whole, 1) == stored(resumed, 1)

"""Frames that can't be read: tracking passes over them, says so, and nothing else changes."""

import warnings

import numpy as np
import pytest

from napari_sam2.frames import FrameReadError, UnreadableFramesWarning
from napari_sam2.frames.errors import frames_text
from napari_sam2.session import VideoSession
from tests.session.conftest import HEIGHT, WIDTH, click


class Damaged:
    """Frames of which some can't be read."""

    def __init__(self, frames, bad, path=""):
        self._frames, self.bad, self._path = frames, set(bad), path
        self.size = frames.size

    def __len__(self):
        return len(self._frames)

    def frame(self, index):
        if index in self.bad:
            raise FrameReadError(f"Frame {index} can't be read: a test", index, self._path)
        return self._frames.frame(index)


@pytest.mark.parametrize(
    ("frames", "text"),
    [([5], "frame 5"), ([9, 3, 8, 7], "frames 3, 7 to 9"), ([0, 1, 5, 6], "frames 0 to 1, 5 to 6")],
)
def test_frames_as_text(frames, text):
    assert frames_text(frames) == text


def test_tracking_passes_over_unreadable_frames_and_names_them(model, frames):
    session = VideoSession(model, Damaged(frames, [3, 7, 8]))
    session.set_prompt(0, 1, click(15, 12))
    with pytest.warns(UnreadableFramesWarning, match=r"^frames 3, 7 to 8 can't be read and were passed over"):
        visited = {m.frame: m.object_ids for m in session.propagate()}
    assert list(visited) == list(range(24))
    assert [f for f, ids in visited.items() if not ids] == [3, 7, 8] == sorted(session.unreadable)
    assert session.store.frames(1) == [f for f in range(24) if f not in (3, 7, 8)]
    assert session.masks(3).object_ids == ()
    assert session.masks(4).object_ids == (1,)


def test_what_lies_before_is_tracked_as_if_nothing_were_damaged(model, frames):
    whole, damaged = VideoSession(model, frames), VideoSession(model, Damaged(frames, [5]))
    for session in (whole, damaged):
        session.set_prompt(0, 1, click(15, 12))
    expected = {m.frame: m.masks for m in whole.propagate(stop=4)}
    with pytest.warns(UnreadableFramesWarning, match="^frame 5 can't be read and was passed over"):
        found = {m.frame: m.masks for m in damaged.propagate()}
    for frame, masks in expected.items():
        np.testing.assert_array_equal(found[frame], masks)


def test_a_frame_that_can_be_read_again_is_tracked_by_the_next_propagation(model, frames):
    source = Damaged(frames, [2])
    session = VideoSession(model, source)
    session.set_prompt(0, 1, click(15, 12))
    with pytest.warns(UnreadableFramesWarning):
        list(session.propagate(stop=4))
    source.bad.clear()
    again = {m.frame: m.object_ids for m in session.propagate(stop=4)}
    assert again == dict.fromkeys(range(5), (1,))
    assert session.unreadable == {}


def test_a_file_that_has_gone_ends_the_propagation(model, frames, tmp_path):
    session = VideoSession(model, Damaged(frames, [2], str(tmp_path / "unplugged.mp4")))
    session.set_prompt(0, 1, click(15, 12))
    with pytest.raises(FrameReadError, match="Frame 2 can't be read"):
        list(session.propagate())
    assert session.store.frames(1) == [0, 1]


def test_a_stored_prompt_on_an_unreadable_frame_is_left_out_and_named(model, frames):
    prompts = {(0, 1): click(15, 12), (2, 2): click(45, 30)}
    session = VideoSession(model, Damaged(frames, [2]), prompts=prompts)
    with pytest.warns(UnreadableFramesWarning) as caught:
        visited = {m.frame: m.object_ids for m in session.propagate(stop=4)}
    assert str(caught[0].message) == "the prompt of object 2 is not used: Frame 2 can't be read: a test"
    assert visited == {0: (1,), 1: (1,), 2: (), 3: (1,), 4: (1,)}


def test_without_any_usable_prompt_the_reason_is_named(model, frames):
    session = VideoSession(model, Damaged(frames, [2]), prompts={(2, 1): click(15, 12)})
    with (
        pytest.warns(UnreadableFramesWarning),
        pytest.raises(
            ValueError, match=r"no prompt can be used \(Frame 2 can't be read: a test\): set one on"
        ),
    ):
        session.propagate()


def test_a_click_on_an_unreadable_frame_is_an_error_of_its_own(model, frames):
    session = VideoSession(model, Damaged(frames, [2]))
    with pytest.raises(FrameReadError, match="Frame 2 can't be read"):
        session.set_prompt(2, 1, click(15, 12))
    assert session.object_ids == ()
    assert session.prompts == {}


def test_backward_and_stopped_runs_name_what_they_passed(model, frames):
    session = VideoSession(model, Damaged(frames, [3, 6]))
    session.set_prompt(8, 1, click(15, 12))
    steps = session.propagate(reverse=True)
    assert [next(steps).frame for _ in range(4)] == [8, 7, 6, 5]
    with pytest.warns(UnreadableFramesWarning, match="^frame 6 can't"):
        steps.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list(session.propagate(reverse=True))
    assert [str(w.message)[:36] for w in caught] == ["frames 3, 6 can't be read and were p"]
    assert session.frames.size == (HEIGHT, WIDTH)

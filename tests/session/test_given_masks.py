"""A painted or imported mask is the user's: on its own frame it is what was given, pixel by pixel, at every size."""

import numpy as np
import pytest

from napari_sam2.prompts import MaskPrompt, PointPrompt, Prompt
from napari_sam2.session import ArrayFrames, ImageSession, SessionOptions, TemporaryStore, VideoSession
from tests.session.conftest import click, moving_discs, painted

HEIGHT, WIDTH = 600, 800  # the network of these tests sees a fraction of it


@pytest.fixture(scope="module")
def large():
    return ArrayFrames(moving_discs(3, HEIGHT, WIDTH))


def given(top, left, height, width):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + height, left : left + width] = True
    return mask


def ring():
    mask = given(300, 300, 40, 40)
    mask[310:314, 310:314] = False  # a hole that filling would close
    return mask


MASKS = {
    1: given(100, 100, 1, 1),
    2: given(200, 200, 2, 2),
    3: given(400, 400, 5, 5),
    4: given(0, 0, 2, 2),
    5: given(598, 798, 2, 2),
    6: given(500, 100, 20, 20),
    7: given(0, 700, 600, 1),
    8: ring(),
}


@pytest.mark.parametrize("options", [SessionOptions(), SessionOptions(non_overlap=True, fill_hole_area=64)])
def test_it_is_shown_stored_and_resumed_as_it_was_given(model, large, options):
    store = TemporaryStore()
    session = VideoSession(model, large, options, store)
    for object_id, mask in MASKS.items():
        drawn = session.set_prompt(0, object_id, painted(mask))
        np.testing.assert_array_equal(drawn.of(object_id), mask)
        assert drawn.object_scores[0] > 0, "it is visible, however small"
    (first, *_) = list(session.propagate())
    resumed = VideoSession(model, large, options, store, session.prompts)
    for found in (first, session.masks(0), resumed.masks(0)):
        for object_id, mask in MASKS.items():
            np.testing.assert_array_equal(found.of(object_id), mask)


def test_it_yields_no_pixel_to_another_object(model, large):
    session = VideoSession(model, large, SessionOptions(non_overlap=True))
    mask = given(90, 240, 60, 60)
    session.set_prompt(0, 2, click(260, 120))
    session.set_prompt(0, 1, painted(mask))
    found = session.masks(0)
    np.testing.assert_array_equal(found.of(1), mask)
    assert not (found.of(2) & mask).any()


def test_with_a_click_it_is_the_network_s_again(model, large):
    session = VideoSession(model, large, SessionOptions())
    mask = given(100, 100, 40, 40)
    session.set_prompt(0, 1, painted(mask))
    refined = session.set_prompt(
        0, 1, Prompt((PointPrompt(160, 120, True),), mask=MaskPrompt.from_array(mask))
    )
    assert (refined.of(1) != mask).any()


@pytest.mark.parametrize("multimask", [False, True])
def test_a_session_of_one_image_gives_it_back(model, large, multimask):
    session = ImageSession(model)
    session.set_image(large.frame(0))
    prompts = [painted(mask) for mask in MASKS.values()]
    found = session.predict([*prompts, click(160, 120)], multimask=multimask).masks
    for row, mask in enumerate(MASKS.values()):
        assert all(np.array_equal(one, mask) for one in found[row])
    refined = session.predict(Prompt((PointPrompt(160, 120, True),), mask=prompts[5].mask), multimask=False)
    assert not np.array_equal(refined.masks[0, 0], MASKS[6])  # with a click it is a beginning

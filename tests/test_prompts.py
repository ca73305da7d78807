"""Prompts: what joins, what is refused, and what JSON keeps."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam2.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt, merged

SIZE = (30, 40)  # height, width


def disc(x, y, r):
    yy, xx = np.mgrid[: SIZE[0], : SIZE[1]]
    return (xx - x) ** 2 + (yy - y) ** 2 <= r**2


def test_merging_keeps_the_order_of_points_the_last_box_and_all_masks():
    first, second = PointPrompt(1, 2), PointPrompt(3, 4, positive=False)
    left, right = disc(8, 10, 4), disc(30, 10, 4)
    prompt = merged(
        first,
        BoxPrompt(0, 0, 5, 5),
        MaskPrompt.from_array(left),
        Prompt(points=(second,), box=BoxPrompt(1, 1, 9, 9)),
        MaskPrompt.from_array(right),
    )
    assert prompt.points == (first, second)
    assert prompt.box == BoxPrompt(1, 1, 9, 9)
    assert np.array_equal(prompt.mask.array(), left | right)


def test_equal_content_is_equal_and_hashes_alike():
    a = merged(PointPrompt(1, 2), MaskPrompt.from_array(disc(9, 9, 3)))
    b = merged(PointPrompt(1, 2), MaskPrompt.from_array(disc(9, 9, 3).astype(np.uint8) * 7))
    assert a == b
    assert hash(a) == hash(b)
    assert a != merged(PointPrompt(1, 2), MaskPrompt.from_array(disc(9, 9, 4)))


def test_an_empty_mask_says_something_an_empty_prompt_does_not():
    absent = merged(MaskPrompt.from_array(np.zeros(SIZE)))
    assert absent
    absent.check(SIZE)
    assert not Prompt()


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (Prompt(), "empty: give at least one point"),
        (merged(PointPrompt(float("nan"), 2)), "not finite"),
        (merged(PointPrompt(1, float("inf"))), "not finite"),
        (merged(PointPrompt(40, 2)), "outside the image, which is 40 wide and 30 high"),
        (merged(PointPrompt(2, 30)), "outside the image"),
        (merged(PointPrompt(-1, 2)), "outside the image"),
        (merged(PointPrompt(1, 2, positive=2)), "positive .1. or negative"),
        (merged(BoxPrompt(5, 5, 5, 9)), "no area"),
        (merged(BoxPrompt(9, 5, 5, 9)), "no area"),
        (merged(BoxPrompt(1, 1, float("nan"), 9)), "not finite"),
        (merged(BoxPrompt(50, 50, 60, 60)), "outside the image"),
        (merged(MaskPrompt.from_array(np.ones((40, 30)))), "40 × 30 .* but the frame is 30 × 40"),
    ],
)
def test_what_cannot_be_a_prompt_is_refused(prompt, words):
    with pytest.raises(ValueError, match=words):
        prompt.check(SIZE)


def test_clicks_on_the_rim_are_on_the_image():
    merged(PointPrompt(-0.5, -0.5), PointPrompt(39.5, 29.5), BoxPrompt(-4, -4, 50, 50)).check(SIZE)


@pytest.mark.parametrize("array", [np.zeros((2, 3, 4)), np.zeros(3), np.full(SIZE, np.nan)])
def test_masks_of_other_shapes_or_not_finite_are_refused(array):
    with pytest.raises(ValueError, match="mask prompt"):
        MaskPrompt.from_array(array)


numbers = st.floats(-1e6, 1e6)
points = st.builds(PointPrompt, numbers, numbers, st.booleans())
boxes = st.none() | st.builds(BoxPrompt, numbers, numbers, numbers, numbers)
masks = st.none() | st.builds(
    lambda seed: MaskPrompt.from_array(np.random.default_rng(seed).random(SIZE) < 0.3), st.integers(0, 99)
)


@given(st.builds(Prompt, st.lists(points, max_size=4).map(tuple), boxes, masks))
def test_json_keeps_everything(prompt):
    assert Prompt.from_json(json.loads(json.dumps(prompt.to_json()))) == prompt


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["points", "labels", "box", "mask", "size", "counts", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_other_json_is_a_prompt_that_comes_back_or_a_sentence(data):
    try:
        prompt = Prompt.from_json(data)
    except ValueError as error:
        assert re.match(
            "a prompt is an object with|unknown field '.*' in a prompt|'points' must be|'labels' must be|a point needs|"
            "a point's label is|a box needs|'mask' must hold|a mask's size|the run lengths do not describe",
            str(error),
        )
    else:
        assert Prompt.from_json(json.loads(json.dumps(prompt.to_json()))) == prompt or "NaN" in json.dumps(
            data
        )


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"points": [["1", "2"]]}, r"a point needs 2 numbers, got \['1', '2'\]"),
        ({"points": [[True, 2]]}, r"a point needs 2 numbers, got \[True, 2\]"),
        ({"points": ["12"]}, "a point needs 2 numbers, got '12'"),
        ({"points": [[1, 2]], "labels": ["1"]}, "label is 1 .positive. or 0 .negative., not '1'"),
        ({"points": [[1, 2]], "labels": [2]}, "label is 1 .positive. or 0 .negative., not 2"),
        ({"points": [[10**400, 2]]}, "a point needs 2 numbers, got one of 401 digits"),
        ({"box": "1234"}, "a box needs 4 numbers, got '1234'"),
        ({"box": [0, 0, True, True]}, r"a box needs 4 numbers, got \[0, 0, True, True\]"),
        ({"box": [0, 0, "3", 3]}, r"a box needs 4 numbers, got \[0, 0, '3', 3\]"),
        ({"mask": {"size": ["3", "4"], "counts": "<"}}, r"a mask's size needs 2 numbers, got \['3', '4'\]"),
        ({"mask": {"size": [True, 12], "counts": "<"}}, r"a mask's size needs 2 numbers, got \[True, 12\]"),
        ({"mask": {"size": [3.5, 4], "counts": "<"}}, r"two whole numbers of pixels, not \[3.5, 4\]"),
        (
            {"mask": {"size": [float("inf"), 4], "counts": "<"}},
            r"two whole numbers of pixels, not \[inf, 4\]",
        ),
        (
            {"mask": {"size": [10**9, 10**9], "counts": "<"}},
            "do not describe a mask of 1000000000 × 1000000000",
        ),
    ],
)
def test_text_booleans_and_absurd_numbers_are_no_coordinates(data, sentence):
    with pytest.raises(ValueError, match=sentence):
        Prompt.from_json(data)


@given(st.text(alphabet=[chr(c) for c in range(40, 120)], max_size=30))
def test_damaged_run_lengths_are_a_value_error(counts):
    try:
        mask = Prompt.from_json({"mask": {"size": [5, 4], "counts": counts}}).mask.array()
    except ValueError as error:
        assert "damaged" in str(error)
    else:
        assert mask.shape == (5, 4)


def test_something_else_is_not_a_prompt():
    with pytest.raises(TypeError, match="PointPrompt, BoxPrompt, MaskPrompt"):
        merged((3, 4))

"""Masks and run lengths, drawn where it helps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from napari_sam2.masks import (
    FrameMasks,
    Masklet,
    Rle,
    cleaned,
    compose_labels,
    decode_rle,
    encode_rle,
    mask_box,
)


def draw(text):
    """``#`` is inside."""
    return np.array([[c == "#" for c in row] for row in text.split()])


def frame_masks(*masks, ids=None):
    n = len(masks)
    return FrameMasks(
        3,
        tuple(ids or range(1, n + 1)),
        np.stack(masks),
        np.arange(n, dtype=np.float32),
        np.linspace(0, 1, n, dtype=np.float32),
        np.arange(n) == 0,
    )


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_run_lengths_are_cocos_and_come_back(mask):
    rle = encode_rle(mask)
    assert np.array_equal(rle.decode(), mask)
    assert rle.area == mask.sum()
    assert rle.box == mask_box(mask)
    assert coco.area({"size": list(rle.size), "counts": rle.counts.encode()}) == mask.sum()


def test_long_runs():
    mask = np.zeros((3000, 2000), bool)
    mask[100:2900, 10:1990] = True
    assert np.array_equal(encode_rle(mask).decode(), mask)


@given(st.text(max_size=20), st.integers(-3, 50), st.integers(-3, 50))
def test_damaged_run_lengths_never_decode(counts, height, width):
    try:
        mask = decode_rle(Rle((height, width), counts))
    except ValueError as error:
        assert "damaged" in str(error)
    else:
        assert mask.shape == (height, width)


def test_a_mask_has_two_axes_and_pixels():
    with pytest.raises(ValueError, match="two axes"):
        encode_rle(np.zeros((2, 3, 4), bool))
    with pytest.raises(ValueError, match="at least one pixel"):
        encode_rle(np.zeros((0, 4), bool))


LARGE = draw("""
####.
####.
####.
""")
SMALL = draw("""
.....
.##..
.....
""")


def test_the_smaller_object_is_on_top_whatever_its_id():
    expected = [[1, 1, 1, 1, 0], [1, 2, 2, 1, 0], [1, 1, 1, 1, 0]]
    assert compose_labels(frame_masks(LARGE, SMALL)).tolist() == expected
    swapped = [[9 if v == 1 else 4 if v == 2 else 0 for v in row] for row in expected]
    assert compose_labels(frame_masks(LARGE, SMALL, ids=(9, 4))).tolist() == swapped


def test_by_id_the_higher_one_is_on_top():
    assert compose_labels(frame_masks(LARGE, SMALL, ids=(9, 4)), order="id").max(1).tolist() == [9, 9, 9]
    assert not (compose_labels(frame_masks(LARGE, SMALL, ids=(9, 4)), order="id") == 4).any()


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="between 1 and 255"):
        compose_labels(frame_masks(SMALL, ids=(256,)), dtype=np.uint8)
    with pytest.raises(ValueError, match="between 1"):
        compose_labels(frame_masks(SMALL, ids=(0,)))


def test_no_objects_is_a_black_image():
    assert compose_labels(FrameMasks.empty(0, (3, 5))).tolist() == np.zeros((3, 5)).tolist()


def test_selecting_and_joining_keep_rows_together():
    both = frame_masks(LARGE, SMALL, ids=(9, 4))
    one = both.select([4])
    assert one.object_ids == (4,)
    assert np.array_equal(one.of(4), SMALL)
    assert one.object_scores.tolist() == [1.0]
    joined = FrameMasks.joined([one, both.select([9])])
    assert joined.object_ids == (4, 9)
    assert joined.prompted.tolist() == [False, True]
    with pytest.raises(KeyError, match="object 7 has no mask on frame 3"):
        both.of(7)


def test_rows_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="2 objects need masks of shape"):
        FrameMasks(
            0, (1, 2), SMALL[None], np.zeros(2, np.float32), np.zeros(2, np.float32), np.zeros(2, bool)
        )
    with pytest.raises(ValueError, match="object_scores must have shape"):
        FrameMasks(0, (1,), SMALL[None], np.zeros(2, np.float32), np.zeros(1, np.float32), np.zeros(1, bool))


def test_boxes_are_exclusive_at_the_far_edge():
    assert mask_box(SMALL) == (1, 1, 3, 2)
    assert mask_box(np.zeros((3, 3), bool)) is None


def test_a_masklet_is_empty_where_it_was_not_looked_for():
    masklet = Masklet(5, SMALL.shape, {7: encode_rle(SMALL), 2: encode_rle(LARGE)})
    assert masklet.frames == (2, 7)
    assert np.array_equal(masklet.mask(7), SMALL)
    assert not masklet.mask(3).any()


def test_small_holes_and_specks_are_cleaned_and_the_largest_piece_can_be_kept_alone():
    mask = draw("""
        ...........
        .####...#..
        .#.##......
        .####..##..
        ..#....##..
        ...........
    """)
    clean = mask.copy()
    clean[2, 2] = True
    clean[1, 8] = False
    assert np.array_equal(cleaned(mask, 3), clean)
    assert np.array_equal(cleaned(mask, 0), mask)
    alone = mask.copy()
    alone[:, 6:] = False
    assert np.array_equal(cleaned(mask, largest=True), alone)
    alone[2, 2] = True
    assert np.array_equal(cleaned(mask, 3, largest=True), alone)
    assert not cleaned(np.zeros((3, 4), bool), 9, True).any()
    assert cleaned(draw("#... ...."), 9).sum() == 1  # the largest piece stays

"""Masks as runs: the same pixels as arrays and as COCO's run lengths."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco

from napari_sam2.automatic.candidates import run_length as runs_module
from napari_sam2.automatic.candidates.run_length import joined_pieces, run_length_mask
from napari_sam2.masks import encode_rle, mask_box

MASKS = arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=7))


def drawn(picture):
    return np.array([[c == "#" for c in line] for line in picture.split()])


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_everything_agrees_with_the_array(mask):
    runs = run_length_mask(mask)
    assert (runs.decode() == mask).all()
    assert runs.area == mask.sum()
    assert runs.box == mask_box(mask)
    assert runs.rle() == encode_rle(mask)
    packed = coco.frPyObjects({"size": list(mask.shape), "counts": runs.counts()}, *mask.shape)
    assert packed["counts"].decode() == encode_rle(mask).counts
    assert [
        [runs.contains(x, y) for x in range(mask.shape[1])] for y in range(mask.shape[0])
    ] == mask.tolist()
    inside, x0, y0 = runs.crop()
    assert (inside == mask[y0 : y0 + inside.shape[0], x0 : x0 + inside.shape[1]]).all()


@settings(max_examples=60, deadline=None)
@given(MASKS, st.integers(1, 4), st.booleans())
def test_bands_make_the_same_runs(mask, step, along_rows):
    if along_rows:
        pieces = [(mask[y : y + step], 0, y) for y in range(0, mask.shape[0], step)]
    else:
        pieces = [(mask[:, x : x + step], x, 0) for x in range(0, mask.shape[1], step)]
    runs, whole = joined_pieces(pieces, mask.shape), run_length_mask(mask)
    np.testing.assert_array_equal(runs.lengths, whole.lengths)


def test_a_piece_lies_where_it_is_put():
    piece = drawn("""
        ##
        .#
    """)
    expected = drawn("""
        .....
        ..##.
        ...#.
    """)
    assert (run_length_mask(piece, (3, 5), x0=2, y0=1).decode() == expected).all()


def test_counts_start_outside_and_end_with_the_mask():
    assert run_length_mask(drawn("#. ##")).counts() == [0, 2, 1, 1]
    assert run_length_mask(drawn(".. ..")).counts() == [4]
    assert run_length_mask(drawn("## ##")).counts() == [0, 4]


def test_a_noisy_mask_takes_little_more_than_its_bits():
    mask = np.random.default_rng(0).random((720, 1280)) > 0.5
    blocks = np.kron(mask[:180, :320], np.ones((4, 4), bool))
    assert run_length_mask(blocks).nbytes < 1.5 * blocks.size / 8
    huge = run_length_mask(np.ones((1, 2), bool), (1 << 14, 1 << 14), x0=16_000, y0=5)
    assert huge.edges().tolist() == [
        16_000 * 2**14 + 5,
        16_000 * 2**14 + 6,
        16_001 * 2**14 + 5,
        16_001 * 2**14 + 6,
    ]


def test_contains_outside_the_frame():
    runs = run_length_mask(np.ones((2, 3), bool))
    assert runs.contains(2, 1)
    assert not any(runs.contains(x, y) for x, y in [(-1, 0), (0, -1), (3, 0), (0, 2)])


@pytest.mark.parametrize("limit", [1, 40, 1000])
def test_pieces_are_bounded_strips_of_the_box(monkeypatch, limit):
    monkeypatch.setattr(runs_module, "_PIECE_PIXELS", limit)
    mask = np.random.default_rng(3).random((17, 9)) > 0.4
    mask[:, 4] = True
    mask[:, :2] = mask[:3] = False
    pieces = list(run_length_mask(mask).pieces())
    assert len(pieces) == {1: 7, 40: 4, 1000: 1}[limit]
    assert all(part.shape[0] == 14 and y == 3 for part, _, y in pieces)
    assert (np.concatenate([part for part, _, _ in pieces], axis=1) == mask[3:, 2:]).all()
    inside, x0, y0 = run_length_mask(mask).crop()
    assert (inside == mask[3:, 2:]).all()
    assert (x0, y0) == (2, 3)
    again = np.zeros(mask.shape, np.uint16)
    run_length_mask(mask).paint(again, 7)
    assert (again == 7 * mask).all()

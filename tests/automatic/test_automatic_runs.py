"""Masks as runs: the same pixels as arrays and as COCO's run lengths."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco

from napari_sam2.automatic import runs as runs_module
from napari_sam2.automatic.runs import joined_runs, runs_of
from napari_sam2.masks import encode_rle, mask_box

MASKS = arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=7))


def drawn(picture):
    return np.array([[c == "#" for c in line] for line in picture.split()])


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_everything_agrees_with_the_array(mask):
    runs = runs_of(mask)
    assert (runs.decode() == mask).all()
    assert runs.area == mask.sum()
    assert runs.box == mask_box(mask)
    assert runs.rle() == encode_rle(mask)
    packed = coco.frPyObjects({"size": list(mask.shape), "counts": runs.counts()}, *mask.shape)
    assert packed["counts"].decode() == encode_rle(mask).counts
    rows, columns = (
        (np.concatenate(part) if len(part) else [] for part in zip(*runs.pixels()))
        if mask.any()
        else ([], [])
    )
    assert sorted(zip(rows, columns)) == sorted(zip(*np.nonzero(mask)))
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
    runs, whole = joined_runs(pieces, mask.shape), runs_of(mask)
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
    assert (runs_of(piece, (3, 5), x0=2, y0=1).decode() == expected).all()


def test_counts_start_outside_and_end_with_the_mask():
    assert runs_of(drawn("#. ##")).counts() == [0, 2, 1, 1]
    assert runs_of(drawn(".. ..")).counts() == [4]
    assert runs_of(drawn("## ##")).counts() == [0, 4]


def test_a_noisy_mask_takes_little_more_than_its_bits():
    mask = np.random.default_rng(0).random((720, 1280)) > 0.5
    blocks = np.kron(mask[:180, :320], np.ones((4, 4), bool))
    assert runs_of(blocks).nbytes < 1.5 * blocks.size / 8
    huge = runs_of(np.ones((1, 2), bool), (1 << 14, 1 << 14), x0=16_000, y0=5)
    assert huge.edges().tolist() == [
        16_000 * 2**14 + 5,
        16_000 * 2**14 + 6,
        16_001 * 2**14 + 5,
        16_001 * 2**14 + 6,
    ]


def test_contains_outside_the_frame():
    runs = runs_of(np.ones((2, 3), bool))
    assert runs.contains(2, 1)
    assert not any(runs.contains(x, y) for x, y in [(-1, 0), (0, -1), (3, 0), (0, 2)])


@pytest.mark.parametrize("limit", [1, 5, 1000])
def test_pixels_come_in_bounded_parts(monkeypatch, limit):
    monkeypatch.setattr(runs_module, "_PAINT_PIXELS", limit)
    mask = np.random.default_rng(3).random((17, 9)) > 0.4
    mask[:, 4] = True
    parts = list(runs_of(mask).pixels())
    # A part may be one short run longer than the limit allows, never two.
    assert max(len(rows) for rows, _ in parts) <= max(limit, 1)
    again = np.zeros_like(mask)
    for rows, columns in parts:
        again[rows, columns] = True
    assert (again == mask).all()

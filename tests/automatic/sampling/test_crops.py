"""Grids of points, crops in layers, tiles, and masks that a crop cuts off."""

from itertools import pairwise

import numpy as np
import pytest

from napari_sam2.automatic import AutomaticOptions
from napari_sam2.automatic.sampling.crops import Crop, crops_of, cut_off, layer_grids, square_grid


def test_square_grid_lies_in_the_middle_of_its_cells():
    assert square_grid(2).tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    assert square_grid(1).tolist() == [[0.5, 0.5]]
    with pytest.raises(ValueError, match="at least one point"):
        square_grid(0)


def test_layers_have_fewer_points():
    grids = layer_grids(
        AutomaticOptions(points_per_side=8, crop_n_layers=2, crop_n_points_downscale_factor=2)
    )
    assert [len(grid) for grid in grids] == [64, 16, 4]


def test_first_layer_of_crops():
    # overlap int(512/1500 * 180) = 61; crops (61 + 180) / 2 -> 121 high, (61 + 240) / 2 -> 151 wide
    crops = crops_of((180, 240), AutomaticOptions(crop_n_layers=1))
    assert [crop.box for crop in crops] == [
        (0, 0, 240, 180),
        (0, 0, 151, 121),
        (0, 60, 151, 180),
        (90, 0, 240, 121),
        (90, 60, 240, 180),
    ]
    assert [crop.layer for crop in crops] == [0, 1, 1, 1, 1]


def test_crops_of_a_tiny_frame_are_not_empty():
    for crop in crops_of((1, 3), AutomaticOptions(crop_n_layers=2)):
        assert min(crop.size) >= 1


@pytest.mark.parametrize("size", [(500, 900), (64, 1000), (257, 256), (16000, 16000)])
def test_tiles_cover_the_frame_and_overlap(size):
    options = AutomaticOptions(tile_size=256, crop_overlap_ratio=0.25)
    tiles = crops_of(size, options)
    for axis in (0, 1):
        spans = sorted({(t.box[1 - axis], t.box[3 - axis]) for t in tiles})
        assert spans[0][0] == 0
        assert spans[-1][1] == size[axis]
        assert all(high - low <= 256 for low, high in spans)
        assert all(a[1] - b[0] >= 64 for a, b in pairwise(spans))
    assert len(tiles) == len({t.box for t in tiles})


def test_a_tile_size_that_nobody_can_wait_for_is_refused():
    options = AutomaticOptions(tile_size=64)
    with pytest.raises(
        ValueError, match=r"frame of 16384 × 16384 pixels into 1\d\d,\d\d\d parts: use a larger"
    ):
        crops_of((16384, 16384), options)
    assert len(crops_of((4096, 4096), options)) < 20_000


def test_the_deepest_layers_make_as_many_crops_as_the_option_says():
    assert len(crops_of((2048, 2048), AutomaticOptions(crop_n_layers=5))) == 1365


def test_small_frames_are_not_tiled():
    assert crops_of((200, 256), AutomaticOptions(tile_size=256)) == [Crop(0, 0, 256, 200)]


def test_cut_off_by_the_crop_but_not_by_the_frame():
    crop = Crop(100, 0, 300, 200)
    boxes = np.array(
        [
            [150, 50, 250, 150],  # inside
            [110, 50, 250, 150],  # 10 pixels from the crop's left edge
            [150, 5, 250, 150],  # at the upper edge, which is the frame's
            [150, 50, 279, 150],  # 21 pixels from the right edge
            [150, 50, 280, 150],  # 20 pixels from it
        ],
        np.float32,
    )
    assert cut_off(boxes, crop, (400, 400)).tolist() == [False, True, False, False, True]

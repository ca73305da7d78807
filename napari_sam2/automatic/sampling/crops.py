"""Crops of a frame, grids of points on them, and masks that a crop's edge cuts off."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from napari_sam2.automatic.options import AutomaticOptions

# A mask this close to a crop's edge was probably cut off by it; the reference's value.
EDGE_PIXELS = 20.0
# Each takes the network a second or more on a CPU.
MOST_TILES = 20_000


@dataclass(frozen=True)
class Crop:
    """A part of a frame, in pixels; right and lower edge exclusive.

    Parameters
    ----------
    x0, y0, x1, y1 : int
        Corners.
    layer : int
        0 for the whole frame; decides about the grid of points.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    layer: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(x0, y0, x1, y1)."""
        return self.x0, self.y0, self.x1, self.y1


def crops_of(size: tuple[int, int], options: AutomaticOptions) -> list[Crop]:
    """Return the crops to search: the frame and its layers, or tiles when ``tile_size`` asks for them.

    Raises
    ------
    ValueError
        When there are more than MOST_TILES tiles.
    """
    height, width = size
    if options.tile_size and max(size) > options.tile_size:
        return _tiles(size, options)
    crops = [Crop(0, 0, width, height)]
    for layer in range(1, options.crop_n_layers + 1):
        crops += _layer(size, layer, options.crop_overlap_ratio)
    return crops


def _layer(size: tuple[int, int], layer: int, ratio: float) -> list[Crop]:
    """Return the overlapping crops of one layer, column by column (counterpart: ``generate_crop_boxes``)."""
    height, width = size
    per_side = 2**layer
    overlap = int(ratio * min(size) * (2 / per_side))
    crop_width, crop_height = (
        math.ceil((overlap * (per_side - 1) + length) / per_side) for length in (width, height)
    )
    lefts = [(crop_width - overlap) * i for i in range(per_side)]
    tops = [(crop_height - overlap) * i for i in range(per_side)]
    crops = [
        Crop(x, y, min(x + crop_width, width), min(y + crop_height, height), layer)
        for x, y in product(lefts, tops)
    ]
    # On tiny frames the last crops of a deep layer can lie beyond the frame.
    return [crop for crop in crops if crop.x1 > crop.x0 and crop.y1 > crop.y0]


def _tiles(size: tuple[int, int], options: AutomaticOptions) -> list[Crop]:
    height, width = size
    lefts, tops = (
        _starts(length, options.tile_size, options.crop_overlap_ratio) for length in (width, height)
    )
    side = options.tile_size
    if len(lefts) * len(tops) > MOST_TILES:
        raise ValueError(
            f"tile_size={side} with an overlap of {options.crop_overlap_ratio:.2f} cuts a frame of "
            f"{height} × {width} pixels into {len(lefts) * len(tops):,} parts: use a larger tile_size "
            f"(at most {MOST_TILES:,} parts)"
        )
    return [Crop(x, y, min(x + side, width), min(y + side, height)) for y, x in product(tops, lefts)]


def _starts(length: int, side: int, ratio: float) -> list[int]:
    """Spread tiles evenly so that neighbours overlap by at least ``ratio`` of a tile."""
    if length <= side:
        return [0]
    step = max(1.0, side * (1 - ratio))
    count = math.ceil((length - side) / step) + 1
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def cut_off(boxes: NDArray[np.float32], crop: Crop, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which boxes (N, 4), as (x0, y0, x1, y1) in pixels of the frame, end at an edge of their crop.

    An edge of the crop that is an edge of the frame cuts nothing off. Counterpart: ``is_box_near_crop_edge``.
    """
    height, width = size
    at_crop = np.abs(boxes - np.asarray(crop.box, np.float32)) <= EDGE_PIXELS
    at_frame = np.abs(boxes - np.asarray((0, 0, width, height), np.float32)) <= EDGE_PIXELS
    return np.asarray((at_crop & ~at_frame).any(axis=1), bool)


def square_grid(per_side: int) -> NDArray[np.float64]:
    """Return the centres of ``per_side`` × ``per_side`` cells of the unit square, (N, 2) as (x, y), row by row."""
    if per_side < 1:
        raise ValueError(f"a grid needs at least one point along each side, got {per_side}")
    half = 0.5 / per_side
    along = np.linspace(half, 1 - half, per_side)
    x, y = np.meshgrid(along, along)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def layer_grids(options: AutomaticOptions) -> list[NDArray[np.float64]]:
    """Return the points (N, 2), from 0 to 1, for the frame and for each layer of crops.

    Counterpart: ``build_all_layer_point_grids``.
    """
    if options.point_grids is not None:
        return [np.asarray(grid, np.float64) for grid in options.point_grids]
    assert options.points_per_side is not None  # AutomaticOptions has exactly one of the two
    factor = options.crop_n_points_downscale_factor
    return [square_grid(int(options.points_per_side / factor**i)) for i in range(options.crop_n_layers + 1)]

"""Where the frame is asked: regular grids of points, on the frame and on crops."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_sam2.automatic.options import AutomaticOptions


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

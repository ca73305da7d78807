"""Images of the rows of the timeline: a band where the object is seen, filled from above by uncertainty."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.objects import Color
from napari_sam2.plugin.controller.timeline import TimelineRow


def columns_of(values: NDArray[Any], width: int) -> NDArray[Any]:
    """Return the largest value in each of ``width`` columns, (width,), of values of all frames (T,).

    One uncertain frame among a hundred in a column is still visible.
    """
    count = len(values)
    if width >= count:
        return np.asarray(values[np.arange(width) * count // width])
    starts = np.arange(width) * count // width
    return np.asarray(np.maximum.reduceat(values, starts))


def frame_at(x: float, width: int, count: int) -> int:
    """Return the frame that is drawn at ``x`` of ``width`` pixels."""
    return int(np.clip(np.floor(x / max(width, 1) * count), 0, count - 1))


def x_of(frame: int, width: int, count: int) -> float:
    """Return where the middle of a frame is drawn."""
    return (frame + 0.5) * width / count


def strip(
    row: TimelineRow, width: int, height: int, color: Color, uncertain_color: Color, absent_color: Color
) -> NDArray[np.uint8]:
    """Draw one object over all frames.

    Parameters
    ----------
    row : TimelineRow
        Facts on the object.
    width, height : int
        Pixels.
    color, uncertain_color, absent_color : tuple of int
        Colours of the object, of uncertainty, and of frames on which the object was not found.

    Returns
    -------
    ndarray of uint8, shape (height, width, 4)
        RGBA; transparent where the object was not tracked.
    """
    present = columns_of(row.present, width)
    known = columns_of(row.known, width)
    uncertainty = np.clip(np.asarray(columns_of(row.uncertainty, width), float), 0, 1)
    # A quarter of the band always shows the colour of the object.
    uncertainty = np.where(uncertainty < 0.05, 0.0, uncertainty) * 0.75
    out = np.zeros((height, width, 4), np.uint8)
    level = np.arange(height)[:, None]  # from above
    full = np.broadcast_to(np.asarray(present, bool), (height, width))
    out[full] = (*color, 255)
    out[(level >= height - 2) & known & ~present] = (*absent_color, 255)
    out[(level < np.round(uncertainty * height)[None]) & known] = (*uncertain_color, 255)
    return out


def tick_step(count: int, width: int, room: int) -> int:
    """Return a round number of frames between ticks that leaves ``room`` pixels for each label."""
    least = max(count * room / max(width, 1), 1)
    power = 10 ** int(np.floor(np.log10(least)))
    for factor in (1, 2, 5, 10):
        if factor * power >= least:
            return int(factor * power)
    return int(10 * power)

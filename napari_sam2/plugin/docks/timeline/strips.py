"""Rows of the timeline as pictures: presence is a band, doubt eats into it from above (numpy only)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.plugin.controller.timeline import TimelineRow

Rgb = tuple[int, int, int]


def columns_of(values: NDArray[Any], width: int) -> NDArray[Any]:
    """Return the largest value in each of ``width`` columns, (width,), of values for every frame (T,).

    Of many frames per column none is lost: one doubtful frame among a hundred still shows.
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
    row: TimelineRow, width: int, height: int, color: Rgb, doubt_color: Rgb, ground: Rgb
) -> NDArray[np.uint8]:
    """Draw one object over all frames.

    Parameters
    ----------
    row : TimelineRow
        What is known of it.
    width, height : int
        Pixels.
    color, doubt_color, ground : tuple of int
        Of the object, of doubt, and of frames on which the object was looked for and not seen.

    Returns
    -------
    ndarray of uint8, shape (height, width, 4)
        RGBA; transparent where nothing is known.
    """
    present = columns_of(row.present, width)
    known = columns_of(row.known, width)
    doubt = np.clip(np.asarray(columns_of(row.uncertainty, width), float), 0, 1)
    # A rest of the band always shows whose it is.
    doubt = np.where(doubt < 0.05, 0.0, doubt) * 0.75
    out = np.zeros((height, width, 4), np.uint8)
    level = np.arange(height)[:, None]  # from above
    full = np.broadcast_to(np.asarray(present, bool), (height, width))
    out[full] = (*color, 255)
    out[(level >= height - 2) & known & ~present] = (*ground, 255)
    eaten = (level < np.round(doubt * height)[None]) & known
    out[eaten] = (*doubt_color, 255)
    return out


def tick_step(count: int, width: int, room: int) -> int:
    """Return a round number of frames between ticks, so that each label has ``room`` pixels."""
    least = max(count * room / max(width, 1), 1)
    power = 10 ** int(np.floor(np.log10(least)))
    for factor in (1, 2, 5, 10):
        if factor * power >= least:
            return int(factor * power)
    return int(10 * power)

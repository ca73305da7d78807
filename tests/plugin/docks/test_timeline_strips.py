"""The pictures of the timeline, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam2.plugin.controller.timeline import TimelineRow
from napari_sam2.plugin.docks.timeline.strips import columns_of, frame_at, strip, tick_step, x_of

RED, ORANGE, GREY = (200, 0, 0), (230, 159, 0), (90, 90, 90)


def row(present, known=None, uncertainty=None):
    present = np.array([c == "#" for c in present])
    known = present if known is None else np.array([c == "k" for c in known])
    uncertainty = np.zeros(len(present)) if uncertainty is None else np.array(uncertainty, float)
    nothing = np.full(len(present), np.nan, np.float32)
    return TimelineRow(
        1, known, present, np.zeros(len(present), bool), nothing, nothing, nothing, uncertainty
    )


def drawn(image):
    """Characters: # object, ! uncertainty, _ not seen, space nothing."""
    out = []
    for line in image:
        names = {(*RED, 255): "#", (*ORANGE, 255): "!", (*GREY, 255): "_", (0, 0, 0, 0): " "}
        out.append("".join(names[tuple(int(v) for v in pixel)] for pixel in line))
    return out


def test_presence_is_a_band_and_absence_a_line():
    image = strip(row("##  ##", "kkk kk"), 6, 4, RED, ORANGE, GREY)
    assert drawn(image) == [
        "##  ##",
        "##  ##",
        "##_ ##",
        "##_ ##",
    ]


def test_uncertainty_eats_the_band_from_above_and_leaves_a_rest():
    image = strip(row("####", uncertainty=[0, 0.34, 0.67, 1]), 4, 8, RED, ORANGE, GREY)
    depth = [(image[:, x] == (*ORANGE, 255)).all(-1).sum() for x in range(4)]
    assert depth == [0, 2, 4, 6]
    assert drawn(image)[-1] == "####"


def test_one_uncertain_frame_among_many_is_not_lost():
    uncertainty = np.zeros(20_000)
    uncertainty[12_345] = 1
    columns = columns_of(uncertainty, 300)
    assert columns.max() == 1
    assert frame_at(np.argmax(columns) + 0.5, 300, 20_000) == pytest.approx(12_345, abs=67)


@pytest.mark.parametrize(("width", "count"), [(300, 7), (300, 300), (100, 20_000), (17, 5)])
def test_a_click_on_a_frame_goes_to_this_frame(width, count):
    for frame in {0, count // 3, count - 1}:
        found = frame_at(x_of(frame, width, count), width, count)
        assert abs(found - frame) <= count / width
    assert frame_at(-5, width, count) == 0
    assert frame_at(width + 5, width, count) == count - 1


def test_every_frame_has_its_columns_when_there_is_room():
    assert columns_of(np.array([1, 2, 3]), 6).tolist() == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(("count", "step"), [(10, 2), (28, 5), (20_000, 5000), (300, 50)])
def test_ticks_are_round_and_have_room(count, step):
    assert tick_step(count, 300, 50) == step

"""Uncertainty: where a tracked object should be looked at again."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam2.review import ObjectFacts, frame_uncertainty, next_uncertain, uncertain_peaks
from napari_sam2.review.uncertainty import area_jumps, position_jumps

T = 30


def steady(count=T):
    """An object of 100 pixels that walks a pixel a frame, surely seen."""
    facts = ObjectFacts(count)
    facts.numbers[:] = 0
    facts.object_scores[:], facts.predicted_ious[:], facts.areas[:] = 6, 0.9, 100
    facts.centers[:] = np.stack([np.arange(count), np.full(count, 5)], axis=1)
    return facts


def test_a_steady_object_is_sure_everywhere():
    assert frame_uncertainty(steady()).max() < 0.05


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [
        ("object_scores", 0.0, 0.99),
        ("object_scores", 0.5, 0.7),
        ("predicted_ious", 0.25, 0.99),
        ("scattered", 0.5, 0.99),
        ("overlaps", 0.9, 0.99),
        ("areas", 300.0, 0.9),
    ],
)
def test_one_bad_number_makes_its_frame_uncertain(name, value, least):
    facts = steady()
    getattr(facts, name)[12] = value
    uncertainty = frame_uncertainty(facts)
    assert uncertainty[12] > least
    assert uncertainty[:12].max() < 0.05
    assert uncertainty[14:].max() < 0.05


def test_a_jump_in_position_is_judged_against_the_usual_speed():
    facts = steady()
    facts.centers[12:, 0] += 25
    assert frame_uncertainty(facts)[12] > 0.9
    facts = steady()
    facts.centers[:, 0] *= 25  # always as fast: nothing special
    assert frame_uncertainty(facts).max() < 0.05


def test_appearing_and_vanishing_are_uncertain_and_absence_is_not():
    facts = steady()
    facts.areas[10:15] = 0
    facts.centers[10:15] = np.nan
    facts.object_scores[10:15] = -6
    uncertainty = frame_uncertainty(facts)
    assert uncertainty[10] == 1
    assert uncertainty[15] == 1
    assert uncertainty[11:15].max() < 0.05


def test_the_usual_overlap_is_nothing_special_and_a_jump_at_the_border_counts_half():
    facts = steady()
    facts.overlaps[:] = 1.0  # an organelle in its cell
    facts.scattered[:] = 0.6
    assert frame_uncertainty(facts).max() < 0.05
    facts = steady()
    facts.areas[12:] = 0
    facts.centers[12:] = np.nan
    facts.object_scores[12:] = -6
    assert frame_uncertainty(facts)[12] == 1
    facts.borders[11] = 1.2  # it was leaving
    assert frame_uncertainty(facts)[12] == 0.5


def test_prompted_and_unknown_frames_are_not_uncertain():
    facts = steady()
    facts.object_scores[12] = 0
    facts.prompted[12] = True
    assert frame_uncertainty(facts)[12] == 0
    facts.numbers[:, 20:] = np.nan
    assert frame_uncertainty(facts)[20:].max() == 0
    facts = steady()
    facts.object_scores[5] = facts.predicted_ious[5] = np.nan  # a mask made by hand
    assert frame_uncertainty(facts)[5] < 0.05


def test_gaps_between_known_frames_are_no_jumps():
    areas = np.array([100, np.nan, 400.0])
    assert area_jumps(areas).max() == 0
    assert position_jumps(np.array([[0, 0], [np.nan, np.nan], [90, 90.0]]), areas).max() == 0


def test_next_uncertain_goes_from_peak_to_peak():
    uncertainty = np.zeros(20)
    uncertainty[[3, 4, 5]] = (0.6, 0.9, 0.7)
    uncertainty[11] = 0.55
    assert uncertain_peaks(uncertainty) == [4, 11]
    assert next_uncertain(uncertainty, 0) == 4
    assert next_uncertain(uncertainty, 4) == 11
    assert next_uncertain(uncertainty, 11) is None
    assert next_uncertain(uncertainty, 19, -1) == 11
    assert next_uncertain(uncertainty, 11, -1) == 4
    assert next_uncertain(uncertainty, 0, threshold=0.95) is None


def test_one_frame_and_none():
    assert frame_uncertainty(steady(1)).tolist() == pytest.approx([0], abs=0.05)
    assert frame_uncertainty(steady(0)).shape == (0,)

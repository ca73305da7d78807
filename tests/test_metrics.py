"""Every expected number here was counted by hand on the drawings."""

import math

import numpy as np
import pytest

from napari_sam2.metrics import (
    boundary_accuracy,
    evaluate_sequences,
    identity_switches,
    instance_score,
    mask_boundary,
    match_by_overlap,
    overlaps,
    region_similarity,
)


def drawn(picture: str) -> np.ndarray:
    """Labels (H, W): a digit is an object, anything else is ground; '#' is object 1."""
    rows = [row.strip().replace("#", "1").replace(".", "0") for row in picture.strip().splitlines()]
    return np.array([[int(c) for c in row] for row in rows])


def film(*pictures: str) -> np.ndarray:
    return np.stack([drawn(picture) for picture in pictures])


def side_by_side(picture: str) -> list[np.ndarray]:
    """Several drawings next to each other, separated by blanks."""
    rows = [row.split() for row in picture.strip().splitlines()]
    return [drawn("\n".join(column)) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (
            """.##. ..##
               .##. ..##""",
            2 / 6,
        ),
        (
            """.##. .##.
               .... ....""",
            1.0,
        ),
        (
            """##.. ..##
               .... ....""",
            0.0,
        ),
        (
            """.... ....
               .... ....""",
            1.0,
        ),
        (
            """.... #...
               .... ....""",
            0.0,
        ),
        (
            """#### ##..
               #### ##..""",
            4 / 8,
        ),
    ],
    ids=["shifted", "same", "apart", "both empty", "missed", "half"],
)
def test_region_similarity(picture: str, expected: float) -> None:
    predicted, true = side_by_side(picture)
    assert region_similarity(predicted, true) == pytest.approx(expected)


def test_boundary_is_the_pixels_left_above_and_on_the_far_side() -> None:
    mask, expected = side_by_side(
        """...... ......
           ...... .###..
           ..##.. .#.#..
           ..##.. .###..
           ...... ......"""
    )
    np.testing.assert_array_equal(mask_boundary(mask == 1), expected == 1)


def test_boundary_at_the_frame_border_needs_a_neighbour_inside() -> None:
    mask, expected = side_by_side(
        """.... .###
           .... .#..
           ..## .#..
           ..## .#.."""
    )
    # the object touches the lower right corner: no boundary runs along the frame itself
    expected[:] = drawn(
        """....
           .###
           .#..
           .#.."""
    )
    np.testing.assert_array_equal(mask_boundary(mask == 1), expected == 1)


@pytest.mark.parametrize(
    ("shift", "tolerance", "expected"),
    [(0, 0, 1.0), (1, 0, 4 / 8), (1, 1, 1.0), (2, 1, 5 / 8), (2, 2, 1.0), (1, 0.008, 1.0)],
)
def test_boundary_accuracy_of_a_shifted_square(shift: int, tolerance: float, expected: float) -> None:
    # boundary of the 2 x 2 square: a ring of 8 pixels; moved by 1 the rings share 4 pixels;
    # moved by 2, 5 of 8 lie at most one pixel from the other ring
    true = drawn(
        """........
           ........
           ..##....
           ..##....
           ........"""
    )
    assert boundary_accuracy(np.roll(true, shift, 1), true, tolerance) == pytest.approx(expected)


def test_boundary_precision_and_recall_are_both_in_f() -> None:
    true, predicted = side_by_side(
        """........ ........
           ........ ........
           ..#..... ..#..#..
           ........ ........
           ........ ........"""
    )
    # ring of one pixel: itself, left, above, above left = 4; the prediction has a second, far ring:
    # precision 4 / 8, recall 1, F = 2 * 0.5 / 1.5
    assert boundary_accuracy(predicted, true, 0) == pytest.approx(2 / 3)
    assert boundary_accuracy(true, predicted, 0) == pytest.approx(2 / 3)


def test_boundary_of_empty_masks() -> None:
    empty, dot = np.zeros((6, 6), bool), drawn("......\n......\n..#...\n......\n......\n......")
    assert boundary_accuracy(empty, empty) == 1
    assert boundary_accuracy(empty, dot) == 0
    assert boundary_accuracy(dot, empty) == 0


def _davis_f(a: np.ndarray, b: np.ndarray, radius: int) -> float:
    """The definition, with a plain disk dilation, on the whole frame."""
    reach = range(-radius, radius + 1)

    def dilated(edge: np.ndarray) -> np.ndarray:
        out = np.zeros_like(edge)
        for y, x in np.argwhere(edge):
            for dy in reach:
                for dx in reach:
                    inside = 0 <= y + dy < edge.shape[0] and 0 <= x + dx < edge.shape[1]
                    if inside and dy * dy + dx * dx <= radius * radius:
                        out[y + dy, x + dx] = True
        return out

    edge_a, edge_b = mask_boundary(a), mask_boundary(b)
    precision = (edge_a & dilated(edge_b)).sum() / edge_a.sum()
    recall = (edge_b & dilated(edge_a)).sum() / edge_b.sum()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("seed", range(8))
def test_boundary_accuracy_equals_its_definition_by_dilation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (np.kron(rng.random((6, 7)) < 0.3, np.ones((4, 4))).astype(bool) for _ in range(2))
    for radius in (1, 2, 3):
        assert boundary_accuracy(a, b, radius) == pytest.approx(_davis_f(a, b, radius))


def test_tolerance_is_a_share_of_the_diagonal_rounded_up() -> None:
    # 300 x 400 has a diagonal of 500: 0.008 of it are 4 pixels
    true = np.zeros((300, 400), bool)
    true[100:150, 100:150] = True
    assert boundary_accuracy(np.roll(true, 4, 1), true) == 1
    assert boundary_accuracy(np.roll(true, 5, 1), true) < 1


def test_identity_switches_counts_changes_and_ignores_gaps() -> None:
    true = film("11..22", "11..22", "11..22", "11..22", "11..22")
    predicted = film("33..44", "44..33", "......", "44..33", "33....")
    # frame 1: both switch; frame 2 covers nothing and does not reset; frame 4: object 1 switches again
    assert identity_switches(predicted, true) == 3
    assert identity_switches(true * 7, true) == 0


def test_half_covered_is_not_covered() -> None:
    true = film("1111", "1111")
    assert identity_switches(film("22..", "33.."), true) == 0
    assert identity_switches(film("222.", "333."), true) == 1


TRUE_FILM = film(
    """11....
       11..22
       ....22""",
    """.11...
       .11.22
       ....22""",
    """......
       ....22
       ....22""",
    """..11..
       ..11.2
       .....2""",
)
GUESSED_FILM = film(
    """11....
       11..22
       ....22""",
    """11....
       11..22
       ....22""",
    """......
       ....22
       .....2""",
    """..11..
       ..11..
       ......""",
)


def test_a_sequence_by_hand() -> None:
    score = evaluate_sequences(GUESSED_FILM, TRUE_FILM, tolerance=0)
    one, two = score.objects
    assert (one.object_id, two.object_id) == (1, 2)
    assert one.regions == pytest.approx((1, 2 / 6, 1, 1))  # gone and said so on frame 2
    assert two.regions == pytest.approx((1, 1, 3 / 4, 0))
    assert one.j == pytest.approx((3 + 1 / 3) / 4)
    assert two.j_recall == pytest.approx(3 / 4)
    assert two.j_decay == pytest.approx(1)
    assert score.j == pytest.approx((one.j + two.j) / 2)
    assert score.j_and_f == pytest.approx((score.j + score.f) / 2)
    # 8 (object, frame) pairs; only object 2 on the last frame is missed; one absence, seen
    assert score.visibility_accuracy == pytest.approx(7 / 8)
    assert score.absence_recall == 1
    assert score.identity_switches == 0


def test_prompted_frames_can_be_left_out() -> None:
    score = evaluate_sequences(GUESSED_FILM, TRUE_FILM, excluded_frames=(0,))
    assert score.objects[0].frames == (1, 2, 3)
    assert score.objects[0].regions == pytest.approx((2 / 6, 1, 1))


def test_an_object_counts_from_its_first_sight() -> None:
    true = film("......", "..22..", "..22..")
    early = film("22....", "..22..", "......")
    (two,) = evaluate_sequences(early, true).objects
    assert two.frames == (1, 2)
    assert two.regions == (1, 0)


def test_object_scores_decide_visibility_when_given() -> None:
    visible = np.array([[1, 1], [1, 1], [1, 0], [1, 0]], bool)
    # wrong: object 1 on frame 2 (gone), object 2 on frames 2 and 3 (there)
    score = evaluate_sequences(GUESSED_FILM, TRUE_FILM, visible=visible)
    assert score.visibility_accuracy == pytest.approx(5 / 8)
    assert score.absence_recall == 0


def test_without_absences_their_recall_is_unknown() -> None:
    still = film("11", "11")
    score = evaluate_sequences(still, still)
    assert math.isnan(score.absence_recall)
    assert "no object is ever absent" in score.table()


def test_ids_may_be_paired_by_overlap() -> None:
    renamed = np.where(TRUE_FILM > 0, TRUE_FILM + 5, 0)
    assert evaluate_sequences(renamed, TRUE_FILM).j == pytest.approx(0.25 / 2)  # only the absence is right
    assert evaluate_sequences(renamed, TRUE_FILM, matching="overlap").j_and_f == 1
    assert match_by_overlap(renamed, TRUE_FILM) == {1: 6, 2: 7}


def test_pairing_takes_the_best_sum_not_the_first_come() -> None:
    true = film("1112", "....")
    guess = film("8883", "....")
    guess[1, 0, :] = 0
    assert match_by_overlap(film("3338"), film("1112")) == {1: 3, 2: 8}
    assert match_by_overlap(guess, true) == {1: 8, 2: 3}


def test_the_table_has_a_row_per_object_and_the_mean() -> None:
    table = evaluate_sequences(GUESSED_FILM, TRUE_FILM, tolerance=0).table().splitlines()
    assert len(table) == 2 + 2 + 1 + 2
    assert table[2].startswith("| 1 | 4 | 0.833 |")
    assert table[4].startswith("| mean of 2 | 8 | ")
    assert table[-1] == "identity switches: 0; visible or not: 0.875 right (of the absences 1.000 seen)"


def test_overlaps_of_all_pairs() -> None:
    predicted, true = side_by_side(
        """77.9 11.2
           77.9 ...."""
    )
    ids, true_ids, ious = overlaps(predicted, true)
    assert ids.tolist() == [7, 9]
    assert true_ids.tolist() == [1, 2]
    np.testing.assert_allclose(ious, [[2 / 4, 0], [0, 1 / 2]])


def test_instances_by_hand() -> None:
    predicted, true = side_by_side(
        """11..22.. 11..2222
           11..22.. 11..2222
           ........ ........
           .555.... ......77
           ........ ......77"""
    )
    # 1: IoU 1; 2: IoU 4 / 8, just enough; 5 is invented; 7 is missed
    score = instance_score(predicted, true)
    assert (score.true_positives, score.false_positives, score.false_negatives) == (2, 1, 1)
    assert score.average_precision == pytest.approx(2 / 4)
    assert score.matched_iou == pytest.approx(0.75)
    strict = instance_score(predicted, true, threshold=0.6)
    assert (strict.true_positives, strict.average_precision) == (1, 1 / 5)


def test_instances_are_matched_one_to_one_and_as_many_as_possible() -> None:
    predicted, true = side_by_side(
        """112222 111122
           112222 111122"""
    )
    # IoU: 1-1 4/8, 2-1 4/12, 2-2 4/8; at 0.3 the greedy pair 2-1 would leave 1 and 2 alone
    score = instance_score(predicted, true, threshold=0.3)
    assert score.true_positives == 2
    assert score.matched_iou == pytest.approx(0.5)


def test_empty_instance_images() -> None:
    nothing, some = np.zeros((3, 3), int), np.eye(3, dtype=int)
    assert instance_score(nothing, nothing).average_precision == 1
    assert instance_score(nothing, some).average_precision == 0
    assert math.isnan(instance_score(some, nothing).matched_iou)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: region_similarity(np.ones((2, 2)), np.ones((2, 3))), "differ in shape"),
        (lambda: boundary_accuracy(np.ones(4), np.ones(4)), "dimensions"),
        (lambda: evaluate_sequences(np.ones((1, 2, 2)), np.ones((1, 2, 2), int)), "whole numbers"),
        (lambda: evaluate_sequences(np.ones((1, 2, 2), int), np.zeros((1, 2, 2), int)), "no objects"),
        (lambda: evaluate_sequences(*[np.ones((1, 2, 2), int)] * 2, excluded_frames=[0]), "no frame is left"),
        (lambda: evaluate_sequences(*[np.ones((1, 2, 2), int)] * 2, matching="name"), "matching must be"),
        (
            lambda: evaluate_sequences(*[np.ones((1, 2, 2), int)] * 2, visible=np.ones((2, 1))),
            "visible must be",
        ),
        (lambda: instance_score(np.ones((2, 2), int), np.ones((2, 2), int), 0), "threshold"),
    ],
)
def test_bad_input_says_what_is_wrong(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

"""Masks kept small: quantised logits, profiles and windows against the same measured at the frame's size."""

import numpy as np
import pytest
import torch

from napari_sam2.automatic import AutomaticOptions
from napari_sam2.automatic.candidates import upsampling as enlarge
from napari_sam2.automatic.candidates.candidate_masks import exact_masks, fast_masks
from napari_sam2.automatic.candidates.quantized_logits import Quantiser
from napari_sam2.automatic.candidates.run_length import joined_pieces
from napari_sam2.automatic.candidates.upsampling import LowResolution
from napari_sam2.automatic.sampling.crops import Crop
from napari_sam2.session.tensors import InputGeometry
from tests.automatic.toy import GRID, smooth_logits

EXACT = AutomaticOptions(mode="exact", stability_score_thresh=0.0)
SIZE = (180, 240)
WHOLE = Crop(0, 0, 240, 180)


def frame_logits(logits, size):
    return InputGeometry.of(size, 4 * GRID, "stretch").frame_logits(logits)


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("centre", [0.0, 17.53, -3.0])
def test_levels_never_cross_the_threshold_and_are_fine_near_it(centre):
    logits = centre + torch.linspace(-32, 32, 20001)
    quantiser = Quantiser(centre)
    levels = quantiser.levels(logits)
    back = quantiser.logits[levels]
    assert (np.diff(levels.astype(int)) >= 0).all()
    assert levels.min() == 0
    assert levels.max() == 255
    side = logits.numpy() - np.float32(centre)
    clear = np.abs(side) > 1e-4
    assert ((back > centre) == (side > 0))[clear].all()
    near = np.abs(side) < 1
    assert np.abs(back - logits.numpy())[near].max() < 0.04
    assert np.abs(back - logits.numpy()).max() < 0.6
    assert int(quantiser.position(centre)) == 128
    assert quantiser.position(centre + 99) < 256


@pytest.mark.parametrize("logit", [-2.0, -0.37, 0.0, 0.9, 5.0])
def test_profiles_count_pixels_at_any_threshold(logit):
    logits = smooth_logits(30)
    shapes = fast_masks(logits, AutomaticOptions())
    counted = shapes.profiles.pixels_above(shapes.quantiser, logit)
    true = (logits > logit).flatten(1).sum(1).numpy()
    # Within one level pixels are shared out evenly, so a few may be on the other side.
    assert np.abs(counted - true).max() <= (0 if logit == 0 else 4)


def test_fast_measures_are_close_to_the_frame_s():
    logits = smooth_logits(60)
    crops = [WHOLE] * 60
    fast, (exact, rows) = fast_masks(logits, AutomaticOptions()), exact_masks(logits, EXACT, WHOLE, SIZE)
    assert rows == list(range(60))
    options = AutomaticOptions()
    different = np.abs(fast.stability(options) - exact.stability(EXACT))
    assert np.median(different) < 0.01
    assert different.max() < 0.06
    assert np.abs(fast.boxes(options, crops) - exact.boxes(EXACT, crops)).max() <= 2
    areas = exact.areas(EXACT, crops)
    assert (np.abs(fast.areas(options, crops) - areas) / areas).max() < 0.05
    for row in range(60):
        masks = [shapes.mask(row, o, WHOLE, SIZE).decode() for shapes, o in ((fast, options), (exact, EXACT))]
        assert overlap(*masks) > 0.99


def test_exact_measures_are_those_of_the_enlarged_logits():
    logits = smooth_logits(5)
    crop = Crop(30, 20, 150, 110)
    shapes, _ = exact_masks(logits, EXACT, crop, SIZE)
    large = frame_logits(logits, crop.size)
    expected = (large > 1).flatten(1).sum(1) / (large > -1).flatten(1).sum(1)
    np.testing.assert_array_equal(shapes.stability(EXACT), expected.numpy())
    for row in range(5):
        mask = shapes.mask(row, EXACT, crop, SIZE).decode()
        assert (mask[20:110, 30:150] == (large[row] > 0).numpy()).all()
        assert mask.sum() == (large[row] > 0).sum()
        ys, xs = np.nonzero(mask)
        assert shapes.boxes(EXACT, [crop] * 5)[row].tolist() == [xs.min(), ys.min(), xs.max(), ys.max()]


def test_a_window_draws_the_same_as_the_whole_plane():
    """Cutting the window changes no pixel, also at the rim of the grid and far below the first threshold."""
    logits = smooth_logits(40)
    shapes = fast_masks(logits, AutomaticOptions())
    back = torch.from_numpy(shapes.quantiser.logits[shapes.quantiser.levels(logits)])
    large = frame_logits(back, SIZE).numpy()
    cut = 0
    for row in range(40):
        cut += shapes.windows[row].levels.size < GRID * GRID
        for threshold in (-3.9, 0.0, 2.0):
            options = AutomaticOptions(mask_threshold=threshold)
            mask = shapes.mask(row, options, WHOLE, SIZE).decode()
            different = mask != (large[row] > threshold)
            assert np.abs(large[row][different] - threshold).max(initial=0) < 1e-3
    assert cut > 20


@pytest.mark.parametrize("size", [(7, 5), (64, 64), (33, 200), (300, 41)])
def test_frames_smaller_and_larger_than_the_grid(size):
    logits = smooth_logits(12, seed=4)
    crop = Crop(0, 0, size[1], size[0])
    shapes = fast_masks(logits, AutomaticOptions())
    large = (
        frame_logits(torch.from_numpy(shapes.quantiser.logits[shapes.quantiser.levels(logits)]), size) > 0
    ).numpy()
    for row in range(12):
        mask = shapes.mask(row, AutomaticOptions(), crop, size).decode()
        assert (mask != large[row]).sum() <= 1


@pytest.mark.parametrize("size", [(180, 240), (720, 1280), (7, 5), (64, 64), (41, 300)])
def test_enlarging_is_pytorch_s(size):
    logits = torch.randn(2, GRID, GRID, generator=torch.Generator().manual_seed(0)) * 5
    large = frame_logits(logits, size).numpy()
    for plane, expected in zip(logits.numpy(), large, strict=True):
        whole = np.full(size, np.nan, np.float32)
        for strip, x, y in LowResolution(plane, 0, 0, (GRID, GRID)).strips(size, -1e9):
            whole[y : y + strip.shape[0], x : x + strip.shape[1]] = strip
        np.testing.assert_allclose(whole, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("limit", [-6.0, 0.0, 6.0])
def test_what_is_left_out_does_not_exceed_the_limit(monkeypatch, limit):
    monkeypatch.setattr(enlarge, "PIXELS_AT_ONCE", 1000)
    logits = smooth_logits(20, seed=3)
    large = frame_logits(logits, SIZE).numpy()
    made = 0
    for plane, expected in zip(logits.numpy(), large, strict=True):
        seen = np.full(SIZE, -np.inf, np.float32)
        for strip, x, y in LowResolution(plane, 0, 0, (GRID, GRID)).strips(SIZE, limit):
            assert strip.size <= 1000
            seen[y : y + strip.shape[0], x : x + strip.shape[1]] = strip
            made += strip.size
        assert ((seen > limit) != (expected > limit)).sum() == 0
    assert made < 0.6 * large.size


def test_exact_mode_in_strips_gives_the_same_masks(monkeypatch):
    logits = smooth_logits(3)
    whole, _ = exact_masks(logits, EXACT, WHOLE, SIZE)
    monkeypatch.setattr(enlarge, "PIXELS_AT_ONCE", 11 * 180)
    strips, _ = exact_masks(logits, EXACT, WHOLE, SIZE)
    for a, b in zip(whole.masks, strips.masks, strict=True):
        np.testing.assert_array_equal(a.lengths, b.lengths)
    np.testing.assert_array_equal(whole.scores, strips.scores)


def test_no_mask_has_no_stability_and_an_empty_box():
    empty = torch.full((2, GRID, GRID), -20.0)
    crop = Crop(10, 20, 110, 120)
    fast = fast_masks(empty, AutomaticOptions())
    exact, rows = exact_masks(empty, EXACT, crop, SIZE)
    assert rows == [0, 1]
    for shapes, options in ((fast, AutomaticOptions()), (exact, EXACT)):
        assert np.isnan(shapes.stability(options)).all()
        assert shapes.areas(options, [crop] * 2).tolist() == [0, 0]
        assert shapes.boxes(options, [crop] * 2).tolist() == [[10, 20, 10, 20]] * 2
        assert shapes.mask(0, options, crop, SIZE).area == 0
    assert exact_masks(empty, AutomaticOptions(mode="exact"), crop, SIZE)[1] == []


def test_windows_are_small():
    """3,072 candidates of cells take a fraction of their planes."""
    shapes = fast_masks(smooth_logits(100), AutomaticOptions())
    assert sum(w.nbytes for w in shapes.windows) < 0.5 * 100 * GRID * GRID
    assert joined_pieces([], SIZE).area == 0

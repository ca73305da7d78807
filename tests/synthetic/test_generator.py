"""What the generator promises: the same bytes again, and labels that say what the picture shows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_sam2.synthetic import SceneOptions, generate_clip, sample_scene, scene_kinds
from napari_sam2.synthetic.options import BACKGROUNDS, LOOKS, SHAPES

CLEAN = SceneOptions(
    size=(96, 112),
    frames=6,
    objects=5,
    radius=(9.0, 12.0),
    background="flat",
    variation=0.0,
    gaussian_noise=0.0,
    motion=0.1,
)


def outlines(labels: np.ndarray) -> np.ndarray:
    """Pixels on either side of a change of label."""
    line = np.zeros(labels.shape, bool)
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    line[:, 1:] |= across
    line[:, :-1] |= across
    line[1:] |= down
    line[:-1] |= down
    return line


def grey(clip) -> np.ndarray:
    return clip.frames[..., 0].numpy().astype(float)


@pytest.mark.parametrize("kind", scene_kinds())
def test_the_same_seed_gives_the_same_bytes(kind: str) -> None:
    options = sample_scene(np.random.default_rng(4), (64, 64), 3, 1.0, kind)
    again = sample_scene(np.random.default_rng(4), (64, 64), 3, 1.0, kind)
    assert options == again
    torch.manual_seed(1)
    first = generate_clip(options, 17)
    torch.manual_seed(2)
    second = generate_clip(options, 17)
    assert torch.equal(first.frames, second.frames)
    assert torch.equal(first.labels, second.labels)
    other = generate_clip(options, 18)
    assert not torch.equal(first.frames, other.frames)


def test_the_number_of_threads_does_not_matter() -> None:
    options = replace(CLEAN, gaussian_noise=0.05, jpeg=0.5)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = generate_clip(options, 5)
        torch.set_num_threads(2)
        together = generate_clip(options, 5)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(alone.labels, together.labels)
    difference = (alone.frames.int() - together.frames.int()).abs()
    assert int(difference.max()) <= 1  # sums may be ordered otherwise


def test_shapes_types_and_devices() -> None:
    clip = generate_clip(replace(CLEAN, amodal=True), 3)
    count = len(clip.object_ids)
    assert clip.frames.shape == (6, 96, 112, 3)
    assert clip.frames.dtype == torch.uint8
    assert clip.labels.shape == (6, 96, 112)
    assert clip.visible.shape == (6, count)
    assert clip.masks_full is not None
    assert clip.masks_full.shape == (6, count, 96, 112)
    assert clip.object_ids == tuple(range(1, count + 1))
    assert not clip.frames.is_inference()  # may be trained on


@pytest.mark.parametrize("seed", range(3))
def test_visible_says_which_labels_are_there(seed: int) -> None:
    options = sample_scene(np.random.default_rng(seed + 50), (80, 80), 6, 1.0)
    clip = generate_clip(options, seed)
    labels = clip.labels.numpy()
    for t in range(6):
        there = {int(i) for i in np.unique(labels[t])} - {0}
        assert there == {i for k, i in enumerate(clip.object_ids) if clip.visible[t, k]}
        assert all((labels[t] == i).sum() >= 4 for i in there)


def test_bright_objects_are_where_the_labels_are() -> None:
    for seed in range(4):
        clip = generate_clip(CLEAN, seed)
        image, inside = grey(clip), clip.labels.numpy() > 0
        middle = (np.median(image[inside]) + np.median(image[~inside])) / 2
        bright = image > middle
        assert (bright & inside).sum() / (bright | inside).sum() > 0.9


@pytest.mark.parametrize("look", LOOKS)
def test_edges_of_every_look_run_along_the_labels(look: str) -> None:
    """The picture changes more across the labels' outlines than across the same outlines moved away."""
    contrasts = []
    for seed in range(3):
        clip = generate_clip(replace(CLEAN, looks=(look,), blur=0.6), seed)
        image, labels = grey(clip)[0], clip.labels[0].numpy()
        steepness = np.hypot(ndimage.sobel(image, 0), ndimage.sobel(image, 1))
        here = steepness[outlines(labels)].mean()
        moved = [
            steepness[outlines(np.roll(labels, shift, (0, 1)))].mean()
            for shift in ((6, 0), (-6, 0), (0, 6), (0, -6), (4, 4), (-4, -4))
        ]
        contrasts.append(here / max(moved))
    assert np.mean(contrasts) > 1.25


@pytest.mark.parametrize("shape", SHAPES)
def test_every_outline_is_one_piece_of_about_the_promised_size(shape: str) -> None:
    options = replace(CLEAN, size=(160, 160), objects=1, radius=(14.0, 14.0), shapes=(shape,), motion=0.0)
    areas = []
    for seed in range(12):
        clip = generate_clip(options, seed)
        mask = clip.labels[0].numpy() > 0
        touches_border = mask[[0, -1]].any() or mask[:, [0, -1]].any()
        if not touches_border:
            areas.append(int(mask.sum()))
            assert ndimage.label(mask, np.ones((3, 3)))[1] == 1
    disk = np.pi * 14**2
    assert len(areas) >= 3
    assert 0.55 * disk < np.median(areas) < 1.8 * disk


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_every_background_is_another_one(background: str) -> None:
    options = replace(CLEAN, objects=1, background=background)
    ground = [grey(generate_clip(options, seed))[0] for seed in range(2)]
    assert not np.array_equal(*ground)

    def unrest(kind: str) -> float:
        clips = [generate_clip(replace(options, background=kind), seed) for seed in range(4)]
        return float(np.mean([grey(clip)[clip.labels.numpy() == 0].std() for clip in clips]))

    if background != "flat":
        assert unrest(background) > 2 * unrest("flat")


def test_pressed_cells_share_borders_and_separate_ones_do_not() -> None:
    def touching(contact: str) -> float:
        options = replace(CLEAN, objects=14, radius=(11.0, 12.0), contact=contact, frames=1)
        shared = []
        for seed in range(4):
            labels = generate_clip(options, seed).labels[0].numpy()
            pairs = (labels[:, 1:] != labels[:, :-1]) & (labels[:, 1:] > 0) & (labels[:, :-1] > 0)
            edges = labels[:, 1:] != labels[:, :-1]
            shared.append(pairs.sum() / edges.sum())
        return float(np.mean(shared))

    assert touching("press") > 0.15
    assert touching("apart") < 0.5 * touching("press")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": (16, 64)}, "size"),
        ({"frames": 0}, "frames"),
        ({"objects": 0}, "objects"),
        ({"radius": (5.0, 4.0)}, "radius"),
        ({"looks": ("x-ray",)}, "looks"),
        ({"shapes": ()}, "shapes"),
        ({"background": "sea"}, "background"),
        ({"contact": "glued"}, "contact"),
    ],
)
def test_options_that_make_no_scene_are_named(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate_clip(replace(CLEAN, **change), 0)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed"):
        generate_clip(CLEAN, -1)


def test_draws_cover_all_looks_shapes_sizes_and_counts() -> None:
    rng = np.random.default_rng(0)
    drawn = [sample_scene(rng, (256, 256), 8, 1.0) for _ in range(600)]
    for options in drawn:
        options.check()
    assert {look for o in drawn for look in o.looks} == set(LOOKS)
    assert {shape for o in drawn for shape in o.shapes} == set(SHAPES)
    assert {o.background for o in drawn} == set(BACKGROUNDS)
    counts = [o.objects for o in drawn]
    assert min(counts) == 1
    assert max(counts) == 60
    assert min(o.radius[0] for o in drawn) < 5
    assert max(o.radius[1] for o in drawn) > 100
    for event in ("crossings", "exits", "vanishings", "divisions", "occluders", "shake", "jpeg"):
        assert 0.03 < np.mean([getattr(o, event) > 0 for o in drawn]) < 0.7, event
    assert {o.colour for o in drawn} == {o.zstack for o in drawn} == {True, False}


def test_an_easy_draw_is_calm() -> None:
    rng = np.random.default_rng(1)
    easy = [sample_scene(rng, difficulty=0.0) for _ in range(100)]
    assert max(o.motion for o in easy) <= 0.05
    assert not any(o.exits or o.crossings or o.occluders or o.divisions for o in easy)


@pytest.mark.parametrize("change", [{"difficulty": 1.5}, {"kind": "galaxies"}])
def test_a_wrong_draw_is_refused(change: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        sample_scene(np.random.default_rng(0), **change)


def test_pressing_costs_both_neighbours_and_stacking_only_the_lower_one() -> None:
    losers: dict[str, list[int]] = {"press": [], "stack": []}
    for contact in losers:
        for seed in range(12):
            options = replace(
                CLEAN, objects=2, radius=(16.0, 16.0), clustering=1.0, contact=contact, frames=1, amodal=True
            )
            clip = generate_clip(options, seed)
            assert clip.masks_full is not None
            full = clip.masks_full[0]
            if int((full[0] & full[1]).sum()) > 20:
                losers[contact].append(
                    sum(int((clip.labels[0] == k + 1).sum() < full[k].sum()) for k in (0, 1))
                )
    assert set(losers["press"]) == {2}
    assert set(losers["stack"]) == {1}


def test_relief_is_bright_on_one_side_and_dark_on_the_other() -> None:
    def one_sided(look: str) -> float:
        """Largest difference between opposite halves of an object, in units of the range."""
        best = []
        for seed in range(4):
            clip = generate_clip(replace(CLEAN, objects=1, looks=(look,), radius=(14.0, 14.0)), seed)
            image, (rows, columns) = grey(clip)[0], np.nonzero(clip.labels[0].numpy())
            values = image[rows, columns]
            angles = np.linspace(0, np.pi, 8, endpoint=False)
            sides = [
                (rows - rows.mean()) * np.sin(a) + (columns - columns.mean()) * np.cos(a) > 0 for a in angles
            ]
            best.append(
                max(abs(values[side].mean() - values[~side].mean()) for side in sides) / np.ptp(image)
            )
        return float(np.median(best))

    assert one_sided("relief") > 0.25
    assert one_sided("relief") > 2 * one_sided("fluorescence")

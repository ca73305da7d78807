"""Things that happen in a scene really happen, and the labels know it."""

from dataclasses import replace
from time import perf_counter

import numpy as np
import pytest

from napari_sam2.synthetic import Clip, SceneOptions, generate_clip

CALM = SceneOptions(
    size=(96, 96),
    frames=14,
    objects=4,
    radius=(9.0, 11.0),
    background="flat",
    variation=0.0,
    gaussian_noise=0.0,
    motion=0.05,
    deformation=0.0,
    amodal=True,
)


def areas(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """Visible and whole areas, (T, K) each."""
    labels = clip.labels.numpy()
    shown = np.stack([(labels == i).sum((1, 2)) for i in clip.object_ids], 1)
    assert clip.masks_full is not None
    return shown, clip.masks_full.numpy().sum((2, 3))


def centres(clip: Clip, k: int) -> np.ndarray:
    labels = clip.labels.numpy() == clip.object_ids[k]
    return np.array([np.argwhere(mask).mean(0) if mask.any() else (np.nan, np.nan) for mask in labels])


@pytest.mark.parametrize("seed", range(6))
def test_an_exit_leaves_the_frame_and_comes_back(seed: int) -> None:
    clip = generate_clip(replace(CALM, exits=0.25), seed)
    _, whole = areas(clip)
    gone = np.nonzero((whole == 0).any(0))[0]
    assert len(gone) == 1  # a quarter of four
    k = int(gone[0])
    away = np.nonzero(whole[:, k] == 0)[0]
    assert whole[0, k] > 0
    assert whole[: away[0], k].min() > 0
    assert (np.diff(away) == 1).all()  # out once
    assert not clip.visible[away, k].any()


def test_most_exits_end_within_the_clip() -> None:
    back = []
    for seed in range(20):
        _, whole = areas(generate_clip(replace(CALM, exits=0.25), seed))
        k = int((whole == 0).any(0).argmax())
        back.append(whole[-1, k] > 0.3 * whole[0, k])
    assert np.mean(back) >= 0.6


def test_without_events_everything_stays() -> None:
    for seed in range(5):
        shown, whole = areas(generate_clip(replace(CALM, contact="apart"), seed))
        assert shown.all()
        np.testing.assert_array_equal(shown, whole)


def test_crossing_objects_hide_each_other() -> None:
    hidden = []
    for seed in range(10):
        options = replace(CALM, objects=2, crossings=1.0, contact="stack")
        shown, whole = areas(generate_clip(options, seed))
        assert (shown <= whole).all()
        hidden.append(float((1 - shown / np.maximum(whole, 1)).max()))
    assert np.median(hidden) > 0.3


def test_an_occluder_hides_without_a_label() -> None:
    hidden = 0
    for seed in range(8):
        options = replace(CALM, objects=1, occluders=1)
        clip = generate_clip(options, seed)
        shown, whole = areas(clip)
        assert clip.object_ids == (1,)
        assert shown.shape == (14, 1)
        share = shown[:, 0] / np.maximum(whole[:, 0], 1)
        hidden += share.min() < 0.5
        worst = int(share.argmin())
        covered = clip.masks_full.numpy()[worst, 0] & (clip.labels[worst].numpy() == 0)
        # what hides it is not ground: it is as bright as objects are
        if share.min() < 0.5:
            image = clip.frames[worst, ..., 0].numpy().astype(float)
            assert image[covered].mean() > image.mean()
    assert hidden >= 6


def test_a_division_makes_a_smaller_daughter_beside_the_mother() -> None:
    for seed in range(6):
        clip = generate_clip(replace(CALM, objects=1, divisions=1.0), seed)
        _, whole = areas(clip)
        assert clip.object_ids == (1, 2)
        born = int((whole[:, 1] > 0).argmax())
        assert born > 0
        assert clip.divisions == ((1, 2, born),)
        assert not clip.visible[:born, 1].any()
        assert whole[born, 1] < whole[born, 0] < whole[born - 1, 0]
        if clip.visible[born].all():
            apart = np.linalg.norm(centres(clip, 0)[born] - centres(clip, 1)[born])
            assert 5 < apart < 30


def test_every_daughter_of_many_divisions_is_named() -> None:
    clip = generate_clip(replace(CALM, objects=6, divisions=0.7), 3)
    _, whole = areas(clip)
    daughters = {daughter: (mother, frame) for mother, daughter, frame in clip.divisions}
    assert set(daughters) == set(range(7, len(clip.object_ids) + 1))
    for daughter, (mother, frame) in daughters.items():
        assert 1 <= mother <= 6
        assert not whole[:frame, daughter - 1].any()
        assert whole[frame, daughter - 1] > 0
    assert generate_clip(replace(CALM, divisions=0.0), 3).divisions == ()


def test_vanishing_objects_shrink_to_nothing_and_return() -> None:
    returned = 0
    for seed in range(10):
        _, whole = areas(generate_clip(replace(CALM, objects=1, vanishings=1.0, exits=0.0), seed))
        absent = np.nonzero(whole[:, 0] == 0)[0]
        assert len(absent) > 0
        assert (np.diff(absent) == 1).all()
        returned += bool(whole[-1, 0] > 0)
    assert returned >= 6


def test_in_a_stack_every_object_grows_once_and_shrinks_once() -> None:
    clip = generate_clip(replace(CALM, zstack=True, motion=0.0, frames=20, contact="apart"), 1)
    _, whole = areas(clip)
    for k in range(4):
        peak = int(whole[:, k].argmax())
        assert (np.diff(whole[: peak + 1, k]) >= -3).all()
        assert (np.diff(whole[peak:, k]) <= 3).all()
    assert (whole.max(0) > 1.5 * whole.min(0)).all()


def test_motion_is_a_fraction_of_the_radius() -> None:
    steps = []
    for motion in (0.05, 0.4):
        options = replace(CALM, size=(256, 256), objects=1, radius=(10.0, 10.0), motion=motion, frames=4)
        paths = [centres(generate_clip(options, seed), 0) for seed in range(8)]
        steps.append(np.nanmedian([np.linalg.norm(np.diff(path, axis=0), axis=1) for path in paths]))
    assert 0.02 * 10 < steps[0] < 0.1 * 10
    assert 5 < steps[1] / steps[0] < 12


def test_a_shaking_camera_moves_ground_and_objects_together() -> None:
    options = replace(CALM, background="textured", shake=4.0, motion=0.0, rotation=0.0, frames=2, objects=1)
    for seed in range(4):
        clip = generate_clip(options, seed)
        both = clip.visible.all()
        way = centres(clip, 0)[1] - centres(clip, 0)[0]
        image = clip.frames[..., 0].numpy().astype(float)
        ground = np.where(clip.labels.numpy() == 0, image, np.median(image))
        shift = np.round(way).astype(int)
        if not both or np.abs(way).max() < 3:
            continue
        inner = (slice(24, -24),) * 2
        still = np.abs(ground[1] - ground[0])[inner].mean()
        followed = np.abs(ground[1] - np.roll(ground[0], tuple(shift), (0, 1)))[inner].mean()
        assert followed < 0.7 * still


def test_noise_blur_bleaching_blocks_and_colour_do_what_they_say() -> None:
    def picture(seed: int = 2, **change: object) -> np.ndarray:
        return generate_clip(replace(CALM, frames=4, **change), seed).frames.numpy().astype(float)

    plain = picture()
    np.testing.assert_array_equal(plain[..., 0], plain[..., 1])
    noisy = picture(gaussian_noise=0.1)
    assert 8 < (noisy[1] - noisy[0]).std() < 60
    assert (plain[1] - plain[0]).std() < (noisy[1] - noisy[0]).std()
    assert np.abs(np.diff(picture(blur=3.0), axis=2)).max() < 0.7 * np.abs(np.diff(plain, axis=2)).max()
    faded = picture(bleaching=0.2)
    assert faded[3].max() < 0.75 * faded[0].max()
    coloured = picture(colour=True)
    assert np.abs(coloured[..., 0] - coloured[..., 1]).max() > 20
    inverted = picture(polarity=-1)
    assert np.corrcoef(inverted.ravel(), plain.ravel())[0, 1] < -0.9
    blocks = np.abs(np.diff(picture(jpeg=3.0, background="textured")[..., 0], axis=2)).mean((0, 1))
    seams = np.arange(7, 95, 8)
    assert blocks[seams].mean() > 1.2 * np.delete(blocks, seams).mean()
    lit = picture(vignette=1.0, background="flat", polarity=-1)
    assert lit[:, :8, :8].mean() < picture(background="flat", polarity=-1)[:, :8, :8].mean()


def test_frames_are_computed_together() -> None:
    """Sixteen frames cost less than twelve single ones: the generator is vectorised over time."""

    def fastest(frames: int) -> float:
        options = replace(CALM, size=(64, 64), frames=frames, amodal=False, objects=6)
        times = []
        for _ in range(4):
            start = perf_counter()
            generate_clip(options, 1)
            times.append(perf_counter() - start)
        return min(times)

    assert fastest(16) < 12 * fastest(1)

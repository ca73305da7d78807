"""Clips out of still images: masks stay on their objects, whatever moves."""

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from napari_sam2.training.data.stills import FIRST_GUEST, HELD_OUT_EVERY, StillImages, StillStyle


@pytest.fixture
def folder(tmp_path):
    """Forty labelled images: bright discs of label-specific grey on black."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    yy, xx = np.mgrid[:96, :96]
    for index in range(40):
        labels = np.zeros((96, 96), np.uint16)
        labels[(xx - 30) ** 2 + (yy - 30) ** 2 < 144] = 7
        labels[(xx - 65) ** 2 + (yy - 62) ** 2 < 196] = 12
        pixels = np.zeros((96, 96), np.uint8)
        pixels[labels == 7], pixels[labels == 12] = 120, 240
        Image.fromarray(pixels).save(tmp_path / "images" / f"{index:02d}.png")
        tifffile.imwrite(tmp_path / "masks" / f"{index:02d}.tif", labels)
    return tmp_path


def eroded(masks):
    return -torch.nn.functional.max_pool2d(-masks[:, None].float(), 7, 1, 3)[:, 0] > 0.5


def test_moved_objects_keep_their_looks_under_their_masks(folder):
    source = StillImages(folder)
    seen = 0
    for seed in range(12):
        clip = source.draw(np.random.default_rng(seed), 96, 5, motion=0.5)
        grey = clip.frames.mean(1)
        for label, value in ((7, 120 / 255), (12, 240 / 255)):
            inside = eroded(clip.labels == label)
            if not inside.any():
                continue
            # an occluder may not be labelled as the object, so its grey must not be found under the mask
            assert grey[inside].median().item() == pytest.approx(value, abs=0.05)
            seen += int(inside.flatten(1).any(1).sum())
    assert seen > 60


def test_objects_really_move(folder):
    clip = StillImages(folder).draw(np.random.default_rng(1), 96, 6, motion=0.8)
    ids = torch.unique(clip.labels[0])
    changed = [(clip.labels[0] == i).ne(clip.labels[-1] == i).float().mean() for i in ids if i > 0]
    assert max(changed) > 0.01


def test_without_motion_nothing_moves(folder):
    clip = StillImages(folder).draw(np.random.default_rng(1), 96, 4, motion=0.0)
    assert torch.equal(clip.labels[0], clip.labels[-1])
    assert torch.allclose(clip.frames[0], clip.frames[-1], atol=1e-6)


def test_objects_leave_and_come_back(folder):
    """Over many clips some object is gone for a while and visible again later."""
    source, returns = StillImages(folder), 0
    for seed in range(40):
        labels = source.draw(np.random.default_rng(seed), 64, 6, motion=1.0).labels
        for label in torch.unique(labels[0]):
            there = (labels == label).flatten(1).any(1)
            if label > 0 and there[0] and there[-1] and not there.all():
                returns += 1
    assert returns > 0


def test_the_same_seed_gives_the_same_clip(folder):
    source = StillImages(folder)
    one = source.draw(np.random.default_rng(5), 64, 3, 0.6)
    two = source.draw(np.random.default_rng(5), 64, 3, 0.6)
    assert torch.equal(one.frames, two.frames)
    assert torch.equal(one.labels, two.labels)


def test_held_out_images_are_never_trained_on(folder):
    training = {path for path, _ in StillImages(folder, held_out=False)._pairs}
    exam = {path for path, _ in StillImages(folder, held_out=True)._pairs}
    assert not training & exam
    assert len(training | exam) == 40
    assert len(exam) == 40 // HELD_OUT_EVERY


def test_a_folder_without_pairs_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no images"):
        StillImages(tmp_path)


@pytest.fixture
def photos(tmp_path):
    """Twenty photos of two things each, and twenty of one person and another one who isn't labelled."""
    yy, xx = np.mgrid[:120, :160]
    left, right = (((xx - x) ** 2 + (yy - 60) ** 2 < 400) for x in (45, 110))
    for index in range(40):
        pixels = np.full((120, 160, 3), 30, np.uint8)
        pixels[left], pixels[right] = (200, 60, 60), (60, 60, 200)
        labels = left.astype(np.uint8)
        if index % 2:
            labels[right] = 2
        else:
            pixels[..., 1] += 100
        Image.fromarray(pixels).save(tmp_path / f"{index:02d}.jpg", quality=95)
        Image.fromarray(labels).save(tmp_path / f"{index:02d}_labels.png")
    return tmp_path


def test_photos_with_one_label_are_cut_out_of_but_never_shown(photos):
    source, guests = StillImages(photos), 0
    for seed in range(20):
        clip = source.draw(np.random.default_rng(seed), 96, 1, motion=0.5)
        green = clip.frames[0, 1] - clip.frames[0, [0, 2]].amin(0)
        guests += int((clip.labels >= FIRST_GUEST).any())
        # their green ground must not be seen, but for the rim of what was cut out
        away = torch.nn.functional.max_pool2d((clip.labels >= FIRST_GUEST).float(), 9, 1, 4)[0] == 0
        assert green[away].max() < 0.2
    assert guests > 5


def test_the_camera_of_photos_comes_closer_or_moves_away(photos):
    source, ratios = StillImages(photos, StillStyle(travelling=True, moved=1, margin=0.3, least_side=96)), []
    for seed in range(30):
        labels = source.draw(np.random.default_rng(seed), 96, 8, motion=1.0).labels
        for label in (1, 2):
            areas = (labels == label).flatten(1).sum(1)
            if areas[0] and areas[-1]:
                ratios.append(float(areas[-1] / areas[0]) ** 0.5)
    assert max(ratios) > 1.5
    assert min(ratios) < 1 / 1.5


def test_objects_in_depth_shrink_where_they_are(folder):
    source, shrunk = StillImages(folder, StillStyle(depth=1.0)), 0
    for seed in range(20):
        labels = source.draw(np.random.default_rng(seed), 96, 10, motion=0.6).labels
        for label in (7, 12):
            masks = (labels == label).float()
            areas = masks.flatten(1).sum(1)
            if areas[0] < 100 or not 20 < areas[-1] < 0.6 * areas[0]:
                continue
            shrunk += 1
            inside = (masks[0] * masks[-1]).sum() / areas[-1]
            assert inside > 0.5 or masks[0][0].any() or masks[0][:, 0].any()
    assert shrunk > 3


def test_clips_with_guests_depend_on_the_seed_alone(photos):
    style = StillStyle(guests=3, travelling=True, moved=2, margin=0.3, least_side=96, depth=0.0)
    clip = StillImages(photos, style).draw(np.random.default_rng(3), 96, 6, motion=0.9)
    same = StillImages(photos, style).draw(np.random.default_rng(3), 96, 6, motion=0.9)
    assert torch.equal(clip.frames, same.frames)
    assert torch.equal(clip.labels, same.labels)
    assert (clip.labels >= FIRST_GUEST).any()

"""Clips out of still images: masks stay on their objects, whatever moves."""

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from napari_sam2.training.data.stills import HELD_OUT_EVERY, StillImages


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

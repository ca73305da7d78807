"""Clips of the generator and of a user's own masklets."""

import numpy as np
import pytest
import torch

from napari_sam2.training.data.augmentation import _compressed, _smeared, flipped, photometric
from napari_sam2.training.data.clips import MaskletClips, SyntheticClips, TrainingClip
from napari_sam2.training.data.sources import default_sources


def marching_square(length=7, side=40):
    """A square that steps 2 px to the right per frame; its grey is its frame number times 10."""
    frames = np.zeros((length, side, side, 3), np.uint8)
    labels = np.zeros((length, side, side), np.uint16)
    for t in range(length):
        labels[t, 15:25, 4 + 2 * t : 14 + 2 * t] = 300
        frames[t, 15:25, 4 + 2 * t : 14 + 2 * t] = 100 + 10 * t
    return frames, labels


def test_masklet_clips_keep_labels_on_their_pixels():
    source = MaskletClips([marching_square()], crop=(1.0, 1.0))
    for seed in range(6):
        clip = source.draw(np.random.default_rng(seed), 40, 4, motion=1.0)
        assert (clip.labels[0] == 300).any()
        assert torch.equal(clip.frames[:, 0] > 0.2, clip.labels == 300)


def test_short_videos_are_played_to_and_fro():
    source = MaskletClips([marching_square(length=3)], crop=(1.0, 1.0))
    clip = source.draw(np.random.default_rng(0), 40, 9, motion=0.0)
    greys = clip.frames.amax((1, 2, 3)).mul(255).round()
    assert set(greys.tolist()) == {100.0, 110.0, 120.0}
    assert (greys.diff().abs() == 10).all()


class Known(np.ndarray):
    """Labels that say what they know: object 7 is tracked from frame 4 on, object 300 always."""

    def known(self, frame):
        return [300, 7] if frame >= 4 else [300]


def test_not_tracked_yet_is_not_gone():
    frames, labels = marching_square(length=9)
    labels[4:, 30:38, 20:30] = 7
    plain = MaskletClips([(frames, labels)], crop=(1.0, 1.0))
    source = MaskletClips([(frames, labels.view(Known))], crop=(1.0, 1.0))
    said = []
    for seed in range(40):
        clip = source.draw(np.random.default_rng(seed), 40, 3, motion=0.0)
        twin = plain.draw(np.random.default_rng(seed), 40, 3, motion=0.0)
        assert torch.equal(clip.labels == 300, twin.labels == 300)
        present = [bool(seen.any()) for seen in clip.labels == 7]
        assert all(present) or not any(present)
        said.append((any(present), bool((twin.labels == 7).any())))
    assert (True, True) in said  # followed where it is known throughout
    assert (False, True) in said  # left out where a part of the clip does not know it


def test_small_objects_are_cut_out_closely():
    frames = np.zeros((2, 1000, 1200, 3), np.uint8)
    labels = np.zeros((2, 1000, 1200), np.uint16)
    labels[:, 500:507, 600:608] = 3
    source = MaskletClips([(frames, labels)])
    for seed in range(10):
        clip = source.draw(np.random.default_rng(seed), 256, 2, motion=0.0)
        assert 0 < (clip.labels[0] == 3).sum() <= 256 * 256
        assert (clip.labels[0] == 3).sum() > 256 * 256 / 4000


def test_masklet_clips_refuse_what_cannot_be_trained_on():
    frames, labels = marching_square()
    with pytest.raises(ValueError, match="no video"):
        MaskletClips([])
    with pytest.raises(ValueError, match="differ in size"):
        MaskletClips([(frames, labels[:, :20])])
    with pytest.raises(ValueError, match="labelled"):
        MaskletClips([(frames, np.zeros_like(labels))])


def test_synthetic_clips_have_the_asked_size_and_objects():
    clip = SyntheticClips().draw(np.random.default_rng(0), 96, 3, 0.5)
    assert clip.frames.shape == (3, 3, 96, 96)
    assert clip.labels.shape == (3, 96, 96)
    assert clip.frames.min() >= 0
    assert clip.frames.max() <= 1
    assert clip.labels.max() > 0


def test_enlarged_scenes_have_the_asked_size_and_coarser_pixels():
    def detail(enlarged):
        source = SyntheticClips(enlarged=enlarged)
        clips = [source.draw(np.random.default_rng(seed), 512, 1, 0.6) for seed in range(6)]
        assert all(clip.frames.shape == (1, 3, 512, 512) for clip in clips)
        assert all(clip.labels.any() for clip in clips)
        frames = torch.cat([clip.frames for clip in clips])
        return (frames.diff(dim=-1).abs().mean() / frames.std()).item()

    assert detail(enlarged=1.0) < 0.8 * detail(enlarged=0.0)


def test_frames_and_labels_of_a_clip_must_fit():
    with pytest.raises(ValueError, match="do not fit"):
        TrainingClip(torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 9, dtype=torch.int32))


def test_flips_move_pixels_and_labels_together():
    labels = torch.randint(0, 9, (2, 16, 16))
    frames = (labels[:, None] / 10).expand(2, 3, 16, 16)
    turned = set()
    for seed in range(30):
        moved, moved_labels = flipped(frames, labels, np.random.default_rng(seed))
        assert torch.equal(moved[:, 0], moved_labels / 10)
        turned.add(tuple(moved_labels.flatten().tolist()))
    assert len(turned) == 8


def test_looks_change_but_stay_in_range_and_follow_the_seed():
    frames = torch.rand(3, 3, 48, 48)
    different = 0
    for seed in range(25):
        changed = photometric(frames, np.random.default_rng(seed))
        assert changed.shape == frames.shape
        assert torch.isfinite(changed).all()
        assert changed.min() >= 0
        assert changed.max() <= 1
        assert torch.equal(changed, photometric(frames, np.random.default_rng(seed)))
        different += float((changed - frames).abs().mean()) > 0.02
    assert different > 15


def test_compression_and_shake_change_little_but_something():
    frames = torch.nn.functional.interpolate(torch.rand(4, 3, 12, 12), size=(64, 64), mode="bicubic").clamp(
        0, 1
    )
    for change in (_compressed, _smeared):
        changed = change(frames, np.random.default_rng(1))
        assert changed.shape == frames.shape
        assert 1e-4 < (changed - frames).abs().mean() < 0.1


def test_objects_of_a_stack_stay_where_they_are_and_change_their_size():
    source = SyntheticClips(eventful=0.0, stacked=1.0)
    clips = [source.draw(np.random.default_rng(seed), 96, 10, motion=0.3).labels for seed in range(6)]
    ratios = []
    for labels in clips:
        for label in labels[0].unique():
            areas = (labels == label).flatten(1).sum(1)
            if label > 0 and areas[0] > 60:
                ratios.append(float(areas[-1] / areas[0]))
    assert np.mean([ratio < 0.7 or ratio > 1.4 for ratio in ratios]) > 0.4


def test_more_eventful_clips_have_more_objects_out_of_sight():
    def hidden(eventful):
        [(source, _)] = default_sources(1.0, eventful=eventful)
        clips = [source.draw(np.random.default_rng(seed), 64, 6, motion=0.5) for seed in range(8)]
        ids = [[i for i in clip.labels[0].unique().tolist() if i] for clip in clips]
        return np.mean(
            [not (clip.labels[5] == i).any() for clip, some in zip(clips, ids, strict=True) for i in some]
        )

    assert hidden(1.0) > hidden(0.0) + 0.05

"""The feature cache keeps to its budget, and a second pass over cached frames skips the encoder."""

import pytest
import torch

from napari_sam2.model.tensors import ImageFeatures
from napari_sam2.session.feature_cache import FeatureCache

ENTRY = 4 * (8 * 8 + 4 * 4 + 2 * 2)


def features(frame):
    return ImageFeatures(*(torch.full((1, 1, s, s), float(frame)) for s in (8, 4, 2)))


class Encoder:
    def __init__(self):
        self.asked = []

    def __call__(self, frame):
        self.asked.append(frame)
        return features(frame)


@pytest.fixture
def encoder():
    return Encoder()


def test_a_second_pass_skips_the_encoder(encoder):
    cache = FeatureCache(encoder, 10 * ENTRY)
    for _ in range(2):
        for frame in range(10):
            assert cache.get(frame).stride16[0, 0, 0, 0] == frame
    assert encoder.asked == list(range(10))
    assert (cache.encoded, cache.hits) == (10, 10)


def test_the_budget_holds_and_the_least_recently_used_goes(encoder):
    cache = FeatureCache(encoder, 3 * ENTRY)
    for frame in (0, 1, 2, 0, 3):
        cache.get(frame)
    assert cache.frames == [2, 0, 3]
    assert cache.nbytes == 3 * ENTRY
    cache.get(1)
    assert encoder.asked == [0, 1, 2, 3, 1]


def test_one_entry_stays_even_without_a_budget(encoder):
    cache = FeatureCache(encoder, 0)
    cache.get(0)
    cache.get(0)
    cache.get(1)
    assert encoder.asked == [0, 1]
    assert cache.frames == [1]


def test_what_leaves_waits_on_disk_within_its_own_budget(encoder, tmp_path):
    cache = FeatureCache(encoder, ENTRY, spill_bytes=2 * ENTRY, folder=tmp_path)
    for frame in range(4):
        cache.get(frame)
    assert len(list(tmp_path.rglob("*.pt"))) == 2
    assert torch.equal(cache.get(2).stride4, features(2).stride4)
    assert cache.restored == 1
    cache.get(0)
    assert encoder.asked == [0, 1, 2, 3, 0]


def test_clearing_forgets_the_disk_too(encoder, tmp_path):
    cache = FeatureCache(encoder, ENTRY, spill_bytes=9 * ENTRY, folder=tmp_path)
    for frame in range(3):
        cache.get(frame)
    cache.clear()
    cache.get(0)
    assert encoder.asked == [0, 1, 2, 0]
    assert not list(tmp_path.rglob("*.pt"))


def test_offloading_keeps_the_answers(encoder):
    cache = FeatureCache(encoder, 9 * ENTRY)
    cache.get(0)
    cache.offload()
    assert torch.equal(cache.get(0).stride8, features(0).stride8)
    assert cache.get(1).stride8.device.type == "cpu"

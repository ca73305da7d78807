"""Embeddings on disk: found again by pixels and network, within a budget, and never in the way."""

import numpy as np
import pytest
import torch

from napari_sam2.model.tensors import ImageFeatures, ModelOrigin
from napari_sam2.model.weights.sam1_layouts import build_sam1, read_sam1
from napari_sam2.session import ImageSession, SessionOptions
from napari_sam2.session.embedding_files import EmbeddingFiles
from tests.golden.sam1_recipe import meta_state

CPU = torch.device("cpu")


def image(seed=0):
    return np.random.default_rng(seed).integers(0, 255, (30, 40, 3), dtype=np.uint8)


def features(value=1.0):
    return ImageFeatures(
        torch.zeros(1, 0, 16, 16), torch.zeros(1, 0, 8, 8), torch.full((1, 256, 4, 4), float(value))
    )


@pytest.fixture
def encodings(monkeypatch, tmp_path):
    """A model whose encodings are counted, with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = build_sam1(read_sam1(meta_state(blobs=True)), "small").requires_grad_(False)
    model.origin = ModelOrigin("small", "small.pt", "abc")
    count = []
    original = model.encode_image
    monkeypatch.setattr(model, "encode_image", lambda images: count.append(1) or original(images))
    return model, count


def test_an_image_is_encoded_once_in_all_sessions(encodings):
    model, count = encodings
    options = SessionOptions(embedding_cache_mb=10)
    found = []
    for _ in range(2):
        session = ImageSession(model, options)
        session.set_image(image())
        found.append(session.features.stride16)
    assert len(count) == 1
    assert torch.equal(*found)
    ImageSession(model, options).set_image(image(1))
    ImageSession(model).set_image(image())  # nothing is kept unless it is asked for
    assert len(count) == 3


def test_other_weights_have_other_embeddings(encodings):
    model, count = encodings
    for sha256 in ("abc", "def"):
        model.origin = ModelOrigin("small", "small.pt", sha256)
        ImageSession(model, SessionOptions(embedding_cache_mb=10)).set_image(image())
    assert len(count) == 2


def test_the_least_recently_used_go_first(tmp_path):
    size = 256 * 16 * 4
    files = EmbeddingFiles("a", 2 * size + size // 2, tmp_path)
    for seed in (0, 1):
        files.put(image(seed), features(seed))
    assert files.get(image(0), CPU) is not None
    files.put(image(2), features(2))
    assert files.get(image(1), CPU) is None
    assert files.get(image(0), CPU).stride16[0, 0, 0, 0] == 0
    assert files.get(image(2), CPU).stride4.shape == (1, 0, 16, 16)


def test_damaged_files_and_folders_are_passed_over(tmp_path):
    files = EmbeddingFiles("a", 10**6, tmp_path)
    files.put(image(), features())
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(b"nothing")
    assert files.get(image(), CPU) is None
    files.put(image(), features(3.0))
    assert files.get(image(), CPU).stride16[0, 0, 0, 0] == 3
    blocked = tmp_path / "file"
    blocked.write_text("")
    EmbeddingFiles("a", 10**6, blocked).put(image(), features())

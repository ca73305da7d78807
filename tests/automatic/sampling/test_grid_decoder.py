"""The faster decoder of points against the network's own."""

import pytest
import torch

from napari_sam2.automatic.sampling.grid_decoder import GridDecoder
from napari_sam2.model.config import ModelConfig
from napari_sam2.model.tensors import ImageFeatures, PromptTensors
from napari_sam2.session.options import SessionOptions
from napari_sam2.session.runner import ModelRunner
from tests.golden.recipe import SMALL, recipe_model

NARROW = ModelConfig(
    image_size=128,
    trunk_width=32,
    stages=(1, 1, 1, 1),
    global_blocks=(2,),
    embed_dim=128,
    memory_dim=32,
    decoder_heads=4,
    decoder_feedforward=256,
)


@pytest.mark.parametrize("config", [SMALL, NARROW], ids=["small", "narrow"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_same_masks_and_qualities(config, count):
    generator = torch.Generator().manual_seed(count)
    side, dim = config.embedding_side, config.embed_dim
    planes = [
        torch.randn(1, dim // k, m * side, m * side, generator=generator) for k, m in ((8, 4), (4, 2), (1, 1))
    ]
    features = ImageFeatures(*planes)
    runner = ModelRunner(recipe_model(config), SessionOptions())
    embedding = runner.condition_on_memory(features, None)
    points = torch.rand(count, 1, 2, generator=generator) * config.image_size
    labels = torch.ones(count, 1, dtype=torch.int32)
    expected = runner.decode(embedding, features, PromptTensors(points, labels), True)
    logits, ious = GridDecoder(runner, features, embedding).decode(points, labels)
    assert expected.logits.std() > 1
    torch.testing.assert_close(logits, expected.logits, atol=1e-3, rtol=0)
    torch.testing.assert_close(ious, expected.ious, atol=1e-5, rtol=0)


def test_only_in_float32_on_the_cpu():
    model = recipe_model(NARROW)
    assert GridDecoder.fits(ModelRunner(model, SessionOptions(precision="exact")))
    assert not GridDecoder.fits(ModelRunner(model, SessionOptions(precision="fast")))
    assert not GridDecoder.fits(None)

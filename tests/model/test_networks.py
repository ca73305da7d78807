"""Every network alone against the reference's outputs, and the claims that sam2.py makes about batches."""

import gzip
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from napari_sam2.model.config import ModelConfig
from napari_sam2.model.hiera import join_windows, split_windows
from napari_sam2.model.layers import attention
from napari_sam2.model.position_encoding import sine_encoding_2d
from napari_sam2.model.sam2 import Sam2
from napari_sam2.model.tensors import ImageFeatures, MemoryReadout, PromptTensors
from napari_sam2.model.weights.key_mapping import from_transformers, to_meta
from tests.golden.recipe import HERE, SHARED, SMALL, recipe_model


@pytest.fixture(scope="module")
def model():
    return recipe_model()


@pytest.fixture(scope="module")
def golden():
    with np.load(HERE / "unit.npz") as file:
        return {key: torch.from_numpy(file[key].astype(np.float32)) for key in file.files}


@pytest.fixture(scope="module")
def features(model, golden):
    with torch.no_grad():
        return model.encode_image(golden["image"][None])


def as_map(tokens, side=16):
    return tokens.T.reshape(1, -1, side, side)


def distance(a, b):
    return float((a - b).abs().max())


def test_image_encoder_equals_the_reference(features, golden):
    assert distance(features.stride4[0, ::8], golden["fpn0"]) < 2e-5
    assert distance(features.stride8[0, ::8], golden["fpn1"]) < 2e-5
    assert distance(features.stride16[0, ::8], golden["fpn2"]) < 2e-5


def test_sine_positions_equal_the_reference(golden):
    assert distance(sine_encoding_2d(16, 16, 256)[::8], golden["pos_enc2"]) < 1e-6
    assert distance(sine_encoding_2d(16, 16, 64)[::8], golden["me_pos"]) < 1e-6


@pytest.mark.parametrize("training", [False, True], ids=["blocked on the CPU", "with gradients"])
def test_memory_attention_equals_the_reference(model, golden, training):
    with torch.set_grad_enabled(training):
        out = model.memory_attention(
            as_map(golden["ma_cur"]),
            as_map(golden["ma_cpos"]),
            golden["ma_mem"][None],
            golden["ma_mpos"][None],
            12,
        )
    assert distance(out.detach()[0].flatten(1).T[::4], golden["ma_out"]) < 1e-4


@pytest.mark.parametrize("binarize", [False, True])
def test_memory_encoder_equals_the_reference(model, features, golden, binarize):
    mask = golden["me_mask_f16"][None, None]
    mask = (mask > 0).float() if binarize else mask.sigmoid()
    memory = model.memory_encoder(features.stride16, mask * 20 - 10)
    assert distance(memory[0, ::8], golden[f"me_out_ispts{int(binarize)}"]) < 1e-4


def test_memory_of_an_absent_object_is_marked(model, features):
    logits = torch.full((2, 1, 64, 64), -5.0)
    memory = model.encode_memory(features, logits, torch.tensor([3.0, -3.0]), binarize=False)
    assert torch.allclose(
        memory[1] - memory[0], model.no_obj_embed_spatial[0][:, None, None].expand(-1, 16, 16), atol=1e-5
    )


def test_prompt_encoder_equals_the_reference(model, golden):
    assert distance(model.prompt_encoder.pe_layer.grid(16, 16)[::8], golden["dense_pe"]) < 1e-6
    _, dense = model.prompt_encoder(PromptTensors(mask_logits=golden["pe_mask_in"][None, None]), 256, 16)
    assert distance(dense[0, ::8], golden["pe_dense"]) < 1e-5


def test_prompt_encoder_pads_and_says_no_prompt_with_two_tokens(model):
    nothing = model.prompt_encoder.not_a_point_embed.weight[0]
    sparse, _ = model.prompt_encoder(PromptTensors(batch=3), 256, 16)
    assert sparse.shape == (3, 2, 256)
    assert torch.equal(sparse, nothing.expand(3, 2, 256))
    click = PromptTensors(torch.tensor([[[5.0, 6.0]]]), torch.tensor([[1]]))
    sparse, _ = model.prompt_encoder(click, 256, 16)
    assert sparse.shape == (1, 2, 256)
    assert torch.equal(sparse[0, 1], nothing)
    mask_only = PromptTensors(torch.zeros(1, 0, 2), torch.zeros(1, 0), torch.zeros(1, 1, 64, 64))
    assert model.prompt_encoder(mask_only, 256, 16)[0].shape == (1, 0, 256)


def readout_for(model, batch, memories, pointers, seed=0):
    g = torch.Generator().manual_seed(seed)
    c = model.config
    return MemoryReadout(
        torch.randn(batch, memories, c.memory_dim, 16, 16, generator=g),
        torch.randint(0, 7, (batch, memories), generator=g),
        torch.randn(batch, pointers, c.embed_dim, generator=g),
        torch.randint(0, 9, (batch, pointers), generator=g).float(),
        15,
    )


def pick(readout, row):
    return MemoryReadout(
        readout.spatial[row : row + 1],
        readout.ages[row : row + 1],
        readout.pointers[row : row + 1],
        readout.distances[row : row + 1],
        readout.span,
    )


@pytest.mark.parametrize("memories, pointers", [(1, 1), (7, 16), (2, 0)])
def test_objects_together_equal_objects_alone(model, features, memories, pointers):
    readout = readout_for(model, 3, memories, pointers)
    together = model.condition_on_memory(features, readout)
    prompts = PromptTensors(torch.rand(3, 2, 2) * 256, torch.tensor([[1, 0], [2, 3], [1, -1]]))
    masks = model.decode_masks(together, features, prompts, multimask=True)
    for row in range(3):
        alone = model.condition_on_memory(features, pick(readout, row))
        assert distance(alone[0], together[row]) < 1e-4
        own = PromptTensors(prompts.points[row : row + 1], prompts.labels[row : row + 1])
        mask = model.decode_masks(alone, features, own, multimask=True)
        assert distance(mask.logits[0], masks.logits[row]) < 1e-3
        assert distance(mask.pointers[0], masks.pointers[row]) < 1e-3


def test_an_old_memory_is_not_a_conditioning_memory(model, features):
    readout = readout_for(model, 1, 1, 0)
    outs = [
        model.condition_on_memory(features, replace(readout, ages=torch.tensor([[age]]))) for age in (0, 1, 6)
    ]
    assert distance(outs[0], outs[1]) > 0.01
    assert distance(outs[1], outs[2]) > 0.01


def test_a_pointer_knows_its_distance_only_in_2_1(features):
    for version in ("2.0", "2.1"):
        config = replace(SMALL, pointer_time_encoding=version == "2.1", spatial_no_object=version == "2.1")
        model = recipe_model(config)
        near, far = (
            model.condition_on_memory(
                features, replace(readout_for(model, 1, 1, 1), distances=torch.tensor([[d]]))
            )
            for d in (1.0, 12.0)
        )
        assert (distance(near, far) > 1e-3) == (version == "2.1")


def test_adopted_masks_are_taken_as_they_are(model, features):
    disc = torch.zeros(2, 1, 256, 256)
    disc[0, 0, 40:120, 60:150] = 1
    result = model.use_mask_as_output(features, disc)
    assert result.logits.shape == (2, 1, 64, 64)
    assert torch.equal(result.logits[0, 0, 12:28, 16:36] > 0, torch.ones(16, 20, dtype=torch.bool))
    assert result.object_score.tolist() == [10.0, -10.0]
    assert torch.equal(result.pointer[1], model.no_obj_ptr[0])


def test_an_invisible_object_is_silenced_and_points_nowhere():
    model = recipe_model(occluded=True)
    features = ImageFeatures(
        torch.zeros(1, 32, 64, 64), torch.zeros(1, 64, 32, 32), torch.zeros(1, 256, 16, 16)
    )
    prompts = PromptTensors(
        torch.rand(40, 1, 2, generator=torch.Generator().manual_seed(1)) * 256,
        torch.ones(40, 1, dtype=torch.int64),
    )
    candidates = model.decode_masks(
        model.condition_on_memory(features, None), features, prompts, multimask=True
    )
    best = candidates.best()
    absent = best.object_score <= 0
    assert absent.any()
    assert (best.logits[absent] == -1024).all()
    assert torch.equal(best.pointer[absent], model.no_obj_ptr.expand(int(absent.sum()), -1))
    assert candidates.logits.min() > -1024


def test_unstable_single_masks_are_replaced_by_the_best_of_three(features):
    model = recipe_model(occluded=True)
    always = recipe_model(replace(SMALL, stability_threshold=0.0), occluded=True)
    never = recipe_model(replace(SMALL, dynamic_stability=False), occluded=True)
    points = torch.rand(30, 1, 2, generator=torch.Generator().manual_seed(2)) * 256
    prompts = PromptTensors(points, torch.ones(30, 1, dtype=torch.int64))
    out = [
        m.decode_masks(m.condition_on_memory(features, None), features, prompts, multimask=False)
        for m in (model, always, never)
    ]
    three = model.decode_masks(model.condition_on_memory(features, None), features, prompts, multimask=True)
    assert torch.equal(out[1].logits, out[2].logits)
    changed = (out[0].logits != out[2].logits).flatten(1).any(1)
    assert changed.any()
    best = three.logits[torch.arange(30), three.ious.argmax(1)][:, None]
    assert torch.equal(out[0].logits[changed], best[changed])
    assert torch.equal(out[0].pointers, out[2].pointers)


@pytest.mark.parametrize("size", [128, 256, 512, 640])
def test_other_image_sizes_work(size):
    model = recipe_model(replace(SMALL, image_size=size))
    features = model.encode_image(torch.zeros(1, 3, size, size))
    assert features.stride16.shape == (1, 256, size // 16, size // 16)
    mask = model.use_mask_as_output(features, torch.ones(1, 1, size, size))
    memory = model.encode_memory(features, mask.logits, mask.object_score, binarize=True)
    readout = MemoryReadout(memory[:, None], torch.zeros(1, 1), mask.pointer[:, None], torch.zeros(1, 1), 15)
    out = model.decode_masks(
        model.condition_on_memory(features, readout), features, PromptTensors(), multimask=True
    )
    assert out.logits.shape == (1, 3, size // 4, size // 4)


@pytest.mark.parametrize("height, width, window", [(64, 64, 14), (7, 9, 4), (8, 8, 8), (3, 5, 7)])
def test_windows_come_together_again(height, width, window):
    x = torch.rand(2, height, width, 3)
    windows, padded = split_windows(x, window)
    assert windows.shape[1:3] == (window, window)
    assert torch.equal(join_windows(windows, window, padded, (height, width)), x)


def test_keys_and_shapes_are_those_of_released_checkpoints():
    with gzip.open(HERE / "state_dict_shapes.json.gz") as file:
        tables = json.load(file)
    for name, preset, version in (("sam2.1_t", "tiny", "2.1"), ("sam2.0_b+", "base_plus", "2.0")):
        with torch.device("meta"):
            state = to_meta(Sam2(ModelConfig.preset(preset, version)).state_dict())
        assert {k: list(v.shape) for k, v in state.items()} == tables["meta"][name]
    theirs = {k: torch.empty(s, device="meta") for k, s in tables["transformers"]["sam2.1_t"].items()}
    assert {k: list(v.shape) for k, v in from_transformers(theirs).items()} == tables["meta"]["sam2.1_t"]


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the development data is not beside the repository")
@pytest.mark.parametrize("version", ["2.0", "2.1"])
@pytest.mark.parametrize(
    "letter, preset", [("t", "tiny"), ("s", "small"), ("b+", "base_plus"), ("l", "large")]
)
def test_all_released_keys(letter, preset, version):
    meta = json.loads((SHARED / "state_dict_shapes.json").read_text())[f"sam{version}_{letter}"]
    hub = json.loads((SHARED / "state_dict_shapes_hf.json").read_text())[f"sam{version}_{letter}"]
    with torch.device("meta"):
        state = to_meta(Sam2(ModelConfig.preset(preset, version)).state_dict())
    mine = {k: list(v.shape) for k, v in state.items()}
    assert mine == {k: v[0] for k, v in meta.items()}
    theirs = {k: torch.empty(v[0] if isinstance(v[0], list) else v, device="meta") for k, v in hub.items()}
    assert {k: list(v.shape) for k, v in from_transformers(theirs).items()} == mine


def test_nano_is_small():
    parameters = sum(p.numel() for p in Sam2(ModelConfig.preset("nano")).parameters())
    assert parameters <= 6_000_000


@pytest.mark.parametrize(
    "wrong, words",
    [
        (dict(image_size=100), "multiple of 32"),
        (dict(embed_dim=100, memory_dim=64), "multiple"),
        (dict(stages=(1, 2, 3)), "needs 4 values"),
        (dict(num_maskmem=0), "whole numbers from 1"),
    ],
)
def test_impossible_configurations_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        ModelConfig(**wrong)


def test_wrong_shapes_are_refused_with_both_numbers(model, features):
    with pytest.raises(ValueError, match=r"\(B, 3, S, S\), not \(1, 4, 256, 256\)"):
        model.encode_image(torch.zeros(1, 4, 256, 256))
    with pytest.raises(ValueError, match="do not match"):
        PromptTensors(torch.zeros(1, 2, 2), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="do not match"):
        MemoryReadout(
            torch.zeros(1, 2, 64, 16, 16), torch.zeros(1, 3), torch.zeros(1, 0, 256), torch.zeros(1, 0), 15
        )
    with pytest.raises(ValueError, match="3 frames cannot serve 2 objects"):
        ImageFeatures(*(torch.zeros(3, 1, 2, 2) for _ in range(3))).expand(2)
    with pytest.raises(ValueError, match="multiple of 32"):
        model.encode_image(torch.zeros(1, 3, 200, 200))


def test_configuration_survives_json():
    config = ModelConfig.preset("nano")
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match="unknown model setting 'colour'"):
        ModelConfig.from_dict({"colour": 3})
    with pytest.raises(ValueError, match="unknown model 'huge'"):
        ModelConfig.preset("huge")


@pytest.mark.parametrize(("tokens", "setting"), [(16, "highest"), (2048, "medium")])
def test_attention_between_few_tokens_takes_the_default_products(monkeypatch, tokens, setting):
    used = []
    exact = F.scaled_dot_product_attention

    def watched(*args, **kwargs):
        used.append(torch.get_float32_matmul_precision())
        return exact(*args, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    q, k, v = torch.randn(3, 2, tokens, 8)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        found = attention(q, k, v)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert used == [setting]
    torch.testing.assert_close(found, exact(q, k, v), atol=1e-5, rtol=1e-4)

"""Segment Anything 1 files in the layouts that people have, and those that are refused with a sentence."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from napari_sam2.model.errors import CheckpointError
from napari_sam2.model.sam1.config import VitConfig
from napari_sam2.model.sam1.instance_decoder import InstanceDecoder
from napari_sam2.model.sam1.sam import Sam
from napari_sam2.model.sam2 import Sam2
from napari_sam2.model.weights.checkpoints import load_model
from napari_sam2.model.weights.image_models import PUBLISHED_SAM1, load_image_model
from tests.golden.sam1_recipe import MOBILE, TINY, meta_state, transformers_state


class Trainer:
    """What a training program pickles beside the weights."""

    def __init__(self):
        self.history = [1, 2]


class Attack:
    """What an attacker pickles."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code of the file was run')",))


@pytest.fixture(scope="module")
def state():
    return meta_state()


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(1)
    return InstanceDecoder(256, 16).state_dict()


def saved(content, path):
    torch.save(content, path)
    return path


def same(model, state):
    """Tell whether a network has the weights of Meta's state dict."""
    assert isinstance(model, Sam)
    assert model.config == TINY
    ours = {k.replace(".mlp.layers.0.", ".mlp.lin1.").replace(".mlp.layers.1.", ".mlp.lin2."): v
            for k, v in model.state_dict().items()}  # fmt: skip
    ours = {k: v for k, v in ours.items() if not k.startswith("instance_decoder.")}
    return ours.keys() == state.keys() and all(torch.equal(ours[k], state[k]) for k in state)


def test_meta_medsam_and_micro_sams_encoder_files(tmp_path, state):
    model = load_image_model(saved(state, tmp_path / "sam_vit_b_01ec64.pth"), "cpu")
    assert same(model, state)
    assert model.origin.path.endswith("01ec64.pth")
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert same(
        load_image_model(saved(state, tmp_path / "vit_b_lm"), "cpu"), state
    )  # micro-sam's cache: no suffix


def test_third_party_extras_half_precision_and_prefixes(tmp_path, state):
    extra = {"pixel_mean": torch.zeros(3, 1, 1), "pixel_std": torch.ones(3, 1, 1)}
    assert same(load_image_model(saved(state | extra, tmp_path / "a.pth"), "cpu"), state)
    half = {key: value.half() for key, value in state.items()}
    assert same(
        load_image_model(saved(half, tmp_path / "b.pth"), "cpu"), state
    )  # the recipe's values are float16
    parallel = {"model": {"module." + key: value for key, value in state.items()}}
    assert same(load_image_model(saved(parallel, tmp_path / "c.pth"), "cpu"), state)


def test_transformers_layout(tmp_path, state):
    renamed = transformers_state(state)
    assert len(renamed) == len(state) + 1
    save_file({key: value.contiguous() for key, value in renamed.items()}, tmp_path / "model.safetensors")
    assert same(load_image_model(tmp_path / "model.safetensors", "cpu"), state)


def test_mobile_sam_with_its_classifier(tmp_path):
    state = meta_state(MOBILE)
    extra = {
        "image_encoder.head.weight": torch.zeros(10, 40),
        "image_encoder.norm_head.bias": torch.zeros(40),
    }
    model = load_image_model(saved(state | extra, tmp_path / "mobile_sam.pt"), "cpu")
    assert model.config == MOBILE
    biases = "image_encoder.layers.2.blocks.1.attn.attention_biases"
    assert torch.equal(model.state_dict()[biases], state[biases])


def test_micro_sams_training_checkpoint_is_read_without_running_it(tmp_path, state, decoder):
    content = {
        "model_state": {"sam." + key: value for key, value in state.items()},
        "decoder_state": decoder,
        "optimizer_state": {"lr": 1.0},
        "init": {"trainer": Trainer(), "loss": Trainer},
    }
    path = saved(content, tmp_path / "best.pt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    model = load_image_model(path, "cpu")
    assert same(model, state)
    assert torch.equal(model.instance_decoder.out_conv.weight, decoder["out_conv.weight"])


def test_code_in_a_checkpoint_is_never_run(tmp_path, state):
    path = saved({"model_state": state, "init": Attack()}, tmp_path / "bad.pt")
    assert same(load_image_model(path, "cpu"), state)  # SystemExit otherwise


def test_exported_model_and_decoder_beside_it(tmp_path, state, decoder):
    exported = saved({"model_state": state, "decoder_state": decoder}, tmp_path / "exported.pt")
    assert load_image_model(exported, "cpu").instance_decoder is not None
    saved(decoder, tmp_path / "vit_b_decoder.pt")
    assert load_image_model(saved(state, tmp_path / "vit_b.pt"), "cpu").instance_decoder is not None
    saved({"a": torch.zeros(1)}, tmp_path / "other_decoder.pt")
    with pytest.raises(CheckpointError, match="not the weights of an instance decoder"):
        load_image_model(saved(state, tmp_path / "other.pt"), "cpu")


def test_names_are_found_in_micro_sams_cache_and_else_say_where_to_get_them(tmp_path, state, monkeypatch):
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path))
    with pytest.raises(
        CheckpointError, match="'vit_b_lm' is not on this machine: get https://.*diplomatic-bug.*vit_b.pt"
    ):
        load_image_model("vit_b_lm", "cpu")
    (tmp_path / "models").mkdir()
    saved(state, tmp_path / "models" / "vit_b_lm")
    assert same(load_image_model("vit_b_lm", "cpu"), state)
    assert PUBLISHED_SAM1["vit_b"].sha256.startswith("ec2df627")


def test_a_size_that_only_positions_were_resized_to(tmp_path, state):
    changed = dict(state)
    changed["image_encoder.pos_embed"] = torch.randn(
        1, 12, 12, 64
    )  # for 192 pixels; global tables are for 256
    model = load_image_model(saved(changed, tmp_path / "resized.pth"), "cpu")
    assert model.config.image_size == 192
    assert model.config.encoder == VitConfig(64, 64, 4, 2, 256, (1, 3), 7)
    assert model.image_encoder.blocks[1].attn.rel_pos_h.shape == (23, 32)
    assert model.image_encoder.blocks[0].attn.rel_pos_h.shape == (13, 32)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("image_encoder.blocks.0.attn.qkv.w_a_linear_q.weight", "with LoRA layers"),
        ("image_encoder.blocks.0.attn.qkv.lora_A.weight", "with LoRA layers"),
        ("image_encoder.blocks.0.attn.qkv.q_FacTs.weight", "with adapter layers"),
        ("mask_decoder.hf_token.weight", "with the layers of SAM-HQ"),
        ("mask_decoder.surprise", "mask_decoder.surprise is unexpected"),
    ],
)
def test_variants_are_refused_with_a_sentence(extra, message, tmp_path, state):
    path = saved(state | {extra: torch.zeros(1)}, tmp_path / "variant.pth")
    with pytest.raises(CheckpointError, match=message):
        load_image_model(path, "cpu")


def test_missing_weights_are_named(tmp_path, state):
    short = {key: value for key, value in state.items() if key != "prompt_encoder.no_mask_embed.weight"}
    with pytest.raises(CheckpointError, match=r"prompt_encoder.no_mask_embed.weight is missing \(1 in all\)"):
        load_image_model(saved(short, tmp_path / "short.pth"), "cpu")


def test_weights_that_are_not_numbers_are_refused(tmp_path, state):
    broken = state | {"image_encoder.pos_embed": torch.full((1, 16, 16, 64), torch.nan)}
    with pytest.raises(CheckpointError, match=r"image_encoder.pos_embed has values that are NaN"):
        load_image_model(saved(broken, tmp_path / "nan.pth"), "cpu")


def test_sam1_where_sam2_is_expected_says_what_it_is_for(tmp_path, state):
    path = saved(state, tmp_path / "sam.pth")
    with pytest.raises(
        CheckpointError, match=r"Segment Anything 1 model .* segments single images.*a SAM 2 model remembers"
    ):
        load_model(path, "cpu")
    assert isinstance(load_image_model("nano", "cpu"), Sam2)


def test_the_input_size_is_that_of_the_weights(tmp_path, state):
    path = saved(state, tmp_path / "sam.pth")
    assert load_image_model(path, image_size=256).config.image_size == 256
    with pytest.raises(CheckpointError, match="for 256 pixels, which can't be used at 512"):
        load_image_model(path, image_size=512)

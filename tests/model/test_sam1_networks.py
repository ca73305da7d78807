"""The networks of Segment Anything 1: what their shapes say, attention in pieces, and what they share with SAM 2."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from napari_sam2.model.sam1 import instance_decoder, vit
from napari_sam2.model.sam1.config import SamConfig
from napari_sam2.model.sam1.instance_decoder import InstanceDecoder
from napari_sam2.model.sam1.sam import Sam
from napari_sam2.model.sam1.tiny_vit import TinyViT
from napari_sam2.model.tensors import PromptTensors
from napari_sam2.model.weights.sam1_layouts import build_sam1, config_of, read_sam1
from tests.golden.sam1_recipe import MOBILE, TINY, meta_state


@pytest.fixture(scope="module")
def sam():
    return build_sam1(read_sam1(meta_state()), "tiny").requires_grad_(False)


@pytest.mark.parametrize(
    ("name", "keys", "millions"),
    [("vit_b", 314, 93.735), ("vit_l", 482, 312.343), ("vit_h", 594, 641.091), ("vit_t", 435, 9.808)],
)
def test_released_networks_have_the_published_sizes_and_are_recognised(name, keys, millions):
    with torch.device("meta"):
        model = Sam(SamConfig.preset(name))
    state = model.state_dict()
    assert len(state) == keys
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.0005)
    assert config_of(state) == SamConfig.preset(name)
    assert config_of(state).name == name


@pytest.mark.parametrize("config", [TINY, MOBILE])
def test_any_size_is_read_from_the_shapes(config):
    assert config_of(Sam(config).state_dict()) == config


def plain_attention(block, x):
    """Softmax of q k / sqrt(d) plus both biases, all at once."""
    batch, h, w, _ = x.shape
    q, k, v = block.qkv(x).reshape(batch, h * w, 3, block.heads, -1).permute(2, 0, 3, 1, 4)
    down, across = (
        torch.stack([torch.stack([table[i - j + n - 1] for j in range(n)]) for i in range(n)])
        for table, n in ((block.rel_pos_h, h), (block.rel_pos_w, w))
    )
    grid = q.reshape(batch, block.heads, h, w, -1)
    bias = torch.einsum("bnyxc,yjc->bnyxj", grid, down)[..., :, None]
    bias = bias + torch.einsum("bnyxc,xjc->bnyxj", grid, across)[..., None, :]
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + bias.reshape(batch, block.heads, h * w, h * w)
    out = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, h, w, -1)
    return block.proj(out)


@pytest.mark.parametrize("at_once", [1, 700, 1 << 21])
@pytest.mark.parametrize("gradients", [False, True])
def test_attention_in_pieces_is_attention(at_once, gradients, monkeypatch):
    monkeypatch.setattr(vit, "SCORES_AT_ONCE", at_once)
    torch.manual_seed(0)
    block = vit.RelativeAttention(24, 24, 3, 8)
    for table in (block.rel_pos_h, block.rel_pos_w):
        torch.nn.init.normal_(table)
    x = torch.randn(2, 8, 8, 24)
    with torch.set_grad_enabled(gradients):
        torch.testing.assert_close(block(x), plain_attention(block, x), atol=1e-5, rtol=1e-4)


def test_no_matrix_of_all_scores_is_ever_made():
    """12 heads of 4,096 tokens: 805 MB each time all scores are held; 8 MiB and the result are allowed."""
    largest = []

    class Recorder(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest.append(out.untyped_storage().nbytes())
            return out

    q, k, v = (torch.randn(2, 1024, 8) for _ in range(3))
    bias = torch.randn(2, 1024, 32), torch.randn(2, 1024, 32)
    previous, vit.SCORES_AT_ONCE = vit.SCORES_AT_ONCE, 1 << 14
    try:
        with torch.no_grad(), Recorder():
            vit._attend_in_blocks(q, k, v, *bias)
    finally:
        vit.SCORES_AT_ONCE = previous
    assert max(largest) <= 2 * 1024 * 32 * 4  # the tables of biases; all scores would be 8 MiB


def test_a_table_of_another_image_size_is_interpolated():
    block = vit.RelativeAttention(8, 8, 1, 16)
    torch.nn.init.normal_(block.rel_pos_h)
    wanted = functional.interpolate(block.rel_pos_h.T[None], size=15, mode="linear")[0].T
    torch.testing.assert_close(block._distances(block.rel_pos_h, 8, torch.float32)[7, 0], wanted[14])


def test_prompts_are_padded_by_sam1s_rules(sam):
    encoder = sam.prompt_encoder
    points = torch.tensor([[[10.0, 20.0]]]), torch.tensor([[1]])
    box = torch.tensor([[5.0, 6.0, 50.0, 60.0]])
    assert encoder(points)[0].shape[1] == 2  # the point and padding
    assert torch.equal(encoder(points)[0][0, 1], encoder.not_a_point_embed.weight[0])
    assert encoder(None, box)[0].shape[1] == 2  # the corners alone
    both = encoder(points, box)[0]
    assert both.shape[1] == 3
    assert torch.equal(both[:, 1:], encoder(None, box)[0])  # the box comes last
    assert encoder()[0].shape == (1, 0, 256)
    assert encoder(masks=torch.zeros(2, 1, 64, 64))[0].shape == (2, 0, 256)
    session_form = PromptTensors(
        torch.tensor([[[5.0, 6.0], [50.0, 60.0], [10.0, 20.0]]]), torch.tensor([[2, 3, 1]])
    )
    assert torch.equal(encoder.embed(session_form)[0], both)


def test_sam1_has_no_memory_and_no_object_score(sam):
    with torch.inference_mode():
        features = sam.encode_image(torch.zeros(1, 3, 256, 256))
        assert features.stride8.shape == (1, 0, 32, 32)
        embedding = sam.condition_on_memory(features, None)
        assert embedding is features.stride16
        found = sam.decode_masks(embedding, features, PromptTensors(), True)
    assert found.logits.shape == (1, 3, 64, 64)
    assert (found.object_score == 10).all()


def test_mobile_encoder_runs_at_any_size():
    torch.manual_seed(0)
    encoder = TinyViT(MOBILE.encoder, 224, 256).eval()
    with torch.inference_mode():
        assert encoder(torch.randn(1, 3, 224, 160)).shape == (1, 256, 14, 10)


@pytest.mark.parametrize("transposed", [False, True])
def test_instance_decoder_is_built_from_its_weights(transposed):
    torch.manual_seed(0)
    decoder = InstanceDecoder(16, 32, transposed).eval()
    again = InstanceDecoder.from_state(decoder.state_dict())
    embedding = torch.randn(1, 16, 4, 4)
    with torch.inference_mode():
        maps = decoder(embedding)
        assert torch.equal(again(embedding), maps)
    assert maps.shape == (1, 3, 64, 64)
    assert 0 < maps.min() < maps.max() < 1
    with pytest.raises(ValueError, match="not the weights of an instance decoder"):
        InstanceDecoder.from_state({"a": torch.zeros(1)})


@pytest.mark.parametrize("transposed", [False, True])
def test_strips_do_not_change_a_map(transposed, monkeypatch):
    torch.manual_seed(0)
    decoder = InstanceDecoder(16, 32, transposed).eval()
    embedding = torch.randn(1, 16, 8, 6)
    with torch.inference_mode():
        whole = decoder(embedding)
        monkeypatch.setattr(instance_decoder, "PIXELS_AT_ONCE", 1000)
        np.testing.assert_allclose(decoder(embedding), whole, atol=1e-5)


@pytest.mark.parametrize("transposed", [False, True])
def test_instance_decoder_is_torch_em_s(transposed):
    """The sources that micro-sam trains with, on the same random weights; run where torch-em is installed."""
    unetr = pytest.importorskip("torch_em.model.unetr", reason="needs torch-em", exc_type=ImportError)

    class Encoder(torch.nn.Module):
        """Returns an embedding whatever it is given."""

        img_size, embed_dim, in_chans = 64, 256, 3
        embedding = torch.randn(1, 256, 4, 4, generator=torch.Generator().manual_seed(1))

        def forward(self, images):
            return self.embedding

    torch.manual_seed(0)
    theirs = unetr.UNETR(
        encoder=Encoder(),
        out_channels=3,
        final_activation="Sigmoid",
        use_skip_connection=False,
        use_conv_transpose=transposed,
    ).eval()
    state = {key: value for key, value in theirs.state_dict().items() if not key.startswith("encoder.")}
    for key, value in state.items():
        if "running" in key:
            torch.nn.init.uniform_(value, 0.5, 2)  # as after a training
    with torch.inference_mode():
        maps = InstanceDecoder.from_state(state)(Encoder.embedding)
        np.testing.assert_allclose(maps, theirs(torch.zeros(1, 3, 64, 64)), atol=1e-5)

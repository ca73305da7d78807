"""Every weight is moved by exactly one optimizer, at its own rate."""

import pytest
import torch

from napari_sam2.model.config import ModelConfig
from napari_sam2.model.sam2 import Sam2
from napari_sam2.training.muon import Muon, orthogonal
from napari_sam2.training.optimizers import make_optimizers
from napari_sam2.training.recipe import TrainingStage, TrainOptions


def recipe(**changes):
    return TrainOptions(stages=(TrainingStage("one", 1, 1e-3),), encoder_rate=0.5, score_rate=5.0, **changes)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_every_parameter_has_one_place(name):
    model = Sam2(ModelConfig.preset("nano"))
    made = make_optimizers(model, recipe(optimizer=name))
    placed = [id(p) for o in made for group in o.param_groups for p in group["params"]]
    assert sorted(placed) == sorted(id(p) for p in model.parameters())
    scales = {id(p): g["scale"] for o in made for g in o.param_groups for p in g["params"]}
    assert scales[id(model.image_encoder.trunk.blocks[0].attn.proj.weight)] == 0.5
    assert scales[id(model.mask_decoder.obj_score_token.weight)] == 5.0
    assert scales[id(model.no_mem_embed)] == 1.0


def test_muon_moves_matrices_only():
    model = Sam2(ModelConfig.preset("nano"))
    _, muon = make_optimizers(model, recipe(optimizer="muon"))
    moved = {id(p) for group in muon.param_groups for p in group["params"]}
    assert id(model.image_encoder.trunk.blocks[5].attn.qkv.weight) in moved
    for parameter in (model.mask_decoder.iou_token.weight, model.image_encoder.trunk.pos_embed):
        assert id(parameter) not in moved
    assert sum(p.numel() for p in model.parameters() if id(p) in moved) > 4_000_000


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch has Muon from 2.9 on")
def test_muon_does_what_pytorchs_does():
    torch.manual_seed(0)
    starts = [torch.randn(shape) for shape in ((24, 40), (24, 40), (40, 24), (32, 32))]
    ours, theirs = ([torch.nn.Parameter(start.clone()) for start in starts] for _ in range(2))
    options = {"lr": 0.01, "weight_decay": 0.3}
    pair = Muon(ours, **options), torch.optim.Muon(theirs, adjust_lr_fn="match_rms_adamw", **options)
    for _ in range(4):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape)
            other.grad = one.grad.clone()
        for optimizer in pair:
            optimizer.step()
    for start, one, other in zip(starts, ours, theirs, strict=True):
        moved = (one - start).norm()
        assert moved > 0.01
        assert (one - other).norm() < 0.02 * moved  # theirs is in bfloat16


def test_orthogonal_matrices_have_singular_values_near_one():
    torch.manual_seed(0)
    made = orthogonal(torch.randn(3, 16, 48) * torch.tensor([1e-4, 1.0, 1e4])[:, None, None])
    values = torch.linalg.svdvals(made)
    assert 0.4 < values.min() < values.max() < 1.6


def test_muon_leaves_alone_what_has_no_gradient():
    learning, resting = (torch.nn.Parameter(torch.ones(4, 8)) for _ in range(2))
    learning.grad = torch.ones(4, 8)
    Muon([learning, resting], lr=0.1, weight_decay=0.5).step()
    assert bool((resting == 1).all())
    assert bool((learning < 1).all())


def test_muon_refuses_what_is_no_matrix():
    with pytest.raises(ValueError, match=r"\(3,\)"):
        Muon([torch.nn.Parameter(torch.ones(3))], lr=0.1)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="'adamw' or 'muon'"):
        recipe(optimizer="sgd")

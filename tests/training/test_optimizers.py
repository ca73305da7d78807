"""Every weight is moved by exactly one optimizer, at its own rate."""

import pytest
import torch

from napari_sam2.model.config import ModelConfig
from napari_sam2.model.sam2 import Sam2
from napari_sam2.training.optimizers import make_optimizers
from napari_sam2.training.recipe import Stage, TrainOptions


def recipe(**changes):
    return TrainOptions(stages=(Stage("one", 1, 1e-3),), encoder_rate=0.5, score_rate=5.0, **changes)


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


def test_an_old_torch_is_told(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.raises(ValueError, match=r"install 2\.9"):
        make_optimizers(Sam2(ModelConfig.preset("nano")), recipe(optimizer="muon"))


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="'adamw' or 'muon'"):
        recipe(optimizer="sgd")

"""Which optimizer moves which weights, and how fast."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from napari_sam2.training.muon import Muon
from napari_sam2.training.recipe import TrainOptions

__all__ = ["make_optimizers"]

OBJECT_SCORE = ("mask_decoder.pred_obj_score_head.", "mask_decoder.obj_score_token.")
# below this side a matrix is a token or a narrow head, which orthogonal updates would only shake
LEAST_SIDE = 16


def make_optimizers(model: nn.Module, options: TrainOptions) -> list[torch.optim.Optimizer]:
    """Return the optimizers of a run; each parameter is in exactly one group of one of them.

    Every group has a "scale": its learning rate relative to the step's.
    """
    rates = {"image_encoder.": options.encoder_rate, **dict.fromkeys(OBJECT_SCORE, options.score_rate)}
    groups: dict[tuple[bool, float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        scale = next((rate for start, rate in rates.items() if name.startswith(start)), 1.0)
        decays = parameter.ndim > 1 and "embed" not in name
        matrix = decays and parameter.ndim == 2 and min(parameter.shape) >= LEAST_SIDE
        groups.setdefault((matrix and options.optimizer == "muon", scale, decays), []).append(parameter)
    made: list[torch.optim.Optimizer] = []
    plain = _groups(groups, False, options)
    made.append(torch.optim.AdamW(plain, lr=1e-4, betas=(0.9, 0.99), fused=True))
    matrices = _groups(groups, True, options)
    if matrices:
        made.append(Muon(matrices, lr=1e-4))
    return made


def _groups(
    groups: dict[tuple[bool, float, bool], list[nn.Parameter]], orthogonal: bool, options: TrainOptions
) -> list[dict[str, Any]]:
    return [
        {"params": members, "weight_decay": options.weight_decay if decays else 0.0, "scale": scale}
        for (chosen, scale, decays), members in groups.items()
        if chosen == orthogonal
    ]

"""Muon: momentum whose updates are made orthogonal, matrix by matrix.

PyTorch has it too, but there it goes through bfloat16 and one matrix at a time. On a CPU without units for bfloat16
that takes four times as long for `nano` as float32 with all matrices of a shape at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Muon", "orthogonal"]

# the quintic of the Newton-Schulz iteration that rises most steeply at zero (Jordan et al. 2024)
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


def orthogonal(matrices: Tensor) -> Tensor:
    """Bring the singular values of each matrix near 1, somewhere between 0.5 and 1.5.

    Parameters
    ----------
    matrices : Tensor, (B, M, N)
        With M at most N, which makes the products small.

    Returns
    -------
    Tensor, (B, M, N)
    """
    a, b, c = COEFFICIENTS
    x: Tensor = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT  # (B, M, M)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


class Muon(torch.optim.Optimizer):
    """Muon for matrices, with updates as large as AdamW's, so that one learning rate serves both.

    Counterpart in PyTorch: ``torch.optim.Muon`` with ``adjust_lr_fn="match_rms_adamw"``.

    Parameters
    ----------
    params : iterable of Tensor or dict
        Matrices, or groups of them.
    lr, weight_decay : float
        Learning rate, and its share by which weights shrink in a step.
    momentum : float
        Of Nesterov's kind.

    Raises
    ------
    ValueError
        If a parameter is not a matrix.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.ndim != 2:
                    raise ValueError(f"Muon moves matrices, not a parameter of {tuple(parameter.shape)}")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every matrix that has a gradient."""
        for group in self.param_groups:
            alike: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[tuple(parameter.shape)].append(parameter)
            for matrices in alike.values():
                self._move(matrices, group)

    def _move(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        """Move matrices of one shape."""
        rows, columns = matrices[0].shape
        updates = torch.stack([self._momentum(matrix, group["momentum"]) for matrix in matrices])
        updates = orthogonal(updates.mT).mT if rows > columns else orthogonal(updates)
        rate = group["lr"] * 0.2 * max(rows, columns) ** 0.5
        for matrix, update in zip(matrices, updates, strict=True):
            matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-rate)

    def _momentum(self, matrix: Tensor, share: float) -> Tensor:
        """Take the gradient into the matrix's momentum and return where both lead."""
        gradient = matrix.grad
        assert gradient is not None
        state = self.state[matrix]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradient)
        state["momentum"].lerp_(gradient, 1 - share)
        return gradient.lerp(state["momentum"], share)

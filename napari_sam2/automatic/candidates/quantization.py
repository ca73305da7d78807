"""Logits as bytes: fine near the mask threshold, coarse far from it, and never on the wrong side of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Beyond this the reference clamps low-resolution logits, too.
LOGIT_LIMIT = 32.0
LEVELS = 256


@dataclass(frozen=True)
class Quantiser:
    """Maps logits to 256 levels and back; the step grows with the distance from ``centre``.

    Near the centre a step is about 0.03 logits, at a distance of 32 about 0.9. Levels are floors, so a logit below the
    centre stays below it.

    Parameters
    ----------
    centre : float
        The mask threshold.
    """

    centre: float = 0.0

    def levels(self, logits: Tensor) -> NDArray[np.uint8]:
        """Return the level of each logit, 0 to 255; level 128 starts at the centre."""
        distance = logits.float() - self.centre
        curve = torch.log1p(distance.abs().clamp(max=LOGIT_LIMIT)) * (128 / np.log1p(LOGIT_LIMIT))
        position = torch.where(distance < 0, -curve, curve).floor_().add_(128).clamp_(0, LEVELS - 1)
        out: NDArray[np.uint8] = position.to(torch.uint8).cpu().numpy()
        return out

    def position(self, logit: float) -> float:
        """Return where a logit lies on the scale of levels, with its fraction."""
        distance = logit - self.centre
        curve = float(np.log1p(min(abs(distance), LOGIT_LIMIT)) / np.log1p(LOGIT_LIMIT)) * 128
        return min(max(128 + (curve if distance >= 0 else -curve), 0.0), LEVELS - 1e-6)

    @cached_property
    def logits(self) -> NDArray[np.float32]:
        """The logit in the middle of each level, float32 (256,)."""
        middle = (np.arange(LEVELS) + 0.5 - 128) / 128
        distance = np.expm1(np.abs(middle) * np.log1p(LOGIT_LIMIT))
        out: NDArray[np.float32] = (self.centre + np.sign(middle) * distance).astype(np.float32)
        return out

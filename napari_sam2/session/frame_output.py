"""Results of one object on one frame, as tensors, and their conversion to and from records."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sam2.model.tensors import MaskResult
from napari_sam2.prompts import MaskPrompt, Prompt
from napari_sam2.session.protocols import ObjectRecord, plain_facts
from napari_sam2.session.tensors import rounded


@dataclass(frozen=True, eq=False)
class ObjectOutput:
    """One object on one frame, as tensors; the logits are already rounded to the store's precision.

    Parameters
    ----------
    logits : Tensor of float32, shape (h, w)
        Low-resolution mask logits.
    pointer : Tensor of float32, shape (C,)
        Object pointer.
    object_score, predicted_iou : float
        See :class:`ObjectRecord`, as the rest.
    given : MaskPrompt or None
        The mask that was given as the whole prompt: it is the object's mask at frame size, pixel by pixel, whatever
        the network's resolution makes of it. Not part of the record: it follows from the prompt.
    """

    logits: Tensor
    pointer: Tensor
    object_score: float
    predicted_iou: float
    prompted: bool = False
    conditioning: bool = False
    tracked: bool = True
    reverse: bool = False
    prompt_hash: int = 0
    given: MaskPrompt | None = None

    @classmethod
    def of_result(cls, result: MaskResult, store_dtype: str) -> ObjectOutput:
        """Make an output of one row of the network's result."""
        return cls(
            rounded(result.logits[0, 0], store_dtype),
            result.pointer[0].float().clone(),  # not a view that keeps the whole batch
            float(result.object_score[0]),
            float(result.iou[0]),
        )

    @classmethod
    def of_record(cls, record: ObjectRecord) -> ObjectOutput:
        """Make an output of a stored record."""
        logits = torch.from_numpy(record.logits.astype(np.float32))
        return cls(logits, torch.from_numpy(np.array(record.pointer, np.float32)), **plain_facts(record))

    def record(self, store_dtype: str) -> ObjectRecord:
        """Return the record that the store keeps."""
        logits = self.logits.cpu().numpy().astype(np.dtype(store_dtype))
        return ObjectRecord(logits, self.pointer.cpu().numpy(), **plain_facts(self))

    def changed(self, **changes: object) -> ObjectOutput:
        """Return a copy with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Alternatives:
    """Candidate masks of one prompt, to choose another one from.

    Parameters
    ----------
    masks : ndarray of bool, shape (K, H, W)
        K is 1 or 3. To choose one, set it as a mask prompt.
    ious : ndarray of float32, shape (K,)
        The network's own estimate of the quality of each.
    best : int
        The one that the session took.
    """

    masks: NDArray[np.bool_]
    ious: NDArray[np.float32]
    best: int


def given_mask(prompt: Prompt) -> MaskPrompt | None:
    """Return the mask of a prompt that is nothing but a mask; None for any other prompt."""
    return None if prompt.points or prompt.box is not None else prompt.mask

"""Frozen groups of tensors that flow between the networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from torch import Tensor

NO_OBJECT_LOGIT = -1024.0
# Logits that are fed back stay in this range, as in the reference ("to avoid rare numerical issues").
FED_BACK_LIMIT = 32.0


@dataclass(frozen=True)
class ModelOrigin:
    """Origin of a network's weights.

    Parameters
    ----------
    name : str
        The name or path that was asked for.
    path : str
        The file that was read.
    sha256 : str
        Checksum of that file.
    """

    name: str
    path: str
    sha256: str


@dataclass(frozen=True)
class ImageFeatures:
    """Features of a frame, as the image encoder returns them.

    Parameters
    ----------
    stride4 : Tensor
        (B, C/8, S/4, S/4), ready for the mask decoder.
    stride8 : Tensor
        (B, C/4, S/8, S/8), ready for the mask decoder.
    stride16 : Tensor
        (B, C, S/16, S/16), the image embedding.
    """

    stride4: Tensor
    stride8: Tensor
    stride16: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes of all three tensors."""
        return sum(t.numel() * t.element_size() for t in (self.stride4, self.stride8, self.stride16))

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> ImageFeatures:
        """Return the features on another device or in another floating type."""
        return ImageFeatures(*(t.to(device, dtype) for t in (self.stride4, self.stride8, self.stride16)))

    def expand(self, batch: int) -> ImageFeatures:
        """Repeat the features of one frame for a batch of objects, without a copy."""
        if self.stride16.shape[0] == batch:
            return self
        if self.stride16.shape[0] != 1:
            raise ValueError(f"features of {self.stride16.shape[0]} frames cannot serve {batch} objects")
        return ImageFeatures(
            *(t.expand(batch, -1, -1, -1) for t in (self.stride4, self.stride8, self.stride16))
        )

    def picked(self, index: Tensor) -> ImageFeatures:
        """Return the features of chosen images, by numbers or by a mask (B,) of bools."""
        return ImageFeatures(self.stride4[index], self.stride8[index], self.stride16[index])


@dataclass(frozen=True)
class PromptTensors:
    """Prompts for a batch of objects.

    Parameters
    ----------
    points : Tensor, optional
        (B, N, 2), x and y in pixels of the network input. None while tracking without a prompt; N = 0 for
        "a mask only".
    labels : Tensor, optional
        (B, N): 1 positive, 0 negative, 2 and 3 the corners of a box (which come first), -1 padding.
    mask_logits : Tensor, optional
        (B, 1, S/4, S/4), logits of an earlier answer or of a drawn mask.
    batch : int
        Number of objects; only needed when neither points nor masks tell.
    """

    points: Tensor | None = None
    labels: Tensor | None = None
    mask_logits: Tensor | None = None
    batch: int = 1

    def __post_init__(self) -> None:
        if (self.points is None) != (self.labels is None):
            raise ValueError("points and labels are given together or not at all")
        if self.points is not None and self.labels is not None:
            if (
                self.points.ndim != 3
                or self.points.shape[2] != 2
                or self.points.shape[:2] != self.labels.shape
            ):
                raise ValueError(
                    f"points (B, N, 2) and labels (B, N) do not match: "
                    f"{tuple(self.points.shape)} and {tuple(self.labels.shape)}"
                )
            object.__setattr__(self, "batch", self.points.shape[0])
        elif self.mask_logits is not None:
            object.__setattr__(self, "batch", self.mask_logits.shape[0])


@dataclass(frozen=True)
class MemoryReadout:
    """Memories and pointers recalled for one frame, the same number for each object.

    Parameters
    ----------
    spatial : Tensor
        (B, M, Cm, S/16, S/16), spatial memories.
    ages : Tensor
        (B, M) integers: 0 for a conditioning memory, k for the memory of k frames ago (in the direction of
        travel).
    pointers : Tensor
        (B, P, C), object pointers.
    distances : Tensor
        (B, P), frames between each pointer and the frame that is conditioned.
    span : int
        Distance that counts as 1: one less than the largest number of pointers.
    """

    spatial: Tensor
    ages: Tensor
    pointers: Tensor
    distances: Tensor
    span: int

    def __post_init__(self) -> None:
        if self.spatial.ndim != 5 or self.ages.shape != self.spatial.shape[:2]:
            raise ValueError(
                f"spatial memories (B, M, C, h, w) and ages (B, M) do not match: "
                f"{tuple(self.spatial.shape)} and {tuple(self.ages.shape)}"
            )
        if self.pointers.ndim != 3 or self.distances.shape != self.pointers.shape[:2]:
            raise ValueError(
                f"pointers (B, P, C) and distances (B, P) do not match: "
                f"{tuple(self.pointers.shape)} and {tuple(self.distances.shape)}"
            )


@dataclass(frozen=True)
class MaskResult:
    """One mask for each object of a batch.

    Parameters
    ----------
    logits : Tensor
        (B, 1, S/4, S/4); -1024 everywhere where the object is absent.
    iou : Tensor
        (B,), the predicted quality.
    object_score : Tensor
        (B,), above 0 where the object is visible.
    pointer : Tensor
        (B, C), the object pointer to remember.
    """

    logits: Tensor
    iou: Tensor
    object_score: Tensor
    pointer: Tensor


@dataclass(frozen=True)
class MaskCandidates:
    """One or three masks for each object of a batch.

    Parameters
    ----------
    logits : Tensor
        (B, K, S/4, S/4), not silenced by the object score.
    ious : Tensor
        (B, K), the predicted quality of each.
    object_score : Tensor
        (B, 1), above 0 where the object is visible.
    pointers : Tensor
        (B, K, C), the object pointer that goes with each.
    """

    logits: Tensor
    ious: Tensor
    object_score: Tensor
    pointers: Tensor

    def best(self) -> MaskResult:
        """Choose the mask with the highest predicted quality; silence it where the object is absent."""
        return self.choose(self.ious.argmax(1))

    def choose(self, index: Tensor) -> MaskResult:
        """Choose one mask for each object by index (B,)."""
        row = torch.arange(len(index), device=index.device)
        logits = self.logits[row, index][:, None]
        visible = (self.object_score > 0)[:, :, None, None]
        return MaskResult(
            torch.where(visible, logits, logits.new_tensor(NO_OBJECT_LOGIT)),
            self.ious[row, index],
            self.object_score[:, 0],
            self.pointers[row, index],
        )


Masks = TypeVar("Masks", MaskResult, MaskCandidates)


def as_float32(masks: Masks) -> Masks:
    """Return masks in float32."""
    return type(masks)(*(plane.float() for plane in _planes(masks)))


def rows(masks: Masks) -> list[Masks]:
    """Return the masks of each object of a batch, batch 1 each."""
    return [type(masks)(*parts) for parts in zip(*(torch.split(plane, 1) for plane in _planes(masks)))]


def concatenated(parts: Sequence[Masks]) -> Masks:
    """Return the masks of several batches as one batch."""
    return type(parts[0])(*(torch.cat(planes) for planes in zip(*(_planes(part) for part in parts))))


def picked(masks: Masks, index: Tensor) -> Masks:
    """Return the masks of chosen objects of a batch, in the order of `index`."""
    return type(masks)(*(plane[index] for plane in _planes(masks)))


def _planes(masks: MaskResult | MaskCandidates) -> list[Tensor]:
    return [getattr(masks, field.name) for field in fields(masks)]

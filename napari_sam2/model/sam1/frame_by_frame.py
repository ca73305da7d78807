"""Following objects with a network that has no memory: the last mask of an object prompts the next frame.

This is a fixed strategy, nothing that was learnt: an object that is hidden, or leaves, is lost until it is prompted
again, and one that looks like its neighbour may be confused with it. So that sessions run it as they run SAM 2, an
object's memory of a frame is its low-resolution logits there, and conditioning an image embedding on that memory
appends them as further channels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_sam2.model.sam1.prompt_encoder import BOTTOM_RIGHT, TOP_LEFT
from napari_sam2.model.tensors import FED_BACK_LIMIT, MaskCandidates, PromptTensors

CELLS = 4  # of a mask on each side of a token
# The object may have moved or grown: its box gets a part of its size on each side.
BOX_MARGIN = 0.05
SEEN, LOST = 10.0, -10.0  # object scores


def as_memory(logits: Tensor) -> Tensor:
    """Return logits (B, 1, 4h, 4w) as the memory (B, 16, h, w) of a frame."""
    return F.pixel_unshuffle(logits.clamp(-FED_BACK_LIMIT, FED_BACK_LIMIT), CELLS)


def conditioned(embedding: Tensor, memory: Tensor) -> Tensor:
    """Append memories (B, 16, h, w) to the embedding (1, C, h, w) of an image: (B, C + 16, h, w)."""
    return torch.cat([embedding.expand(len(memory), -1, -1, -1), memory.to(embedding.dtype)], 1)


def separated(embedding: Tensor, channels: int) -> tuple[Tensor, Tensor | None]:
    """Return the embedding (1, C, h, w) of an image, and the logits (B, 1, 4h, 4w) that it is conditioned on."""
    if embedding.shape[1] == channels:
        return embedding, None
    logits = F.pixel_shuffle(embedding[:, channels:], CELLS)
    return embedding[:1, :channels], logits


def next_prompts(logits: Tensor) -> PromptTensors:
    """Return the prompts that look for objects on the next frame: their masks as logits (B, 1, h, w), and their boxes.

    Of an object without pixels the box is empty.
    """
    pixels_per_cell = 16 / CELLS
    mask = logits[:, 0] > 0
    corners = [*_extent(mask.any(1)), *_extent(mask.any(2))]  # x0, x1, y0, y1
    x0, x1, y0, y1 = (corner * pixels_per_cell for corner in corners)
    dx, dy = BOX_MARGIN * (x1 - x0), BOX_MARGIN * (y1 - y0)
    low = torch.stack([x0 - dx, y0 - dy], -1).clamp(min=0)
    high = torch.stack([x1 + dx, y1 + dy], -1)
    high = torch.minimum(high, high.new_tensor([logits.shape[-1], logits.shape[-2]]) * pixels_per_cell)
    labels = torch.tensor([[TOP_LEFT, BOTTOM_RIGHT]], dtype=torch.int32, device=logits.device)
    return PromptTensors(torch.stack([low, high], 1), labels.expand(len(logits), -1), logits)


def scored(found: MaskCandidates, before: Tensor) -> MaskCandidates:
    """Return candidates with an object score: lost where an object has no pixels, or had none (B, 1, h, w) before."""
    seen = (before > 0).flatten(1).any(1) & (found.logits > 0).flatten(1).any(1)
    score = torch.where(seen, SEEN, LOST)[:, None].to(found.ious.dtype)
    return MaskCandidates(found.logits, found.ious, score, found.pointers)


def _extent(line: Tensor) -> tuple[Tensor, Tensor]:
    """Return first, and one after the last, true place of each row (B, N); both 0 where there is none."""
    places = torch.arange(line.shape[1], device=line.device)
    first = torch.where(line, places, line.shape[1]).amin(1)
    last = torch.where(line, places + 1, 0).amax(1)
    return torch.minimum(first, last).float(), last.float()

"""Decoding the prompt of one object on one frame."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from napari_sam2.model.tensors import FED_BACK_LIMIT, ImageFeatures, MaskCandidates, MaskResult, PromptTensors
from napari_sam2.prompts import BoxPrompt, PointPrompt, Prompt
from napari_sam2.session.runner import ModelRunner
from napari_sam2.session.tensors import InputGeometry, fill_holes, rounded


@dataclass(frozen=True, eq=False)
class DecodedPrompt:
    """The answer to a prompt; ``candidates`` is None when a mask was the result."""

    result: MaskResult
    candidates: MaskCandidates | None


@dataclass(frozen=True)
class FrameContext:
    """One frame as one object sees it: features, their memory-conditioned embedding, and its place in the input.

    ``tracking``: propagation had reached the frame before it was prompted.
    """

    runner: ModelRunner
    features: ImageFeatures
    embedding: Tensor
    geometry: InputGeometry
    tracking: bool = False


def decode_prompt(
    context: FrameContext, prompt: Prompt, base: Tensor | None = None, answered: Prompt | None = None
) -> DecodedPrompt:
    """Decode a prompt click by click, each time with the mask that the clicks before gave.

    So the answer depends on the prompt (and the memories) alone, not on when its clicks were made.

    Parameters
    ----------
    context : FrameContext
        The frame.
    prompt : Prompt
        A mask is the first result, a box comes next, then the clicks in their order.
    base : Tensor, optional
        Logits (1, 1, h, w) to start from.
    answered : Prompt, optional
        The beginning of this prompt that ``base`` already answers.
    """
    decoded: DecodedPrompt | None = None
    previous = base
    done = -1 if answered is None else len(answered.points)
    if prompt.mask is not None and answered is None:
        decoded = DecodedPrompt(adopted(context, prompt), None)
        previous = _fed_back(context, decoded)
    if prompt.box is not None and answered is None:
        decoded = decode_points(context, (), prompt.box, previous)
        previous = _fed_back(context, decoded)
    for count in range(max(done, 0) + 1, len(prompt.points) + 1):
        decoded = decode_points(context, prompt.points[:count], prompt.box, previous)
        previous = _fed_back(context, decoded)
    if decoded is None:
        raise ValueError("this prompt is empty: give at least one point, a box or a mask")
    return decoded


def adopted(context: FrameContext, prompt: Prompt) -> MaskResult:
    """Take over the prompt's mask as the answer."""
    if prompt.mask is None:
        raise ValueError("this prompt has no mask to take over")
    mask = context.geometry.mask_tensor(prompt.mask.array())
    return context.runner.use_mask_as_output(context.features, mask)


def decode_points(
    context: FrameContext, points: tuple[PointPrompt, ...], box: BoxPrompt | None, previous: Tensor | None
) -> DecodedPrompt:
    """Decode clicks and a box at once, with logits (1, 1, h, w) of an earlier answer.

    A single click is ambiguous: three masks are decoded and the best is taken (reference: ``_use_multimask``).
    """
    device = context.runner.device
    xy, labels = context.geometry.points(points, box)
    fed = None if previous is None else previous.to(device).clamp(-FED_BACK_LIMIT, FED_BACK_LIMIT)
    prompts = PromptTensors(xy.to(device), labels.to(device), fed)
    multimask = context.runner.options.multimask(labels.shape[1], context.tracking)
    candidates = context.runner.decode(context.embedding, context.features, prompts, multimask)
    return DecodedPrompt(candidates.best(), candidates)


def _fed_back(context: FrameContext, decoded: DecodedPrompt) -> Tensor:
    options = context.runner.options
    return fill_holes(rounded(decoded.result.logits, options.store_dtype), options.fill_hole_area)

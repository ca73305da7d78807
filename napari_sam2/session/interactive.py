"""Answering a prompt in a video: with or without memories, and starting from which earlier mask."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from napari_sam2.model.tensors import PromptTensors
from napari_sam2.prompts import Prompt
from napari_sam2.session.frame_output import Alternatives, ObjectOutput, given_mask
from napari_sam2.session.frame_writer import FrameWriter
from napari_sam2.session.prompt_decoding import DecodedPrompt, FrameContext, decode_points, decode_prompt
from napari_sam2.session.protocols import prompt_hash
from napari_sam2.session.tensors import InputGeometry, fill_holes, rounded
from napari_sam2.session.tracked_object import Draft, TrackedObject


def answer(
    writer: FrameWriter, tracked: TrackedObject, frame: int, prompt: Prompt, redo: bool = False
) -> Draft:
    """Decode a prompt of one object on one frame; nothing is changed.

    A prompt that was answered and committed before is not decoded again, unless ``redo`` asks for its candidates.

    Memories are recalled only when propagation had reached the frame before it was prompted: the first prompt of
    a frame is about what is seen there (reference: ``is_init_cond_frame``).
    """
    options = writer.options
    draft = tracked.drafts.get(frame)
    one_by_one = options.refine == "prompt"
    if one_by_one and draft is not None and draft.prompt == prompt and draft.decoded is not None:
        return draft
    stored = tracked.stored(frame)
    unchanged = draft is None and stored is not None and stored.conditioning
    if one_by_one and not redo and unchanged and tracked.is_committed(frame, prompt):
        assert stored is not None
        return Draft(prompt, stored, None)
    reached = stored is not None and stored.tracked
    reverse = stored is not None and stored.reverse
    features = writer.features.get(frame)
    readout = None
    if reached and any(f != frame or not one_by_one for f in tracked.bank.conditioning):
        readout = tracked.readout(frame, reverse, own=not one_by_one)
    embedding = writer.runner.condition_on_memory(features, readout)
    context = FrameContext(writer.runner, features, embedding, writer.geometry, tracking=reached)
    if not one_by_one:
        decoded = _all_at_once(context, prompt, tracked.output(frame), options.fill_hole_area)
    elif draft is not None and _extends(draft.prompt, prompt):
        decoded = decode_prompt(context, prompt, _filled(context, draft.output.logits), draft.prompt)
    else:
        base = None if readout is None else _tracked_mask(context)
        decoded = decode_prompt(context, prompt, base)
    output = ObjectOutput.of_result(decoded.result, options.store_dtype).changed(
        prompted=True,
        conditioning=not reached or options.corrections_condition,
        tracked=reached,
        reverse=reverse,
        prompt_hash=prompt_hash(prompt),
        given=given_mask(prompt),
    )
    return Draft(prompt, output, decoded)


def alternatives_of(draft: Draft, geometry: InputGeometry) -> Alternatives:
    """Return all candidate masks of the last click of a draft, at the frame's size."""
    decoded = draft.decoded
    if decoded is None or decoded.candidates is None:
        logits, ious = draft.output.logits[None], np.array([draft.output.predicted_iou], np.float32)
    else:
        logits, ious = decoded.candidates.logits[0], decoded.candidates.ious[0].cpu().numpy()
    return Alternatives((geometry.frame_logits(logits) > 0).cpu().numpy(), ious, int(ious.argmax()))


def _all_at_once(
    context: FrameContext, prompt: Prompt, earlier: ObjectOutput | None, area: int
) -> DecodedPrompt:
    if prompt.mask is not None:
        return decode_prompt(context, prompt)
    previous = None if earlier is None else fill_holes(earlier.logits, area)[None, None]
    return decode_points(context, prompt.points, prompt.box, previous)


def _extends(earlier: Prompt, later: Prompt) -> bool:
    count = len(earlier.points)
    same_start = earlier.box == later.box and earlier.mask == later.mask
    return same_start and len(later.points) > count and later.points[:count] == earlier.points


def _tracked_mask(context: FrameContext) -> Tensor | None:
    """Return the mask that tracking alone gives here, for the first click to correct; None where it sees none."""
    multimask = context.runner.options.multimask(0, tracking=True)
    candidates = context.runner.decode(context.embedding, context.features, PromptTensors(batch=1), multimask)
    result = candidates.best()
    if float(result.object_score[0]) <= 0:
        return None
    return _filled(context, rounded(result.logits[0, 0], context.runner.options.store_dtype))


def _filled(context: FrameContext, logits: Tensor) -> Tensor:
    return fill_holes(logits, context.runner.options.fill_hole_area)[None, None]

"""Follow objects with a network that has no memory: each frame's masks are the prompts of the next one.

This is a declared strategy, not what a network learnt: an object that is hidden for long, or meets one that looks like
it, is lost. SAM 2 remembers (:class:`~napari_sam2.session.VideoSession`), and takes masks found here as prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sam2.frames.errors import FrameReadError, warn_of_unreadable
from napari_sam2.masks import FrameMasks, mask_box
from napari_sam2.model.tensors import MaskCandidates, PromptTensors
from napari_sam2.prompts import BoxPrompt, Prompt
from napari_sam2.session.image import ImageSession
from napari_sam2.session.prompt_decoding import FED_BACK_LIMIT
from napari_sam2.session.protocols import FrameSource
from napari_sam2.session.validation import frame_range, positive_object_id

NextPrompt = Literal["mask and box", "mask", "box"]
Motion = Literal["none", "velocity"]
# The box of an object that may have moved or grown, as a part of its size on each side.
BOX_MARGIN = 0.05
OUTSIDE = -10.0  # logit of what a moved mask leaves behind


@dataclass
class _Followed:
    """One object on the frame before: its mask and logits, and how it moved to get there."""

    mask: NDArray[np.bool_]
    logits: Tensor  # (1, h, w)
    centre: NDArray[np.float64]  # (x, y)
    velocity: NDArray[np.float64]


def follow_frame_by_frame(
    session: ImageSession,
    frames: FrameSource,
    prompts: Mapping[int, Prompt],
    start: int = 0,
    stop: int | None = None,
    reverse: bool = False,
    next_prompt: NextPrompt = "mask and box",
    motion: Motion = "none",
) -> Iterator[FrameMasks]:
    """Segment objects on one frame, and carry them on from frame to frame.

    Parameters
    ----------
    session : ImageSession
        Of Segment Anything 1, or of SAM 2 without its memory.
    frames : FrameSource
        The video.
    prompts : mapping of int to Prompt
        For each object id, a prompt on the frame ``start``.
    start, stop : int
        First and last frame, both included; by default to the end (the beginning, in reverse).
    reverse : bool
        Go backwards.
    next_prompt : {"mask and box", "mask", "box"}
        What of an object's last mask is the prompt on the next frame. A mask is given as the logits it came from.
    motion : {"none", "velocity"}
        Where the object is expected: where it was, or moved on by as much as it last moved.

    Yields
    ------
    FrameMasks
        One for each frame, empty (with a warning) where it can't be read. The object score is 10 where an object has
        pixels, -10 where it was lost; from there on its mask stays empty.

    Raises
    ------
    ValueError
        No prompts, an id or a frame that does not exist, or a prompt that does not fit the frame.
    """
    if not prompts:
        raise ValueError("there is nothing to follow: give at least one prompt")
    ids = tuple(positive_object_id(object_id) for object_id in prompts)
    visited = frame_range([start], len(frames), start, stop, reverse)
    followed: dict[int, _Followed] = {}
    for frame in visited:
        if not _set_image(session, frames, frame, needed=frame == start):
            yield FrameMasks.empty(frame, frames.size)
            continue
        if frame == start:
            found = {i: _first_answer(session, prompts[i]) for i in ids}
        else:
            found = _next_answers(session, followed, next_prompt, motion)
        yield _frame_masks(frame, ids, found, session.geometry.size, prompted=frame == start)
        followed = {
            i: _remembered(mask, logits, followed.get(i))
            for i, (mask, logits, _) in found.items()
            if mask.any()
        }


def _set_image(session: ImageSession, frames: FrameSource, frame: int, needed: bool) -> bool:
    """Give a frame to the session; False, with a warning, where it can't be read and is not ``needed``."""
    try:
        session.set_image(frames.frame(frame))
    except FrameReadError as error:
        if needed or error.file_is_gone:
            raise
        warn_of_unreadable([frame], str(error))
        return False
    return True


_Answer = tuple[NDArray[np.bool_], Tensor, float]  # mask (H, W), logits (1, h, w), predicted IoU


def _first_answer(session: ImageSession, prompt: Prompt) -> _Answer:
    """Decode a user's prompt: a mask is taken as it is; of a single click's three masks the best is."""
    if prompt.mask is not None and not prompt.points and prompt.box is None:
        prompt.check(session.geometry.size)
        mask = prompt.mask.array()
        return (
            mask,
            session.geometry.mask_logits(mask, session.runner.mask_side).to(session.runner.device),
            1.0,
        )
    alone = len(prompt.points) == 1 and prompt.box is None
    return _answers(session, session.candidates([prompt], multimask=alone))[0]


def _next_answers(
    session: ImageSession, followed: Mapping[int, _Followed], kind: NextPrompt, motion: Motion
) -> dict[int, _Answer]:
    if not followed:
        return {}
    prompts, logits = [], []
    for one in followed.values():
        moved = one.velocity if motion == "velocity" else np.zeros(2)
        box = _box(one.mask, moved)
        prompts.append(Prompt(box=box))
        logits.append(_moved(one.logits, moved, session))
    if kind == "mask":
        none = torch.zeros(len(logits), 0, 2), torch.zeros(len(logits), 0, dtype=torch.int32)
        found = session.decode(PromptTensors(*none, torch.stack(logits)), multimask=False)
    else:
        previous = torch.stack(logits) if kind == "mask and box" else None
        found = session.candidates(prompts, multimask=False, previous_logits=previous)
    return dict(zip(followed, _answers(session, found)))


def _answers(session: ImageSession, found: MaskCandidates) -> list[_Answer]:
    best = found.best()
    masks = session.geometry.frame_logits(best.logits[:, 0]) > 0
    logits = best.logits.clamp(-FED_BACK_LIMIT, FED_BACK_LIMIT)
    return [(mask, low, float(iou)) for mask, low, iou in zip(masks.cpu().numpy(), logits, best.iou.tolist())]


def _box(mask: NDArray[np.bool_], moved: NDArray[np.float64]) -> BoxPrompt:
    """Return the box of a mask, moved and with a margin, inside the frame."""
    box = mask_box(mask)
    assert box is not None  # only objects with pixels are followed
    x0, y0, x1, y1 = box
    height, width = mask.shape
    dx, dy = BOX_MARGIN * (x1 - x0), BOX_MARGIN * (y1 - y0)
    left, right = np.clip((x0 - dx + moved[0], x1 + dx + moved[0]), 0, width)
    top, bottom = np.clip((y0 - dy + moved[1], y1 + dy + moved[1]), 0, height)
    if right - left < 1 or bottom - top < 1:  # it is expected outside the frame: look where it was
        return BoxPrompt(float(x0), float(y0), float(x1), float(y1))
    return BoxPrompt(float(left), float(top), float(right), float(bottom))


def _moved(logits: Tensor, moved: NDArray[np.float64], session: ImageSession) -> Tensor:
    """Move low-resolution logits (1, h, w) by pixels of the frame, rounded to whole cells."""
    height, width = session.geometry.size
    per_pixel = (
        np.array(session.geometry.inside[::-1]) / (width, height) * logits.shape[-1] / session.geometry.side
    )
    dx, dy = (int(v) for v in np.rint(moved * per_pixel))
    if dx == dy == 0:
        return logits
    out = torch.full_like(logits, OUTSIDE)
    h, w = logits.shape[-2:]
    if abs(dx) < w and abs(dy) < h:
        part = logits[..., max(-dy, 0) : h - max(dy, 0), max(-dx, 0) : w - max(dx, 0)]
        out[..., max(dy, 0) : h - max(-dy, 0), max(dx, 0) : w - max(-dx, 0)] = part
    return out


def _remembered(mask: NDArray[np.bool_], logits: Tensor, before: _Followed | None) -> _Followed:
    rows, columns = np.nonzero(mask)
    centre = np.array((columns.mean(), rows.mean()))
    velocity = np.zeros(2) if before is None else centre - before.centre
    return _Followed(mask, logits, centre, velocity)


def _frame_masks(
    frame: int, ids: tuple[int, ...], found: Mapping[int, _Answer], size: tuple[int, int], prompted: bool
) -> FrameMasks:
    masks = np.zeros((len(ids), *size), bool)
    ious = np.zeros(len(ids), np.float32)
    for row, object_id in enumerate(ids):
        if object_id in found:
            masks[row], ious[row] = found[object_id][0], found[object_id][2]
    scores = np.where(masks.any((1, 2)), np.float32(10), np.float32(-10))
    return FrameMasks(frame, ids, masks, scores, ious, np.full(len(ids), prompted))

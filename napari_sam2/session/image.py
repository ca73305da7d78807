"""Segmenting objects on one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sam2.model.sam1.sam import Sam
from napari_sam2.model.sam2 import Sam2
from napari_sam2.model.tensors import (
    FED_BACK_LIMIT,
    ImageFeatures,
    MaskCandidates,
    PromptTensors,
    concatenated,
    rows,
)
from napari_sam2.prompts import Prompt
from napari_sam2.session.array_frames import rgb_frame
from napari_sam2.session.frame_output import given_mask
from napari_sam2.session.options import SessionOptions
from napari_sam2.session.runner import CPU_OBJECTS_PER_BATCH, ImageRunner
from napari_sam2.session.tensors import InputGeometry, fill_holes

# Intermediates of a larger batch do not fit the caches of a data-centre GPU either.
DEVICE_PROMPTS_PER_BATCH = 64


@dataclass(frozen=True, eq=False)
class ImagePrediction:
    """Masks for N prompts, K for each.

    Parameters
    ----------
    masks : ndarray of bool, shape (N, K, H, W)
        At the size of the image.
    ious : ndarray of float32, shape (N, K)
        The network's own estimate of the quality of each mask.
    logits : Tensor of float32, shape (N, K, h, w)
        Low-resolution logits, to be given back as ``previous_logits``.
    object_scores : ndarray of float32, shape (N,)
        Above 0: the network sees an object.
    """

    masks: NDArray[np.bool_]
    ious: NDArray[np.float32]
    logits: Tensor
    object_scores: NDArray[np.float32]


class ImageSession:
    """One image at a time, any number of prompts (reference: ``SAM2ImagePredictor``, ``SamPredictor``).

    Parameters
    ----------
    model : Sam2 or Sam
        The network, SAM 2 or Segment Anything 1; stays on its device.
    options : SessionOptions, optional
        Only precision, resize, batch size and hole filling matter here; by default frames are resized as the
        reference's image predictor does (always for Segment Anything 1).

    Attributes
    ----------
    geometry : InputGeometry
        Where the image is in the network's input.
    """

    geometry: InputGeometry

    def __init__(self, model: Sam2 | Sam, options: SessionOptions | None = None) -> None:
        self.options = options or SessionOptions(resize="bilinear")
        self.runner = ImageRunner(model, self.options)
        self.features: ImageFeatures | None = None
        self.size: tuple[int, int] = (0, 0)
        self._embedding: Tensor | None = None
        on_cpu = self.runner.device.type == "cpu"
        self._batch = self.options.objects_per_batch or (
            CPU_OBJECTS_PER_BATCH if on_cpu else DEVICE_PROMPTS_PER_BATCH
        )

    def set_image(self, image: NDArray[np.uint8]) -> None:
        """Encode an image: uint8 (H, W, 3) RGB, (H, W, 1) or (H, W) grey."""
        rgb = rgb_frame(image)
        self.set_features(self.runner.encode_image(rgb), rgb.shape[:2])

    def set_features(self, features: ImageFeatures, size: tuple[int, int]) -> None:
        """Take over features of an image of ``size`` (height, width) that were computed before."""
        embedding = self.runner.condition_on_memory(features, None)
        self.features, self.size, self._embedding = features, (int(size[0]), int(size[1])), embedding
        self.geometry = InputGeometry.of(self.size, self.runner.side, self.runner.model.config.input_layout)

    def reset(self) -> None:
        """Forget the image."""
        self.features, self._embedding, self.size = None, None, (0, 0)

    def predict(
        self,
        prompts: Prompt | Sequence[Prompt],
        multimask: bool = True,
        previous_logits: Tensor | None = None,
    ) -> ImagePrediction:
        """Find the masks of prompts on the image; each prompt is decoded at once and on its own.

        A prompt that is a mask alone gives that mask, pixel by pixel, as in a video; the logits are what the network
        makes of it. To have it refined, add a click, or give ``previous_logits``.

        Parameters
        ----------
        prompts : Prompt or sequence of Prompt
            In pixels of the image.
        multimask : bool
            Three masks for each prompt (good for a single, ambiguous click), or one.
        previous_logits : Tensor, optional
            (N, 1, h, w) or (1, h, w) of an earlier prediction, to be refined.

        Raises
        ------
        RuntimeError
            When no image was set.
        ValueError
            A prompt outside the image, or empty; logits of the wrong shape.
        """
        several = [prompts] if isinstance(prompts, Prompt) else list(prompts)
        if not several:
            raise ValueError("predict needs at least one prompt, got an empty list")
        candidates = self.candidates(several, multimask, previous_logits)
        logits = fill_holes(candidates.logits, self.options.fill_hole_area)
        n, k = logits.shape[:2]
        masks = np.empty((n, k, *self.size), bool)
        for row in range(n):
            given = given_mask(several[row]) if previous_logits is None else None
            if given is not None:
                masks[row] = given.array()
                continue
            masks[row] = (self.geometry.frame_logits(logits[row]) > 0).cpu().numpy()
        return ImagePrediction(
            masks,
            candidates.ious.cpu().numpy(),
            candidates.logits.clamp(-FED_BACK_LIMIT, FED_BACK_LIMIT),
            candidates.object_score[:, 0].cpu().numpy(),
        )

    def candidates(
        self, prompts: Sequence[Prompt], multimask: bool = True, previous_logits: Tensor | None = None
    ) -> MaskCandidates:
        """Return low-resolution candidates of prompts, before anything is thresholded or enlarged."""
        for prompt in prompts:
            prompt.check(self._ready()[1])
        previous = self._previous(prompts, previous_logits)
        parts: dict[int, MaskCandidates] = {}
        for alike in _alike(prompts, previous):
            parts.update(zip(alike, self._decode_alike(prompts, alike, previous, multimask)))
        return concatenated([parts[i] for i in range(len(prompts))])

    def decode(self, prompts: PromptTensors, multimask: bool) -> MaskCandidates:
        """Decode prompts that are tensors in pixels of the network's input already."""
        features, _ = self._ready()
        embedding = self._embedding
        assert embedding is not None

        def work(low: int, high: int) -> list[MaskCandidates]:
            given = (prompts.points, prompts.labels, prompts.mask_logits)
            points, labels, masks = [None if t is None else t[low:high].to(self.runner.device) for t in given]
            return rows(
                self.runner.decode(
                    embedding, features, PromptTensors(points, labels, masks, high - low), multimask
                )
            )

        return concatenated(self.runner.in_batches(work, prompts.batch, self._batch))

    def _ready(self) -> tuple[ImageFeatures, tuple[int, int]]:
        if self.features is None:
            raise RuntimeError("there is no image yet: call set_image() first")
        return self.features, self.size

    def _previous(self, prompts: Sequence[Prompt], given: Tensor | None) -> list[Tensor | None]:
        """Return the logits (1, h, w) that each prompt starts from: those given, or those of its mask."""
        side = self.runner.mask_side
        if given is None:
            return [None if p.mask is None else self._mask_logits(p) for p in prompts]
        logits = given.float().reshape(-1, 1, *given.shape[-2:])
        if logits.shape != (len(prompts), 1, side, side):
            raise ValueError(
                f"previous_logits must have shape ({len(prompts)}, 1, {side}, {side}), not {tuple(given.shape)}"
            )
        return list(logits)

    def _mask_logits(self, prompt: Prompt) -> Tensor:
        assert prompt.mask is not None
        return self.geometry.mask_logits(prompt.mask.array(), self.runner.mask_side)

    def _decode_alike(
        self, prompts: Sequence[Prompt], alike: list[int], previous: list[Tensor | None], multimask: bool
    ) -> list[MaskCandidates]:
        pairs = [self.geometry.points(prompts[r].points, prompts[r].box) for r in alike]
        fed = [p for p in (previous[r] for r in alike) if p is not None]
        tensors = PromptTensors(
            torch.cat([xy for xy, _ in pairs]),
            torch.cat([labels for _, labels in pairs]),
            torch.stack(fed) if fed else None,
        )
        return rows(self.decode(tensors, multimask))


def _alike(prompts: Sequence[Prompt], previous: Sequence[Tensor | None]) -> list[list[int]]:
    """Group prompts that have the same number of points, so that they fit one batch."""
    groups: dict[tuple[int, bool, bool], list[int]] = {}
    for row, prompt in enumerate(prompts):
        kind = (len(prompt.points), prompt.box is not None, previous[row] is not None)
        groups.setdefault(kind, []).append(row)
    return list(groups.values())

"""Segment Anything 1: one image, any number of prompts; through a video it follows masks frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam2.model.mask_decoder import shrink
from napari_sam2.model.sam1 import frame_by_frame
from napari_sam2.model.sam1.config import SamConfig, TinyVitConfig
from napari_sam2.model.sam1.instance_decoder import InstanceDecoder
from napari_sam2.model.sam1.mask_decoder import SamMaskDecoder
from napari_sam2.model.sam1.prompt_encoder import SamPromptEncoder
from napari_sam2.model.sam1.tiny_vit import TinyViT
from napari_sam2.model.sam1.vit import ImageEncoderViT
from napari_sam2.model.tensors import (
    ImageFeatures,
    MaskCandidates,
    MaskResult,
    MemoryReadout,
    ModelOrigin,
    PromptTensors,
)

# ImageNet statistics of bytes.
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


class Sam(nn.Module):
    """The network of Segment Anything 1 (reference: ``Sam``).

    Parameters
    ----------
    config : SamConfig
        Sizes.

    Notes
    -----
    The verbs :meth:`encode_image`, :meth:`condition_on_memory`, :meth:`decode_masks`, :meth:`use_mask_as_output` and
    :meth:`encode_memory` are those of :class:`~napari_sam2.model.sam2.Sam2`, so that sessions and automatic masks run
    either; what stands in for memory is the strategy of :mod:`~napari_sam2.model.sam1.frame_by_frame`.
    :meth:`forward`, :meth:`preprocess` and :meth:`postprocess_masks` are the reference's.
    """

    mask_threshold = 0.0
    image_format = "RGB"
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.config = config
        encoder = config.encoder
        self.image_encoder: ImageEncoderViT | TinyViT
        if isinstance(encoder, TinyVitConfig):
            self.image_encoder = TinyViT(encoder, config.image_size, config.embed_dim)
        else:
            self.image_encoder = ImageEncoderViT(encoder, config.image_size, config.embed_dim)
        self.prompt_encoder = SamPromptEncoder(config)
        self.mask_decoder = SamMaskDecoder(config)
        # In no file, so they need values also while a network is built without any.
        for name, values in (("pixel_mean", PIXEL_MEAN), ("pixel_std", PIXEL_STD)):
            self.register_buffer(name, torch.tensor(values, device="cpu").view(3, 1, 1), persistent=False)
        self.instance_decoder: InstanceDecoder | None = None  # only some files of micro-sam bring one
        self.compute_dtype = torch.float32  # what sessions should compute in
        self.origin: ModelOrigin | None = None

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.pixel_mean.device

    def preprocess(self, x: Tensor) -> Tensor:
        """Normalise an image (..., 3, H, W) of bytes, and pad it with zeros at the right and bottom to (…, 3, S, S)."""
        x = (x - self.pixel_mean) / self.pixel_std
        side = self.config.image_size
        return F.pad(x, (0, side - x.shape[-1], 0, side - x.shape[-2]))

    def encode_image(self, images: Tensor) -> ImageFeatures:
        """Encode normalised, padded images (B, 3, S, S); the two finer strides stay empty."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must have shape (B, 3, S, S), not {tuple(images.shape)}")
        embedding = self.image_encoder(images)
        batch, _, height, width = embedding.shape
        finer = [embedding.new_empty(batch, 0, height * scale, width * scale) for scale in (4, 2)]
        return ImageFeatures(finer[0], finer[1], embedding)

    def condition_on_memory(self, features: ImageFeatures, readout: MemoryReadout | None) -> Tensor:
        """Return the embedding of an image, with the last masks of objects as further channels."""
        if readout is None:
            return features.stride16
        return frame_by_frame.conditioned(features.stride16, readout.spatial[:, -1])

    def decode_masks(
        self, embedding: Tensor, features: ImageFeatures, prompts: PromptTensors, multimask: bool
    ) -> MaskCandidates:
        """Decode prompts on an image.

        Parameters
        ----------
        embedding : Tensor
            (1, C, h, w), of the image; (B, C + 16, h, w) where it is conditioned on masks, which count when there is
            no prompt.
        features : ImageFeatures
            Not used: SAM 1 has no finer features.
        prompts : PromptTensors
            For B objects.
        multimask : bool
            Return three masks for each prompt, or one.
        """
        side = self.config.mask_side
        embedding, last = frame_by_frame.separated(embedding, self.config.embed_dim)
        if last is not None and prompts.points is None and prompts.mask_logits is None:
            found = self.decode_masks(embedding, features, frame_by_frame.next_prompts(last), False)
            return frame_by_frame.scored(found, last)
        given = prompts.mask_logits
        if given is not None and given.shape[-2:] != (side, side):
            raise ValueError(f"mask prompts must be {side} × {side}, not {tuple(given.shape[-2:])}")
        sparse, dense = self.embed_prompts(prompts, self.config.embedding_side)
        place = self.prompt_encoder.get_dense_pe()
        logits, ious = self.mask_decoder(embedding, place, sparse, dense, multimask)
        score = logits.new_full((len(logits), 1), frame_by_frame.SEEN)  # what is prompted is there
        return MaskCandidates(logits, ious, score, logits.new_empty(*ious.shape, 0))

    def use_mask_as_output(self, features: ImageFeatures, mask: Tensor) -> MaskResult:
        """Take a given mask (B, 1, S, S) over as the answer."""
        mask = mask.float()
        seen = mask.flatten(1).any(1)
        score = torch.where(seen, frame_by_frame.SEEN, frame_by_frame.LOST)
        logits = shrink(mask * 20.0 - 10.0, self.config.mask_side)
        return MaskResult(logits, torch.ones_like(score), score, logits.new_empty(len(mask), 0))

    def encode_memory(
        self, features: ImageFeatures, logits: Tensor, object_score: Tensor, binarize: bool | Tensor
    ) -> Tensor:
        """Make the memory of a frame: the mask as logits (B, 1, S/4, S/4), nothing else of the arguments."""
        return frame_by_frame.as_memory(logits)

    def embed_prompts(self, prompts: PromptTensors, side: int) -> tuple[Tensor, Tensor]:
        """Return the embeddings of prompts, sparse (B, N, C) and dense (B or 1, C, side, side)."""
        return self.prompt_encoder.embed(prompts)

    def postprocess_masks(
        self, masks: Tensor, input_size: tuple[int, ...], original_size: tuple[int, ...]
    ) -> Tensor:
        """Bring low-resolution logits (B, K, h, w) to the image's size: to the network's, cropped, then to the image's.

        Parameters
        ----------
        masks : Tensor
            Logits.
        input_size, original_size : tuple of int
            (height, width) of the image as the network saw it, before padding, and of the image itself.
        """
        side = self.config.image_size
        masks = F.interpolate(masks, (side, side), mode="bilinear", align_corners=False)
        masks = masks[..., : input_size[0], : input_size[1]]
        return F.interpolate(masks, tuple(original_size), mode="bilinear", align_corners=False)

    @torch.no_grad()
    def forward(
        self, batched_input: Sequence[dict[str, Any]], multimask_output: bool
    ) -> list[dict[str, Tensor]]:
        """Predict masks for several images with their prompts.

        Parameters
        ----------
        batched_input : sequence of dict
            ``image`` (3, H, W), resized, ``original_size`` (height, width), and any of ``point_coords`` (B, N, 2) with
            ``point_labels`` (B, N), ``boxes`` (B, 4), ``mask_inputs`` (B, 1, S/4, S/4), in pixels of the resized image.
        multimask_output : bool
            Three masks for each prompt, or one.

        Returns
        -------
        list of dict
            ``masks`` (B, K, H, W) of bool at the original size, ``iou_predictions`` (B, K), ``low_res_logits``
            (B, K, S/4, S/4).
        """
        images = torch.stack([self.preprocess(record["image"]) for record in batched_input])
        outputs = []
        for record, embedding in zip(batched_input, self.image_encoder(images)):
            points = (record["point_coords"], record["point_labels"]) if "point_coords" in record else None
            sparse, dense = self.prompt_encoder(points, record.get("boxes"), record.get("mask_inputs"))
            low, ious = self.mask_decoder(
                embedding[None], self.prompt_encoder.get_dense_pe(), sparse, dense, multimask_output
            )
            masks = self.postprocess_masks(low, record["image"].shape[-2:], record["original_size"])
            outputs.append(
                {"masks": masks > self.mask_threshold, "iou_predictions": ious, "low_res_logits": low}
            )
        return outputs

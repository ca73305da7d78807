"""SAM 2: five verbs on tensors. Which memories are kept, and for how long, is decided by the session.

Source: N. Ravi et al., "SAM 2: Segment Anything in Images and Videos", 2024.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam2.model.config import ModelConfig
from napari_sam2.model.image_encoder import ImageEncoder
from napari_sam2.model.layers import MLP
from napari_sam2.model.mask_decoder import MaskDecoder, shrink
from napari_sam2.model.memory_attention import MemoryAttention
from napari_sam2.model.memory_encoder import MemoryEncoder
from napari_sam2.model.position_encoding import sine_encoding_1d, sine_encoding_2d
from napari_sam2.model.prompt_encoder import PromptEncoder
from napari_sam2.model.tensors import (
    ImageFeatures,
    MaskCandidates,
    MaskResult,
    MemoryReadout,
    ModelOrigin,
    PromptTensors,
)


class Sam2(nn.Module):
    """The network of SAM 2 (reference: ``SAM2Base``).

    Parameters
    ----------
    config : ModelConfig
        Sizes and switches.

    Notes
    -----
    The verbs are :meth:`encode_image`, :meth:`condition_on_memory`, :meth:`decode_masks`, :meth:`use_mask_as_output`
    and :meth:`encode_memory`. All are batched over objects; features of one frame serve a batch of objects.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, memory_dim = config.embed_dim, config.memory_dim
        self.config = config
        self.image_encoder = ImageEncoder(config)
        self.prompt_encoder = PromptEncoder(config.embed_dim)
        self.mask_decoder = MaskDecoder(config)
        self.memory_attention = MemoryAttention(config)
        self.memory_encoder = MemoryEncoder(config)
        self.mask_downsample = nn.Conv2d(1, 1, 4, stride=4)
        self.obj_ptr_proj = MLP(dim, dim, dim, 3)
        self.maskmem_tpos_enc = nn.Parameter(torch.zeros(config.num_maskmem, 1, 1, memory_dim))
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, dim))
        self.no_mem_pos_enc = nn.Parameter(torch.zeros(1, 1, dim))  # in every checkpoint, used by none
        self.no_obj_ptr = nn.Parameter(torch.zeros(1, dim))
        for parameter in (self.maskmem_tpos_enc, self.no_mem_embed, self.no_mem_pos_enc, self.no_obj_ptr):
            nn.init.trunc_normal_(parameter, std=0.02)
        if config.pointer_time_encoding:
            self.obj_ptr_tpos_proj = nn.Linear(dim, memory_dim)
        if config.spatial_no_object:
            self.no_obj_embed_spatial = nn.Parameter(torch.zeros(1, memory_dim))
            nn.init.trunc_normal_(self.no_obj_embed_spatial, std=0.02)
        self.compute_dtype = torch.float32  # what sessions should compute in; see checkpoints.load_model
        self.origin: ModelOrigin | None = None
        self._positions: dict[tuple[int, int, int, str], Tensor] = {}

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.no_mem_embed.device

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels."""
        return self.config.image_size

    def encode_image(self, images: Tensor) -> ImageFeatures:
        """Encode normalised images (B, 3, S, S) (reference: ``forward_image``)."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must have shape (B, 3, S, S), not {tuple(images.shape)}")
        stride4, stride8, stride16 = self.image_encoder(images)
        return ImageFeatures(self.mask_decoder.conv_s0(stride4), self.mask_decoder.conv_s1(stride8), stride16)

    def condition_on_memory(self, features: ImageFeatures, readout: MemoryReadout | None) -> Tensor:
        """Let a frame look at its memories (reference: ``_prepare_memory_conditioned_features``).

        Parameters
        ----------
        features : ImageFeatures
            Of one frame (batch 1), or of one frame for each object.
        readout : MemoryReadout or None
            What the memory bank recalls for each of B objects; None where nothing can be recalled.

        Returns
        -------
        Tensor
            (B, C, S/16, S/16); batch as the features' when there is no readout.
        """
        embedding = features.stride16
        if readout is None:
            return embedding + self.no_mem_embed.transpose(1, 2)[..., None]
        batch, _, _, height, width = readout.spatial.shape
        embedding = embedding.expand(batch, -1, -1, -1)
        position = self._position(height, width, self.config.embed_dim)
        spatial = readout.spatial.to(embedding.dtype).flatten(3).transpose(2, 3)  # (B, M, hw, Cm)
        place = self._position(height, width, self.config.memory_dim).flatten(2).transpose(1, 2)
        spatial_position = place[:, None] + self._age_encoding(readout.ages)  # (B, M, hw, Cm)
        tokens, token_position = self._pointer_tokens(readout)
        memory = torch.cat([spatial.flatten(1, 2), tokens.to(spatial.dtype)], 1)
        memory_position = torch.cat([spatial_position.flatten(1, 2), token_position], 1)
        conditioned: Tensor = self.memory_attention(
            embedding, position.expand_as(embedding), memory, memory_position, tokens.shape[1]
        )
        return conditioned

    def decode_masks(
        self, embedding: Tensor, features: ImageFeatures, prompts: PromptTensors, multimask: bool
    ) -> MaskCandidates:
        """Decode prompts on a conditioned embedding (reference: ``_forward_sam_heads``).

        Parameters
        ----------
        embedding : Tensor
            (B or 1, C, S/16, S/16), from :meth:`condition_on_memory`.
        features : ImageFeatures
            Of the same frame, batch B or 1.
        prompts : PromptTensors
            For B objects.
        multimask : bool
            Return three masks for each prompt, or one.
        """
        side = embedding.shape[-1]
        if prompts.mask_logits is not None:
            prompts = PromptTensors(
                prompts.points, prompts.labels, shrink(prompts.mask_logits, side * 4), prompts.batch
            )
        sparse, dense = self.embed_prompts(prompts, side)
        place = self.prompt_encoder.pe_layer.grid(embedding.shape[-2], side)[None]
        decoded = self.mask_decoder(embedding, features, place, sparse, dense, multimask)
        pointers = self._pointers(decoded.tokens, decoded.object_score > 0)
        return MaskCandidates(decoded.logits, decoded.ious, decoded.object_score, pointers)

    def embed_prompts(self, prompts: PromptTensors, side: int) -> tuple[Tensor, Tensor]:
        """Return the embeddings of prompts, sparse (B, N, C) and dense (B or 1, C, side, side)."""
        embedded: tuple[Tensor, Tensor] = self.prompt_encoder(prompts, side * 16, side)
        return embedded

    def use_mask_as_output(self, features: ImageFeatures, mask: Tensor) -> MaskResult:
        """Take a given mask over as the answer (reference: ``_use_mask_as_output``).

        Parameters
        ----------
        features : ImageFeatures
            Of the frame, batch B or 1.
        mask : Tensor
            (B, 1, S, S), 1 where the object is, at the size of the network input.
        """
        mask = mask.float()
        logits = shrink(mask * 20.0 - 10.0, features.stride4.shape[-1])
        prompts = PromptTensors(mask_logits=self.mask_downsample(mask))
        pointer = self.decode_masks(features.stride16, features, prompts, multimask=False).pointers
        visible = mask.flatten(1).any(1, keepdim=True)
        score = visible.float() * 20.0 - 10.0
        pointer = torch.where(visible[..., None], pointer, self.no_obj_ptr.to(pointer.dtype))
        return MaskResult(logits, torch.ones_like(score[:, 0]), score[:, 0], pointer[:, 0])

    def encode_memory(
        self, features: ImageFeatures, logits: Tensor, object_score: Tensor, binarize: bool | Tensor
    ) -> Tensor:
        """Make the spatial memory of a frame (reference: ``_encode_new_memory``).

        Parameters
        ----------
        features : ImageFeatures
            Of the frame, batch B or 1.
        logits : Tensor
            (B, 1, S/4, S/4), the mask that is remembered.
        object_score : Tensor
            (B,), above 0 where the object is visible.
        binarize : bool or Tensor
            Remember 0 and 1 instead of probabilities (frames that the user prompted); one value, or (B,).

        Returns
        -------
        Tensor
            (B, Cm, S/16, S/16).
        """
        side = features.stride16.shape[-1] * 16
        mask = F.interpolate(logits.float(), size=(side, side), mode="bilinear", align_corners=False)
        if isinstance(binarize, Tensor):
            hard = binarize.to(mask.device)[:, None, None, None]
            mask = torch.where(hard, (mask > 0).to(mask.dtype), mask.sigmoid())
        else:
            mask = (mask > 0).to(mask.dtype) if binarize else mask.sigmoid()
        mask = mask * self.config.sigmoid_scale + self.config.sigmoid_bias
        memory: Tensor = self.memory_encoder(features.stride16, mask)
        if self.config.spatial_no_object:
            absent = (object_score <= 0)[:, None, None, None]
            marked = memory + self.no_obj_embed_spatial[:, :, None, None].to(memory.dtype)
            memory = torch.where(absent, marked, memory)
        return memory

    def _pointers(self, tokens: Tensor, visible: Tensor) -> Tensor:
        """Object pointers of mask tokens (B, K, C); "no object" where ``visible`` (B, 1) is False."""
        pointers: Tensor = self.obj_ptr_proj(tokens)
        return torch.where(visible[..., None], pointers, self.no_obj_ptr.to(pointers.dtype))

    def _age_encoding(self, ages: Tensor) -> Tensor:
        """(B, M) ages -> (B, M, 1, Cm); age 0 (conditioning) uses the last row of the table."""
        table = self.maskmem_tpos_enc[:, 0, 0]
        return table[(ages.long().to(table.device) - 1) % len(table)][:, :, None]

    def _pointer_tokens(self, readout: MemoryReadout) -> tuple[Tensor, Tensor]:
        """Split pointers (B, P, C) into tokens as wide as memories, and encode their distance in time."""
        parts = self.config.embed_dim // self.config.memory_dim
        batch, count = readout.pointers.shape[:2]
        tokens = readout.pointers.reshape(batch, count * parts, self.config.memory_dim)
        if not self.config.pointer_time_encoding:
            return tokens, torch.zeros_like(tokens)
        distance = readout.distances.to(tokens.device).float() / max(readout.span, 1)
        encoded = self.obj_ptr_tpos_proj(sine_encoding_1d(distance, self.config.embed_dim))  # (B, P, Cm)
        return tokens, encoded.repeat_interleave(parts, 1)

    def _position(self, height: int, width: int, dim: int) -> Tensor:
        """Sine encoding (1, dim, height, width), computed once for each size."""
        key = (height, width, dim, str(self.device))
        if key not in self._positions:
            self._positions[key] = sine_encoding_2d(height, width, dim).to(self.device)[None]
        return self._positions[key]

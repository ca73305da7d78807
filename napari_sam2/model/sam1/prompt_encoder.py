"""SAM 1's prompt encoder: the embeddings of SAM 2's, and rules of its own for padding and boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_sam2.model.prompt_encoder import PromptEncoder
from napari_sam2.model.sam1.config import SamConfig
from napari_sam2.model.tensors import PromptTensors

TOP_LEFT, BOTTOM_RIGHT = 2, 3


class SamPromptEncoder(PromptEncoder):
    """Embed clicks, boxes and masks (reference: ``PromptEncoder`` of segment-anything)."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__(config.embed_dim)
        self.image_size = config.image_size
        self.side = config.embedding_side

    def forward(  # type: ignore[override]
        self,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Embed prompts of one kind or several.

        Parameters
        ----------
        points : tuple of Tensor, optional
            (B, N, 2), x and y in pixels of the network input, and labels (B, N): 1, 0, or -1 for padding.
        boxes : Tensor, optional
            (B, 4), x0, y0, x1, y1.
        masks : Tensor, optional
            (B, 1, S/4, S/4), logits.

        Returns
        -------
        sparse : Tensor
            (B, N', C). Points are padded by one, unless a box follows them; a mask alone, or no prompt, gives none.
        dense : Tensor
            (B or 1, C, S/16, S/16).
        """
        parts = []
        if points is not None:
            xy, labels = points
            if boxes is None:
                xy = torch.cat([xy, xy.new_zeros(len(xy), 1, 2)], 1)
                labels = torch.cat([labels, -labels.new_ones(len(labels), 1)], 1)
            parts.append(self.embed_points(xy, labels, self.image_size))
        if boxes is not None:
            corners = boxes.reshape(-1, 2, 2)
            kinds = torch.tensor([TOP_LEFT, BOTTOM_RIGHT], device=boxes.device).expand(len(corners), -1)
            parts.append(self.embed_points(corners, kinds, self.image_size))
        if parts:
            sparse = torch.cat(parts, 1)
        else:
            weight = self.no_mask_embed.weight
            sparse = weight.new_zeros(1 if masks is None else len(masks), 0, self.dim)
        return sparse, self._dense(masks, self.side)

    def embed(self, prompts: PromptTensors) -> tuple[Tensor, Tensor]:
        """Embed prompts as sessions give them to every network: a box is the first two points, labelled 2 and 3."""
        points, labels, boxes = prompts.points, prompts.labels, None
        if points is not None and labels is not None:
            if labels.shape[1] >= 2 and bool((labels[:, 0] == TOP_LEFT).all()):
                boxes, points, labels = points[:, :2].reshape(-1, 4), points[:, 2:], labels[:, 2:]
            if points.shape[1] == 0:
                points = labels = None
        clicks = None if points is None or labels is None else (points, labels)
        sparse, dense = self(clicks, boxes, prompts.mask_logits)
        return sparse.expand(prompts.batch, -1, -1), dense

    def get_dense_pe(self) -> Tensor:
        """Return the encoding of places (1, C, S/16, S/16)."""
        return self.pe_layer.grid(self.side, self.side)[None]

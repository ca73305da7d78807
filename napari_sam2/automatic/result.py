"""Masks that are kept on a frame, as arrays, records, labels, frame masks or prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_sam2.automatic.candidates.run_length import RunLengthMask, run_length_mask
from napari_sam2.automatic.filters import FilterStage
from napari_sam2.automatic.options import AutomaticOptions
from napari_sam2.masks import FrameMasks
from napari_sam2.prompts import MaskPrompt, Prompt

OutputMode = Literal["binary_mask", "uncompressed_rle", "coco_rle"]
Order = Literal["area", "score"]


@dataclass(frozen=True, eq=False)
class AutomaticMask:
    """One mask that was found without a prompt by the user.

    Parameters
    ----------
    pixels : RunLengthMask
        Its pixels.
    predicted_iou : float
        The network's own estimate of its quality.
    stability_score : float
        Overlap of the masks at a higher and a lower threshold, 0 to 1.
    point : tuple of float
        (x, y) where the network was asked.
    crop_box : tuple of int
        (x0, y0, x1, y1) of the part of the frame in which it was found.
    row : int
        Its row among the candidates.
    """

    pixels: RunLengthMask
    predicted_iou: float
    stability_score: float
    point: tuple[float, float]
    crop_box: tuple[int, int, int, int]
    row: int

    @cached_property
    def area(self) -> int:
        """Pixels of the frame."""
        return self.pixels.area

    @cached_property
    def box(self) -> tuple[int, int, int, int] | None:
        """(x0, y0, x1, y1), right and lower edge exclusive; None when the mask is empty."""
        return self.pixels.box

    def array(self) -> NDArray[np.bool_]:
        """Return the mask, bool (H, W)."""
        return self.pixels.decode()

    def record(self, output_mode: OutputMode = "binary_mask") -> dict[str, Any]:
        """Return the reference's record: segmentation, area, bbox (XYWH, to the last pixel), scores, point, crop."""
        x0, y0, x1, y1 = self.box or (
            self.crop_box[0],
            self.crop_box[1],
            self.crop_box[0] + 1,
            self.crop_box[1] + 1,
        )
        crop = self.crop_box
        return {
            "segmentation": self._segmentation(output_mode),
            "area": self.area,
            "bbox": [float(x0), float(y0), float(x1 - 1 - x0), float(y1 - 1 - y0)],
            "predicted_iou": self.predicted_iou,
            "point_coords": [list(self.point)],
            "stability_score": self.stability_score,
            "crop_box": [float(v) for v in (crop[0], crop[1], crop[2] - crop[0], crop[3] - crop[1])],
        }

    def _segmentation(self, output_mode: str) -> Any:
        check_output_mode(output_mode)
        if output_mode == "binary_mask":
            return self.array()
        if output_mode == "coco_rle":
            return {"size": list(self.pixels.size), "counts": self.pixels.rle().counts}
        return {"size": list(self.pixels.size), "counts": self.pixels.counts()}


def check_output_mode(output_mode: str) -> None:
    """Raise ValueError for an unknown form of masks."""
    if output_mode not in get_args(OutputMode):
        raise ValueError(
            f"unknown output_mode {output_mode!r}: choose one of {', '.join(get_args(OutputMode))}"
        )


@dataclass(frozen=True, eq=False)
class AutomaticResult:
    """All masks that are kept on one frame.

    Parameters
    ----------
    size : tuple of int
        (height, width) of the frame.
    masks : tuple of AutomaticMask
        In the reference's order: best first (with crops: those from small crops first).
    stages : tuple of FilterStage
        Number of candidates that each stage left.
    explanation : str
        One sentence about how many there are and why.
    options : AutomaticOptions
        Options of the search.
    """

    size: tuple[int, int]
    masks: tuple[AutomaticMask, ...]
    stages: tuple[FilterStage, ...]
    explanation: str
    options: AutomaticOptions

    def __len__(self) -> int:
        return len(self.masks)

    def records(self, output_mode: OutputMode = "binary_mask") -> list[dict[str, Any]]:
        """Return the reference's records."""
        check_output_mode(output_mode)
        return [mask.record(output_mode) for mask in self.masks]

    def keep(self, rows: Sequence[int]) -> AutomaticResult:
        """Return the same with only these masks (indices into ``masks``), for those a user kept."""
        kept = tuple(self.masks[i] for i in rows)
        return AutomaticResult(self.size, kept, self.stages, f"{len(kept)} masks were chosen.", self.options)

    def at(self, x: float, y: float) -> int | None:
        """Return the index of the smallest mask at a pixel, or None, for a click there."""
        column, row = round(x), round(y)
        hit = [i for i, mask in enumerate(self.masks) if mask.pixels.contains(column, row)]
        return min(hit, key=lambda i: self.masks[i].area) if hit else None

    def drawing_order(self, order: Order = "area") -> list[int]:
        """Return indices of masks, those that come to lie below others first.

        ``area``: largest first, so that small ones stay visible. ``score``: lowest predicted IoU first.
        """
        if order not in get_args(Order):
            raise ValueError(f"unknown order {order!r}: choose one of {', '.join(get_args(Order))}")
        if order == "area":
            return sorted(range(len(self.masks)), key=lambda i: (-self.masks[i].area, -i))
        return sorted(range(len(self.masks)), key=lambda i: (self.masks[i].predicted_iou, -i))

    def labels(
        self, order: Order = "area", dtype: DTypeLike = np.uint16, object_ids: Sequence[int] | None = None
    ) -> NDArray[Any]:
        """Draw all masks into one label image (H, W) without overlaps.

        Parameters
        ----------
        order : {"area", "score"}
            Which mask is on top where masks overlap; see :meth:`drawing_order`.
        dtype : dtype
            Integer type; every id must fit.
        object_ids : sequence of int, optional
            Label of each mask; default 1, 2, 3…
        """
        ids = list(range(1, len(self.masks) + 1)) if object_ids is None else list(object_ids)
        out = np.zeros(self.size, dtype)
        if len(ids) != len(self.masks):
            raise ValueError(f"{len(self.masks)} masks need as many object ids, got {len(ids)}")
        if ids and not (min(ids) >= 1 and max(ids) <= np.iinfo(out.dtype).max):
            raise ValueError(
                f"object ids must be from 1 to {np.iinfo(out.dtype).max} to be drawn as {out.dtype}"
            )
        for index in self.drawing_order(order):
            self.masks[index].pixels.paint(out, ids[index])
        return out

    def frame_masks(self, frame: int = 0, first_id: int = 1) -> FrameMasks:
        """Return all masks as objects of a frame; they may overlap."""
        count = len(self.masks)
        masks = np.zeros((count, *self.size), bool)
        for row, mask in enumerate(self.masks):
            masks[row] = mask.array()
        ious = np.array([mask.predicted_iou for mask in self.masks], np.float32)
        ids = tuple(range(first_id, first_id + count))
        return FrameMasks(frame, ids, masks, np.full(count, 10, np.float32), ious, np.zeros(count, bool))

    def prompts(
        self, first_id: int = 1, order: Order = "area", overlapping: bool = False
    ) -> dict[int, Prompt]:
        """Return a mask prompt for each mask, to start tracking.

        Parameters
        ----------
        first_id : int
            Object id of the first prompt; the others follow without gaps.
        order : {"area", "score"}
            Which mask gets pixels that several masks claim.
        overlapping : bool
            Let all have them. Masks that are left with no pixel of their own give no prompt.
        """
        shown = [mask.pixels for mask in self.masks] if overlapping else self._apart(order)
        prompts = [Prompt(mask=MaskPrompt(self.size, pixels.rle().counts)) for pixels in shown if pixels.area]
        return dict(enumerate(prompts, start=first_id))

    def _apart(self, order: Order) -> list[RunLengthMask]:
        labels = self.labels(order, np.uint32)
        boxes = [(index, mask.box) for index, mask in enumerate(self.masks) if mask.box is not None]
        return [
            run_length_mask(labels[y0:y1, x0:x1] == index + 1, self.size, x0, y0)
            for index, (x0, y0, x1, y1) in boxes
        ]

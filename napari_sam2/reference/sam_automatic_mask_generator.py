"""Meta's ``SamAutomaticMaskGenerator`` over :func:`~napari_sam2.automatic.generate_masks` in exact mode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_sam2.automatic.options import AutomaticOptions
from napari_sam2.model.sam1.sam import Sam
from napari_sam2.reference.automatic_mask_generator import ExactMaskGenerator
from napari_sam2.reference.sam_predictor import SamPredictor


class _Options(AutomaticOptions):
    """Options whose threshold of quality may be above 1: no sigmoid bounds what Segment Anything 1 predicts."""

    most_predicted_iou: ClassVar[float] = 10.0


class SamAutomaticMaskGenerator(ExactMaskGenerator):
    """Find masks of everything on an image with Segment Anything 1, with Meta's names, defaults, order and records.

    Parameters
    ----------
    model : Sam
        From :data:`sam_model_registry`.
    points_per_side : int, optional
        Points along each side of the grid; None when ``point_grids`` is given.
    points_per_batch : int
        Points that go through the network together at most.
    pred_iou_thresh, stability_score_thresh, stability_score_offset, box_nms_thresh : float
        See :class:`~napari_sam2.automatic.AutomaticOptions`.
    crop_n_layers, crop_nms_thresh, crop_overlap_ratio, crop_n_points_downscale_factor
        Layers of crops.
    point_grids : sequence of array_like, optional
        Points (N, 2) from 0 to 1, one array for the image and one for each layer of crops.
    min_mask_region_area : int
        Holes and islands smaller than this are removed from masks, and duplicates that this makes. Needs no OpenCV.
    output_mode : {"binary_mask", "uncompressed_rle", "coco_rle"}
        The form of ``segmentation``.

    Raises
    ------
    ValueError, TypeError
        Both or neither of ``points_per_side`` and ``point_grids``; a value out of range; an unknown output mode.
    """

    _options = _Options
    _settable = tuple(
        name
        for name in ExactMaskGenerator._settable
        if name not in ("mask_threshold", "use_m2m", "multimask_output")
    )

    def __init__(
        self,
        model: Sam,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[ArrayLike] | None = None,
        min_mask_region_area: int = 0,
        output_mode: str = "binary_mask",
    ) -> None:
        super().__init__(
            SamPredictor(model),
            output_mode,
            point_grids,
            points_per_side=points_per_side,
            points_per_batch=points_per_batch,
            pred_iou_thresh=pred_iou_thresh,
            stability_score_thresh=stability_score_thresh,
            stability_score_offset=stability_score_offset,
            box_nms_thresh=box_nms_thresh,
            crop_n_layers=crop_n_layers,
            crop_nms_thresh=crop_nms_thresh,
            crop_overlap_ratio=crop_overlap_ratio,
            crop_n_points_downscale_factor=crop_n_points_downscale_factor,
            min_mask_region_area=min_mask_region_area,
        )

    def generate(self, image: NDArray[np.uint8]) -> list[dict[str, Any]]:
        """Find masks on an image.

        Parameters
        ----------
        image : ndarray of uint8, shape (H, W, 3)
            RGB.

        Returns
        -------
        list of dict
            ``segmentation`` (bool (H, W), or run lengths), ``area``, ``bbox`` (XYWH), ``predicted_iou``,
            ``point_coords``, ``stability_score``, ``crop_box`` (XYWH); best first. May be empty.
        """
        return self._records(image)

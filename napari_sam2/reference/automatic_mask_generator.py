"""Meta's ``SAM2AutomaticMaskGenerator`` over :func:`~napari_sam2.automatic.generate_masks` in exact mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike

from napari_sam2.automatic.mask_generator import generate_masks
from napari_sam2.automatic.options import AutomaticOptions
from napari_sam2.automatic.result import OutputMode, check_output_mode
from napari_sam2.automatic.sampling.crops import layer_grids
from napari_sam2.model.sam2 import Sam2
from napari_sam2.reference.network import build_sam2_hf
from napari_sam2.reference.sam2_image_predictor import Picture, SAM2ImagePredictor
from napari_sam2.reference.sam_predictor import SamPredictor
from napari_sam2.session.image import ImageSession
from napari_sam2.session.options import SessionOptions

# Meta's attributes that hold an option of the same name.
_SETTABLE = (
    "points_per_batch",
    "pred_iou_thresh",
    "stability_score_thresh",
    "stability_score_offset",
    "mask_threshold",
    "box_nms_thresh",
    "crop_n_layers",
    "crop_nms_thresh",
    "crop_overlap_ratio",
    "crop_n_points_downscale_factor",
    "min_mask_region_area",
    "use_m2m",
    "multimask_output",
)


class ExactMaskGenerator:
    """Options in exact mode that can be set afterwards, and records: the part that Meta's two generators share.

    Parameters
    ----------
    predictor : SAM2ImagePredictor or SamPredictor
        Of the network.
    output_mode : str
        The form of ``segmentation``.
    point_grids : sequence of array_like, optional
        Points (N, 2) from 0 to 1.
    **options : Any
        Other fields of :class:`~napari_sam2.automatic.AutomaticOptions`; they become attributes.
    """

    _settable: tuple[str, ...] = _SETTABLE
    _options: type[AutomaticOptions] = AutomaticOptions

    def __init__(
        self,
        predictor: SAM2ImagePredictor | SamPredictor,
        output_mode: str,
        point_grids: Sequence[ArrayLike] | None,
        **options: Any,
    ) -> None:
        grids = None if point_grids is None else tuple(map(_grid, point_grids))
        self.options = self._options(point_grids=grids, mode="exact", **options)
        self.output_mode = output_mode
        self.predictor = predictor

    def __getattr__(self, name: str) -> Any:
        if name == "point_grids":
            return layer_grids(self.options)
        if name in self._settable:
            return getattr(self.options, name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "output_mode":
            check_output_mode(value)
        if name in ("options", "output_mode", "predictor"):
            object.__setattr__(self, name, value)
        elif name == "point_grids":
            grids = tuple(map(_grid, value))
            self.options = replace(self.options, points_per_side=None, point_grids=grids)
        elif name in self._settable:
            self.options = replace(self.options, **{name: value})
        else:
            known = ", ".join(("output_mode", "point_grids", "predictor", *self._settable))
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r} that could be set; these can be: {known}"
            )

    def _records(self, image: Any) -> list[dict[str, Any]]:
        """Find masks on an image (H, W, 3); in half precision under the caller's autocast, as the reference."""
        model = self.predictor.model
        autocast = torch.is_autocast_enabled(model.device.type)
        options = SessionOptions(resize="bilinear", precision="fast" if autocast else "exact")
        session = ImageSession(model, options)
        found = generate_masks(session, np.asarray(image), self.options)
        return found.records(cast(OutputMode, self.output_mode))


class SAM2AutomaticMaskGenerator(ExactMaskGenerator):
    """Find masks of everything on an image, with Meta's names, defaults, order and records.

    Parameters
    ----------
    model : Sam2
        From :func:`build_sam2`.
    points_per_side : int, optional
        Points along each side of the grid; None when ``point_grids`` is given.
    points_per_batch : int
        Points that go through the network together at most.
    pred_iou_thresh, stability_score_thresh, stability_score_offset, mask_threshold, box_nms_thresh : float
        See :class:`~napari_sam2.automatic.AutomaticOptions`.
    crop_n_layers, crop_nms_thresh, crop_overlap_ratio, crop_n_points_downscale_factor
        Layers of crops.
    point_grids : sequence of array_like, optional
        Points (N, 2) from 0 to 1, one array for the image and one for each layer of crops.
    min_mask_region_area : int
        Holes and islands smaller than this are removed from masks at the image's size, on every device. (The
        reference documents this but only does something else, and only on CUDA.)
    output_mode : {"binary_mask", "uncompressed_rle", "coco_rle"}
        The form of ``segmentation``.
    use_m2m : bool
        Refine each mask once.
    multimask_output : bool
        Three masks at each point.
    **kwargs : Any
        Ignored, as in the reference.

    Raises
    ------
    ValueError, TypeError
        Both or neither of ``points_per_side`` and ``point_grids``; a value out of range; an unknown output mode.
    """

    def __init__(
        self,
        model: Sam2,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.8,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        mask_threshold: float = 0.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[ArrayLike] | None = None,
        min_mask_region_area: int = 0,
        output_mode: str = "binary_mask",
        use_m2m: bool = False,
        multimask_output: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            SAM2ImagePredictor(model),
            output_mode,
            point_grids,
            points_per_side=points_per_side,
            points_per_batch=points_per_batch,
            pred_iou_thresh=pred_iou_thresh,
            stability_score_thresh=stability_score_thresh,
            stability_score_offset=stability_score_offset,
            mask_threshold=mask_threshold,
            box_nms_thresh=box_nms_thresh,
            crop_n_layers=crop_n_layers,
            crop_nms_thresh=crop_nms_thresh,
            crop_overlap_ratio=crop_overlap_ratio,
            crop_n_points_downscale_factor=crop_n_points_downscale_factor,
            min_mask_region_area=min_mask_region_area,
            use_m2m=use_m2m,
            multimask_output=multimask_output,
        )

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> SAM2AutomaticMaskGenerator:
        """Build a generator from a hub repository or model name; arguments go to the builder and to this class."""
        return cls(build_sam2_hf(model_id, **kwargs), **kwargs)

    def generate(self, image: Picture) -> list[dict[str, Any]]:
        """Find masks on an image.

        Parameters
        ----------
        image : ndarray of uint8, shape (H, W, 3), or PIL image
            RGB.

        Returns
        -------
        list of dict
            ``segmentation`` (bool (H, W), or run lengths), ``area``, ``bbox`` (XYWH), ``predicted_iou``,
            ``point_coords``, ``stability_score``, ``crop_box`` (XYWH); best first. May be empty.
        """
        return self._records(image)


def _grid(points: ArrayLike) -> tuple[tuple[float, float], ...]:
    array = np.asarray(points, np.float64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"each of point_grids must have shape (N, 2), got {array.shape}")
    return tuple((float(x), float(y)) for x, y in array)

"""Instances from micro-sam's decoder: every cell of a frame in one step, without asking point by point.

Source: A. Archit et al., "Segment Anything for Microscopy", 2025 (automatic instance segmentation, AIS).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from napari_sam2.automatic.candidates.candidate_masks import ExactCandidateMasks
from napari_sam2.automatic.candidates.candidates import Candidates
from napari_sam2.automatic.candidates.run_length import run_length_mask
from napari_sam2.automatic.mask_generator import InteractiveFilter, MaskFinder
from napari_sam2.automatic.options import AutomaticOptions
from napari_sam2.automatic.proposals import Progress
from napari_sam2.automatic.result import AutomaticResult
from napari_sam2.automatic.sampling.crops import Crop
from napari_sam2.automatic.spatial_filter import SpatialFilter
from napari_sam2.model.sam1.sam import Sam
from napari_sam2.model.sam2 import Sam2
from napari_sam2.session.image import ImageSession

_EIGHT = np.ones((3, 3), int)


@dataclass(frozen=True)
class InstanceOptions:
    """How maps of distances become instances; the defaults are micro-sam's.

    Parameters
    ----------
    centre_threshold, boundary_threshold : float
        A seed is where both distances are below these.
    foreground_threshold : float
        Instances are where the foreground is above this.
    distance_smoothing, foreground_smoothing : float
        Standard deviations of the Gaussians that the maps are smoothed with, in pixels.
    """

    centre_threshold: float = 0.5
    boundary_threshold: float = 0.5
    foreground_threshold: float = 0.5
    distance_smoothing: float = 1.6
    foreground_smoothing: float = 1.0


def instance_labels(maps: NDArray[np.float32], options: InstanceOptions | None = None) -> NDArray[np.int32]:
    """Turn maps into instances by a seeded watershed.

    Counterpart: ``watershed_from_center_and_boundary_distances`` of torch-em.

    Parameters
    ----------
    maps : ndarray of float32, shape (3, H, W)
        Foreground, distance to the centre, distance to the boundary, from 0 to 1.
    options : InstanceOptions, optional
        Thresholds and smoothing.

    Returns
    -------
    ndarray of int32, shape (H, W)
        0 is background.
    """
    options = options or InstanceOptions()
    smoothing = (options.foreground_smoothing, options.distance_smoothing, options.distance_smoothing)
    foreground, centre, boundary = (
        ndimage.gaussian_filter(image, sigma) if sigma > 0 else image for image, sigma in zip(maps, smoothing)
    )
    inside = foreground > options.foreground_threshold
    seeds = (centre < options.centre_threshold) & (boundary < options.boundary_threshold) & inside
    markers, _ = ndimage.label(seeds, _EIGHT)
    labels = watershed(boundary, markers=markers, mask=inside)  # type: ignore[no-untyped-call]
    return np.asarray(labels, np.int32)


def segment_instances(
    model: Sam | ImageSession,
    image: NDArray[np.uint8],
    options: AutomaticOptions | None = None,
    instances: InstanceOptions | None = None,
    spatial_filter: SpatialFilter | None = None,
) -> AutomaticResult:
    """Find all instances on an image with micro-sam's decoder.

    Parameters
    ----------
    model : Sam or ImageSession
        A Segment Anything 1 with ``instance_decoder``, from :func:`~napari_sam2.load_image_model`.
    image : ndarray of uint8, shape (H, W), (H, W, 1) or (H, W, 3)
        Grey or RGB.
    options : AutomaticOptions, optional
        Its filters by area, border, region and known objects are used; those about points and scores are not.
    instances : InstanceOptions, optional
        How maps become instances.
    spatial_filter : SpatialFilter, optional
        A region to look in, and objects that are there already.

    Returns
    -------
    AutomaticResult
        Instances don't overlap. ``predicted_iou`` is the mean foreground of an instance, ``stability_score`` is 1.

    Raises
    ------
    ValueError
        When the model has no decoder for instances.
    """
    candidates = find_instances(model, image, options, instances)
    return InteractiveFilter(candidates).result(candidates.options, spatial_filter)


def find_instances(
    model: Sam | ImageSession,
    image: NDArray[np.uint8],
    options: AutomaticOptions | None = None,
    instances: InstanceOptions | None = None,
) -> Candidates:
    """Find all instances on an image, before they are filtered; see :func:`segment_instances`.

    The options of what is returned are :func:`instance_filters` of those given.
    """
    session = model if isinstance(model, ImageSession) else ImageSession(model)
    decoder = decoder_of(session)
    session.set_image(image)
    assert session.features is not None
    maps = session.geometry.frame_logits(session.runner.run(decoder, session.features.stride16)[0])
    foreground, labels = maps[0].cpu().numpy(), instance_labels(maps.cpu().numpy(), instances)
    return _candidates(labels, foreground, instance_filters(options or AutomaticOptions()))


def instance_filters(options: AutomaticOptions) -> AutomaticOptions:
    """Return options that let every instance pass what asks about points, scores and duplicates."""
    return options.changed(
        mode="exact",
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
        box_nms_thresh=1.0,
        crop_n_layers=0,
        tile_size=0,
    )


def decoder_of(session: ImageSession) -> torch.nn.Module:
    """Return the decoder of a session's network; ValueError when it has none."""
    network = session.runner.model
    decoder = network.instance_decoder if isinstance(network, Sam) else None
    if decoder is None:
        raise ValueError(
            "this model has no decoder for instances: micro-sam's models have one, in the file itself or in the one "
            "with _decoder after its name (put it beside the model's)"
        )
    return decoder


def _candidates(
    labels: NDArray[np.int32], foreground: NDArray[np.float32], options: AutomaticOptions
) -> Candidates:
    """Return instances in the form that the filters of automatic masks take."""
    height, width = labels.shape
    masks, boxes, points, scores = [], [], [], []
    for label, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        mask = labels[rows, columns] == label
        masks.append(run_length_mask(mask, (height, width), columns.start, rows.start))
        boxes.append((columns.start, rows.start, columns.stop - 1, rows.stop - 1))
        scores.append(float(foreground[rows, columns][mask].mean()))
        deepest = np.unravel_index(
            ndimage.distance_transform_edt(np.pad(mask, 1)).argmax(), np.add(mask.shape, 2)
        )
        points.append((columns.start + int(deepest[1]) - 1, rows.start + int(deepest[0]) - 1))
    count = len(masks)
    exact = ExactCandidateMasks(
        options, np.ones(count, np.float32), np.array(boxes, np.float32).reshape(-1, 4), tuple(masks)
    )
    return Candidates(
        (height, width),
        options,
        np.array(points, np.float32).reshape(-1, 2),
        np.array(scores, np.float32),
        np.zeros(count, np.int64),
        (Crop(0, 0, width, height),),
        exact,
        count,
    )


@dataclass(frozen=True, eq=False)
class InstanceFinder(MaskFinder):
    """Finds instances on the frames of a source, as :class:`MaskFinder` finds masks.

    Parameters
    ----------
    instances : InstanceOptions
        How maps become instances.
    """

    instances: InstanceOptions = field(default_factory=InstanceOptions)

    def _search(
        self,
        image: NDArray[np.uint8],
        options: AutomaticOptions,
        spatial_filter: SpatialFilter | None,
        progress: Progress | None,
    ) -> AutomaticResult:
        if isinstance(self.model, Sam2):
            raise ValueError("SAM 2 has no decoder for instances: use a model of micro-sam")
        result = segment_instances(self.model, image, options, self.instances, spatial_filter)
        if progress is not None:
            progress(1, 1)
        return result

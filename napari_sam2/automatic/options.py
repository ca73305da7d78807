"""Every choice of automatic masks in one frozen dataclass, with named presets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal, get_args

Mode = Literal["fast", "exact"]
PointGrid = tuple[tuple[float, float], ...]

# Changing one of these asks other questions of the network; all others only filter its answers.
NETWORK_FIELDS = (
    "points_per_side",
    "point_grids",
    "crop_n_layers",
    "crop_overlap_ratio",
    "crop_n_points_downscale_factor",
    "tile_size",
    "multimask_output",
    "use_m2m",
    "mode",
)
# Parts of the frame grow fourfold with each layer: 341 at 4, 1,365 at 5, and the network sees every one of them.
MOST_CROP_LAYERS = 5
# How far below its first value the mask threshold can be moved without asking the network again (fast mode).
THRESHOLD_MARGIN = 4.0
# A mask of which more than this part lies on known objects is not new.
NEW_OBJECT_OVERLAP = 0.2

# The only table of presets: the command line and the dock derive their choices from its names.
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "default": {},
        "reference": {"mode": "exact"},
        "sam1": {"mode": "exact", "pred_iou_thresh": 0.88},
        "few large": {
            "points_per_side": 16,
            "min_area": 400,
            "box_nms_thresh": 0.5,
            "min_mask_region_area": 100,
        },
        "many small": {"points_per_side": 48, "box_nms_thresh": 0.5},
        "cells": {
            "pred_iou_thresh": 0.4,
            "stability_score_thresh": 0.7,
            "box_nms_thresh": 0.2,
            "min_area": 20,
            "min_mask_region_area": 20,
        },
    }
)


@dataclass(frozen=True)
class AutomaticOptions:
    """How everything on a frame is found, and what of it is kept.

    Names and defaults are those of the reference's ``SAM2AutomaticMaskGenerator`` where it has the same choice.

    Parameters
    ----------
    points_per_side : int, optional
        The frame is asked at the points of a square grid with this many points along each side. More points find
        smaller objects and take longer. None when ``point_grids`` is given.
    pred_iou_thresh : float
        Keep masks of which the network itself expects a higher quality than this (0 to 1); 0 keeps all.
    stability_score_thresh : float
        Keep masks that hardly change when their threshold is moved: at least this overlap (0 to 1) between the mask
        at ``mask_threshold + stability_score_offset`` and the one at ``mask_threshold - stability_score_offset``.
    box_nms_thresh : float
        Of two masks whose boxes overlap more than this (intersection over union), the better one stays.
    min_area, max_area : int
        Keep masks of at least and at most this many pixels; 0 for ``max_area`` means any.
    drop_at_border : bool
        Drop masks that touch the border of the frame.
    max_overlap : float
        Drop masks of which more than this part lies on objects that are there already; 1 keeps all. New objects
        are found with a small value such as 0.2 (:meth:`for_new_objects`).
    min_distance : float
        Drop masks closer than this many pixels to an object that is there already.
    inside_region : float
        With a region: keep masks of which at least this part lies inside.
    min_mask_region_area : int
        Fill holes and remove islands smaller than this many pixels in the masks that are kept.
    mode : {"fast", "exact"}
        ``exact`` decides on masks at the frame's size, with the reference's numbers and order. ``fast`` decides on
        the network's low-resolution output, keeps all candidates and so can filter again at once.
    mask_threshold : float
        Logit above which a pixel belongs to a mask; higher makes smaller masks.
    stability_score_offset : float
        How far the threshold is moved for the stability score.
    crop_n_layers : int
        Look again at 4, 16, 64… overlapping crops of the frame, which finds small objects; at most 5 layers.
    crop_nms_thresh : float
        As ``box_nms_thresh``, between crops; masks of smaller crops win.
    crop_overlap_ratio : float
        Overlap of the crops of the first layer as a part of the frame's shorter side; later layers overlap less.
    crop_n_points_downscale_factor : int
        The grid has fewer points by this factor in each further layer.
    tile_size : int
        Instead of the whole frame and layers of crops, look at overlapping tiles of at most this many pixels a
        side (at least 64). 0 looks at the whole frame. For frames much larger than the network's input.
    use_m2m : bool
        Refine each mask once by giving it back to the network; three to four times the work.
    multimask_output : bool
        Take three masks at each point (whole, part, subpart), or the best single one.
    points_per_batch : int
        Points that go through the network together at most; the CPU takes smaller batches, which are faster there.
    point_grids : sequence of sequence of (x, y), optional
        Points of your own instead of a grid, from 0 to 1, one sequence for the frame and one for each layer of crops.
    candidate_memory_mb : int
        How much memory candidates may take; beyond it, those that the filters drop are forgotten.

    Raises
    ------
    ValueError, TypeError
        Naming the option that is out of range or contradicts another.
    """

    points_per_side: int | None = 32
    pred_iou_thresh: float = 0.8
    stability_score_thresh: float = 0.95
    box_nms_thresh: float = 0.7
    min_area: int = 0
    max_area: int = 0
    drop_at_border: bool = False
    max_overlap: float = 1.0
    min_distance: float = 0.0
    inside_region: float = 0.5
    min_mask_region_area: int = 0
    mode: Mode = "fast"
    mask_threshold: float = 0.0
    stability_score_offset: float = 1.0
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    tile_size: int = 0
    use_m2m: bool = False
    multimask_output: bool = True
    points_per_batch: int = 64
    point_grids: tuple[PointGrid, ...] | None = None
    candidate_memory_mb: int = 512

    most_predicted_iou: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        if self.point_grids is not None:
            object.__setattr__(self, "point_grids", _checked_grids(self.point_grids))
        if (self.points_per_side is None) == (self.point_grids is None):
            raise ValueError(
                "give either points_per_side or point_grids: exactly one of the two, not both and not none"
            )
        for name in _FRACTIONS:
            _check_number(name, getattr(self, name), 0.0, 1.0)
        _check_number("pred_iou_thresh", self.pred_iou_thresh, 0.0, self.most_predicted_iou)
        for name, least in _WHOLE_NUMBERS.items():
            _check_whole(name, getattr(self, name), least)
        for name in ("stability_score_offset", "min_distance"):
            _check_number(name, getattr(self, name), 0.0, math.inf)
        _check_number("mask_threshold", self.mask_threshold, -math.inf, math.inf)
        if self.crop_overlap_ratio >= 1:
            raise ValueError(f"crop_overlap_ratio must be below 1, got {self.crop_overlap_ratio}")
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, got {self.mode!r}")
        self._check_together()

    def _check_together(self) -> None:
        if self.max_area and self.max_area < self.min_area:
            raise ValueError(
                f"max_area ({self.max_area}) is smaller than min_area ({self.min_area}): nothing can pass"
            )
        if 0 < self.tile_size < 64:
            raise ValueError(f"tile_size must be 0 (off) or at least 64 pixels, got {self.tile_size}")
        if self.tile_size and self.crop_n_layers:
            raise ValueError("tile_size and crop_n_layers cannot be combined: use tiles or layers of crops")
        layers = self.crop_n_layers + 1
        if self.crop_n_layers > MOST_CROP_LAYERS:
            raise ValueError(
                f"crop_n_layers must be at most {MOST_CROP_LAYERS} ({_crops(MOST_CROP_LAYERS)} parts of the frame), "
                f"got {self.crop_n_layers} ({_crops(self.crop_n_layers)} parts): for very large frames use tile_size"
            )
        if self.point_grids is not None and len(self.point_grids) < layers:
            raise ValueError(
                f"crop_n_layers={self.crop_n_layers} needs {layers} point grids, got {len(self.point_grids)}"
            )
        if self.points_per_side is not None:
            last = self.points_per_side // self.crop_n_points_downscale_factor**self.crop_n_layers
            if last < 1:
                raise ValueError(
                    f"points_per_side={self.points_per_side} leaves no points for crop layer {self.crop_n_layers}: "
                    "use more points, fewer layers or a smaller crop_n_points_downscale_factor"
                )

    @classmethod
    def preset(cls, name: str = "default", **changes: Any) -> AutomaticOptions:
        """Return the options of a preset, with some of them changed.

        Parameters
        ----------
        name : str
            One of :data:`PRESETS`. ``reference``: Meta's defaults and its exact numbers. ``sam1``: the same with the
            thresholds of the first Segment Anything (predicted IoU 0.88). ``few large``: 16 x 16 points, no specks.
            ``many small``: 48 x 48 points. ``cells``: dense cells or nuclei; lower thresholds (the embedded small
            network is less sure of itself than the released ones), overlaps suppressed early.
        **changes : Any
            Fields that differ from the preset.
        """
        if name not in PRESETS:
            raise ValueError(f"unknown preset {name!r}: choose one of {', '.join(PRESETS)}")
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(changes) - known)
        if unknown:
            raise TypeError(
                f"no option of automatic masks is called {unknown[0]!r}: use one of {', '.join(sorted(known))}"
            )
        return cls(**{**PRESETS[name], **changes})

    def changed(self, **changes: Any) -> AutomaticOptions:
        """Return these options with some of them changed, checked again."""
        return replace(self, **changes)

    def for_new_objects(self) -> AutomaticOptions:
        """Return these options with ``max_overlap`` 0.2 where it is 1: what lies on a known object is not new."""
        return self.changed(max_overlap=NEW_OBJECT_OVERLAP) if self.max_overlap == 1 else self

    def needs_network(self, earlier: AutomaticOptions) -> bool:
        """Return whether candidates found under ``earlier`` options cannot simply be filtered again."""
        if any(getattr(self, name) != getattr(earlier, name) for name in NETWORK_FIELDS):
            return True
        if self.mode == "fast":
            return self.mask_threshold < earlier.mask_threshold - THRESHOLD_MARGIN
        same_masks = (self.mask_threshold, self.stability_score_offset) == (
            earlier.mask_threshold,
            earlier.stability_score_offset,
        )
        # Exact candidates that failed were never brought to the frame's size, as in the reference.
        loosened = (
            self.pred_iou_thresh < earlier.pred_iou_thresh
            or self.stability_score_thresh < earlier.stability_score_thresh
        )
        return not same_masks or loosened


_FRACTIONS = (
    "stability_score_thresh",
    "box_nms_thresh",
    "crop_nms_thresh",
    "crop_overlap_ratio",
    "max_overlap",
    "inside_region",
)
_WHOLE_NUMBERS = {
    "points_per_side": 1,
    "points_per_batch": 1,
    "crop_n_layers": 0,
    "crop_n_points_downscale_factor": 1,
    "tile_size": 0,
    "min_area": 0,
    "max_area": 0,
    "min_mask_region_area": 0,
    "candidate_memory_mb": 1,
}


def _crops(layers: int) -> str:
    return f"{(4 ** (layers + 1) - 1) // 3:,}" if layers < 20 else "more than a million million"


def _check_number(name: str, value: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not (math.isfinite(value) and low <= value <= high):
        span = (
            f"between {low:g} and {high:g}" if math.isfinite(high) else f"a finite number of at least {low:g}"
        )
        raise ValueError(f"{name} must be {span if math.isfinite(low) else 'finite'}, got {value}")


def _check_whole(name: str, value: Any, least: int) -> None:
    if value is None and name == "points_per_side":
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def _checked_grids(grids: Iterable[Sequence[Sequence[float]]]) -> tuple[PointGrid, ...]:
    out = tuple(tuple((float(x), float(y)) for x, y in grid) for grid in grids)
    if not out or not all(out):
        raise ValueError("point_grids needs at least one point for the frame and for each layer of crops")
    for grid in out:
        for x, y in grid:
            if not (0 <= x <= 1 and 0 <= y <= 1):
                raise ValueError(f"points of point_grids go from 0 to 1, got ({x:g}, {y:g})")
    return out

"""Filter by place: a region drawn by the user, and objects that exist already."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from napari_sam2.automatic.candidates.candidates import Candidates
from napari_sam2.automatic.candidates.coverage import CoverageMask
from napari_sam2.automatic.options import AutomaticOptions

BoolArray = NDArray[np.bool_]
# Distances are measured on a frame of at most this side.
_DISTANCE_SIDE = 1024


class SpatialFilter:
    """A region and existing objects, to test candidates against.

    Parameters
    ----------
    region : array_like of bool, shape (H, W), optional
        Candidates are wanted here only.
    existing : array_like, shape (H, W), optional
        Labels or a mask of what is there already; everything that is not zero.
    """

    def __init__(self, region: ArrayLike | None = None, existing: ArrayLike | None = None) -> None:
        self.region = None if region is None else CoverageMask("region", region)
        self.existing = None if existing is None else CoverageMask("existing objects", existing)
        self._near = lru_cache(maxsize=2)(self._within)

    def passing(self, candidates: Candidates, options: AutomaticOptions, passing: BoolArray) -> BoolArray:
        """Return which of the candidates that pass so far also pass here, bool (N,)."""
        out = passing.copy()
        tests = self._tests(candidates.size, options)
        for coverage, least, most in tests:
            for row in np.flatnonzero(out):
                share = candidates.share(int(row), coverage, options)
                out[row] = share is None or least <= share <= most
        return out

    def _tests(
        self, size: tuple[int, int], options: AutomaticOptions
    ) -> list[tuple[CoverageMask, float, float]]:
        """Return pixels, and the least and most of a mask that may lie on each."""
        tests = []
        if self.region is not None:
            self.region.check(size)
            if options.inside_region > 0:
                tests.append((self.region, options.inside_region, 1.0))
        if self.existing is not None:
            self.existing.check(size)
            if options.max_overlap < 1:
                tests.append((self.existing, 0.0, options.max_overlap))
            if options.min_distance > 0 and self.existing.mask.any():
                tests.append((self._near(options.min_distance), 0.0, 0.0))
        return tests

    def _within(self, distance: float) -> CoverageMask:
        """Pixels closer than ``distance`` to an existing object."""
        assert self.existing is not None
        mask = self.existing.mask
        step = -(-max(mask.shape) // _DISTANCE_SIDE)
        # Every step-th pixel, after growing by the step: thin objects must not fall through.
        coarse = mask if step == 1 else ndimage.maximum_filter(mask, step)[::step, ::step]
        near = ndimage.distance_transform_edt(~coarse) * step < distance
        full = near.repeat(step, 0).repeat(step, 1) if step > 1 else near
        return CoverageMask("surroundings of existing objects", full[: mask.shape[0], : mask.shape[1]])

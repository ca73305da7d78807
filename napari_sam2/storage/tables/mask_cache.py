"""Masks that were encoded or decoded lately, so that the next answer about their frame need not decode them again."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from napari_sam2.masks import Rle

_BYTES = 64 * 2**20


class DecodedMasks:
    """Run lengths and their masks, the least recently used ones forgotten first.

    Parameters
    ----------
    budget : int
        Bytes of masks to keep.
    """

    def __init__(self, budget: int = _BYTES) -> None:
        self._budget = budget
        self._kept: OrderedDict[Rle, NDArray[np.bool_]] = OrderedDict()
        self._bytes = 0

    def get(self, rle: Rle) -> NDArray[np.bool_]:
        """Return a mask (H, W) that must not be changed; ValueError when the run lengths are damaged."""
        mask = self._kept.get(rle)
        if mask is None:
            mask = rle.decode()
            self._keep(rle, mask)
        else:
            self._kept.move_to_end(rle)
        return mask

    def put(self, rle: Rle, mask: NDArray[np.bool_]) -> None:
        """Keep a copy of the mask that run lengths stand for: it may be a part of something larger."""
        if rle not in self._kept and mask.nbytes <= self._budget:
            self._keep(rle, mask.copy())

    def _keep(self, rle: Rle, mask: NDArray[np.bool_]) -> None:
        if mask.nbytes > self._budget:
            return
        self._kept[rle] = mask
        self._bytes += mask.nbytes
        while self._bytes > self._budget:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes

"""Candidates of a frame, and the selection among them by filters and by the user; no widgets, no layers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_sam2.automatic import (
    AutomaticOptions,
    AutomaticResult,
    Candidates,
    InteractiveFilter,
    SpatialFilter,
)
from napari_sam2.objects import Color, ObjectInfo
from napari_sam2.plugin.layers.preview_layer import DROPPED


class CandidateSelection:
    """Candidates of one frame and the selection among them.

    Parameters
    ----------
    options : AutomaticOptions
        Search and filters.
    """

    def __init__(self, options: AutomaticOptions) -> None:
        self.options = options
        self.new_only = False
        self.frame = -1
        self.result: AutomaticResult | None = None
        self._filter: InteractiveFilter | None = None
        self._dropped: set[int] = set()  # rows of candidates: they stay dropped while filters change
        self._existing: NDArray[np.bool_] | None = None
        self._region: NDArray[np.bool_] | None = None

    def begin(self, frame: int) -> None:
        """Discard all candidates, and start with another frame."""
        self.frame = frame
        self.result = self._filter = None
        self._dropped.clear()

    def put(self, candidates: Candidates) -> None:
        """Replace the candidates by all that were found so far."""
        if self._filter is None:
            self._filter = InteractiveFilter(candidates)
        elif not self._filter.grow(candidates):
            self._dropped.clear()  # rows belong to other masks now
        self.refresh()

    def set_spatial(self, existing: NDArray[np.bool_] | None, region: NDArray[np.bool_] | None) -> None:
        """Set the pixels of existing objects, and the region that is searched; both (H, W) or None."""
        self._existing, self._region = existing, region
        self.refresh()

    def change(self, options: AutomaticOptions) -> bool:
        """Set other options; return False if they need another search."""
        self.options = options
        if self._filter is None or options.needs_network(self._filter.candidates.options):
            return False
        self.refresh()
        return True

    def refresh(self) -> None:
        """Filter again."""
        found = self._filter
        if found is None or self.options.needs_network(found.candidates.options):
            return
        options = self.options.for_new_objects() if self.new_only else self.options
        existing = self._existing if options.max_overlap < 1 or options.min_distance else None
        spatial = None
        if existing is not None or self._region is not None:
            spatial = SpatialFilter(self._region, existing)
        self.result = found.result(options, spatial)

    # -- selection ---------------------------------------------------------------------------------------

    @property
    def needs_run(self) -> bool:
        """True if the options need another search."""
        return self._filter is None or self.options.needs_network(self._filter.candidates.options)

    @property
    def selected(self) -> list[int]:
        """Indices of the masks of the result that the user did not drop."""
        masks = () if self.result is None else self.result.masks
        return [i for i, mask in enumerate(masks) if mask.row not in self._dropped]

    def toggle(self, x: float, y: float) -> bool:
        """Drop the mask at a pixel, or keep it again; return False if there is none."""
        index = None if self.result is None else self.result.at(x, y)
        if self.result is None or index is None:
            return False
        self._dropped ^= {self.result.masks[index].row}
        return True

    def explain(self, x: float, y: float) -> str:
        """Return the scores of the mask at a pixel as text; empty if there is none."""
        index = None if self.result is None else self.result.at(x, y)
        if self.result is None or index is None:
            return ""
        mask = self.result.masks[index]
        state = "dropped, click to keep" if mask.row in self._dropped else "click to drop"
        return (
            f"Quality {mask.predicted_iou:.2f} · stability {mask.stability_score:.2f} · "
            f"{mask.area} pixels · {state}"
        )

    def scores(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the predicted IoUs of all candidates and of those that are kept."""
        if self._filter is None or self.result is None:
            return np.zeros(0, np.float32), np.zeros(0, np.float32)
        kept = [self.result.masks[i].predicted_iou for i in self.selected]
        return self._filter.candidates.predicted_ious, np.array(kept, np.float32)

    def summary(self) -> str:
        """Return the number of masks and what reduced it, as text."""
        if self.result is None:
            return ""
        if not len(self.result):
            return self.result.explanation
        dropped = len(self.result) - len(self.selected)
        text = f"{len(self.result)} of {self.result.stages[0].left} candidates are kept."
        return text + (f" You dropped {dropped} of them." if dropped else "")

    def labels(self) -> tuple[NDArray[np.uint16], dict[int, Color]]:
        """Return a label image (H, W) of the result with its colours; dropped masks are grey."""
        assert self.result is not None
        selected = set(self.selected)
        ids = [i + 1 if i in selected else DROPPED for i in range(len(self.result))]
        colors = {i: ObjectInfo(i).rgb for i in ids if i != DROPPED}
        return self.result.labels(object_ids=ids), colors

    def masks(self, first_id: int) -> dict[int, NDArray[np.bool_]]:
        """Return the selected masks (H, W) without overlaps, by new object ids."""
        if self.result is None:
            return {}
        prompts = self.result.keep(self.selected).prompts(first_id)
        return {i: p.mask.array() for i, p in prompts.items() if p.mask is not None}

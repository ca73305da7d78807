"""Forget candidates when there are too many to keep."""

from __future__ import annotations

import numpy as np

from napari_sam2.automatic.candidates import Candidates
from napari_sam2.automatic.filters import scores_pass
from napari_sam2.automatic.options import AutomaticOptions


def within_memory(candidates: Candidates, options: AutomaticOptions) -> Candidates:
    """Return candidates that take at most half of ``candidate_memory_mb``, so that more can follow.

    First those that the score filters of ``options`` drop anyway are forgotten, which changes no result under these
    options; if that is not enough, those with the lowest predicted IoU.
    """
    kept = candidates.take(scores_pass(candidates, options))
    budget = options.candidate_memory_mb * 2**19
    if kept.nbytes <= budget:
        return kept
    share = budget / kept.nbytes
    best = np.argsort(-kept.predicted_ious, kind="stable")[: max(1, int(len(kept) * share))]
    return kept.take(np.sort(best))

"""A small project, records and masks that can be drawn by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_sam2.session.protocols import ObjectRecord
from napari_sam2.storage import Project

SHAPE = (12, 20, 30)


@pytest.fixture
def make_record() -> Callable[..., ObjectRecord]:
    def make(seed: int = 0, **facts: object) -> ObjectRecord:
        rng = np.random.default_rng(seed)
        known = {"object_score": 2.0 + seed, "predicted_iou": 0.5, "prompted": False, "conditioning": False}
        logits = rng.normal(size=(16, 16)).astype(np.float16)
        return ObjectRecord(logits, rng.normal(size=8).astype(np.float32), **(known | facts))

    return make


@pytest.fixture
def make_mask() -> Callable[..., np.ndarray]:
    def make(seed: int = 0, size: tuple[int, int] = SHAPE[1:]) -> np.ndarray:
        y, x = np.random.default_rng(seed).integers(0, 14, 2)
        mask = np.zeros(size, bool)
        mask[y : y + 5 + seed % 3, x : x + 6] = True
        return mask

    return make


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "a.sam2", SHAPE) as made:
        yield made

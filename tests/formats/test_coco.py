from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pycocotools.coco import COCO

from napari_sam2.formats import TrackingResults
from napari_sam2.formats.coco import write_coco
from napari_sam2.formats.measurements import write_measurements
from napari_sam2.masks import FrameMasks


def load(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools under numpy 2
def test_pycocotools_reads_every_mask_whole(
    run: TrackingResults, masks: list[np.ndarray], tmp_path: Path
) -> None:
    coco = load(write_coco(run, tmp_path / "coco.json"))
    found = {}
    for annotation in coco.loadAnns(coco.getAnnIds()):
        frame = coco.loadImgs(annotation["image_id"])[0]["frame_index"]
        found[frame, annotation["track_id"]] = annotation
    seen = {(t, i) for t, f in enumerate(masks) for i, m in zip((1, 7, 40), f) if m.any()}
    assert set(found) == seen
    for (frame, object_id), annotation in found.items():
        expected = masks[frame][(1, 7, 40).index(object_id)]
        np.testing.assert_array_equal(coco.annToMask(annotation), expected)
        assert annotation["area"] == expected.sum()
        rows, columns = np.nonzero(expected)
        x, y, w, h = annotation["bbox"]
        assert (x, y) == (columns.min(), rows.min())
        assert (x + w - 1, y + h - 1) == (columns.max(), rows.max())


def test_track_ids_names_and_scores_are_there(run: TrackingResults, tmp_path: Path) -> None:
    data = json.loads(write_coco(run, tmp_path / "coco.json").read_text(encoding="utf-8"))
    assert {t["id"]: t["name"] for t in data["tracks"]} == {1: "mother", 7: "object 7", 40: "Zelle ü"}
    assert [i["frame_index"] for i in data["images"]] == list(range(8))
    assert len({a["id"] for a in data["annotations"]}) == len(data["annotations"])
    first = data["annotations"][0]
    assert (first["track_id"], first["score"], first["object_score"]) == (1, 0.5, 3.5)
    assert first["attributes"] == {"track_id": 1, "prompted": True}
    assert {a["category_id"] for a in data["annotations"]} <= {c["id"] for c in data["categories"]}


def test_chosen_objects_only(run: TrackingResults, tmp_path: Path) -> None:
    data = json.loads(write_coco(run.select([40]), tmp_path / "coco.json").read_text(encoding="utf-8"))
    assert {a["track_id"] for a in data["annotations"]} == {40}
    assert [t["id"] for t in data["tracks"]] == [40]


def test_an_object_that_does_not_exist_is_an_error(run: TrackingResults) -> None:
    with pytest.raises(KeyError, match="object 5"):
        run.select([5])


def test_masks_made_by_hand_have_no_scores(run: TrackingResults, tmp_path: Path) -> None:
    def painted(frame: int) -> FrameMasks:
        found = run.masks(frame)
        nan = np.full(len(found.object_ids), np.nan, np.float32)
        return replace(found, object_scores=nan, predicted_ious=nan)

    by_hand = replace(run, masks=painted)
    text = write_coco(by_hand, tmp_path / "coco.json").read_text(encoding="utf-8")
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert "score" not in json.loads(text)["annotations"][0]
    table = pd.read_csv(write_measurements(by_hand, tmp_path / "m.csv"))
    assert table["object_score"].isna().all()
    assert table["predicted_iou"].isna().all()

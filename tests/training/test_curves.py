"""Logs of interrupted runs read as one run, and pictures are drawn from them."""

import json

import numpy as np
import pytest
from PIL import Image

from napari_sam2.training.curves import draw_curves, read_log
from napari_sam2.training.data.clips import MaskletClips, SyntheticClips
from napari_sam2.training.data.sources import default_sources


def test_repeated_steps_of_a_resumed_run_count_once(tmp_path):
    scores = dict.fromkeys(("click", "clicks3", "box", "tracked", "presence"), 0.5)
    entries = [
        {"step": 1, "loss": 3.0},
        {"step": 2, "loss": 9.0},
        {"step": 2, "loss": 2.0},
        {"step": 2, "held_out": scores, "overall": 0.5},
        {"step": 3, "loss": 1.0},
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(json.dumps(entry) for entry in entries))
    log = read_log(tmp_path)
    assert [entry["loss"] for entry in log if "loss" in entry] == [3.0, 2.0, 1.0]
    pytest.importorskip("matplotlib")
    picture = np.asarray(Image.open(draw_curves(tmp_path, tmp_path / "curves.png")))
    assert len(np.unique(picture[..., :3].reshape(-1, 3), axis=0)) > 10


def test_sources_share_as_asked():
    labels = np.ones((2, 16, 16), np.uint16)
    video = (np.zeros((2, 16, 16, 3), np.uint8), labels)
    (synthetic, one), (masklets, other) = default_sources(0.25, videos=[video])
    assert isinstance(synthetic, SyntheticClips)
    assert isinstance(masklets, MaskletClips)
    assert (one, other) == (0.25, 0.75)
    assert [weight for _, weight in default_sources(0.25)] == [1.0]
    assert [type(source) for source, _ in default_sources(0.0, videos=[video])] == [MaskletClips]

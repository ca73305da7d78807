"""The examples of docs/sessions.md run as they are printed."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from napari_sam2.session import ArrayFrames, TemporaryStore
from tests.reference.replay import HERE as DATA
from tests.reference.replay import video, write_checkpoint

PAGE = (Path(__file__).parents[2] / "docs" / "sessions.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def names(monkeypatch, model):
    monkeypatch.setattr("napari_sam2.model.weights.checkpoints.load_model", lambda name: model)
    frames = video(DATA)[:3]
    return {"video": frames, "image": frames[0], "boxes": [(34, 34, 87, 87), (150, 80, 210, 140)], "np": np}


def test_there_are_examples():
    assert len(EXAMPLES) == 4


def test_video_store_and_image_examples(names, capsys):
    exec(EXAMPLES[0], names)
    assert capsys.readouterr().out.count("(2, 180, 240)") == 3
    with TemporaryStore() as store:
        names |= {"store": store, "earlier_prompts": names["session"].prompts}
        names["frames"] = ArrayFrames(names["video"])
        exec("from napari_sam2.session import VideoSession\n" + EXAMPLES[1], names)
        assert names["session"].object_ids == (1, 2)
    exec(EXAMPLES[2], names)
    assert names["one"].masks.shape == (1, 3, 180, 240)
    assert names["many"].masks.shape == (2, 1, 180, 240)


def test_meta_example(names, tmp_path):
    for index, frame in enumerate(names["video"]):
        Image.fromarray(frame).save(tmp_path / f"{index}.jpg")
    config, checkpoint = write_checkpoint(tmp_path)
    code = EXAMPLES[3].replace("configs/sam2.1/sam2.1_hiera_t.yaml", config)
    code = code.replace("sam2.1_hiera_tiny.pt", checkpoint).replace("folder_of_jpegs", str(tmp_path))
    exec(code, names)
    assert names["masks"].shape == (1, 180, 240)
    assert names["masks"].dtype == torch.bool

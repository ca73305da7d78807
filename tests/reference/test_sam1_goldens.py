"""The outputs of Meta's segment-anything 1.0 on a small network: every kind of prompt, and automatic masks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_sam2.reference import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry
from tests.golden.sam1_recipe import meta_state, transformers_state

HERE = Path(__file__).parent / "data"
RECORDED = json.loads((HERE / "sam1.json").read_text())


@pytest.fixture(scope="module")
def golden():
    with np.load(HERE / "sam1_image.npz") as file:
        return {key: file[key] for key in file.files}


def built(folder, state):
    torch.save(state, folder / "sam.pth")
    return sam_model_registry["auto"](checkpoint=folder / "sam.pth")


@pytest.fixture(scope="module", params=["meta", "transformers"])
def predictor(request, tmp_path_factory, golden):
    state = meta_state()
    state = transformers_state(state) if request.param == "transformers" else state
    predictor = SamPredictor(built(tmp_path_factory.mktemp("sam"), state))
    predictor.set_image(golden["wide"])
    return predictor


def test_features(predictor, golden):
    features = predictor.get_image_embedding()
    assert features.shape == (1, 256, 16, 16)
    np.testing.assert_allclose(features[0, :4], golden["features"], atol=5e-4)
    assert predictor.original_size == (180, 256)
    assert predictor.input_size == (180, 256)


@pytest.mark.parametrize("name", RECORDED["scenarios"])
def test_prompts(name, predictor, golden):
    scenario = dict(RECORDED["scenarios"][name])
    earlier = scenario.pop("mask_input")
    prompt = {k: np.array(v) if isinstance(v, list) else v for k, v in scenario.items()}
    if earlier is not None:  # chained as in a script, not from the recorded float16
        first = {k: v for k, v in RECORDED["scenarios"][earlier].items() if k != "mask_input"}
        first = {k: np.array(v) if isinstance(v, list) else v for k, v in first.items()}
        prompt["mask_input"] = predictor.predict(**first)[2]
    masks, ious, low = predictor.predict(**prompt)
    assert masks.dtype == bool
    np.testing.assert_allclose(ious, golden[f"{name}_iou"], atol=2e-4)
    np.testing.assert_allclose(low, golden[f"{name}_low"], atol=2e-3, rtol=5e-4)
    bits = np.unpackbits(golden[f"{name}_bits"], axis=1)[:, : masks[0].size].reshape(masks.shape)
    assert np.mean(masks != bits) <= 5e-4


@pytest.mark.parametrize("name", RECORDED["automatic"])
def test_automatic_masks(name, tmp_path, golden):
    recorded = RECORDED["automatic"][name]
    generator = SamAutomaticMaskGenerator(built(tmp_path, meta_state(blobs=True)), **recorded["kwargs"])
    found = generator.generate(golden[recorded["image"]])
    assert len(found) == len(recorded["annotations"])
    for ours, wanted in zip(found, recorded["annotations"]):
        assert ours["area"] == pytest.approx(wanted["area"], abs=2)
        np.testing.assert_allclose(ours["bbox"], wanted["bbox"], atol=1)
        assert ours["predicted_iou"] == pytest.approx(wanted["predicted_iou"], abs=2e-4)
        assert ours["stability_score"] == pytest.approx(wanted["stability_score"], abs=2e-3)
        assert ours["crop_box"] == wanted["crop_box"]
        np.testing.assert_allclose(ours["point_coords"], wanted["point_coords"], atol=1e-3)

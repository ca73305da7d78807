"""The reference's video predictor, replayed: same operations, same order of outputs, same numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_sam2.session import video as module
from tests.reference.replay import HERE, SHARED, build_predictor, largest_errors, scenario, split_name, video

SHIPPED = sorted(f.stem for f in HERE.glob("nano256_*.npz"))
WHOLE = (
    sorted(
        f.stem
        for f in SHARED.glob("nano256_*.npz")
        if not f.stem.endswith(("_image", "_unit")) and f.stem not in SHIPPED
    )
    if SHARED.is_dir()
    else []
)
# After a correction and a second propagation, a memory rounded to bfloat16 the other way moves one frame by 0.26 on one
# processor and by 0.40 on another.
# With the reference's own logits put in for the corrected frame it is 0.0006: see the test below.
WIDER = {"nano256_corrcond_correction": 0.5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


def check(name, source, folder):
    tag, kind = split_name(name)
    with np.load(source / f"{name}.npz") as file:
        golden = {key: file[key] for key in file.files}
    area = 8 if tag == "nano256_fillholes" else 0
    errors = largest_errors(build_predictor(tag, folder), video(source), scenario(kind, source), golden, area)
    exact = "mem32" in tag
    assert errors.first <= 2e-3
    assert errors.score <= (2e-3 if exact else 0.01)
    assert errors.pointer <= (2e-3 if exact else 0.02)
    assert errors.iou <= (2e-3 if exact else 0.01)
    # The two objects' logits lie within 0.05 of each other on up to 18 % of the pixels: rounding chooses the winner.
    assert errors.wrong_pixels <= (0.005 if tag == "nano256_nonoverlap" else 0.001)
    if area:
        # A hole of 8 pixels is filled, one of 9 is not: a logit next to zero decides over all pixels of a hole.
        assert errors.far_off <= 0.005
    else:
        assert errors.logits <= (2e-3 if exact else WIDER.get(name, 0.15))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_goldens(name, folder):
    check(name, HERE, folder)


@pytest.mark.shared
@pytest.mark.parametrize("name", WHOLE)
def test_all_goldens(name, folder):
    check(name, SHARED, folder)


@pytest.mark.shared
@pytest.mark.skipif(not WHOLE, reason="needs the development data beside the repository")
def test_a_wide_difference_comes_from_rounding_alone(folder, monkeypatch):
    name = "nano256_corrcond_correction"
    tag, kind = split_name(name)
    with np.load(SHARED / f"{name}.npz") as file:
        golden = {key: file[key] for key in file.files}
    answer = module.answer
    rows = iter(np.flatnonzero((golden["rec_frame"] == 6) & np.isin(golden["rec_op"], (2, 3))))

    def forced(writer, tracked, frame, prompt):
        draft = answer(writer, tracked, frame, prompt)
        if frame != 6:
            return draft
        row = next(rows)
        output = draft.output.changed(
            logits=torch.from_numpy(golden["low_res"][row]), pointer=torch.from_numpy(golden["obj_ptr"][row])
        )
        return replace(draft, output=output)

    monkeypatch.setattr(module, "answer", forced)
    errors = largest_errors(build_predictor(tag, folder), video(SHARED), scenario(kind, SHARED), golden)
    assert errors.logits <= 0.05


def test_a_wrong_rule_is_noticed(folder):
    """The tolerance is far below what one wrong rule costs: here, corrections that condition."""
    predictor = build_predictor("nano256_corrcond", folder)
    with np.load(HERE / "nano256_corrcond_correction_mask.npz") as file:
        golden = {key: file[key] for key in file.files}
    predictor.options = replace(predictor.options, binarize_prompted=False)
    errors = largest_errors(predictor, video(HERE), scenario("correction_mask", HERE), golden)
    assert errors.logits > 0.2

"""Attributes that scripts read and set on finished predictors act, and unknown ones are refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from napari_sam2.frames import UnreadableFramesWarning
from napari_sam2.model.weights.key_mapping import to_meta
from napari_sam2.reference import SAM2AutomaticMaskGenerator, SAM2ImagePredictor, SAM2VideoPredictor
from napari_sam2.session import SessionOptions
from tests.golden.recipe import recipe_model
from tests.reference.replay import HERE, build_predictor, largest_errors, scenario, video
from tests.session.conftest import HEIGHT, TINY, WIDTH, moving_discs


@pytest.fixture
def predictor():
    return SAM2VideoPredictor(recipe_model(TINY))


def follow(predictor, state=None, count=12):
    """Click, track, correct in the middle, track again; return all logits of the last pass."""
    state = predictor.init_state(moving_discs(count)) if state is None else state
    predictor.add_new_points_or_box(state, 0, 1, [[15, 12]], [1])
    predictor.add_new_points_or_box(state, 0, 2, [[45, 30]], [1])
    list(predictor.propagate_in_video(state))
    predictor.add_new_mask(state, 6, 1, np.tri(HEIGHT, WIDTH, dtype=bool))
    return [logits for _, _, logits in predictor.propagate_in_video(state)]


def test_a_switch_set_after_building_gives_the_references_numbers(tmp_path):
    predictor = build_predictor("nano256", tmp_path)
    predictor.add_all_frames_to_correct_as_cond = True
    with np.load(HERE / "nano256_corrcond_correction_mask.npz") as file:
        golden = {key: file[key] for key in file.files}
    errors = largest_errors(predictor, video(HERE), scenario("correction_mask", HERE), golden)
    assert errors.logits <= 0.15


SWITCHES = {
    "add_all_frames_to_correct_as_cond": (False, True, {"corrections_condition": True}),
    "non_overlap_masks": (False, True, {"non_overlap": True}),
    "fill_hole_area": (0, 50, {"fill_hole_area": 50}),
    "num_maskmem": (7, 2, {"max_memories": 2}),
    "memory_temporal_stride_for_eval": (1, 2, {"memory_stride": 2}),
    "binarize_mask_from_pts_for_mem_enc": (False, True, {"binarize_prompted": True}),
    "multimask_max_pt_num": (1, 0, {"multimask_max_points": 0}),
    "multimask_min_pt_num": (0, 1, {"multimask_min_points": 1}),
    "multimask_output_for_tracking": (True, False, {"multimask_tracking": False}),
}


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_acts_on_states_that_exist_already(predictor, name):
    before, after, options = SWITCHES[name]
    assert getattr(predictor, name) == before
    unchanged = follow(predictor)
    state = predictor.init_state(moving_discs(12))
    setattr(predictor, name, after)
    assert getattr(predictor, name) == after
    found = follow(predictor, state)
    built = SAM2VideoPredictor(predictor.model)
    built.options = SessionOptions.reference(**options)
    assert all(torch.equal(a, b) for a, b in zip(found, follow(built), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(found, unchanged, strict=True))


def test_memories_around_prompts_are_cleared_from_then_on(predictor):
    state = predictor.init_state(moving_discs(16))
    predictor.add_new_points_or_box(state, 0, 1, [[15, 12]], [1])
    list(predictor.propagate_in_video(state))
    predictor.clear_non_cond_mem_around_input = True
    predictor.add_new_mask(state, 8, 1, np.tri(HEIGHT, WIDTH, dtype=bool))
    state.session.commit()
    assert [f for _, f in state.session._objects[1].recall(10, False, own=True).spatial] == [0]


def test_switches_of_the_network_act(predictor):
    unchanged = follow(predictor)
    assert (predictor.sigmoid_scale_for_mem_enc, predictor.max_obj_ptrs_in_encoder) == (20.0, 16)
    predictor.sigmoid_scale_for_mem_enc = 2
    changed = follow(predictor)
    assert torch.equal(changed[0], unchanged[0])  # nothing is recalled on the first frame
    assert not torch.equal(changed[1], unchanged[1])
    predictor.sigmoid_scale_for_mem_enc = 20.0
    predictor.max_obj_ptrs_in_encoder = 2
    pointers = follow(predictor)
    assert not torch.equal(pointers[5], unchanged[5])


def test_switches_of_the_mask_decoder_act():
    def box(predictor):
        state = predictor.init_state(moving_discs(1))
        return predictor.add_new_points_or_box(state, 0, 1, box=[8, 4, 24, 20])[2]

    plain = recipe_model(replace(TINY, dynamic_stability=False))
    predictor = SAM2VideoPredictor(recipe_model(TINY))
    assert predictor.sam_mask_decoder.dynamic_multimask_via_stability is True
    predictor.sam_mask_decoder.dynamic_multimask_stability_thresh = 1.1  # no mask is as stable as that
    unstable = box(predictor)
    predictor.sam_mask_decoder.dynamic_multimask_via_stability = False
    assert torch.equal(box(predictor), box(SAM2VideoPredictor(plain)))
    assert not torch.equal(box(predictor), unstable)
    predictor.sigmoid_bias_for_mem_enc = -5.0
    assert predictor.sam_mask_decoder.dynamic_multimask_via_stability is False
    with pytest.raises(ValueError, match="dynamic_stability is true or false, not 'no'"):
        predictor.sam_mask_decoder.dynamic_multimask_via_stability = "no"


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        (
            "fill_holes",
            8,
            AttributeError,
            "no attribute 'fill_holes' that could be set; these can be: .*fill_hole_area",
        ),
        (
            "fill_hole_area",
            "many",
            ValueError,
            "fill_hole_area='many'' needs a whole number|needs a whole number",
        ),
        ("memory_temporal_stride_for_eval", 0, ValueError, "is impossible: memory_stride must be at least 1"),
        (
            "image_size",
            512,
            AttributeError,
            r"build it with hydra_overrides_extra=\['\+\+model.image_size=512'\]",
        ),
        ("use_obj_ptrs_in_encoder", False, AttributeError, "=False is not supported, only True is"),
    ],
)
def test_what_cannot_be_set_is_refused_in_a_sentence(predictor, name, value, error, message):
    with pytest.raises(error, match=message):
        setattr(predictor, name, value)
    with pytest.raises(AttributeError, match="has no attribute 'fill_holes'"):
        _ = predictor.fill_holes


def test_a_predictor_is_read_as_a_module(predictor):
    model = predictor.model
    assert predictor.image_size == predictor.model.image_size == 64
    assert (predictor.hidden_dim, predictor.mem_dim, predictor.num_maskmem) == (32, 16, 7)
    assert predictor.use_obj_ptrs_in_encoder is True
    assert sum(p.numel() for p in predictor.parameters()) == sum(p.numel() for p in model.parameters())
    assert predictor.sam_mask_decoder is model.mask_decoder
    assert predictor.eval() is predictor.float() is predictor.to("cpu") is predictor.cpu() is predictor
    assert not predictor.training
    assert predictor.state_dict().keys() == to_meta(model.state_dict()).keys()
    assert "sam_mask_decoder.iou_token.weight" in predictor.state_dict()
    halved = {key: value / 2 for key, value in predictor.state_dict().items()}
    predictor.load_state_dict(halved)
    assert torch.equal(predictor.state_dict()["no_mem_embed"], halved["no_mem_embed"])


def test_half_precision_is_computed_in_and_float_goes_back(predictor):
    assert predictor.bfloat16().init_state(moving_discs(2)).session.runner.autocast == torch.bfloat16
    assert (
        predictor.to(dtype=torch.float16).init_state(moving_discs(2)).session.runner.autocast == torch.float16
    )
    assert predictor.half().float().init_state(moving_discs(2)).session.runner.autocast is None


def test_the_state_is_read_by_metas_keys(predictor):
    state = predictor.init_state(moving_discs(4))
    predictor.add_new_points_or_box(state, 0, "cell", [[15, 12], [20, 14]], [1, 0])
    predictor.add_new_mask(state, 2, "other", np.tri(HEIGHT, WIDTH, dtype=bool))
    shown = {frame: logits for frame, _, logits in predictor.propagate_in_video(state)}
    outputs = state["output_dict_per_obj"]
    assert list(outputs) == [0, 1]
    assert list(outputs[0]["cond_frame_outputs"]) == [0]
    assert list(outputs[0]["non_cond_frame_outputs"]) == [1, 2, 3]
    assert list(outputs[1]["cond_frame_outputs"]) == [2]
    one = outputs[0]["non_cond_frame_outputs"][3]
    assert {key: tuple(value.shape) for key, value in one.items()} == {
        "maskmem_features": (1, 16, 4, 4),
        "pred_masks": (1, 1, 16, 16),
        "obj_ptr": (1, 32),
        "object_score_logits": (1, 1),
    }
    enlarged = torch.nn.functional.interpolate(one["pred_masks"], (HEIGHT, WIDTH), mode="bilinear")
    assert torch.allclose(enlarged[0, 0], shown[3][0, 0], atol=1e-5)
    kept = state.session._objects[1].bank.get(3).spatial
    assert torch.equal(one["maskmem_features"][0], kept)
    points = state["point_inputs_per_obj"][0][0]
    assert torch.equal(points["point_labels"], torch.tensor([[1, 0]], dtype=torch.int32))
    np.testing.assert_allclose(points["point_coords"][0], [[15, 16], [20, 14 / 48 * 64]], rtol=1e-6)
    assert state["mask_inputs_per_obj"][1][2].shape == (1, 1, 64, 64)
    assert state["frames_tracked_per_obj"][0] == {f: {"reverse": False} for f in range(4)}
    with pytest.raises(KeyError):
        outputs[0]["cond_frame_outputs"][1]


def test_other_predictors_refuse_unknown_attributes_too():
    model = recipe_model(TINY)
    image = SAM2ImagePredictor(model)
    image.mask_threshold = 1.0
    with pytest.raises(
        AttributeError, match="'mask_treshold' that could be set; these can be: mask_threshold"
    ):
        image.mask_treshold = 1.0
    generator = SAM2AutomaticMaskGenerator(
        model, points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.0
    )
    picture = moving_discs(1)[0]
    everything = generator.generate(picture)
    middle = sorted(record["predicted_iou"] for record in everything)[len(everything) // 2]
    generator.pred_iou_thresh = middle
    kept = [r["predicted_iou"] for r in everything if r["predicted_iou"] > middle]
    assert [r["predicted_iou"] for r in generator.generate(picture)] == kept
    generator.point_grids = [np.array([[0.25, 0.25]])]
    assert {tuple(r["point_coords"][0]) for r in generator.generate(picture)} <= {(16.0, 12.0)}
    with pytest.raises(AttributeError, match="'iou_thresh' that could be set"):
        generator.iou_thresh = 0.5


def test_folders_of_any_names_and_tensors_with_channels_before_rows(predictor, tmp_path):
    discs = moving_discs(12)
    for index, frame in enumerate(discs):
        Image.fromarray(frame).save(tmp_path / f"cells_t{index + 5}.png")
    frames = predictor.init_state(tmp_path).session.frames
    assert len(frames) == 12
    assert all(np.array_equal(frames.frame(i), discs[i]) for i in range(12))
    for tchw in (torch.from_numpy(discs).permute(0, 3, 1, 2), np.moveaxis(discs, 3, 1)):
        assert np.array_equal(predictor.init_state(tchw).session.frames.frame(7), discs[7])


def test_a_list_of_files_is_a_video_and_a_damaged_one_is_passed_over(predictor, tmp_path):
    discs = moving_discs(6)
    files = [tmp_path / f"{name}.png" for name in "fedcba"]
    for file, frame in zip(files, discs, strict=True):
        Image.fromarray(frame).save(file)
    files[3].write_bytes(files[3].read_bytes()[:60])
    state = predictor.init_state([str(file) for file in files])
    assert np.array_equal(state["images"]._frames.frame(4), discs[4])
    predictor.add_new_points_or_box(state, 0, 1, points=[[15, 12]], labels=[1])
    with pytest.warns(UnreadableFramesWarning, match=r"^frame 3 can't be read and was passed over .*c\.png"):
        shown = {frame: logits for frame, _, logits in predictor.propagate_in_video(state)}
    assert {frame: tuple(logits.shape) for frame, logits in shown.items()} == dict.fromkeys(
        range(6), (1, 1, HEIGHT, WIDTH)
    )
    assert (shown[3] == -1024).all()  # no object there, as the reference says it

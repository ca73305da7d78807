"""Meta's builders: configuration names, devices, and hydra's override strings."""

import pytest
import torch

from napari_sam2.model.config import ModelConfig
from napari_sam2.model.errors import CheckpointError
from napari_sam2.model.sam2 import Sam2
from napari_sam2.model.weights.key_mapping import to_meta
from napari_sam2.model.weights.meta_yaml import read_reference_yaml
from napari_sam2.reference import (
    SAM2ImagePredictor,
    SAM2VideoPredictor,
    build_sam2,
    build_sam2_video_predictor,
)
from napari_sam2.reference.hydra_overrides import parse_overrides
from tests.golden.recipe import recipe_model
from tests.model.weights.test_meta_yaml import tree as reference_tree
from tests.model.weights.test_meta_yaml import write as written
from tests.session.conftest import TINY, moving_discs


@pytest.mark.parametrize(
    ("name", "preset", "version"),
    [
        ("configs/sam2.1/sam2.1_hiera_t.yaml", "tiny", "2.1"),
        ("configs/sam2.1/sam2.1_hiera_b+.yaml", "base_plus", "2.1"),
        ("configs/sam2/sam2_hiera_s.yaml", "small", "2.0"),
        ("sam2_hiera_l.yaml", "large", "2.0"),
        ("sam2.1_hiera_s", "small", "2.1"),
    ],
)
def test_configuration_names(name, preset, version, monkeypatch):
    seen = []

    def network(config):
        seen.append(config)
        return recipe_model(TINY)

    monkeypatch.setattr("napari_sam2.reference.network.Sam2", network)
    build_sam2(name, device="cpu")
    assert seen == [ModelConfig.preset(preset, version)]
    build_sam2(
        name, device="cpu", apply_postprocessing=False, hydra_overrides_extra=["++model.image_size=512"]
    )
    assert (seen[1].dynamic_stability, seen[1].image_size) == (False, 512)


@pytest.mark.parametrize("name", ["configs/sam2.1/sam2.1_hiera_x.yaml", "huge", "missing.yaml"])
def test_unknown_configurations(name):
    with pytest.raises(ValueError, match="unknown configuration"):
        build_sam2(name, device="cpu")


def test_without_cuda_the_best_device_is_taken_with_a_warning(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("napari_sam2.reference.network.Sam2", lambda config: recipe_model(TINY))
    with pytest.warns(UserWarning, match="CUDA is not available here"):
        assert build_sam2("sam2.1_hiera_t.yaml").device.type in ("cpu", "mps")


@pytest.mark.parametrize(
    ("repository", "name"),
    [
        ("facebook/sam2.1-hiera-tiny", "tiny"),
        ("facebook/sam2-hiera-base-plus", "base_plus-2.0"),
        ("somebody/finetuned", "somebody/finetuned"),
    ],
)
def test_hub_repositories_become_model_names(repository, name, monkeypatch):
    asked = []

    def load(wanted, *_, **__):
        asked.append(wanted)
        return recipe_model(TINY)

    monkeypatch.setattr("napari_sam2.reference.network.load_model", load)
    assert (
        SAM2ImagePredictor.from_pretrained(repository, device="cpu", mask_threshold=0.5).mask_threshold == 0.5
    )
    predictor = SAM2VideoPredictor.from_pretrained(repository, device="cpu", memory_dtype="bfloat16")
    assert predictor.options.memory_dtype == "bfloat16"
    assert predictor.image_size == 64
    assert asked == [name, name]


def test_a_checkpoint_needs_a_configuration():
    with pytest.raises(ValueError, match="is no configuration"):
        build_sam2("somebody/finetuned", "weights.pt", device="cpu")


def test_a_device_that_does_not_exist():
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        build_sam2("nano", device="gpu")


def test_training_mode(monkeypatch):
    monkeypatch.setattr("napari_sam2.reference.network.Sam2", lambda config: recipe_model(TINY))
    assert build_sam2("sam2.1_hiera_t.yaml", device="cpu", mode="train").training
    assert not build_sam2("sam2.1_hiera_t.yaml", device="cpu").training


def test_video_predictor_defaults_and_overrides(monkeypatch):
    monkeypatch.setattr("napari_sam2.reference.network.Sam2", lambda config: recipe_model(TINY))
    options = build_sam2_video_predictor("sam2.1_hiera_t.yaml", device="cpu").options
    assert (options.fill_hole_area, options.binarize_prompted, options.non_overlap) == (8, True, False)
    assert not options.corrections_condition
    bare = build_sam2_video_predictor("sam2.1_hiera_t.yaml", device="cpu", apply_postprocessing=False).options
    assert (bare.fill_hole_area, bare.binarize_prompted) == (0, False)
    changed = build_sam2_video_predictor(
        "sam2.1_hiera_t.yaml",
        device="cpu",
        hydra_overrides_extra=[
            "++model.fill_hole_area=3",
            "+model.non_overlap_masks=true",
            "model.add_all_frames_to_correct_as_cond=true",
            "++model.clear_non_cond_mem_around_input=true",
            "++model.max_cond_frames_in_attn=4",
            "++model.num_maskmem=5",
            "++model.memory_temporal_stride_for_eval=2",
            "++model.binarize_mask_from_pts_for_mem_enc=false",
            "++model.compile_image_encoder=true",
            "++model._target_=sam2.sam2_video_predictor.SAM2VideoPredictor",
        ],
    ).options
    assert (changed.fill_hole_area, changed.non_overlap, changed.corrections_condition) == (3, True, True)
    assert (changed.forget_around_prompts, changed.max_conditioning, changed.max_memories) == (True, 4, 5)
    assert (changed.memory_stride, changed.binarize_prompted) == (2, False)


def test_a_fine_tuned_model_is_a_yaml_and_a_checkpoint(tmp_path):
    tree = reference_tree()
    tree["image_size"] = 64
    tree["image_encoder"]["trunk"] |= {"embed_dim": 8, "stages": [1, 1, 1, 1], "global_att_blocks": [2]}
    config = read_reference_yaml(written(tmp_path / "own.yaml", {"model": tree}))
    torch.save(
        {"model": to_meta(Sam2(config).state_dict()), "epoch": 3, "optimizer": {"state": {}}},
        tmp_path / "own.pt",
    )
    predictor = build_sam2_video_predictor(str(tmp_path / "own.yaml"), str(tmp_path / "own.pt"), device="cpu")
    state = predictor.init_state(moving_discs(2))
    predictor.add_new_points_or_box(state, 0, 1, [[15, 12]], [1])
    assert [frame for frame, _, _ in predictor.propagate_in_video(state)] == [0, 1]
    with pytest.raises(CheckpointError, match="does not fit.*a SAM 2 of a size of its own"):
        build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", str(tmp_path / "own.pt"), device="cpu")


def test_what_a_yaml_says_about_tracking_holds(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_sam2.reference.network.Sam2", lambda config: recipe_model(TINY))
    said = {
        "max_cond_frames_in_attn": 4,
        "memory_temporal_stride_for_eval": 2,
        "add_all_frames_to_correct_as_cond": True,
        "non_overlap_masks": True,
        "fill_hole_area": 5,
    }
    path = written(tmp_path / "m.yaml", {"model": reference_tree() | said})
    bare = build_sam2_video_predictor(path, device="cpu", apply_postprocessing=False).options
    assert (bare.max_conditioning, bare.memory_stride, bare.fill_hole_area) == (4, 2, 5)
    assert bare.corrections_condition
    assert bare.non_overlap
    changed = build_sam2_video_predictor(
        path, device="cpu", hydra_overrides_extra=["++model.non_overlap_masks=false"]
    ).options
    assert (changed.fill_hole_area, changed.non_overlap, changed.max_conditioning) == (8, False, 4)
    wrong = written(tmp_path / "w.yaml", {"model": reference_tree() | {"fill_hole_area": "much"}})
    with pytest.raises(ValueError, match="'model.fill_hole_area=.much.' needs a whole number"):
        build_sam2_video_predictor(wrong, device="cpu")


def test_overrides_of_the_network():
    model = parse_overrides(
        [
            "++model.image_size=512",
            "++model.sam_mask_decoder_extra_args.dynamic_multimask_via_stability=true",
            "++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_delta=0.1",
            "++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh=9e-1",
            "++model.sigmoid_scale_for_mem_enc=10",
        ]
    ).model
    assert model == {
        "image_size": 512,
        "dynamic_stability": True,
        "stability_delta": 0.1,
        "stability_threshold": 0.9,
        "sigmoid_scale": 10.0,
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("++model.use_rope=true", "use_rope.*is not supported"),
        ("++model.fill_hole_area=many", "needs a whole number, not 'many'"),
        ("++model.non_overlap_masks=1", "needs true or false"),
        ("fill_hole_area=8", "is not understood"),
        ("~model.image_size", "is not understood"),
        ("++model._target_=os.system", "is not supported"),
        ("++model.memory_temporal_stride_for_eval=0", "stride_for_eval=0' is impossible: .* at least 1"),
        ("++model.max_cond_frames_in_attn=1", "max_cond_frames_in_attn=1' is impossible"),
        ("++model.image_size=100", "image_size=100' is impossible: .*multiple of 32"),
    ],
)
def test_overrides_that_are_refused_by_name(override, message):
    with pytest.raises(ValueError, match=message):
        build_sam2("sam2.1_hiera_t.yaml", device="cpu", hydra_overrides_extra=[override])
    with pytest.raises(TypeError, match="a list of strings"):
        parse_overrides(override)

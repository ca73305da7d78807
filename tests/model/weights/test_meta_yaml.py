"""Configurations as Meta's training code writes them."""

import copy

import pytest
import yaml

from napari_sam2.model.config import ModelConfig
from napari_sam2.model.weights.meta_yaml import read_reference_yaml


def tree():
    """The network of SAM 2.1 tiny, in the reference's words."""
    rope = dict(
        rope_theta=10000.0,
        feat_sizes=[64, 64],
        embedding_dim=256,
        num_heads=1,
        downsample_rate=1,
        dropout=0.1,
    )
    sine = dict(_target_="PositionEmbeddingSine", normalize=True, scale=None, temperature=10000)
    yes = (
        "use_mask_input_as_output_without_sam directly_add_no_mem_embed no_obj_embed_spatial "
        "use_high_res_features_in_sam multimask_output_in_sam "
        "iou_prediction_use_sigmoid use_obj_ptrs_in_encoder add_tpos_enc_to_obj_ptrs "
        "proj_tpos_enc_in_obj_ptrs use_signed_tpos_enc_to_obj_ptrs only_obj_ptrs_in_the_past_for_eval pred_obj_scores "
        "pred_obj_scores_mlp fixed_no_obj_ptr multimask_output_for_tracking use_multimask_token_for_obj_ptr "
        "use_mlp_for_obj_ptr_proj"
    ).split()
    return {
        "_target_": "sam2.modeling.sam2_base.SAM2Base",
        "image_encoder": {
            "_target_": "ImageEncoder",
            "scalp": 1,
            "trunk": {
                "embed_dim": 96,
                "num_heads": 1,
                "stages": [1, 2, 7, 2],
                "global_att_blocks": [5, 7, 9],
                "window_pos_embed_bkg_spatial_size": [7, 7],
            },
            "neck": {
                "position_encoding": {**sine, "num_pos_feats": 256},
                "d_model": 256,
                "backbone_channel_list": [768, 384, 192, 96],
                "fpn_top_down_levels": [2, 3],
                "fpn_interp_model": "nearest",
            },
        },
        "memory_attention": {
            "d_model": 256,
            "pos_enc_at_input": True,
            "layer": {
                "activation": "relu",
                "dim_feedforward": 2048,
                "dropout": 0.1,
                "pos_enc_at_attn": False,
                "self_attention": rope,
                "d_model": 256,
                "pos_enc_at_cross_attn_keys": True,
                "pos_enc_at_cross_attn_queries": False,
                "cross_attention": {**rope, "rope_k_repeat": True, "kv_in_dim": 64},
            },
            "num_layers": 4,
        },
        "memory_encoder": {
            "out_dim": 64,
            "position_encoding": {**sine, "num_pos_feats": 64},
            "mask_downsampler": {"kernel_size": 3, "stride": 2, "padding": 1},
            "fuser": {
                "layer": {
                    "dim": 256,
                    "kernel_size": 7,
                    "padding": 3,
                    "layer_scale_init_value": 1e-6,
                    "use_dwconv": True,
                },
                "num_layers": 2,
            },
        },
        "num_maskmem": 7,
        "image_size": 1024,
        "sigmoid_scale_for_mem_enc": 20.0,
        "sigmoid_bias_for_mem_enc": -10.0,
        "multimask_min_pt_num": 0,
        "multimask_max_pt_num": 1,
        "compile_image_encoder": False,
        **dict.fromkeys(yes, True),
    }


def write(path, content):
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_a_released_configuration(tmp_path):
    assert read_reference_yaml(write(tmp_path / "t.yaml", {"model": tree()})) == ModelConfig.preset("tiny")


def test_the_tree_of_a_training_run(tmp_path):
    model = tree()
    model["image_size"] = "${scratch.resolution}"
    model["image_encoder"]["trunk"] |= {"drop_path_rate": 0.1, "embed_dim": 112, "num_heads": 2}
    model |= {
        "prob_to_use_pt_input_for_train": 0.5,
        "num_frames_to_correct_for_eval": 1,
        "freeze_image_encoder": True,
    }
    whole = {"scratch": {"resolution": 512}, "trainer": {"model": model}}
    config = read_reference_yaml(write(tmp_path / "run.yaml", whole))
    assert (config.image_size, config.trunk_width, config.trunk_heads) == (512, 112, 2)


def test_what_is_not_said_has_the_references_defaults(tmp_path):
    model = tree()
    del model["image_encoder"]["trunk"]["window_pos_embed_bkg_spatial_size"]
    del model["no_obj_embed_spatial"], model["add_tpos_enc_to_obj_ptrs"]
    config = read_reference_yaml(write(tmp_path / "m.yaml", {"model": model}))
    assert config.background_size == (14, 14)
    assert not config.spatial_no_object
    assert not config.pointer_time_encoding


@pytest.mark.parametrize(
    "path, value, words",
    [
        (
            ("memory_attention", "layer", "activation"),
            "gelu",
            "memory_attention.layer.activation='gelu' is not supported",
        ),
        (("image_encoder", "scalp"), 0, "image_encoder.scalp=0"),
        (("use_high_res_features_in_sam",), False, "use_high_res_features_in_sam=False"),
        (("brand_new_switch",), 3, "unknown switch brand_new_switch=3"),
        (("image_size",), "${nowhere.at_all}", "points to nothing"),
        (("image_size",), 1000, "multiple of 32"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(tmp_path, path, value, words):
    model = copy.deepcopy(tree())
    place = model
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(ValueError, match=words):
        read_reference_yaml(write(tmp_path / "m.yaml", {"model": model}))


def test_a_missing_switch_is_named(tmp_path):
    model = tree()
    del model["pred_obj_scores"]
    with pytest.raises(ValueError, match="pred_obj_scores is missing"):
        read_reference_yaml(write(tmp_path / "m.yaml", {"model": model}))


@pytest.mark.parametrize("content", ["- a\n- list", "just text", "model: 3", ": : :\n\t- x"])
def test_other_files_are_refused(tmp_path, content):
    file = tmp_path / "x.yaml"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"x.yaml"):
        read_reference_yaml(str(file))

"""Meta's names, arguments in order, defaults, and what comes back."""

import inspect

import numpy as np
import pytest
import torch
from PIL import Image

import napari_sam2
import napari_sam2.reference as reference
from napari_sam2.reference import SAM2ImagePredictor, SAM2VideoPredictor
from tests.golden.recipe import recipe_model
from tests.session.conftest import HEIGHT, TINY, WIDTH, moving_discs

REQUIRED = inspect.Parameter.empty
BUILD = {
    "config_file": REQUIRED,
    "ckpt_path": None,
    "device": "cuda",
    "mode": "eval",
    "hydra_overrides_extra": (),
    "apply_postprocessing": True,
}
PROMPTS = {
    "point_coords": None,
    "point_labels": None,
    "box": None,
    "mask_input": None,
    "multimask_output": True,
    "return_logits": False,
    "normalize_coords": True,
}
SIGNATURES = {
    "build_sam2": BUILD | {"kwargs": REQUIRED},
    "build_sam2_video_predictor": BUILD | {"vos_optimized": False, "kwargs": REQUIRED},
    "build_sam2_hf": {"model_id": REQUIRED, "kwargs": REQUIRED},
    "build_sam2_video_predictor_hf": {"model_id": REQUIRED, "kwargs": REQUIRED},
    "SAM2ImagePredictor": {
        "sam_model": REQUIRED,
        "mask_threshold": 0.0,
        "max_hole_area": 0.0,
        "max_sprinkle_area": 0.0,
        "kwargs": REQUIRED,
    },
    "SAM2ImagePredictor.from_pretrained": {"model_id": REQUIRED, "kwargs": REQUIRED},
    "SAM2ImagePredictor.set_image": {"self": REQUIRED, "image": REQUIRED},
    "SAM2ImagePredictor.set_image_batch": {"self": REQUIRED, "image_list": REQUIRED},
    "SAM2ImagePredictor.predict": {"self": REQUIRED} | PROMPTS,
    "SAM2ImagePredictor.predict_batch": {
        "self": REQUIRED,
        "point_coords_batch": None,
        "point_labels_batch": None,
        "box_batch": None,
        "mask_input_batch": None,
        "multimask_output": True,
        "return_logits": False,
        "normalize_coords": True,
    },
    "SAM2ImagePredictor.get_image_embedding": {"self": REQUIRED},
    "SAM2ImagePredictor.reset_predictor": {"self": REQUIRED},
    "SAM2VideoPredictor.from_pretrained": {"model_id": REQUIRED, "kwargs": REQUIRED},
    "SAM2VideoPredictor.init_state": {
        "self": REQUIRED,
        "video_path": REQUIRED,
        "offload_video_to_cpu": False,
        "offload_state_to_cpu": False,
        "async_loading_frames": False,
    },
    "SAM2VideoPredictor.add_new_points_or_box": {
        "self": REQUIRED,
        "inference_state": REQUIRED,
        "frame_idx": REQUIRED,
        "obj_id": REQUIRED,
        "points": None,
        "labels": None,
        "clear_old_points": True,
        "normalize_coords": True,
        "box": None,
    },
    "SAM2VideoPredictor.add_new_points": {"self": REQUIRED, "args": REQUIRED, "kwargs": REQUIRED},
    "SAM2VideoPredictor.add_new_mask": {
        "self": REQUIRED,
        "inference_state": REQUIRED,
        "frame_idx": REQUIRED,
        "obj_id": REQUIRED,
        "mask": REQUIRED,
    },
    "SAM2VideoPredictor.propagate_in_video": {
        "self": REQUIRED,
        "inference_state": REQUIRED,
        "start_frame_idx": None,
        "max_frame_num_to_track": None,
        "reverse": False,
    },
    "SAM2VideoPredictor.clear_all_prompts_in_frame": {
        "self": REQUIRED,
        "inference_state": REQUIRED,
        "frame_idx": REQUIRED,
        "obj_id": REQUIRED,
        "need_output": True,
    },
    "SAM2VideoPredictor.remove_object": {
        "self": REQUIRED,
        "inference_state": REQUIRED,
        "obj_id": REQUIRED,
        "strict": False,
        "need_output": True,
    },
    "SAM2VideoPredictor.reset_state": {"self": REQUIRED, "inference_state": REQUIRED},
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    target = reference
    for part in name.split("."):
        target = getattr(target, part)
    parameters = inspect.signature(target).parameters
    assert {p.name: p.default for p in parameters.values()} == SIGNATURES[name]
    assert list(parameters) == list(SIGNATURES[name])
    first = name.split(".")[0]
    assert getattr(napari_sam2, first) is getattr(reference, first)


@pytest.fixture(scope="module")
def model():
    return recipe_model(TINY)


@pytest.fixture
def image(model):
    predictor = SAM2ImagePredictor(model)
    predictor.set_image(moving_discs(1)[0])
    return predictor


@pytest.fixture
def video(model):
    predictor = SAM2VideoPredictor(model)
    return predictor, predictor.init_state(moving_discs(8))


ONE = dict(point_coords=np.array([[15, 12]]), point_labels=np.array([1]))
MANY = dict(point_coords=np.array([[[15, 12]], [[45, 30]]]), point_labels=np.array([[1], [1]]))


@pytest.mark.parametrize(
    ("prompt", "shape"),
    [
        (ONE, (3,)),
        (ONE | {"multimask_output": False}, (1,)),
        (MANY, (2, 3)),
        ({"box": np.array([5, 5, 30, 30]), "multimask_output": False}, (1,)),
        ({"box": np.array([[5, 5, 30, 30], [30, 5, 50, 30]]), "multimask_output": False}, (2, 1)),
        ({"mask_input": np.zeros((1, 16, 16), np.float32)}, (3,)),
        (ONE | {"box": np.array([5, 5, 30, 30])}, (3,)),
    ],
)
def test_image_predictions_are_numpy_float32(image, prompt, shape):
    masks, ious, low = image.predict(**prompt)
    assert (masks.shape, ious.shape, low.shape) == ((*shape, HEIGHT, WIDTH), shape, (*shape, 16, 16))
    assert masks.dtype == ious.dtype == low.dtype == np.float32
    assert set(np.unique(masks)) <= {0.0, 1.0}
    logits, _, _ = image.predict(**prompt, return_logits=True)
    assert np.array_equal(logits > 0, masks > 0)


def test_pixels_fractions_pil_and_batches_agree(model, image):
    frame = moving_discs(1)[0]
    expected = image.predict(**ONE)
    fractions = dict(point_coords=np.array([[15 / WIDTH, 12 / HEIGHT]]), point_labels=np.array([1]))
    for a, b in zip(expected, image.predict(**fractions, normalize_coords=False)):
        np.testing.assert_allclose(a, b, atol=1e-3)
    image.set_image(Image.fromarray(frame))
    for a, b in zip(expected, image.predict(**ONE)):
        assert np.array_equal(a, b)
    image.set_image_batch([frame[:20, :30], frame])
    masks, ious, low = image.predict_batch(
        [np.array([[5, 5]]), ONE["point_coords"]], [np.array([1]), ONE["point_labels"]]
    )
    assert [m.shape for m in masks] == [(3, 20, 30), (3, HEIGHT, WIDTH)]
    for a, b in zip(expected, (masks[1], ious[1], low[1])):
        assert np.array_equal(a, b)
    assert image.get_image_embedding().shape == (2, 32, 4, 4)


def test_image_predictor_refuses(image):
    with pytest.raises(ValueError, match="together"):
        image.predict(point_coords=np.array([[1, 1]]))
    with pytest.raises(ValueError, match="labels must be 0 or 1"):
        image.predict(np.array([[1, 1]]), np.array([7]))
    with pytest.raises(ValueError, match="finite"):
        image.predict(np.array([[np.nan, 1]]), np.array([1]))
    with pytest.raises(ValueError, match="outside the image"):
        image.predict(np.array([[1000, 1]]), np.array([1]))
    with pytest.raises(ValueError, match="no area"):
        image.predict(box=np.array([10, 10, 5, 20]))
    with pytest.raises(RuntimeError, match="set_image_batch"):
        image.predict_batch([np.array([[1, 1]])], [np.array([1])])
    image.reset_predictor()
    with pytest.raises(RuntimeError, match="set_image"):
        image.predict(**ONE)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({"box": [1, 2, 3]}, "four numbers"),
        ({"box": [1, 2, np.nan, 5]}, "finite"),
        ({"box": [500, 500, 600, 600]}, f"outside the image, which is {WIDTH} wide and {HEIGHT} high"),
        ({"point_coords": [[1, 2, 3]], "point_labels": [1]}, r"shape \(N, 2\)"),
        ({"point_coords": [[1, 2]], "point_labels": [np.nan]}, "labels must be 0 or 1"),
        ({"mask_input": np.zeros((1, 15, 16))}, r"shape \(1, 16, 16\).*not \(1, 15, 16\)"),
        ({"mask_input": np.zeros((16, 16))}, r"not \(16, 16\)"),
        ({"mask_input": np.full((1, 16, 16), np.inf)}, "finite"),
        (MANY | {"box": [[1, 1, 5, 5]]}, "point_coords 2, box 1"),
        (ONE | {"mask_input": np.zeros((2, 1, 16, 16))}, "point_coords 1, mask_input 2"),
    ],
)
def test_impossible_image_prompts(image, prompt, message):
    with pytest.raises(ValueError, match=message):
        image.predict(**prompt)


def test_one_mask_serves_several_objects(image):
    low = image.predict(**ONE)[2][:1]
    together = image.predict(**MANY, mask_input=low)[2]
    alone = image.predict(MANY["point_coords"][1], MANY["point_labels"][1], mask_input=low)[2]
    np.testing.assert_allclose(together[1], alone, atol=1e-4)


def test_small_holes_and_specks(model):
    frame = moving_discs(1)[0]
    plain, cleaned = SAM2ImagePredictor(model), SAM2ImagePredictor(model, 0.0, 1000.0, 0.0)
    for predictor in (plain, cleaned):
        predictor.set_image(frame)
    prompt = {"mask_input": np.full((1, 16, 16), 5, np.float32)}
    assert (plain.predict(**prompt)[0] == 0).any()
    assert (cleaned.predict(**prompt)[0] == 1).all()


def test_video_outputs(video):
    predictor, state = video
    frame, ids, masks = predictor.add_new_points_or_box(
        state, 0, "cell", points=np.array([[15, 12]]), labels=np.array([1])
    )
    assert (frame, ids) == (0, ["cell"])
    assert masks.shape == (1, 1, HEIGHT, WIDTH)
    assert isinstance(masks, torch.Tensor)
    assert masks.dtype == torch.float32
    _, ids, masks = predictor.add_new_mask(state, 3, 0, torch.ones(HEIGHT, WIDTH, dtype=torch.bool))
    assert ids == ["cell", 0]
    assert (masks[0] == -1024).all()
    outputs = list(predictor.propagate_in_video(state))
    assert [f for f, _, _ in outputs] == list(range(8))
    assert all(o[2].shape == (2, 1, HEIGHT, WIDTH) for o in outputs)
    assert [f for f, _, _ in predictor.propagate_in_video(state, 5, 2)] == [5, 6, 7]
    assert [f for f, _, _ in predictor.propagate_in_video(state, 5, 2, reverse=True)] == [5, 4, 3]
    assert list(predictor.propagate_in_video(state, 0, reverse=True)) == []
    assert state["obj_ids"] == ["cell", 0]
    assert (state["num_frames"], state["video_height"], state["video_width"]) == (8, HEIGHT, WIDTH)
    assert state["obj_id_to_idx"] == {"cell": 0, 0: 1}
    assert state["images"][2].shape == (3, 64, 64)
    assert set(state) >= {"images", "device", "storage_device"}
    ids, updated = predictor.remove_object(state, "cell")
    assert ids == [0]
    assert [(f, m.shape) for f, m in updated] == [(0, (1, 1, HEIGHT, WIDTH))]
    predictor.add_new_points(state, 1, "cell", [[15, 12]], [1])
    predictor.reset_state(state)
    assert state["obj_ids"] == []


def test_clicks_accumulate_until_they_are_cleared(video):
    predictor, state = video
    predictor.add_new_points_or_box(state, 0, 1, box=[5, 5, 30, 30])
    predictor.add_new_points_or_box(state, 0, 1, [[15, 12]], [1], clear_old_points=False)
    ((_, prompt),) = state.session.prompts.items()
    assert (prompt.box.x1, len(prompt.points)) == (30, 1)
    predictor.add_new_points_or_box(state, 0, 1, [[5, 5], [30, 30], [9, 9]], [2, 3, 1])
    ((_, prompt),) = state.session.prompts.items()
    assert (prompt.box.x1, len(prompt.points)) == (30, 1)
    predictor.clear_all_prompts_in_frame(state, 0, 1)
    assert state.session.prompts == {}


def test_video_predictor_refuses(video):
    predictor, state = video
    with pytest.raises(RuntimeError, match="No input points or masks"):
        list(predictor.propagate_in_video(state))
    for bad, message in (
        (dict(points=[[1, 1]]), "provided together"),
        (dict(), "at least one of points or box"),
        (dict(box=[1, 1, 5, 5], clear_old_points=False), "clear_old_points=True"),
        (dict(points=[[1, 1]], labels=[4]), "labels must be 1"),
        (dict(points=[[1, 1]], labels=[1, 0]), "as many labels"),
        (dict(points=[[-50, 1]], labels=[1]), "outside the image"),
        (dict(box=[1, 1, 5]), "four numbers"),
        (dict(points=[[1, 1, 1], [1, 1, 1]], labels=[1, 1, 1]), r"shape \(N, 2\), not \(2, 3\)"),
    ):
        with pytest.raises(ValueError, match=message):
            predictor.add_new_points_or_box(state, 0, 1, **bad)
    with pytest.raises(ValueError, match="frame 8 is out of range"):
        predictor.add_new_points_or_box(state, 8, 1, [[1, 1]], [1])
    with pytest.raises(ValueError, match="the mask is 3 × 3"):
        predictor.add_new_mask(state, 0, 1, np.ones((3, 3), bool))
    assert state["obj_ids"] == []
    with pytest.raises(RuntimeError, match="doesn't exist"):
        predictor.remove_object(state, 3, strict=True)
    assert predictor.remove_object(state, 3) == ([], [])


def test_videos_of_every_kind_are_the_same_video(model, tmp_path):
    import dask.array as da

    discs = moving_discs(6)
    predictor = SAM2VideoPredictor(model)
    kinds = [discs, da.from_array(discs, chunks=(1, -1, -1, -1)), list(discs), torch.from_numpy(discs)]
    kinds += [discs.astype(np.float32) / 255, discs.astype(np.uint16) * 257]
    grey = discs[..., :1]
    results = []
    for kind in kinds:
        state = predictor.init_state(kind)
        predictor.add_new_points_or_box(state, 0, 1, [[15, 12]], [1])
        results.append(torch.stack([m for _, _, m in predictor.propagate_in_video(state)]))
    assert all(torch.equal(results[0], result) for result in results[1:])
    for kind in (grey, grey[..., 0], da.from_array(grey), da.from_array(grey[..., 0]), grey.repeat(3, -1)):
        frames = predictor.init_state(kind).session.frames
        assert np.array_equal(frames.frame(3), grey[3].repeat(3, -1))
    with_alpha = np.concatenate([discs, np.full_like(grey, 255)], -1)
    assert np.array_equal(predictor.init_state(with_alpha).session.frames.frame(3), discs[3])


@pytest.mark.parametrize("shape", [(6, 5, 20, 30), (20, 30), (2, 6, 20, 30, 3)])
def test_arrays_with_other_axes_are_not_guessed_at(model, shape):
    for dtype in (np.uint8, np.float32):
        with pytest.raises(
            ValueError, match=r"a video is an array \(T, H, W\), \(T, H, W, C\) or \(T, C, H, W\)"
        ):
            SAM2VideoPredictor(model).init_state(np.zeros(shape, dtype))


def test_pixels_that_are_not_finite_are_black(model):
    discs = moving_discs(3).astype(np.float32) / 255
    discs[1, 5:9, 5:9] = np.nan
    frames = SAM2VideoPredictor(model).init_state(discs).session.frames
    assert not frames.frame(1)[5:9, 5:9].any()
    assert frames.frame(1)[20:].any()


def test_a_folder_of_jpegs_sorted_by_number(model, tmp_path):
    discs = moving_discs(12)
    for index, frame in enumerate(discs):
        Image.fromarray(frame).save(tmp_path / f"{index}.jpg", quality=95)
    (tmp_path / "notes.txt").write_text("not a frame")
    state = SAM2VideoPredictor(model).init_state(str(tmp_path))
    assert state["num_frames"] == 12
    for index in (2, 10):
        difference = state.session.frames.frame(index).astype(int) - discs[index]
        assert np.abs(difference).mean() < 6


def test_videos_that_cannot_be_opened(model, tmp_path):
    predictor = SAM2VideoPredictor(model)
    with pytest.raises(ValueError, match="no images found"):
        predictor.init_state(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no video"):
        predictor.init_state(tmp_path / "nothing.mp4")
    with pytest.raises(TypeError, match="is no video"):
        predictor.init_state(42)


def test_autocast_around_the_predictor_makes_it_fast(model):
    predictor = SAM2VideoPredictor(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fast = predictor.init_state(moving_discs(2)).session
    exact = predictor.init_state(moving_discs(2)).session
    assert fast.runner.memory_dtype == torch.bfloat16
    assert exact.runner.memory_dtype == torch.float32
    assert predictor.init_state(moving_discs(2), offload_state_to_cpu=True)["storage_device"].type == "cpu"


@pytest.mark.parametrize("switch", ["clear_non_cond_mem_around_input", "num_maskmem", "memory_stride"])
def test_overrides_change_what_is_recalled(model, switch):
    options = {
        "clear_non_cond_mem_around_input": dict(clear_non_cond_mem_around_input=True),
        "num_maskmem": dict(max_memories=3),
        "memory_stride": dict(memory_stride=2),
    }[switch]
    recalled = []
    for changes in ({}, options):
        predictor = SAM2VideoPredictor(model, **changes)
        state = predictor.init_state(moving_discs(16))
        predictor.add_new_points_or_box(state, 0, 1, [[15, 12]], [1])
        list(predictor.propagate_in_video(state))
        predictor.add_new_mask(state, 8, 1, np.tri(HEIGHT, WIDTH, dtype=bool))
        state.session.commit()
        recalled.append([f for _, f in state.session._objects[1].recall(10, False, own=True).spatial])
    assert recalled[0] == [0, 4, 5, 6, 7, 8, 9]
    expected = {
        "clear_non_cond_mem_around_input": [0],
        "num_maskmem": [0, 8, 9],
        "memory_stride": [0, 0, 2, 4, 6, 8, 9][1:],
    }[switch]
    assert recalled[1] == expected

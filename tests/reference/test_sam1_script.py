"""Scripts written for Meta's segment-anything, after a change of their import lines."""

import numpy as np
import pytest
import torch

# from segment_anything import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry
from napari_sam2 import (
    SamAutomaticMaskGenerator,
    SamPredictor,
    build_sam,
    build_sam_vit_b,
    sam_model_registry,
)
from napari_sam2.model.errors import CheckpointError
from napari_sam2.reference import resize_longest_side
from tests.golden.sam1_recipe import meta_state


@pytest.fixture(scope="module")
def image():
    yy, xx = np.mgrid[:120, :180]
    out = np.random.default_rng(0).integers(0, 60, (120, 180, 3), dtype=np.uint8)
    out[(xx - 60) ** 2 + (yy - 50) ** 2 < 900] += 150
    return out


@pytest.fixture(scope="module")
def sam_checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("sam") / "sam_vit_h_4b8939.pth"
    torch.save(meta_state(blobs=True), path)
    return str(path)


@pytest.fixture(scope="module")
def sam(sam_checkpoint):
    model_type = "auto"  # "vit_h" in the script; this file has a small network of its own
    device = "cpu"
    sam = sam_model_registry[model_type](checkpoint=sam_checkpoint)
    sam.to(device=device)
    return sam


def test_the_tutorial_of_the_predictor(sam, image):
    predictor = SamPredictor(sam)
    predictor.set_image(image)

    # one point, three masks
    input_point = np.array([[60, 50]])
    input_label = np.array([1])
    masks, scores, logits = predictor.predict(
        point_coords=input_point, point_labels=input_label, multimask_output=True
    )
    assert masks.shape == (3, 120, 180)
    assert masks.dtype == bool
    assert scores.shape == (3,)
    assert logits.shape == (3, 64, 64)

    # several points with the best mask of before
    input_point = np.array([[60, 50], [75, 55]])
    input_label = np.array([1, 1])
    mask_input = logits[np.argmax(scores), :, :]
    masks, scores, _ = predictor.predict(
        point_coords=input_point,
        point_labels=input_label,
        mask_input=mask_input[None, :, :],
        multimask_output=False,
    )
    assert masks.shape == (1, 120, 180)
    refined = masks

    # a point to exclude
    input_label = np.array([1, 0])
    masks, scores, _ = predictor.predict(
        point_coords=input_point,
        point_labels=input_label,
        mask_input=mask_input[None, :, :],
        multimask_output=False,
    )
    assert masks.shape == (1, 120, 180)
    assert (masks != refined).any()

    # a box
    input_box = np.array([28, 18, 92, 82])
    boxed, _, _ = predictor.predict(
        point_coords=None, point_labels=None, box=input_box[None, :], multimask_output=False
    )
    assert boxed.shape == (1, 120, 180)

    # a box and a point to exclude
    masks, _, _ = predictor.predict(
        point_coords=np.array([[60, 50]]), point_labels=np.array([0]), box=input_box, multimask_output=False
    )
    assert (masks != boxed).any()

    # several boxes
    input_boxes = torch.tensor(
        [[28, 18, 92, 82], [10, 10, 60, 60], [100, 20, 170, 110]], device=predictor.device
    )
    transformed_boxes = predictor.transform.apply_boxes_torch(input_boxes, image.shape[:2])
    masks, _, _ = predictor.predict_torch(
        point_coords=None, point_labels=None, boxes=transformed_boxes, multimask_output=False
    )
    assert masks.shape == (3, 1, 120, 180)
    assert np.mean(masks[0].numpy() != boxed) < 1e-3  # the same box, alone and among others


def test_batches_of_images_with_mixed_prompts(sam, image):
    transform = resize_longest_side.ResizeLongestSide(sam.image_encoder.img_size)

    def prepare_image(image, transform, device):
        image = transform.apply_image(image)
        image = torch.as_tensor(image, device=device.device)
        return image.permute(2, 0, 1).contiguous()

    other = np.ascontiguousarray(image[:, :100].transpose(1, 0, 2))
    boxes = torch.tensor([[28, 18, 92, 82], [100, 20, 170, 110]], device=sam.device)
    points = torch.tensor([[[50.0, 60.0]]])
    batched_input = [
        {
            "image": prepare_image(image, transform, sam),
            "boxes": transform.apply_boxes_torch(boxes, image.shape[:2]),
            "original_size": image.shape[:2],
        },
        {
            "image": prepare_image(other, transform, sam),
            "point_coords": transform.apply_coords_torch(points, other.shape[:2]),
            "point_labels": torch.tensor([[1]]),
            "original_size": other.shape[:2],
        },
    ]
    batched_output = sam(batched_input, multimask_output=False)
    assert batched_output[0].keys() == {"masks", "iou_predictions", "low_res_logits"}
    assert batched_output[0]["masks"].shape == (2, 1, 120, 180)
    assert batched_output[1]["masks"].shape == (1, 1, 100, 120)
    predictor = SamPredictor(sam)
    predictor.set_image(other)
    alone, _, _ = predictor.predict(np.array([[50, 60]]), np.array([1]), multimask_output=False)
    assert (batched_output[1]["masks"][0].numpy() == alone).all()


def test_the_tutorial_of_automatic_masks(sam, image):
    mask_generator = SamAutomaticMaskGenerator(sam)
    assert mask_generator.pred_iou_thresh == 0.88
    assert mask_generator.stability_score_thresh == 0.95
    mask_generator_2 = SamAutomaticMaskGenerator(
        model=sam,
        points_per_side=6,
        pred_iou_thresh=0.6,
        stability_score_thresh=0.2,
        crop_n_layers=1,
        crop_n_points_downscale_factor=2,
        min_mask_region_area=100,  # Requires open-cv to run post-processing (it did)
    )
    masks2 = mask_generator_2.generate(image)
    assert masks2
    assert masks2[0].keys() == {
        "segmentation",
        "area",
        "bbox",
        "predicted_iou",
        "point_coords",
        "stability_score",
        "crop_box",
    }
    sorted_anns = sorted(masks2, key=lambda x: x["area"], reverse=True)
    assert sorted_anns[0]["segmentation"].shape == image.shape[:2]
    assert any(ann["crop_box"] != [0, 0, 180, 120] for ann in masks2)


def test_the_network_stays_as_it_is(sam_checkpoint):
    sam = sam_model_registry["auto"](checkpoint=sam_checkpoint)
    assert all(p.requires_grad for p in sam.parameters())  # fine-tuning scripts rely on it
    sam.train()
    SamPredictor(sam).set_image(np.zeros((20, 30, 3), np.uint8))
    assert sam.training


def test_modules_are_called_as_in_medsam(sam, image):
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    box = predictor.transform.apply_boxes_torch(torch.tensor([[28.0, 18, 92, 82]]), image.shape[:2])
    with torch.no_grad():
        sparse, dense = sam.prompt_encoder(points=None, boxes=box, masks=None)
        low, _ = sam.mask_decoder(
            image_embeddings=predictor.features,
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
    wanted = predictor.predict_torch(None, None, box, multimask_output=False)[2]
    torch.testing.assert_close(low, wanted, atol=1e-4, rtol=1e-4)


def test_builders(sam_checkpoint, monkeypatch):
    assert sam_model_registry.keys() == {"default", "vit_h", "vit_l", "vit_b", "vit_t", "auto"}
    assert sam_model_registry["vit_b"] is build_sam_vit_b
    assert sam_model_registry["default"].__name__ == "build_sam_vit_h"
    assert callable(build_sam)
    with pytest.raises(CheckpointError, match=r"is no vit_b.*sam_model_registry\['auto'\]"):
        build_sam_vit_b(sam_checkpoint)
    model = sam_model_registry["vit_t"]()
    assert model.config.name == "vit_t"
    assert not model.training


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: p.set_image(np.zeros((4, 4, 3), np.uint8), "HSV"), ValueError, "'RGB' or 'BGR'"),
        (lambda p: p.set_image(np.zeros((4, 4))), ValueError, r"uint8 \(H, W, 3\)"),
        (lambda p: p.predict(np.array([[1, 1]])), ValueError, "together with point_coords"),
        (lambda p: p.predict(box=np.zeros((2, 4))), ValueError, "predict takes one box"),
        (lambda p: p.predict(mask_input=np.zeros((1, 8, 8))), ValueError, r"shape \(B, 1, 64, 64\)"),
        (
            lambda p: p.set_torch_image(torch.zeros(1, 3, 10, 20), (10, 20)),
            ValueError,
            "longer side is 256 pixels",
        ),
        (lambda p: p.reset_image() or p.predict(), RuntimeError, "set_image"),
    ],
)
def test_errors(call, error, message, sam, image):
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    with pytest.raises(error, match=message):
        call(predictor)

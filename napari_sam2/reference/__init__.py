"""Meta's names and signatures over our sessions: a script written for Meta's package runs after its import changes."""

from napari_sam2.reference.automatic_mask_generator import SAM2AutomaticMaskGenerator
from napari_sam2.reference.build_sam import (
    build_sam2,
    build_sam2_hf,
    build_sam2_video_predictor,
    build_sam2_video_predictor_hf,
)
from napari_sam2.reference.build_sam1 import (
    build_sam,
    build_sam_vit_b,
    build_sam_vit_h,
    build_sam_vit_l,
    build_sam_vit_t,
    sam_model_registry,
)
from napari_sam2.reference.inference_state import InferenceState
from napari_sam2.reference.sam2_image_predictor import SAM2ImagePredictor
from napari_sam2.reference.sam2_video_predictor import SAM2VideoPredictor
from napari_sam2.reference.sam_automatic_mask_generator import SamAutomaticMaskGenerator
from napari_sam2.reference.sam_predictor import SamPredictor

__all__ = [
    "InferenceState",
    "SAM2AutomaticMaskGenerator",
    "SAM2ImagePredictor",
    "SAM2VideoPredictor",
    "SamAutomaticMaskGenerator",
    "SamPredictor",
    "build_sam",
    "build_sam2",
    "build_sam2_hf",
    "build_sam2_video_predictor",
    "build_sam2_video_predictor_hf",
    "build_sam_vit_b",
    "build_sam_vit_h",
    "build_sam_vit_l",
    "build_sam_vit_t",
    "sam_model_registry",
]

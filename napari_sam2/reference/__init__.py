"""Meta's names and signatures over our sessions: a script written for Meta's package runs after its import changes."""

from napari_sam2.reference.automatic_mask_generator import SAM2AutomaticMaskGenerator
from napari_sam2.reference.build_sam import (
    build_sam2,
    build_sam2_hf,
    build_sam2_video_predictor,
    build_sam2_video_predictor_hf,
)
from napari_sam2.reference.inference_state import InferenceState
from napari_sam2.reference.sam2_image_predictor import SAM2ImagePredictor
from napari_sam2.reference.sam2_video_predictor import SAM2VideoPredictor

__all__ = [
    "InferenceState",
    "SAM2AutomaticMaskGenerator",
    "SAM2ImagePredictor",
    "SAM2VideoPredictor",
    "build_sam2",
    "build_sam2_hf",
    "build_sam2_video_predictor",
    "build_sam2_video_predictor_hf",
]

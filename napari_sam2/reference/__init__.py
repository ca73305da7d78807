"""Meta's names and signatures over our sessions: a script written for Meta's package runs after its import changes."""

from napari_sam2.reference.automatic import SAM2AutomaticMaskGenerator
from napari_sam2.reference.build import (
    build_sam2,
    build_sam2_hf,
    build_sam2_video_predictor,
    build_sam2_video_predictor_hf,
)
from napari_sam2.reference.image import SAM2ImagePredictor
from napari_sam2.reference.state import InferenceState
from napari_sam2.reference.video import SAM2VideoPredictor

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

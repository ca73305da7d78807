"""Meta's builders, in the module where Meta's package has them."""

from napari_sam2.reference.network import build_sam2, build_sam2_hf
from napari_sam2.reference.sam2_video_predictor import (
    build_sam2_video_predictor,
    build_sam2_video_predictor_hf,
)

__all__ = ["build_sam2", "build_sam2_hf", "build_sam2_video_predictor", "build_sam2_video_predictor_hf"]

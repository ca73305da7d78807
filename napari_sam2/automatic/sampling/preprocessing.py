"""The image as the network takes it, in bounded memory also for very large frames."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from napari_sam2.automatic.sampling.crops import Crop
from napari_sam2.model.sam1.sam import Sam
from napari_sam2.session.image import ImageSession
from napari_sam2.session.tensors import PIXEL_MEAN, PIXEL_STD

# Above this many pixels a crop is brought to the network's size strip by strip.
PIXELS_AT_ONCE = 1 << 22


def set_crop(session: ImageSession, rgb: NDArray[np.uint8], crop: Crop) -> None:
    """Encode a part (a crop) of an RGB image (H, W, 3) as the image of the session."""
    part = rgb[crop.y0 : crop.y1, crop.x0 : crop.x1]
    # Pillow, which resizes for Segment Anything 1, works on bytes and needs no strips.
    if crop.size[0] * crop.size[1] <= PIXELS_AT_ONCE or isinstance(session.runner.model, Sam):
        session.set_image(part)
        return
    runner = session.runner
    image = shrunk_tensor(part, runner.side).to(runner.device)
    session.set_features(runner.run(runner.model.encode_image, image), crop.size)


def shrunk_tensor(rgb: NDArray[np.uint8], side: int) -> Tensor:
    """Bring RGB pixels (H, W, 3) to the network's input (1, 3, side, side), first along x, strip by strip.

    The same numbers as ``session.tensors.image_tensor(..., resize="bilinear")`` up to rounding.
    """
    height, width = rgb.shape[:2]
    rows = max(1, PIXELS_AT_ONCE // width)
    strips = []
    for top in range(0, height, rows):
        strip = torch.from_numpy(np.array(rgb[top : top + rows])).permute(2, 0, 1)[None].float() / 255.0
        strips.append(_resized(strip, (strip.shape[2], side)))
    image = _resized(torch.cat(strips, 2), (side, side))
    mean = torch.tensor(PIXEL_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(PIXEL_STD).view(1, 3, 1, 1)
    return (image - mean) / std


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)

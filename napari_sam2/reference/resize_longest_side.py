"""Meta's ``ResizeLongestSide``: images, points and boxes brought to the network's input, aspect ratio kept."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from napari_sam2.session.tensors import longest_side_shape, resize_bytes


class ResizeLongestSide:
    """Resize to a longest side of ``target_length``, with Meta's names.

    Parameters
    ----------
    target_length : int
        Side of the network's square input in pixels.
    """

    def __init__(self, target_length: int) -> None:
        self.target_length = target_length

    def apply_image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize an image (H, W, C) of bytes, bilinearly with antialias."""
        return resize_bytes(
            np.asarray(image), longest_side_shape(image.shape[0], image.shape[1], self.target_length)
        )

    def apply_coords(self, coords: ArrayLike, original_size: tuple[int, ...]) -> NDArray[np.float64]:
        """Bring points (..., 2), x and y, from an image of ``original_size`` (height, width) to the network's input."""
        out = np.array(coords, np.float64)
        out *= self._scale(original_size)
        return out

    def apply_boxes(self, boxes: ArrayLike, original_size: tuple[int, ...]) -> NDArray[np.float64]:
        """Bring boxes (B, 4), x0, y0, x1, y1, to the network's input."""
        corners = np.asarray(boxes, np.float64).reshape(-1, 2, 2)
        return self.apply_coords(corners, original_size).reshape(-1, 4)

    def apply_image_torch(self, image: Tensor) -> Tensor:
        """Resize images (B, C, H, W) of floats.

        As in Meta's release, the aspect ratio is taken from the first two axes: one RGB image becomes three times as
        wide as high, whatever its shape. For images as they are use :meth:`apply_image`.
        """
        size = longest_side_shape(image.shape[0], image.shape[1], self.target_length)
        return functional.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)

    def apply_coords_torch(self, coords: Tensor, original_size: tuple[int, ...]) -> Tensor:
        """Bring points (..., 2) to the network's input, as float32."""
        x, y = self._scale(original_size)
        return torch.stack([coords[..., 0].float() * x, coords[..., 1].float() * y], -1)

    def apply_boxes_torch(self, boxes: Tensor, original_size: tuple[int, ...]) -> Tensor:
        """Bring boxes (B, 4) to the network's input, as float32."""
        return self.apply_coords_torch(boxes.reshape(-1, 2, 2), original_size).reshape(-1, 4)

    @staticmethod
    def get_preprocess_shape(oldh: int, oldw: int, long_side_length: int) -> tuple[int, int]:
        """Return (height, width) with the longer one ``long_side_length``."""
        return longest_side_shape(oldh, oldw, long_side_length)

    def _scale(self, size: tuple[int, ...]) -> tuple[float, float]:
        height, width = longest_side_shape(size[0], size[1], self.target_length)
        return width / size[1], height / size[0]

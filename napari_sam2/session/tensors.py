"""The one border between arrays and tensors: frames and prompts in, frame-size logits and masks out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from napari_sam2.model.config import InputLayout
from napari_sam2.prompts import BoxPrompt, PointPrompt

# ImageNet statistics, which all SAM 2 models were trained with.
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)
NEGATIVE, POSITIVE, TOP_LEFT, BOTTOM_RIGHT = 0, 1, 2, 3
FILLED_HOLE_LOGIT = 0.1
OUTSIDE_LOGIT = -10.0


def longest_side_shape(height: int, width: int, side: int) -> tuple[int, int]:
    """Return (height, width) with the longer one ``side`` (reference: ``ResizeLongestSide.get_preprocess_shape``)."""
    scale = side * 1.0 / max(height, width)
    return int(height * scale + 0.5), int(width * scale + 0.5)


def resize_bytes(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize an image (H, W, C) to (height, width): bilinear with antialias, on bytes."""
    if image.shape[:2] == size:
        return image
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.array(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR))


@dataclass(frozen=True)
class InputGeometry:
    """Where a frame is in the network's input.

    Parameters
    ----------
    size : tuple of int
        (height, width) of the frame.
    side : int
        Side of the square input in pixels.
    inside : tuple of int
        (height, width) of the part of the input that the frame fills, from its upper left corner.
    """

    size: tuple[int, int]
    side: int
    inside: tuple[int, int]

    @classmethod
    def of(cls, size: tuple[int, int], side: int, layout: InputLayout) -> InputGeometry:
        """Return the geometry of frames of a size in a network's input."""
        return cls(size, side, (side, side) if layout == "stretch" else longest_side_shape(*size, side))

    @property
    def extent(self) -> Tensor:
        """(width, height) of the part that the frame fills: what fractions of the frame are multiplied by."""
        return torch.tensor(self.inside[::-1], dtype=torch.float32)

    def frame_logits(self, logits: Tensor) -> Tensor:
        """Bring low-resolution logits (N, h, w) to the frame's size (N, H, W), as the reference of each network does.

        With padding they are first brought to the network's input and cropped.
        """
        out = self.inside_logits(logits.float())
        return functional.interpolate(out[:, None], size=self.size, mode="bilinear", align_corners=False)[
            :, 0
        ]

    def inside_logits(self, logits: Tensor) -> Tensor:
        """Return logits (N, h', w') of the frame alone, from low-resolution ones (N, h, w) of the whole input.

        Without padding they are the same. With it they have the resolution of the input.
        """
        if self.inside == (self.side, self.side):
            return logits
        square = (self.side, self.side)
        large = functional.interpolate(logits[:, None], size=square, mode="bilinear", align_corners=False)
        return large[:, 0, : self.inside[0], : self.inside[1]]

    def stretched(self, logits: Tensor) -> Tensor:
        """Return low-resolution logits (N, h, w) whose grid covers the frame alone, whatever its aspect ratio."""
        if self.inside == (self.side, self.side):
            return logits
        count = logits.shape[-1]
        # Centres of the new cells, as fractions of the input; grid_sample counts from -1 to 1.
        # On the CPU: Apple's GPUs have no float64.
        centres = (torch.arange(count, dtype=torch.float64) + 0.5) / count
        y, x = (centres * (length / self.side) * 2 - 1 for length in self.inside)
        grid = torch.stack([x.expand(count, -1), y[:, None].expand(-1, count)], -1).to(logits)
        sampled = functional.grid_sample(
            logits[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False
        )
        return sampled[0]

    def points(self, points: Sequence[PointPrompt], box: BoxPrompt | None = None) -> tuple[Tensor, Tensor]:
        """Turn clicks and a box, in pixels of the frame, into the network's points.

        Returns
        -------
        points : Tensor, shape (1, N, 2)
            (x, y) in pixels of the network's input; a box comes first, as its two corners.
        labels : Tensor of int32, shape (1, N)
            1 positive, 0 negative, 2 and 3 the corners of a box.
        """
        height, width = self.size
        coordinates = [] if box is None else [(box.x0, box.y0), (box.x1, box.y1)]
        labels = [] if box is None else [TOP_LEFT, BOTTOM_RIGHT]
        coordinates += [(p.x, p.y) for p in points]
        labels += [POSITIVE if p.positive else NEGATIVE for p in points]
        xy = torch.tensor(coordinates, dtype=torch.float32).reshape(1, -1, 2)
        # Divided before it is multiplied: the reference's order of rounding.
        xy = xy / torch.tensor([width, height], dtype=torch.float32) * self.extent
        return xy, torch.tensor(labels, dtype=torch.int32).reshape(1, -1)

    def mask_tensor(self, mask: NDArray[np.bool_]) -> Tensor:
        """Turn a frame's mask (H, W) into a mask (1, 1, side, side) of the network's input, float 0 or 1."""
        tensor = torch.from_numpy(np.ascontiguousarray(mask)).float()[None, None]
        if tensor.shape[-2:] != self.inside:
            tensor = functional.interpolate(
                tensor, size=self.inside, mode="bilinear", align_corners=False, antialias=True
            )
        # An object smaller than a pixel of the input stays its brightest pixel there, instead of vanishing.
        inside = (tensor >= tensor.max().clamp(1e-6, 0.5)).float()
        return functional.pad(inside, (0, self.side - self.inside[1], 0, self.side - self.inside[0]))

    def cleared(self, logits: Tensor) -> Tensor:
        """Return low-resolution logits (h, w) without what lies in the padding."""
        rows, columns = (-(-length * logits.shape[-1] // self.side) for length in self.inside)
        if (rows, columns) == logits.shape[-2:]:
            return logits
        out = torch.full_like(logits, OUTSIDE_LOGIT)
        out[:rows, :columns] = logits[:rows, :columns]
        return out

    def mask_logits(self, mask: NDArray[np.bool_], cells: int) -> Tensor:
        """Turn a frame's mask (H, W) into logits (1, cells, cells) as a prompt: 10 inside, -10 elsewhere."""
        height, width = (max(1, round(length * cells / self.side)) for length in self.inside)
        small = functional.interpolate(
            torch.from_numpy(np.ascontiguousarray(mask)).float()[None, None],
            size=(height, width),
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )
        padded = functional.pad(small, (0, cells - width, 0, cells - height))
        return padded[0] * 20.0 - 10.0  # the reference's logits for a mask that is certain


def image_tensor(frame: NDArray[np.uint8], size: int, resize: str = "bicubic") -> Tensor:
    """Turn a frame into the network's input; the aspect ratio is not kept, as in the reference.

    Parameters
    ----------
    frame : ndarray of uint8, shape (H, W, 3)
        RGB.
    size : int
        Side of the network's square input.
    resize : {"bicubic", "bilinear"}
        ``bicubic``: Pillow's, on bytes (reference: ``_load_img_as_tensor``). ``bilinear``: antialiased, on
        floats (reference: ``SAM2Transforms``).

    Returns
    -------
    Tensor, shape (1, 3, size, size)
        Normalised, float32.
    """
    if resize == "bicubic":
        picture = Image.fromarray(np.ascontiguousarray(frame)).resize((size, size), Image.Resampling.BICUBIC)
        frame = np.asarray(picture)
    image = torch.from_numpy(np.array(frame)).permute(2, 0, 1)[None].float() / 255.0  # (1, 3, H, W)
    if resize == "bilinear":
        image = functional.interpolate(
            image, size=(size, size), mode="bilinear", align_corners=False, antialias=True
        )
    mean = torch.tensor(PIXEL_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(PIXEL_STD).view(1, 3, 1, 1)
    return (image - mean) / std


def rounded(logits: Tensor, store_dtype: str) -> Tensor:
    """Round logits to what the store keeps, so that fresh and stored results are the same numbers."""
    if store_dtype == "float32":
        return logits.float()
    limit = torch.finfo(torch.float16).max
    return logits.float().clamp(-limit, limit).half().float()


def fill_holes(
    logits: Tensor, area: float, threshold: float = 0.0, value: float = FILLED_HOLE_LOGIT
) -> Tensor:
    """Fill holes of at most ``area`` pixels in low-resolution logits (..., h, w), on any device.

    A hole is an 8-connected region at or below ``threshold``; it is set to ``value``. Counterpart:
    ``fill_holes_in_mask_scores``, which does nothing without its compiled extension.
    """
    return logits if area <= 0 else torch.where(_small(logits <= threshold, area), value, logits)


def remove_sprinkles(logits: Tensor, area: float, threshold: float = 0.0, value: float = -10.0) -> Tensor:
    """Set 8-connected regions above ``threshold`` of at most ``area`` pixels to ``value``; logits (..., h, w)."""
    return logits if area <= 0 else torch.where(_small(logits > threshold, area), value, logits)


def _small(regions: Tensor, area: float) -> Tensor:
    flat = regions.detach().cpu().reshape(-1, *regions.shape[-2:]).numpy()
    small = np.stack([_small_regions(plane, area) for plane in flat]).reshape(regions.shape)
    return torch.from_numpy(small).to(regions.device)


def _small_regions(mask: NDArray[np.bool_], area: float) -> NDArray[np.bool_]:
    labels, count = ndimage.label(mask, structure=np.ones((3, 3), int))
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    areas[0] = area + 1
    small: NDArray[np.bool_] = (areas <= area)[labels]
    return small


def non_overlapping(logits: Tensor) -> Tensor:
    """Let each pixel belong to the object with the highest logit only; logits (N, ...).

    Counterpart: ``_apply_non_overlapping_constraints``: the others are pushed to -10 or below.
    """
    if len(logits) < 2:
        return logits
    winner = logits.argmax(dim=0, keepdim=True)
    rows = torch.arange(len(logits), device=logits.device).view(-1, *[1] * (logits.dim() - 1))
    return torch.where(winner == rows, logits, logits.clamp(max=-10.0))

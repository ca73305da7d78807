"""Meta's ``SamPredictor`` over an :class:`~napari_sam2.session.ImageSession`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from napari_sam2.model.sam1.sam import Sam
from napari_sam2.model.tensors import PromptTensors
from napari_sam2.reference.resize_longest_side import ResizeLongestSide
from napari_sam2.session.image import ImageSession
from napari_sam2.session.options import SessionOptions

Prediction = tuple[NDArray[Any], NDArray[np.float32], NDArray[np.float32]]


class SamPredictor:
    """Predict masks on one image with Segment Anything 1, with Meta's names, arguments and return types.

    Parameters
    ----------
    sam_model : Sam
        From :data:`sam_model_registry`.

    Attributes
    ----------
    transform : ResizeLongestSide
        Brings images, points and boxes to the network's input.
    original_size, input_size : tuple of int
        (height, width) of the image, and as the network saw it before padding.
    features : Tensor or None
        The image embedding (1, C, h, w).
    is_image_set : bool
        An image was set.
    """

    def __init__(self, sam_model: Sam) -> None:
        self.model = sam_model
        self.transform = ResizeLongestSide(sam_model.image_encoder.img_size)
        self.reset_image()

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return self.model.device

    def reset_image(self) -> None:
        """Forget the image."""
        self.is_image_set = False
        self.features: Tensor | None = None
        self.original_size: tuple[int, int] | None = None
        self.input_size: tuple[int, int] | None = None

    def set_image(self, image: NDArray[np.uint8], image_format: str = "RGB") -> None:
        """Encode an image.

        Parameters
        ----------
        image : ndarray of uint8, shape (H, W, 3)
            Pixels from 0 to 255.
        image_format : {"RGB", "BGR"}
            Order of the channels.
        """
        if image_format not in ("RGB", "BGR"):
            raise ValueError(f"image_format must be 'RGB' or 'BGR', not {image_format!r}")
        pixels = np.asarray(image)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(f"an image must be uint8 (H, W, 3), not {pixels.dtype} {pixels.shape}")
        if image_format != self.model.image_format:
            pixels = pixels[..., ::-1]
        resized = torch.from_numpy(np.array(self.transform.apply_image(pixels))).to(self.device)
        self.set_torch_image(resized.permute(2, 0, 1)[None], pixels.shape[:2])

    def set_torch_image(self, transformed_image: Tensor, original_image_size: tuple[int, ...]) -> None:
        """Encode an image (1, 3, H, W) that was resized with :attr:`transform` before.

        Parameters
        ----------
        transformed_image : Tensor
            Pixels from 0 to 255, the longer side as long as the network's input.
        original_image_size : tuple of int
            (height, width) before it was resized.
        """
        side = self.model.image_encoder.img_size
        shape = tuple(transformed_image.shape)
        if len(shape) != 4 or shape[:2] != (1, 3) or max(shape[2:]) != side:
            raise ValueError(
                f"set_torch_image takes one image (1, 3, H, W) whose longer side is {side} pixels, not {shape}: "
                "resize it with transform"
            )
        self.reset_image()
        self.original_size = int(original_image_size[0]), int(original_image_size[1])
        self.input_size = shape[2], shape[3]
        autocast = torch.is_autocast_enabled(self.device.type)
        # A network that is trained meanwhile must be left as it is.
        training = self.model.training
        self._session = ImageSession(self.model, SessionOptions(precision="fast" if autocast else "exact"))
        runner = self._session.runner
        prepared = runner.run(self.model.preprocess, transformed_image.to(self.device))
        self._session.set_features(runner.run(self.model.encode_image, prepared), self.original_size)
        self.model.train(training)
        assert self._session.features is not None
        self.features = self._session.features.stride16
        self.is_image_set = True

    def get_image_embedding(self) -> Tensor:
        """Return the image embedding (1, C, h, w); RuntimeError when no image is set."""
        self._check_ready()
        assert self.features is not None
        return self.features

    def predict(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> Prediction:
        """Predict masks of one object.

        Parameters
        ----------
        point_coords, point_labels : array_like, optional
            (N, 2), x and y in pixels of the image, and (N,): 1 positive, 0 negative.
        box : array_like, optional
            (4,): x0, y0, x1, y1. Several boxes go through :meth:`predict_torch`.
        mask_input : array_like, optional
            (1, h, w), low-resolution logits of an earlier prediction.
        multimask_output : bool
            Three masks (for a single, ambiguous prompt), or one.
        return_logits : bool
            Return logits instead of True and False.

        Returns
        -------
        masks : ndarray of bool or float32, shape (C, H, W)
        iou_predictions : ndarray of float32, shape (C,)
        low_res_masks : ndarray of float32, shape (C, h, w)
        """
        self._check_ready()
        assert self.original_size is not None
        coords = labels = boxes = logits = None
        if point_coords is not None:
            if point_labels is None:
                raise ValueError("point_labels must be given together with point_coords")
            scaled = self.transform.apply_coords(point_coords, self.original_size)
            coords = torch.as_tensor(scaled, dtype=torch.float32, device=self.device)[None]
            labels = torch.as_tensor(np.asarray(point_labels), dtype=torch.int, device=self.device)[None]
        if box is not None:
            corners = self.transform.apply_boxes(box, self.original_size)
            boxes = torch.as_tensor(corners, dtype=torch.float32, device=self.device)
            if len(boxes) != 1:
                raise ValueError(
                    f"predict takes one box (4,), got {len(boxes)}: use predict_torch for several"
                )
        if mask_input is not None:
            given = np.asarray(mask_input, np.float32)
            logits = torch.as_tensor(given, device=self.device).reshape(1, -1, *given.shape[-2:])
        found = self.predict_torch(coords, labels, boxes, logits, multimask_output, return_logits)
        masks, ious, low = (values[0].cpu().numpy() for values in found)
        return masks, ious, low

    @torch.no_grad()
    def predict_torch(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Predict masks of B objects from prompts in pixels of the network's input (see :attr:`transform`).

        Parameters
        ----------
        point_coords, point_labels : Tensor, optional
            (B, N, 2) and (B, N).
        boxes : Tensor, optional
            (B, 4).
        mask_input : Tensor, optional
            (B or 1, 1, h, w).
        multimask_output, return_logits : bool
            As in :meth:`predict`.

        Returns
        -------
        masks : Tensor of bool or float32, shape (B, C, H, W)
        iou_predictions : Tensor, shape (B, C)
        low_res_masks : Tensor, shape (B, C, h, w)
        """
        self._check_ready()
        prompts = self._prompts(point_coords, point_labels, boxes, mask_input)
        found = self._session.decode(prompts, multimask_output)
        assert self.input_size is not None
        assert self.original_size is not None
        masks = self.model.postprocess_masks(found.logits, self.input_size, self.original_size)
        if not return_logits:
            masks = masks > self.model.mask_threshold
        return masks, found.ious, found.logits

    def _prompts(
        self, coords: Tensor | None, labels: Tensor | None, boxes: Tensor | None, mask: Tensor | None
    ) -> PromptTensors:
        """Put prompts into the form of sessions, where the corners of a box are the first two points."""
        if (coords is None) != (labels is None):
            raise ValueError("point_coords and point_labels must be given together")
        side = self.model.config.mask_side
        if mask is not None and (mask.ndim != 4 or tuple(mask.shape[1:]) != (1, side, side)):
            raise ValueError(f"mask_input must have shape (B, 1, {side}, {side}), not {tuple(mask.shape)}")
        if coords is not None and labels is not None and coords.shape[:2] != labels.shape:
            raise ValueError(
                f"point_coords {tuple(coords.shape)} and point_labels {tuple(labels.shape)} do not match"
            )
        if boxes is not None:
            corners = boxes.reshape(-1, 2, 2).float()
            kinds = torch.tensor([[2, 3]], device=corners.device).expand(len(corners), -1)
            if coords is None or labels is None:
                coords, labels = corners, kinds
            else:
                coords = torch.cat([corners, coords.to(corners)], 1)
                labels = torch.cat([kinds, labels.to(kinds)], 1)
        if mask is not None and coords is not None and len(mask) == 1:
            mask = mask.expand(len(coords), -1, -1, -1)
        if mask is not None and coords is not None and len(mask) != len(coords):
            raise ValueError(f"{len(coords)} prompts need as many masks, got {len(mask)}")
        return PromptTensors(coords, labels, mask)

    def _check_ready(self) -> None:
        if not self.is_image_set:
            raise RuntimeError("An image must be set with .set_image(...) before mask prediction.")

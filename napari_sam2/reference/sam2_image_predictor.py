"""Meta's ``SAM2ImagePredictor`` over an :class:`~napari_sam2.session.ImageSession`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from napari_sam2.model.sam2 import Sam2
from napari_sam2.model.tensors import FED_BACK_LIMIT, ImageFeatures, PromptTensors
from napari_sam2.reference.network import build_sam2_hf
from napari_sam2.session.image import ImageSession
from napari_sam2.session.options import SessionOptions
from napari_sam2.session.tensors import fill_holes, remove_sprinkles

Picture = NDArray[np.uint8] | Image.Image
Prediction = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
_SETTABLE = ("mask_threshold", "max_hole_area", "max_sprinkle_area", "model")
_OWN = ("_session", "_features", "_orig_hw", "_is_batch")


class SAM2ImagePredictor:
    """Predict masks on images, with Meta's names, arguments and return types.

    Parameters
    ----------
    sam_model : Sam2
        From :func:`build_sam2`.
    mask_threshold : float
        Logits above it belong to the object.
    max_hole_area, max_sprinkle_area : float
        Holes and specks of at most this many low-resolution pixels are removed; 0 removes none. Works on every
        device.
    **kwargs : Any
        Ignored, as in the reference.
    """

    def __init__(
        self,
        sam_model: Sam2,
        mask_threshold: float = 0.0,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
        **kwargs: Any,
    ) -> None:
        self.model = sam_model
        self.mask_threshold = mask_threshold
        self.max_hole_area = max_hole_area
        self.max_sprinkle_area = max_sprinkle_area
        self.reset_predictor()

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _SETTABLE + _OWN:
            known = ", ".join(_SETTABLE)
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r} that could be set; these can be: {known}"
            )
        object.__setattr__(self, name, value)

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> SAM2ImagePredictor:
        """Build a predictor from a hub repository; arguments go to the builder and to this class."""
        return cls(build_sam2_hf(model_id, **kwargs), **kwargs)

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return self.model.device

    def reset_predictor(self) -> None:
        """Forget the image."""
        autocast = torch.is_autocast_enabled(self.device.type)
        self._session = ImageSession(
            self.model, SessionOptions(resize="bilinear", precision="fast" if autocast else "exact")
        )
        self._features: list[ImageFeatures] = []
        self._orig_hw: list[tuple[int, int]] = []
        self._is_batch = False

    def set_image(self, image: Picture) -> None:
        """Encode an image: a PIL image or a uint8 array (H, W, 3) in RGB."""
        self.reset_predictor()
        self._add(image)
        self._session.set_features(self._features[0], self._orig_hw[0])

    def set_image_batch(self, image_list: Sequence[NDArray[np.uint8]]) -> None:
        """Encode several images, which may differ in size, for :meth:`predict_batch`."""
        if not isinstance(image_list, (list, tuple)) or not image_list:
            raise ValueError("set_image_batch takes a list of at least one image")
        self.reset_predictor()
        for image in image_list:
            self._add(image)
        self._is_batch = True

    def get_image_embedding(self) -> Tensor:
        """Return the embedding (B, C, H, W) of the image or images."""
        self._check_ready(self._is_batch)
        return torch.cat([self._session.runner.condition_on_memory(f, None).float() for f in self._features])

    def predict(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> Prediction:
        """Predict masks for prompts on the image.

        Parameters
        ----------
        point_coords : array_like, optional
            (N, 2), or (B, N, 2) for B objects: (x, y) in pixels of the image.
        point_labels : array_like, optional
            (N,) or (B, N): 1 positive, 0 negative, 2 and 3 box corners, -1 padding.
        box : array_like, optional
            (4,) or (B, 4): x0, y0, x1, y1.
        mask_input : array_like, optional
            (1, h, w) or (B, 1, h, w) low-resolution logits of an earlier prediction.
        multimask_output : bool
            Three masks instead of one.
        return_logits : bool
            Return logits instead of zeros and ones.
        normalize_coords : bool
            Coordinates are pixels; False: they are fractions of the image.

        Returns
        -------
        masks : ndarray of float32
            (C, H, W), or (B, C, H, W) for B objects.
        ious : ndarray of float32
            (C,) or (B, C).
        low_res_logits : ndarray of float32
            (C, h, w) or (B, C, h, w), between -32 and 32.
        """
        self._check_ready(batch=False)
        masks, ious, low = self._predict_on(
            0, point_coords, point_labels, box, mask_input, multimask_output, return_logits, normalize_coords
        )
        return _squeezed(masks), _squeezed(ious), _squeezed(low)

    def predict_batch(
        self,
        point_coords_batch: Sequence[ArrayLike] | None = None,
        point_labels_batch: Sequence[ArrayLike] | None = None,
        box_batch: Sequence[ArrayLike] | None = None,
        mask_input_batch: Sequence[ArrayLike] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]], list[NDArray[np.float32]]]:
        """Predict masks on each image of :meth:`set_image_batch`; see :meth:`predict`."""
        self._check_ready(batch=True)
        given = (point_coords_batch, point_labels_batch, box_batch, mask_input_batch)
        for name, batch in zip(("point_coords", "point_labels", "box", "mask_input"), given):
            if batch is not None and len(batch) != len(self._features):
                raise ValueError(f"{name}_batch has {len(batch)} entries for {len(self._features)} images")
        out: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
        for index in range(len(self._features)):
            coords, labels, box, mask = (None if batch is None else batch[index] for batch in given)
            prediction = self._predict_on(
                index, coords, labels, box, mask, multimask_output, return_logits, normalize_coords
            )
            for column, value in zip(out, prediction):
                column.append(_squeezed(value))
        return out

    @torch.inference_mode()
    def _predict(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        img_idx: int = -1,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Predict from tensors in pixels of the network's input (B, N, 2), as Meta's method of this name."""
        index = img_idx % len(self._features)
        self._session.set_features(self._features[index], self._orig_hw[index])
        prompts = _prompt_tensors(point_coords, point_labels, boxes, mask_input)
        candidates = self._session.decode(prompts, multimask_output)
        threshold = self.mask_threshold
        logits = fill_holes(candidates.logits, self.max_hole_area, threshold, threshold + 10.0)
        logits = remove_sprinkles(logits, self.max_sprinkle_area, threshold, threshold - 10.0)
        masks = torch.nn.functional.interpolate(
            logits, self._orig_hw[index], mode="bilinear", align_corners=False
        )
        low = candidates.logits.clamp(-FED_BACK_LIMIT, FED_BACK_LIMIT)
        return masks if return_logits else masks > threshold, candidates.ious, low

    def _predict_on(
        self,
        index: int,
        coords: ArrayLike | None,
        labels: ArrayLike | None,
        box: ArrayLike | None,
        mask: ArrayLike | None,
        multimask: bool,
        return_logits: bool,
        normalize: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        size = self._orig_hw[index]
        if (coords is None) != (labels is None):
            raise ValueError("point_coords and point_labels must be given together")
        xy = None if coords is None else self._scaled(coords, size, normalize, ndim=2)
        kinds = None if labels is None else _checked_labels(labels, xy)
        if coords is not None and kinds is not None:
            _check_inside(np.asarray(coords), kinds.numpy(), size if normalize else (1, 1))
        boxes = None
        if box is not None:
            corners = _checked_corners(box, size if normalize else (1, 1))
            boxes = self._scaled(corners, size, normalize, ndim=3).reshape(-1, 4)
        logits = None if mask is None else _checked_logits(mask, self.model.config.mask_side)
        logits = _checked_counts(xy, boxes, logits)
        return self._predict(xy, kinds, boxes, logits, multimask, return_logits, index)

    def _scaled(self, coords: ArrayLike, size: tuple[int, int], normalize: bool, ndim: int) -> Tensor:
        xy = torch.as_tensor(np.asarray(coords, np.float32))
        if not torch.isfinite(xy).all():
            raise ValueError("point and box coordinates must be finite, some are NaN or infinite")
        if xy.dim() < 2 or xy.shape[-1] != 2:
            raise ValueError(f"point_coords must have shape (N, 2) or (B, N, 2), not {tuple(xy.shape)}")
        if normalize:
            xy = xy / torch.tensor([size[1], size[0]], dtype=torch.float32)
        xy = xy * self.model.config.image_size
        return xy[None] if xy.dim() == 2 and ndim == 2 else xy

    def _add(self, image: Picture) -> None:
        pixels = np.asarray(image.convert("RGB")) if isinstance(image, Image.Image) else np.asarray(image)
        self._session.set_image(pixels)
        assert self._session.features is not None
        self._features.append(self._session.features)
        self._orig_hw.append(self._session.size)

    def _check_ready(self, batch: bool) -> None:
        if not self._features:
            raise RuntimeError("An image must be set with .set_image(...) before mask prediction.")
        if batch != self._is_batch:
            raise RuntimeError(
                "use predict() after set_image() and predict_batch() after set_image_batch(), not the other way"
            )


def _prompt_tensors(
    coords: Tensor | None, labels: Tensor | None, boxes: Tensor | None, mask: Tensor | None
) -> PromptTensors:
    if boxes is not None:
        corners = boxes.reshape(-1, 2, 2)
        kinds = torch.tensor([[2, 3]], dtype=torch.int32).repeat(len(corners), 1).to(corners.device)
        if coords is None or labels is None:
            coords, labels = corners, kinds
        else:
            coords, labels = torch.cat([corners, coords], 1), torch.cat([kinds, labels.to(kinds.dtype)], 1)
    if coords is None:
        # A mask alone comes without any point, not even padding.
        batch = 1 if mask is None else mask.shape[0]
        coords, labels = torch.zeros(batch, 0, 2), torch.zeros(batch, 0, dtype=torch.int32)
    return PromptTensors(coords, labels, mask)


def _checked_labels(labels: ArrayLike, coords: Tensor | None) -> Tensor:
    array = np.asarray(labels)
    if not np.isin(array, (-1, 0, 1, 2, 3)).all():
        raise ValueError(
            f"point_labels must be 0 or 1 (or 2, 3 for box corners, -1 for padding), got {array.tolist()}"
        )
    kinds = torch.as_tensor(array.astype(np.int32))
    kinds = kinds[None] if kinds.dim() == 1 else kinds
    if coords is not None and kinds.shape != coords.shape[:2]:
        raise ValueError(
            f"point_coords {tuple(coords.shape[:2])} and point_labels {tuple(kinds.shape)} do not match"
        )
    return kinds


def _check_inside(coords: NDArray[Any], labels: NDArray[np.int32], size: tuple[int, int]) -> None:
    xy = coords.reshape(*labels.shape, 2)[(labels == 0) | (labels == 1)]
    slack = 0.5 if size != (1, 1) else 0.0
    outside = (xy < -slack).any(-1) | (xy > np.array([size[1], size[0]]) - slack).any(-1)
    if outside.any():
        x, y = xy[outside][0]
        raise ValueError(
            f"point (x={x:g}, y={y:g}) is outside the image, which is {size[1]} wide and {size[0]} high"
        )


def _checked_corners(box: ArrayLike, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the corners (B, 2, 2) of boxes (4,) or (B, 4)."""
    array = np.asarray(box, np.float32)
    if array.shape[-1:] != (4,):
        raise ValueError(f"a box has four numbers x0, y0, x1, y1; an array of shape {array.shape} holds none")
    corners = array.reshape(-1, 2, 2)
    if (corners[:, 1] <= corners[:, 0]).any():
        raise ValueError(
            f"a box has no area, give (x0, y0, x1, y1) with x0 < x1 and y0 < y1: {array.tolist()}"
        )
    if (corners[:, 1] < 0).any() or (corners[:, 0] > np.array([size[1], size[0]])).any():
        raise ValueError(
            f"box {array.tolist()} is outside the image, which is {size[1]} wide and {size[0]} high"
        )
    return corners


def _checked_logits(mask: ArrayLike, side: int) -> Tensor:
    """Return the logits (B, 1, side, side) of an earlier prediction."""
    logits = torch.as_tensor(np.asarray(mask, np.float32))
    logits = logits[None] if logits.dim() == 3 else logits
    if logits.dim() != 4 or logits.shape[1:] != (1, side, side):
        raise ValueError(
            f"mask_input must have shape (1, {side}, {side}) or (B, 1, {side}, {side}), as predict returns logits, "
            f"not {np.shape(mask)}"
        )
    if not torch.isfinite(logits).all():
        raise ValueError("mask_input must be finite, some of it is NaN or infinite")
    return logits


def _checked_counts(xy: Tensor | None, boxes: Tensor | None, logits: Tensor | None) -> Tensor | None:
    """Make sure that points, boxes and logits are of equally many objects; one mask may serve all of them."""
    given = {"point_coords": xy, "box": boxes, "mask_input": logits}
    counts = {name: len(value) for name, value in given.items() if value is not None}
    most = max(counts.values(), default=1)
    if logits is not None and len(logits) == 1:
        logits = logits.expand(most, -1, -1, -1)
        counts["mask_input"] = most
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ValueError(f"prompts are of different numbers of objects: {told}")
    return logits


def _squeezed(values: Tensor) -> NDArray[np.float32]:
    out: NDArray[np.float32] = values.squeeze(0).float().cpu().numpy()
    return out

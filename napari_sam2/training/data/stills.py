"""Clips out of still images: labelled objects are cut out and moved over a background that moves as well.

A still image with instance labels teaches what objects look like; moved by known affine and elastic
warps it also teaches tracking, with exact masks, exits, returns, overlaps and disappearance.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import binary_dilation, distance_transform_edt, find_objects

from napari_sam2.training.data.clips import TrainingClip

__all__ = ["StillImages"]

# room around the view for the camera to move in, as a share of the view's side
MARGIN = 0.125
MAX_MOVED = 6
HELD_OUT_EVERY = 20


@dataclass(frozen=True)
class _Camera:
    """Affine map from view pixels to canvas pixels for each frame: canvas = matrix @ view + offset."""

    matrix: torch.Tensor  # (T, 2, 2)
    offset: torch.Tensor  # (T, 2), (x, y)

    def to_view(self, point: torch.Tensor) -> torch.Tensor:
        """Return where a canvas point (x, y) is seen in each frame: (T, 2)."""
        seen: torch.Tensor = torch.linalg.solve(self.matrix, (point - self.offset)[..., None])
        return seen[..., 0]


class StillImages:
    """Clips drawn from a folder of labelled images.

    Parameters
    ----------
    folder : Path or str
        Holds ``images/NAME.png`` (grey or colour) and ``masks/NAME.tif`` (integer labels, 0 = background).
    object_size : tuple of float
        Range of the apparent object diameter as a share of the view's side; drawn log-uniformly.
    held_out : bool or None
        True takes every twentieth image only, False all others, None all.
    without : collection of str
        Names of images (without ending) that are taken in no case.

    Raises
    ------
    ValueError
        If the folder has no such pairs.
    """

    altered = 1.0

    def __init__(
        self,
        folder: Path | str,
        object_size: tuple[float, float] = (0.045, 0.4),
        held_out: bool | None = None,
        without: Collection[str] = (),
    ) -> None:
        root = Path(folder)
        pairs = [
            (image, root / "masks" / f"{image.stem}.tif")
            for image in sorted((root / "images").glob("*.png"))
            if (root / "masks" / f"{image.stem}.tif").exists()
        ]
        self._pairs = [
            pair
            for i, pair in enumerate(pairs)
            if (held_out is None or held_out == (i % HELD_OUT_EVERY == 0)) and pair[0].stem not in without
        ]
        if not self._pairs:
            raise ValueError(f"{root} holds no images/NAME.png with masks/NAME.tif; check the folder")
        self._object_size = object_size

    def __len__(self) -> int:
        """Return the number of labelled images."""
        return len(self._pairs)

    def draw(self, rng: np.random.Generator, size: int, frames: int, motion: float) -> TrainingClip:
        """Draw a clip of `frames` frames of ``size x size`` pixels.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of all choices.
        size, frames : int
            Side in pixels and length.
        motion : float
            0 (nothing moves) to 1 (objects move up to about their own radius per frame).
        """
        image, labels = self._canvas(rng, size)
        camera = _camera(rng, size, image.shape[-1], frames, motion)
        moved = _movers(rng, labels) if frames > 1 and motion > 0 else []
        background, background_labels = _without(image, labels, moved)
        grid = _view_grid(rng, camera, size, motion)
        view = _sample(background[None].expand(frames, -1, -1, -1), grid, image.shape[-1], "bilinear")
        seen = _sample(
            background_labels[None, None].float().expand(frames, -1, -1, -1), grid, image.shape[-1], "nearest"
        )[:, 0].to(torch.int32)
        for label in moved:
            _paste(rng, label, image, labels, camera, (view, seen), motion)
        if frames > 1 and rng.random() < 0.2 * min(1.0, 2 * motion):
            _occlude(rng, view, seen)
        return TrainingClip(frames=view, labels=seen)

    def _canvas(self, rng: np.random.Generator, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cut a random window around a random object and scale it: (3, P, P) in 0..1 and (P, P) labels."""
        while True:
            image_path, mask_path = self._pairs[rng.integers(len(self._pairs))]
            mask = tifffile.imread(mask_path).astype(np.int32)
            ids, areas = np.unique(mask[mask > 0], return_counts=True)
            if len(ids):
                break
        pixels = np.asarray(Image.open(image_path).convert("RGB"))
        pick = rng.integers(len(ids))
        share = math.exp(rng.uniform(*np.log(self._object_size)))
        side = math.sqrt(areas[pick]) / share * (1 + 2 * MARGIN)
        side = int(np.clip(side, 32, min(mask.shape)))
        rows, columns = np.nonzero(mask == ids[pick])
        centre = np.array([rows.mean(), columns.mean()]) + rng.uniform(-0.3, 0.3, 2) * side
        top, left = (
            int(np.clip(c - side / 2, 0, limit - side)) for c, limit in zip(centre, mask.shape, strict=True)
        )
        canvas = round(size * (1 + 2 * MARGIN))
        window = slice(top, top + side), slice(left, left + side)
        picture = torch.from_numpy(pixels[window].copy()).permute(2, 0, 1)[None].float() / 255
        drawn = torch.from_numpy(mask[window].copy())[None, None].float()
        shrinks = side > canvas
        picture = F.interpolate(
            picture, size=(canvas, canvas), mode="bilinear", align_corners=False, antialias=shrinks
        )
        drawn = F.interpolate(drawn, size=(canvas, canvas), mode="nearest-exact")
        return picture[0].clamp(0, 1), drawn[0, 0].to(torch.int32)


def _smooth_path(rng: np.random.Generator, steps: int, scale: float) -> np.ndarray:
    """A 2-D random walk of slowly changing velocity that starts at 0: (T, 2)."""
    velocity = rng.normal(0, 1, 2) + np.cumsum(rng.normal(0, 0.4, (steps, 2)), axis=0)
    path: np.ndarray = np.cumsum(velocity, axis=0) * scale
    path -= path[0]
    return path


def _camera(rng: np.random.Generator, size: int, canvas: int, frames: int, motion: float) -> _Camera:
    """A hand-held view: mostly still, sometimes drifting, turning and zooming a little."""
    lively = motion * (rng.random() < 0.5)
    path = np.clip(_smooth_path(rng, frames, 0.02 * size * lively), -MARGIN * size, MARGIN * size)
    if rng.random() < 0.2:  # a shaking stage
        path = path + rng.normal(0, 0.006 * size * motion, path.shape)
    angle = np.cumsum(np.full(frames, rng.normal(0, 0.03 * lively)))
    zoom = np.exp(np.cumsum(np.full(frames, rng.normal(0, 0.015 * lively))))
    cos, sin = np.cos(angle) * zoom, np.sin(angle) * zoom
    matrix = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)  # (T, 2, 2)
    middle = np.full(2, (size - 1) / 2)
    offset = np.full(2, (canvas - 1) / 2) + path - matrix @ middle
    return _Camera(torch.from_numpy(matrix).float(), torch.from_numpy(offset).float())


def _view_grid(rng: np.random.Generator, camera: _Camera, size: int, motion: float) -> torch.Tensor:
    """Canvas coordinates of every view pixel, with a slow elastic warp: (T, S, S, 2)."""
    steps = len(camera.matrix)
    axis = torch.arange(size, dtype=torch.float32)
    pixels = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)  # (S, S, 2) of (x, y)
    grid = torch.einsum("tij,hwj->thwi", camera.matrix, pixels) + camera.offset[:, None, None]
    coarse = int(rng.integers(3, 9))
    fields = torch.as_tensor(rng.normal(0, 1, (2, 2, coarse, coarse)), dtype=torch.float32)
    phase = np.linspace(0, rng.uniform(0.3, 1.5), steps)
    swing = np.stack([np.cos(phase), np.sin(phase)], -1)  # the second field comes in as the first goes
    weights = torch.as_tensor(swing, dtype=torch.float32)
    warp = torch.einsum("tk,kchw->tchw", weights, fields) * (0.35 * motion * size / coarse / 4)
    warp = F.interpolate(warp, size=(size, size), mode="bicubic", align_corners=True)
    return grid + warp.permute(0, 2, 3, 1)


def _sample(source: torch.Tensor, grid: torch.Tensor, canvas: int, mode: str) -> torch.Tensor:
    """Read `source` (T, C, P, P) at pixel coordinates `grid` (T, h, w, 2)."""
    # labels beyond the canvas are nothing; pixels there repeat the border
    padding = "zeros" if mode == "nearest" else "border"
    normal = (grid + 0.5) * (2 / canvas) - 1
    return F.grid_sample(source, normal, mode=mode, padding_mode=padding, align_corners=False)


def _movers(rng: np.random.Generator, labels: torch.Tensor) -> list[int]:
    """Choose the objects that move on their own; the others go with the background."""
    ids, areas = torch.unique(labels[labels > 0], return_counts=True)
    fitting = ids[areas >= 40].numpy()
    count = min(len(fitting), int(rng.integers(1, MAX_MOVED + 1)))
    return [int(label) for label in rng.permutation(fitting)[:count]]


def _without(
    image: torch.Tensor, labels: torch.Tensor, moved: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fill the places of moved objects with the nearest background."""
    if not moved:
        return image, labels
    hole = np.isin(labels.numpy(), moved)
    wide = binary_dilation(hole, iterations=3)
    known = ~wide & ((labels.numpy() == 0) | hole)  # do not smear a neighbour into the hole ...
    if known.mean() < 0.02:  # ... unless there is nothing else
        known = ~wide
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    fill = image[
        :, torch.from_numpy(nearest[0].astype(np.int64)), torch.from_numpy(nearest[1].astype(np.int64))
    ]
    smooth = F.avg_pool2d(fill[None], 7, stride=1, padding=3, count_include_pad=False)[0]
    grain = (fill - smooth).flip(-1) * 0.7  # some texture, mirrored so that it does not line up with the edge
    gap = torch.from_numpy(wide & (np.isin(labels.numpy(), [0, *moved])))
    filled = torch.where(gap, smooth + grain, image)
    return filled.clamp(0, 1), torch.where(torch.from_numpy(hole), 0, labels)


def _object_path(
    rng: np.random.Generator, frames: int, diameter: float, size: int, motion: float
) -> np.ndarray:
    """Displacement of one object in view pixels: a walk, an excursion out of view and back, or an exit."""
    path = _smooth_path(rng, frames, 0.3 * motion * diameter * rng.random())
    kind = rng.random()
    if motion < 0.3 or kind > 0.36 or frames < 3:
        return path
    heading = rng.uniform(0, 2 * np.pi)
    direction = np.array([np.cos(heading), np.sin(heading)])
    if kind < 0.18:
        reach = np.sin(np.linspace(0, np.pi, frames)) ** 2  # there and back again
    else:
        reach = np.clip(np.linspace(rng.uniform(-1, 0), 1, frames), 0, 1)
        reach = reach - reach[0]
    path += direction * reach[:, None] * (0.5 * size + diameter) * rng.uniform(0.6, 1.2)
    return path


def _presence(rng: np.random.Generator, frames: int, motion: float) -> np.ndarray:
    """Opacity over time: 1, or fading away for some frames after the first."""
    opacity = np.ones(frames)
    if frames > 2 and rng.random() < 0.25 * min(1.0, 2 * motion):
        start = int(rng.integers(1, frames))
        opacity[start : start + int(rng.integers(1, frames))] = 0
    return opacity


def _paste(
    rng: np.random.Generator,
    label: int,
    image: torch.Tensor,
    labels: torch.Tensor,
    camera: _Camera,
    clip: tuple[torch.Tensor, torch.Tensor],
    motion: float,
) -> None:
    """Draw one cut-out object into every frame of the clip, in place."""
    view, seen = clip
    frames, size = len(view), view.shape[-1]
    window = find_objects((labels == label).numpy().astype(np.uint8))[0]
    height, width = (part.stop - part.start for part in window)
    centre = torch.tensor(
        [(window[1].start + window[1].stop - 1) / 2, (window[0].start + window[0].stop - 1) / 2]
    )
    diameter = math.hypot(height, width)
    opacity = _presence(rng, frames, motion)
    path = torch.from_numpy(_object_path(rng, frames, diameter, size, motion)).float()
    places = camera.to_view(centre) + path  # (T, 2)
    turn = np.cumsum(rng.normal(0, 0.12 * motion, frames))
    growth = np.exp(np.cumsum(np.full(frames, rng.normal(0, 0.04 * motion))))
    radius = math.ceil(diameter * 0.5 * float(growth.max()) * 1.3) + 3
    axis = torch.arange(-radius, radius + 1, dtype=torch.float32)
    offsets = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    mask = (labels == label).float()
    # the cut takes a rim of the surroundings along, as halos belong to the look of an object
    alpha = F.avg_pool2d(F.max_pool2d(mask[None, None], 3, 1, 1), 3, 1, 1)[0]
    layers = torch.cat([image, alpha, mask[None]])[None]  # (1, 5, P, P)
    for t in range(frames):
        if opacity[t] == 0:
            continue
        corner = places[t].round().long() - radius
        left, top = int(corner[0]), int(corner[1])
        x0, x1 = max(0, left), min(size, left + 2 * radius + 1)
        y0, y1 = max(0, top), min(size, top + 2 * radius + 1)
        if x0 >= x1 or y0 >= y1:
            continue
        cos, sin = math.cos(turn[t]) / growth[t], math.sin(turn[t]) / growth[t]
        rotation = torch.tensor([[cos, sin], [-sin, cos]], dtype=torch.float32)
        local = offsets[y0 - top : y1 - top, x0 - left : x1 - left] + (places[t].round() - places[t])
        grid = torch.einsum("ij,hwj->hwi", camera.matrix[t] @ rotation, local) + centre
        patch = _sample(layers, grid[None], image.shape[-1], "bilinear")[0]
        cover = patch[3:4]
        view[t, :, y0:y1, x0:x1] = view[t, :, y0:y1, x0:x1] * (1 - cover) + patch[:3] * cover
        seen[t, y0:y1, x0:x1] = torch.where(patch[4] > 0.5, label, seen[t, y0:y1, x0:x1])


def _occlude(rng: np.random.Generator, view: torch.Tensor, seen: torch.Tensor) -> None:
    """Sweep an unlabelled bar or disc over the clip, in place."""
    frames, size = len(view), view.shape[-1]
    axis = torch.arange(size, dtype=torch.float32)
    heading = rng.uniform(0, 2 * np.pi)
    start, speed = rng.uniform(-0.6, 0.2) * size, rng.uniform(0.1, 0.4) * size
    half = rng.uniform(0.04, 0.15) * size
    along = math.cos(heading) * (axis[None] - size / 2) + math.sin(heading) * (axis[:, None] - size / 2)
    across = -math.sin(heading) * (axis[None] - size / 2) + math.cos(heading) * (axis[:, None] - size / 2)
    is_disc = rng.random() < 0.5
    shade = torch.as_tensor(rng.uniform(0, 1, (3, 1)) if rng.random() < 0.3 else rng.uniform(0, 1, (1, 1)))
    for t in range(frames):
        distance = along - (start + speed * t)
        inside = (distance**2 + across**2 < (2 * half) ** 2) if is_disc else (distance.abs() < half)
        view[t][:, inside] = shade.float().expand(3, int(inside.sum()))
        seen[t][inside] = 0

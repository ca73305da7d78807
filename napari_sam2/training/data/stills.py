"""Clips out of still images: labelled objects are cut out and moved over a background that moves as well.

A still image with instance labels teaches what objects look like; moved by known affine and elastic
warps it also teaches tracking, with exact masks, exits, returns, overlaps and disappearance. Some clips are made
like stacks in depth, where objects grow and shrink instead of moving. Photos get a camera that pans, zooms and tilts,
and objects cut out of other photos.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tifffile
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import binary_dilation, distance_transform_edt, find_objects

from napari_sam2.training.data.clips import TrainingClip

__all__ = ["PHOTOS", "SPECIMENS", "StillImages", "StillStyle"]

HELD_OUT_EVERY = 20
# ids of objects that come from other images, or are there twice
FIRST_GUEST = 100_000
# below this share of its size an object in depth is out of focus
LEAST_SCALE = 0.25


@dataclass(frozen=True)
class StillStyle:
    """Style of the clips that are made out of a kind of still images.

    Attributes
    ----------
    object_size : tuple of float
        Range of the apparent object diameter as a share of the view's side; drawn log-uniformly.
    least_side : int
        Pixels of the image that are enlarged at most: closer up there is nothing but blur.
    margin : float
        Room around the view for the camera to move in, as a share of the view's side.
    moved : int
        Most objects of the image that move on their own; the others go with the background.
    guests : int
        Most objects cut out of other images; what moves may also be there twice.
    travelling : bool
        The camera pans, zooms in or out and tilts; otherwise it only drifts.
    depth : float
        Share of clips like stacks in depth: nothing moves, objects grow, shrink and change their shape.
    altered : float
        Share of clips whose looks training changes.
    """

    object_size: tuple[float, float] = (0.045, 0.4)
    least_side: int = 32
    margin: float = 0.125
    moved: int = 6
    guests: int = 0
    travelling: bool = False
    depth: float = 0.25
    altered: float = 1.0


SPECIMENS = StillStyle()
PHOTOS = StillStyle(
    object_size=(0.1, 0.65),
    least_side=160,
    margin=0.3,
    moved=3,
    guests=3,
    travelling=True,
    depth=0.0,
    altered=0.6,
)


@dataclass(frozen=True)
class _Camera:
    """Affine map from view pixels to canvas pixels for each frame: canvas = matrix @ view + offset."""

    matrix: torch.Tensor  # (T, 2, 2)
    offset: torch.Tensor  # (T, 2), (x, y)

    def to_view(self, point: torch.Tensor) -> torch.Tensor:
        """Return where a canvas point (x, y) is seen in each frame: (T, 2)."""
        seen: torch.Tensor = torch.linalg.solve(self.matrix, (point - self.offset)[..., None])
        return seen[..., 0]

    def zoom(self) -> list[float]:
        """Return how much larger than on the canvas things look in each frame."""
        return [float(scale) for scale in self.matrix.det().abs().rsqrt()]


@dataclass(frozen=True)
class _Cutout:
    """An object on its way into a clip: where it is cut out, and where it is put."""

    label: int
    layers: torch.Tensor  # (1, 5, P, P): colours, opacity and mask of the canvas that it comes from
    centre: torch.Tensor  # (x, y) there
    diameter: float
    home: torch.Tensor  # (x, y) on the canvas of the clip
    towards: torch.Tensor | None = None  # (x, y) that it passes, on the same canvas


class StillImages:
    """Clips drawn from a folder of labelled images.

    Parameters
    ----------
    folder : Path or str
        Holds ``images/NAME.png`` (grey or colour) and ``masks/NAME.tif`` (integer labels, 0 = background), or
        photos ``NAME.jpg`` and ``NAME_labels.png``.
    style : StillStyle, optional
        How clips are made of them; by default `PHOTOS` for photos and `SPECIMENS` for the others. With guests, images
        that have a single label are only cut out of: other objects on them may have none.
    held_out : bool or None
        True takes every twentieth image only, False all others, None all.
    without : collection of str
        Names of images (without ending) that are taken in no case.

    Raises
    ------
    ValueError
        If the folder has no such pairs.
    """

    def __init__(
        self,
        folder: Path | str,
        style: StillStyle | None = None,
        held_out: bool | None = None,
        without: Collection[str] = (),
    ) -> None:
        root = Path(folder)
        pairs = _labelled(root)
        self._pairs = [
            pair
            for i, pair in enumerate(pairs)
            if (held_out is None or held_out == (i % HELD_OUT_EVERY == 0)) and pair[0].stem not in without
        ]
        if not self._pairs:
            raise ValueError(f"{root} holds no images/NAME.png with masks/NAME.tif; check the folder")
        self._style = style or (PHOTOS if self._pairs[0][0].suffix == ".jpg" else SPECIMENS)
        self._scenes = self._pairs
        if self._style.guests:
            several = [pair for pair in self._pairs if len(np.unique(_read_labels(pair[1]))) > 2]
            self._scenes = several or self._pairs
        self.altered = self._style.altered

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
        style = self._style
        image, labels = self._canvas(rng, self._scenes, size)
        lively = frames > 1 and motion > 0
        deep = lively and rng.random() < style.depth
        camera = _camera(rng, size, style, frames, 0.3 * motion if deep else motion)
        moved = _movers(rng, labels, 12 if deep else style.moved) if lively else []
        background, background_labels = _without(image, labels, moved)
        grid = _view_grid(rng, camera, size, motion, tilts=style.travelling)
        view = _sample(background[None].expand(frames, -1, -1, -1), grid, image.shape[-1], "bilinear")
        seen = _sample(
            background_labels[None, None].float().expand(frames, -1, -1, -1), grid, image.shape[-1], "nearest"
        )[:, 0].to(torch.int32)
        cutouts = [_cut(image, labels, label) for label in moved]
        if style.guests:
            cutouts = self._with_guests(rng, cutouts, size)
        for cutout in cutouts:
            _paste(rng, cutout, camera, (view, seen), motion, deep)
        if lively and not deep and rng.random() < 0.2 * min(1.0, 2 * motion):
            _occlude(rng, view, seen)
        return TrainingClip(frames=view, labels=seen)

    def _with_guests(self, rng: np.random.Generator, cutouts: list[_Cutout], size: int) -> list[_Cutout]:
        """Add objects of other images, and some that are there already and pass their likes, in random order."""
        side = size * (1 + 2 * self._style.margin)
        cutouts = list(cutouts)
        for label in range(FIRST_GUEST, FIRST_GUEST + int(rng.integers(0, self._style.guests + 1))):
            home = torch.as_tensor(rng.uniform(0.2, 0.8, 2) * side, dtype=torch.float32)
            if cutouts and rng.random() < 0.4:
                twin = cutouts[rng.integers(len(cutouts))]
                cutouts.append(replace(twin, label=label, home=home, towards=twin.home))
                continue
            image, labels = self._canvas(rng, self._pairs, size)
            ids, areas = torch.unique(labels[labels > 0], return_counts=True)
            fitting = ids[(areas >= 40) & (areas < 0.2 * size**2)]  # a guest must not cover everything
            if len(fitting):
                guest = int(fitting[rng.integers(len(fitting))])
                cutouts.append(replace(_cut(image, labels, guest), label=label, home=home))
        return [cutouts[index] for index in rng.permutation(len(cutouts))]

    def _canvas(
        self, rng: np.random.Generator, pairs: list[tuple[Path, Path]], size: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cut a random window around a random object and scale it: (3, P, P) in 0..1 and (P, P) labels."""
        room = 1 + 2 * self._style.margin
        while True:
            image_path, mask_path = pairs[rng.integers(len(pairs))]
            mask = _read_labels(mask_path)
            ids, areas = np.unique(mask[mask > 0], return_counts=True)
            if len(ids):
                break
        pixels = np.asarray(Image.open(image_path).convert("RGB"))
        pick = rng.integers(len(ids))
        share = math.exp(rng.uniform(*np.log(self._style.object_size)))
        side = math.sqrt(areas[pick]) / share * room
        side = int(np.clip(side, min(self._style.least_side, *mask.shape), min(mask.shape)))
        rows, columns = np.nonzero(mask == ids[pick])
        centre = np.array([rows.mean(), columns.mean()]) + rng.uniform(-0.3, 0.3, 2) * side
        top, left = (
            int(np.clip(c - side / 2, 0, limit - side)) for c, limit in zip(centre, mask.shape, strict=True)
        )
        canvas = round(size * room)
        window = slice(top, top + side), slice(left, left + side)
        picture = torch.from_numpy(pixels[window].copy()).permute(2, 0, 1)[None].float() / 255
        drawn = torch.from_numpy(mask[window].copy())[None, None].float()
        shrinks = side > canvas
        picture = F.interpolate(
            picture, size=(canvas, canvas), mode="bilinear", align_corners=False, antialias=shrinks
        )
        drawn = F.interpolate(drawn, size=(canvas, canvas), mode="nearest-exact")
        return picture[0].clamp(0, 1), drawn[0, 0].to(torch.int32)


def _labelled(root: Path) -> list[tuple[Path, Path]]:
    """Find the images of a folder that have labels, and those."""
    stacks = [
        (image, root / "masks" / f"{image.stem}.tif") for image in sorted((root / "images").glob("*.png"))
    ]
    photos = [(image, root / f"{image.stem}_labels.png") for image in sorted(root.glob("*.jpg"))]
    return [(image, labels) for image, labels in (*stacks, *photos) if labels.exists()]


def _read_labels(path: Path) -> np.ndarray:
    """Read a label image, TIFF or PNG: (H, W) int32."""
    labels = tifffile.imread(path) if path.suffix == ".tif" else np.asarray(Image.open(path))
    return labels.astype(np.int32)


def _smooth_path(rng: np.random.Generator, steps: int, scale: float) -> np.ndarray:
    """A 2-D random walk of slowly changing velocity that starts at 0: (T, 2)."""
    velocity = rng.normal(0, 1, 2) + np.cumsum(rng.normal(0, 0.4, (steps, 2)), axis=0)
    path: np.ndarray = np.cumsum(velocity, axis=0) * scale
    path -= path[0]
    return path


def _camera(rng: np.random.Generator, size: int, style: StillStyle, frames: int, motion: float) -> _Camera:
    """A hand-held view: mostly still, sometimes drifting, turning and zooming a little, or on a journey."""
    room = style.margin * size
    lively = motion * (rng.random() < 0.5)
    pace = 0.02 * size * lively
    zoom = np.cumsum(np.full(frames, rng.normal(0, 0.015 * lively)))
    if style.travelling and rng.random() < 0.5:
        pace = 0.5 * room * motion / math.sqrt(frames)
        closer = np.linspace(0, rng.uniform(0, math.log(2.5)) * motion * (rng.random() < 0.6), frames)
        zoom = -closer if rng.random() < 0.5 else -closer[::-1]  # towards something, or away from it
    path = np.clip(_smooth_path(rng, frames, pace), -room, room)
    if rng.random() < 0.2:  # a shaking stage
        path = path + rng.normal(0, 0.006 * size * motion, path.shape)
    angle = np.cumsum(np.full(frames, rng.normal(0, 0.03 * lively)))
    scale = np.exp(zoom)
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    matrix = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)  # (T, 2, 2)
    middle = np.full(2, (size - 1) / 2)
    offset = np.full(2, (round(size * (1 + 2 * style.margin)) - 1) / 2) + path - matrix @ middle
    return _Camera(torch.from_numpy(matrix).float(), torch.from_numpy(offset).float())


def _view_grid(
    rng: np.random.Generator, camera: _Camera, size: int, motion: float, tilts: bool = False
) -> torch.Tensor:
    """Canvas coordinates of every view pixel, with a slow elastic warp: (T, S, S, 2)."""
    steps = len(camera.matrix)
    axis = torch.arange(size, dtype=torch.float32)
    pixels = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)  # (S, S, 2) of (x, y)
    flat = pixels.expand(steps, -1, -1, -1)
    if tilts:  # perspective that comes in slowly: what is on one side gets smaller
        lean = np.linspace(0, 1, steps)[:, None] * rng.normal(0, 0.25 * motion, 2) / size
        towards = torch.as_tensor(lean.clip(-0.6 / size, 0.6 / size), dtype=torch.float32)
        around = pixels - (size - 1) / 2
        depth = 1 + torch.einsum("hwj,tj->thw", around, towards)
        flat = around / depth[..., None] + (size - 1) / 2
    grid = torch.einsum("tij,thwj->thwi", camera.matrix, flat) + camera.offset[:, None, None]
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


def _movers(rng: np.random.Generator, labels: torch.Tensor, most: int) -> list[int]:
    """Choose the objects that move on their own; the others go with the background."""
    ids, areas = torch.unique(labels[labels > 0], return_counts=True)
    fitting = ids[areas >= 40].numpy()
    count = min(len(fitting), int(rng.integers(1, most + 1)))
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
    # what is large is near or slow
    path = _smooth_path(rng, frames, 0.3 * motion * min(diameter, 0.2 * size) * rng.random())
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


def _growth(rng: np.random.Generator, frames: int, motion: float, deep: bool) -> np.ndarray:
    """Size over time relative to the first frame: slow growth, an approach, or the profile of a body in depth."""
    time = np.arange(frames)
    if deep:
        thick = rng.uniform(0.5, 1.5) * frames + 2
        best = rng.uniform(-0.8, 0.8) * thick
        profile = np.sqrt(np.clip(1 - ((time - best) / thick) ** 2, 0, None))
        growth: np.ndarray = np.minimum(profile / profile[0], 2.0)
        return np.where(growth < LEAST_SCALE, 0.0, growth)
    if motion > 0.3 and rng.random() < 0.2:
        growth = np.exp(np.linspace(0, rng.uniform(-1, 0.8) * motion, frames))
    else:
        growth = np.exp(rng.normal(0, 0.04 * motion) * (1 + time))
    return growth


def _cut(image: torch.Tensor, labels: torch.Tensor, label: int) -> _Cutout:
    """Cut an object out of a canvas, to be put where it was."""
    window = find_objects((labels == label).numpy().astype(np.uint8))[0]
    height, width = (part.stop - part.start for part in window)
    centre = torch.tensor(
        [(window[1].start + window[1].stop - 1) / 2, (window[0].start + window[0].stop - 1) / 2]
    )
    mask = (labels == label).float()
    # the cut takes a rim of the surroundings along, as halos belong to the look of an object
    alpha = F.avg_pool2d(F.max_pool2d(mask[None, None], 3, 1, 1), 3, 1, 1)[0]
    layers = torch.cat([image, alpha, mask[None]])[None]  # (1, 5, P, P)
    return _Cutout(label, layers, centre, math.hypot(height, width), home=centre)


def _paste(
    rng: np.random.Generator,
    cutout: _Cutout,
    camera: _Camera,
    clip: tuple[torch.Tensor, torch.Tensor],
    motion: float,
    deep: bool = False,
) -> None:
    """Draw one cut-out object into every frame of the clip, in place."""
    view, seen = clip
    frames, size = len(view), view.shape[-1]
    growth = _growth(rng, frames, motion, deep)
    growth = growth * (_presence(rng, frames, motion) > 0)
    places = camera.to_view(cutout.home)  # (T, 2)
    if cutout.towards is not None:
        way = torch.linspace(0, 1.8, frames)[:, None]
        places = places + (camera.to_view(cutout.towards) - places) * way * motion
    elif not deep:
        path = _object_path(rng, frames, cutout.diameter, size, motion)
        places = places + torch.from_numpy(path).float()
    turn = np.cumsum(rng.normal(0, (0.02 if deep else 0.12) * motion, frames))
    bend = torch.as_tensor(rng.normal(0, 1, (1, 2, 4, 4)), dtype=torch.float32) * cutout.diameter
    bend = bend * motion * (0.1 if deep else 0.04)
    zoom = camera.zoom()
    for t in range(frames):
        radius = math.ceil(cutout.diameter * 0.5 * growth[t] * zoom[t] * 1.3) + 3
        left, top = (int(place) - radius for place in places[t].round())
        x0, x1 = max(0, left), min(size, left + 2 * radius + 1)
        y0, y1 = max(0, top), min(size, top + 2 * radius + 1)
        if growth[t] == 0 or x0 >= x1 or y0 >= y1:
            continue
        cos, sin = math.cos(turn[t]) / growth[t], math.sin(turn[t]) / growth[t]
        rotation = torch.tensor([[cos, sin], [-sin, cos]], dtype=torch.float32)
        axes = torch.arange(x0, x1).float(), torch.arange(y0, y1).float()
        local = torch.stack(torch.meshgrid(*axes, indexing="xy"), -1) - places[t]
        grid = torch.einsum("ij,hwj->hwi", camera.matrix[t] @ rotation, local)
        # its shape changes slowly, by a field over the object that grows with time
        field = grid / (1.3 * cutout.diameter)
        bent = F.grid_sample(bend, field[None], padding_mode="border", align_corners=False)[0]
        grid = grid + cutout.centre + bent.permute(1, 2, 0) * (t / max(1, frames - 1))
        patch = _sample(cutout.layers, grid[None], cutout.layers.shape[-1], "bilinear")[0]
        cover = patch[3:4]
        view[t, :, y0:y1, x0:x1] = view[t, :, y0:y1, x0:x1] * (1 - cover) + patch[:3] * cover
        seen[t, y0:y1, x0:x1] = torch.where(patch[4] > 0.5, cutout.label, seen[t, y0:y1, x0:x1])


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

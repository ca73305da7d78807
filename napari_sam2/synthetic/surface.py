"""From poses and outlines to what each pixel shows: which object, where on it, how deep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .motion import Tracks
from .options import SceneOptions
from .outlines import Outlines, skeleton_distance, star_distance

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Surface:
    """The visible surface, as flat lists over the pixels that show an object (P of them).

    Attributes
    ----------
    owner : (T, H, W) int64
        0 for ground, else 1 + index of the object in front.
    pixel : (P,) int64
        Flat index into (T, H, W).
    thing : (P,) int64
        Index of the object, 0..K-1.
    x, y : (P,) float
        Position in the object's own frame, in mean radii.
    inside : (P,) float
        Distance to the object's outline in pixels.
    depth : (P,) float
        0 at the core, 1 at the rim.
    nearest : (T, H, W) float
        Signed distance in pixels to the nearest outline, at least -`margin` on the ground.
    cover : (T, H, W) int64
        How many objects lie over a pixel.
    full : (T, K, H, W) bool or None
        Whole objects, hidden parts included.
    """

    owner: Tensor
    pixel: Tensor
    thing: Tensor
    x: Tensor
    y: Tensor
    inside: Tensor
    depth: Tensor
    nearest: Tensor
    cover: Tensor
    full: Tensor | None


@dataclass(frozen=True)
class _Instances:
    """Every (frame, object) pair that can touch the frame; all arrays (N,)."""

    frame: Tensor
    thing: Tensor
    cx: Tensor
    cy: Tensor
    scale: Tensor
    cosine: Tensor
    sine: Tensor
    stretch: Tensor
    window: np.ndarray[tuple[int], np.dtype[np.int64]]

    def take(self, index: Tensor) -> _Instances:
        return _Instances(
            self.frame[index],
            self.thing[index],
            self.cx[index],
            self.cy[index],
            self.scale[index],
            self.cosine[index],
            self.sine[index],
            self.stretch[index],
            self.window,
        )


def _instances(
    options: SceneOptions, tracks: Tracks, reach: np.ndarray, margin: float, device: torch.device
) -> _Instances:
    height, width = options.size
    scale = tracks.scale * tracks.radius
    extent = scale * reach * tracks.stretch + margin
    x, y = tracks.centre[..., 0], tracks.centre[..., 1]
    shown = (scale > 0) & (x + extent > 0) & (x - extent < width) & (y + extent > 0) & (y - extent < height)
    frame, thing = np.nonzero(shown)

    def on(values: np.ndarray) -> Tensor:
        return torch.as_tensor(values[frame, thing].astype(np.float32), device=device)

    return _Instances(
        torch.as_tensor(frame, device=device),
        torch.as_tensor(thing, device=device),
        on(x),
        on(y),
        on(scale),
        on(np.cos(tracks.angle)),
        on(np.sin(tracks.angle)),
        on(tracks.stretch),
        # windows come in few sizes so that those of one size are computed together
        np.ceil(2 ** (np.ceil(np.log2(2 * extent[frame, thing] + 2) * 2) / 2)).astype(np.int64),
    )


def _render(
    some: _Instances, window: int, star: bool, table: Tensor, size: tuple[int, int], margin: float
) -> tuple[Tensor, ...]:
    """Flat lists (pixel, thing, x, y, inside, depth) of all pixels of some instances of one window size."""
    height, width = size
    tall, wide = min(window, height), min(window, width)
    x0 = (some.cx - wide / 2).round().clamp(0, width - wide)
    y0 = (some.cy - tall / 2).round().clamp(0, height - tall)
    device = some.cx.device
    columns = x0[:, None] + torch.arange(wide, device=device)  # (N, wide)
    rows = y0[:, None] + torch.arange(tall, device=device)
    dx = ((columns - some.cx[:, None]) / some.scale[:, None])[:, None, :]
    dy = ((rows - some.cy[:, None]) / some.scale[:, None])[:, :, None]
    c, s = some.cosine[:, None, None], some.sine[:, None, None]
    long = some.stretch[:, None, None]
    x = (dx * (c / long)) + dy * (s / long)  # (N, tall, wide)
    y = dx * (-s * long.sqrt()) + dy * (c * long.sqrt())
    shape = table[some.frame, some.thing]
    inside, depth = star_distance(x, y, shape) if star else skeleton_distance(x, y, shape)
    inside = inside * some.scale[:, None, None]
    keep = (inside > -margin).view(-1).nonzero().squeeze(1)
    one = keep // (tall * wide)
    rest = keep - one * (tall * wide)
    row = rest // wide
    column = rest - row * wide
    pixel = (some.frame[one] * height + y0.long()[one] + row) * width + x0.long()[one] + column
    return (
        pixel,
        some.thing[one],
        x.reshape(-1)[keep],
        y.reshape(-1)[keep],
        inside.view(-1)[keep],
        depth.reshape(-1)[keep],
    )


def _all_pixels(
    options: SceneOptions, tracks: Tracks, outlines: Outlines, margin: float, device: torch.device
) -> list[Tensor]:
    known = len(tracks.radius)
    every = _instances(options, tracks, outlines.reach[:known], margin, device)
    stars = outlines.is_star[:known][every.thing.cpu().numpy()]
    parts: list[tuple[Tensor, ...]] = []
    for star, values in ((True, outlines.rim), (False, outlines.bones)):
        if not (stars == star).any():
            continue
        table = torch.as_tensor(values[:, :known].astype(np.float32), device=device)
        for window in np.unique(every.window[stars == star]):
            chosen = np.nonzero((stars == star) & (every.window == window))[0]
            step = max(1, int(_CHUNK // (window * window)))
            for start in range(0, len(chosen), step):
                index = torch.as_tensor(chosen[start : start + step], device=device)
                parts.append(_render(every.take(index), int(window), star, table, options.size, margin))
    if not parts:
        empty = torch.zeros(0, device=device)
        return [empty.long(), empty.long(), empty, empty, empty, empty]
    return [torch.cat(column) for column in zip(*parts, strict=True)]


def rasterise(
    options: SceneOptions, tracks: Tracks, outlines: Outlines, margin: float, device: torch.device
) -> Surface:
    """Resolve which object each pixel shows.

    Parameters
    ----------
    options, tracks, outlines
        The scene, the poses and the outlines of its objects.
    margin : float
        How far outside an outline `nearest` is still known, in pixels (at least 1).
    device : torch.device
        Where to compute.
    """
    frames, (height, width) = options.frames, options.size
    shape = (frames, height, width)
    pixel, thing, x, y, inside, depth = _all_pixels(options, tracks, outlines, margin, device)
    nearest = torch.full((frames * height * width,), -margin, device=device)
    nearest.scatter_reduce_(0, pixel, inside, "amax")
    within = (inside > 0).nonzero().squeeze(1)
    pixel, thing, x, y, inside, depth = (v[within] for v in (pixel, thing, x, y, inside, depth))
    count = len(tracks.radius)
    order = torch.as_tensor(tracks.order, device=device)
    labelled = torch.as_tensor(tracks.labelled, device=device)
    if options.contact == "press":
        # whoever is deepest inside itself wins, which makes flat interfaces; occluders stay on top
        level = ((1 - depth).clamp(0, 1) * 60000).long() + (~labelled)[thing] * 70000
    else:
        level = order[thing]
    key = level * count + thing + 1
    front = torch.zeros(frames * height * width, dtype=torch.int64, device=device)
    front.scatter_reduce_(0, pixel, key, "amax")
    cover = torch.zeros_like(front).scatter_add_(0, pixel, torch.ones_like(pixel))
    won = (front[pixel] == key).nonzero().squeeze(1)
    owner = torch.zeros_like(front)
    owner[pixel[won]] = thing[won] + 1
    full = None
    if options.amodal:
        full = torch.zeros((frames, count, height * width), dtype=torch.bool, device=device)
        full[pixel // (height * width), thing, pixel % (height * width)] = True
        full = full.view(frames, count, height, width)
    pixel, thing, x, y, inside, depth = (v[won] for v in (pixel, thing, x, y, inside, depth))
    return Surface(
        owner.view(shape), pixel, thing, x, y, inside, depth, nearest.view(shape), cover.view(shape), full
    )

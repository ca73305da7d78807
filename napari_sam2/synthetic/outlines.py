"""Outlines of objects: a radius over the angle (stars) or a skeleton of bones, both changing over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .options import SceneOptions, Shape

Floats = NDArray[np.float64]
ANGLES = 96
BONES = 8
_SKELETONS: frozenset[Shape] = frozenset({"rod", "filament", "tube", "animal", "branched"})


@dataclass(frozen=True)
class Outlines:
    """Outlines of K objects over T frames, in units of the mean radius.

    Attributes
    ----------
    shapes : tuple of str
        The kind of outline of each object.
    rim : (T, K, ANGLES) float
        Radius over the angle (equal steps of the diamond angle); used by stars.
    bones : (T, K, BONES, 6) float
        x, y and radius of the first end, then of the second; used by skeletons.
    reach : (K,) float
        Largest distance of the outline from the centre.
    """

    shapes: tuple[Shape, ...]
    rim: Floats
    bones: Floats
    reach: Floats

    @property
    def is_star(self) -> NDArray[np.bool_]:
        """Which objects are stars, (K,)."""
        return np.array([shape not in _SKELETONS for shape in self.shapes])


def diamond_directions(count: int = ANGLES) -> Floats:
    """Angles in radians of `count` equal steps of the diamond angle (0..4 once around), (count,)."""
    turn = 4 * np.arange(count) / count
    x = np.where(turn < 2, 1 - turn, turn - 3)
    y = np.where(turn < 1, turn, np.where(turn < 3, 2 - turn, turn - 4))
    return np.arctan2(y, x)


def _wobble(frames: int, shape: tuple[int, ...], strength: float, rng: np.random.Generator) -> Floats:
    """Smooth random change over time, 0 on average: (frames, *shape)."""
    phase = rng.uniform(0, 2 * np.pi, shape)
    speed = rng.normal(0, 0.3 * strength, shape)
    time = np.arange(frames).reshape(-1, *(1,) * len(shape))
    return np.asarray(phase + speed * time)


def _harmonics(
    frames: int, count: int, strength: float, change: float, theta: Floats, rng: np.random.Generator
) -> Floats:
    """1 plus a few waves around the rim: (T, count, ANGLES)."""
    orders = np.arange(2, 7)
    phase = _wobble(frames, (count, len(orders)), change, rng)
    size = rng.normal(0, strength, (count, len(orders))) / orders**0.8
    size = size * (1 + 0.5 * change * np.sin(_wobble(frames, (count, len(orders)), change, rng)))
    waves = size[..., None] * np.cos(orders[:, None] * theta + phase[..., None])  # (T, count, orders, ANGLES)
    return np.asarray(1 + waves.sum(2))


def _rim(shape: Shape, options: SceneOptions, count: int, rng: np.random.Generator) -> Floats:
    """Rims (T, count, ANGLES) of one kind of star, scaled to the area of the unit disk."""
    theta = diamond_directions()
    frames, change = options.frames, options.deformation
    # the axes' ratio is the square of this
    spread = {"blob": 0.12, "spread": 0.45}.get(shape, 0.25)
    aspect = np.exp(np.clip(rng.normal(0, spread, count), -0.75, 0.75))
    beat = 1 + 0.12 * change * np.sin(_wobble(frames, (count,), change, rng))
    long = (aspect * beat)[..., None]
    ellipse = 1 / np.sqrt((np.cos(theta) / long) ** 2 + (np.sin(theta) * long) ** 2)
    if shape == "polygon":
        corners = rng.integers(3, 8, (count, 1))
        sharp = rng.uniform(0.0, 0.12, (count, 1))
        sector = np.abs(((theta + np.pi) * corners / (2 * np.pi)) % 1 - 0.5) * 2 * np.pi / corners
        side = 1 / np.cos(sector * (1 - sharp))
        if rng.random() < 0.25:
            side = 1 + 0.45 * np.cos(corners * theta) * rng.uniform(0.5, 1, (count, 1))  # star fish, flowers
        rim = ellipse * side
    else:
        strength = {"blob": 0.16, "ellipse": 0.03, "spread": 0.14}[shape] * float(rng.uniform(0.2, 1))
        rim = ellipse * _harmonics(frames, count, strength, change, theta, rng)
    if shape == "spread":
        arms = 4
        where = _wobble(frames, (count, arms), 0.4 * change, rng)
        width = rng.uniform(0.1, 0.5, (count, arms))
        size = rng.uniform(-0.3, 1.5, (count, arms)).clip(0)
        size = size * (1 + 0.4 * change * np.sin(_wobble(frames, (count, arms), change, rng)))
        off = np.angle(np.exp(1j * (theta - where[..., None])))  # (T, count, arms, ANGLES)
        rim = rim * 0.8 + (size[..., None] * np.exp(-((off / width[..., None]) ** 2))).sum(2)
    rim = np.clip(rim, 0.25, 3.5)
    steps = np.diff(np.append(theta, theta[0] + 2 * np.pi)) % (2 * np.pi)
    area = (0.5 * rim**2 * steps).sum(-1, keepdims=True)  # (T, count, 1)
    # only the first frame is scaled to the unit disk, so that breathing shapes do breathe
    return np.asarray(rim / np.sqrt(area[:1] / np.pi))


def _chain(
    bends: Floats, length: Floats, width: Floats, taper: float, frames: int
) -> Floats:  # bends (T, count, n) -> bones (T, count, n, 6)
    """A chain of bones with the given bends, centred on its middle."""
    number = bends.shape[-1]
    heading = np.cumsum(bends, -1)
    heading -= heading.mean(-1, keepdims=True)
    step = np.stack([np.cos(heading), np.sin(heading)], -1) * (length / number)[:, None, None]
    ends = np.concatenate([np.zeros_like(step[..., :1, :]), np.cumsum(step, -2)], -2)
    ends -= ends.mean(-2, keepdims=True)
    along = np.abs(np.linspace(-1, 1, number + 1))
    radii = width[:, None] * (1 - taper * along**2)  # (count, n + 1)
    radii = np.broadcast_to(radii, (frames, *radii.shape))[..., None]
    return np.concatenate([ends[..., :-1, :], radii[..., :-1, :], ends[..., 1:, :], radii[..., 1:, :]], -1)


def _limbs(options: SceneOptions, count: int, rng: np.random.Generator) -> Floats:
    """Animal-like bones (T, count, 8, 6): a body of two, head, tail, and four limbs that swing."""
    frames = options.frames
    swing = 0.5 * np.sin(_wobble(frames, (count, 4), 2.0 * options.deformation + 0.3, rng))
    tail = 0.6 * np.sin(_wobble(frames, (count,), 1.5 * options.deformation, rng))
    fat = rng.uniform(0.45, 0.75, count)
    half = rng.uniform(0.8, 1.3, count)
    reach = rng.uniform(0.5, 1.3, (count, 1))
    zero = np.zeros((frames, count))

    def bone(ax: Floats, ay: Floats, ar: Floats, bx: Floats, by: Floats, br: Floats) -> Floats:
        return np.stack(np.broadcast_arrays(ax, ay, ar, bx, by, br, zero)[:6], -1)

    middle = 0.25 * np.sin(_wobble(frames, (count,), options.deformation, rng))
    bones = [
        bone(zero, middle * 0.5, fat, half, zero, fat * 0.8),
        bone(zero, middle * 0.5, fat, -half, zero, fat * 0.85),
        bone(half, zero, fat * 0.5, half + 1.2 * fat, middle, fat * rng.uniform(0.4, 0.7, count)),
        bone(-half, zero, fat * 0.3, -half - rng.uniform(0.2, 1.3, count), tail, fat * 0.12),
    ]
    for limb, (x, y) in enumerate([(0.7, 1), (0.7, -1), (-0.7, 1), (-0.7, -1)]):
        turn = y * (np.pi / 2 - 0.3 * x) + swing[..., limb]
        length = fat + reach[:, 0]
        thick = fat * 0.28
        root = x * half
        bones.append(
            bone(root, zero, thick * 1.3, root + np.cos(turn) * length, np.sin(turn) * length, thick * 0.7)
        )
    return np.stack(bones, 2)


def _branches(options: SceneOptions, count: int, rng: np.random.Generator) -> Floats:
    """A round body with three to four branching arms: (T, count, 8, 6)."""
    frames, change = options.frames, options.deformation
    body = rng.uniform(0.5, 0.9, (1, count, 1))
    thick = rng.uniform(0.12, 0.3, (1, count, 1))
    turn = (
        np.arange(4) * np.pi / 2
        + rng.normal(0, 0.4, (count, 4))
        + 0.2 * np.sin(_wobble(frames, (count, 4), change, rng))
    )
    first = body + rng.uniform(0.2, 1.2, (count, 4)) * (
        1 + 0.4 * change * np.sin(_wobble(frames, (count, 4), change, rng))
    )
    second = turn + rng.normal(0, 0.6, (count, 4)) + 0.3 * np.sin(_wobble(frames, (count, 4), change, rng))
    far = rng.uniform(0.2, 1.2, (count, 4))
    knee = np.stack([np.cos(turn) * first, np.sin(turn) * first], -1)
    tip = knee + np.stack([np.cos(second), np.sin(second)], -1) * far[..., None]
    shape = (frames, count, 4, 1)
    ones = np.ones(shape)
    hub = np.zeros((frames, count, 4, 2))
    inner = np.concatenate([hub, ones * body[..., None], knee, ones * thick[..., None]], -1)
    outer = np.concatenate([knee, ones * thick[..., None], tip, 0.5 * ones * thick[..., None]], -1)
    return np.concatenate([inner, outer], 2)


def _skeleton(shape: Shape, options: SceneOptions, count: int, rng: np.random.Generator) -> Floats:
    """Bones (T, count, BONES, 6) of one kind of skeleton, scaled to about the area of the unit disk."""
    frames, change = options.frames, options.deformation
    if shape == "animal":
        bones = _limbs(options, count, rng) * 0.75
    elif shape == "branched":
        bones = _branches(options, count, rng) * 0.9
    else:
        number, slim, bend, taper = {
            "rod": (3, (2.0, 6.0), 0.12, 0.25),
            "filament": (8, (9.0, 30.0), 0.45, 0.3),
            "tube": (6, (3.5, 9.0), 0.4, 0.05),
        }[shape]
        ratio = np.exp(rng.uniform(np.log(slim[0]), np.log(slim[1]), count))  # length over width
        width = np.sqrt(np.pi / (4 * ratio))
        bends = rng.normal(0, bend, (count, number)) + 0.5 * bend * change * np.sin(
            _wobble(frames, (count, number), change + 0.2, rng)
        )
        bones = _chain(bends, 2 * width * ratio - 2 * width, width, taper, frames)
    missing = BONES - bones.shape[2]
    # a repeated bone changes nothing
    return np.concatenate([bones, np.repeat(bones[:, :, :1], missing, 2)], 2)


def make_outlines(options: SceneOptions, count: int, rng: np.random.Generator) -> Outlines:
    """Draw `count` outlines; every object draws one of `options.shapes`."""
    frames = options.frames
    choice = rng.integers(len(options.shapes), size=count)
    shapes = tuple(options.shapes[int(c)] for c in choice)
    rim = np.ones((frames, count, ANGLES))
    bones = np.zeros((frames, count, BONES, 6))
    reach = np.ones(count)
    for shape in sorted(set(shapes)):
        mine = np.array([k for k, one in enumerate(shapes) if one == shape])
        if shape in _SKELETONS:
            made = _skeleton(shape, options, len(mine), rng)
            bones[:, mine] = made
            ends = np.hypot(made[..., [0, 3]], made[..., [1, 4]]) + made[..., [2, 5]]
            reach[mine] = ends.max((0, 2, 3))
        else:
            rim[:, mine] = _rim(shape, options, len(mine), rng)
            reach[mine] = rim[:, mine].max((0, 2))
    return Outlines(shapes, rim, bones, reach)


def star_distance(x: Tensor, y: Tensor, rim: Tensor) -> tuple[Tensor, Tensor]:
    """Signed distance to a star (positive inside) and depth coordinate (0 centre, 1 rim).

    Parameters
    ----------
    x, y : (N, h, w) float
        Pixel positions in the object's own frame, in mean radii.
    rim : (N, ANGLES) float
        Radius over the diamond angle.
    """
    number = rim.shape[-1]
    slope = y / (x.abs() + y.abs() + 1e-9)  # -1..1
    # starts at -y instead of +x, which leaves no negative values
    turn = torch.where(x < 0, 3 - slope, slope + 1).mul_(number / 4)  # 0..number
    low = turn.floor()
    part = turn.sub_(low)
    quarter = number // 4
    rim = torch.cat([rim[:, -quarter:], rim[:, : number - quarter + 2]], 1)  # two more, to go around
    first = low.long().view(x.shape[0], -1)
    here = rim.gather(1, first).view_as(x)
    there = rim.gather(1, first.add_(1)).view_as(x)
    edge = torch.lerp(here, there, part)
    distance = torch.hypot(x, y)
    return edge - distance, distance / edge


def skeleton_distance(x: Tensor, y: Tensor, bones: Tensor) -> tuple[Tensor, Tensor]:
    """Signed distance to a union of tapered bones (positive inside) and depth coordinate (0 core, 1 rim).

    Parameters
    ----------
    x, y : (N, h, w) float
        Pixel positions in the object's own frame, in mean radii.
    bones : (N, M, 6) float
        x, y, radius of both ends.
    """
    nearest = torch.full_like(x, -1e6)
    part = bones.unbind(1)
    for bone in part:
        ax, ay, ar, bx, by, br = (value[:, None, None] for value in bone.unbind(-1))
        lx, ly = bx - ax, by - ay
        px, py = x - ax, y - ay
        along = (px * lx).addcmul_(py, ly).div_(lx * lx + ly * ly + 1e-9).clamp_(0, 1)
        px = px.addcmul_(along, lx, value=-1)
        py = py.addcmul_(along, ly, value=-1)
        inside = (along * (br - ar)).add_(ar).sub_(torch.hypot(px, py))
        nearest = torch.maximum(nearest, inside)
    thick = bones[..., [2, 5]].amax((1, 2))[:, None, None]
    return nearest, 1 - (nearest / thick).clamp(0, 1)

"""Positions and sizes of all objects on all frames: paths, touching, crossings, exits, divisions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .options import SceneOptions

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tracks:
    """Poses of K objects over T frames.

    Attributes
    ----------
    centre : (T, K, 2) float
        x, y in pixels.
    scale : (T, K) float
        Radius relative to `radius`; 0 where the object does not exist.
    angle : (T, K) float
        Radians.
    stretch : (T, K) float
        Elongation along the object's own x axis (before a division).
    radius : (K,) float
        Mean radius in pixels.
    labelled : (K,) bool
        False for occluders.
    order : (K,) int
        Depth: larger is nearer to the camera; a permutation.
    camera : (T, 2) float
        Shift of the camera in pixels, already contained in `centre`.
    divisions : tuple of (int, int, int)
        Places of mother and daughter among the objects, and the first frame of the daughter.
    """

    centre: Floats
    scale: Floats
    angle: Floats
    stretch: Floats
    radius: Floats
    labelled: NDArray[np.bool_]
    order: NDArray[np.int64]
    camera: Floats
    divisions: tuple[tuple[int, int, int], ...] = ()


def _push_apart(centre: Floats, radius: Floats, spacing: float, rounds: int) -> Floats:
    """Move overlapping disks away from each other; `spacing` 1 leaves them just touching."""
    reach = 2 * spacing * float(radius.max())
    count = len(centre)
    for _ in range(rounds):
        pairs = cKDTree(centre).query_pairs(reach, output_type="ndarray")
        if not len(pairs):
            break
        first, second = pairs[np.lexsort(pairs.T)].T  # the tree's own order is not promised
        between = centre[first] - centre[second]
        distance = np.linalg.norm(between, axis=1) + 1e-6
        lack = np.clip(spacing * (radius[first] + radius[second]) - distance, 0, None)
        if not lack.any():
            break
        push = 0.35 * between * (lack / distance)[:, None]
        moved = [
            np.bincount(first, push[:, axis], count) - np.bincount(second, push[:, axis], count)
            for axis in (0, 1)
        ]
        centre = centre + np.stack(moved, 1)
    return centre


def _start(options: SceneOptions, radius: Floats, rng: np.random.Generator) -> Floats:
    """First positions (K, 2), inside the frame."""
    height, width = options.size
    frame = np.array([width, height], float)
    count = len(radius)
    # large objects start nearer to the middle, else little of them would be seen
    edge = np.clip(0.8 * radius / min(height, width), 0.04, 0.3)[:, None]
    centre = (edge + rng.uniform(0, 1, (count, 2)) * (1 - 2 * edge)) * frame
    if options.clustering > 0:
        hubs = rng.uniform(0.2, 0.8, (max(1, count // 6), 2)) * frame
        near = hubs[rng.integers(len(hubs), size=count)] + rng.normal(0, 1.5, (count, 2)) * radius.mean()
        centre = (1 - options.clustering) * centre + options.clustering * near
    spacing = {"apart": 1.15, "press": 0.8, "stack": float(rng.uniform(0.3, 1.0))}[options.contact]
    for _ in range(4):  # pushing moves objects out of the frame, so the two take turns
        centre = np.clip(_push_apart(centre, radius, spacing, 8), 0.02 * frame, 0.98 * frame)
    return np.asarray(centre)


def _walk(options: SceneOptions, radius: Floats, rng: np.random.Generator) -> Floats:
    """Paths (T, K, 2): persistent random walks that turn back at the border."""
    height, width = options.size
    frame = np.array([width, height], float)
    frames, count = options.frames, len(radius)
    pace = rng.uniform(0.3, 1.7, count) * options.motion * radius
    heading = rng.normal(size=(count, 2))
    heading /= np.linalg.norm(heading, axis=1, keepdims=True) + 1e-9
    velocity = heading * pace[:, None]
    flow = rng.normal(size=2) * options.flow * radius.mean()
    persistence = rng.uniform(0.6, 0.98)
    jitter = np.sqrt(1 - persistence**2) * rng.normal(size=(frames, count, 2)) * pace[:, None] * 0.7
    path = np.empty((frames, count, 2))
    path[0] = _start(options, radius, rng)
    spacing = {"apart": 1.1, "press": 0.75, "stack": 0.0}[options.contact]
    for t in range(1, frames):
        velocity = persistence * velocity + jitter[t]
        outside = ((path[t - 1] < 0) & (velocity + flow < 0)) | (
            (path[t - 1] > frame) & (velocity + flow > 0)
        )
        velocity = np.where(outside, -np.abs(flow) * np.sign(velocity + flow) - velocity, velocity)
        path[t] = path[t - 1] + velocity + np.where(outside, 0.0, flow)
        if spacing:
            path[t] = _push_apart(path[t], radius, spacing, 2)
    return path


def _bump(frames: int, middle: float, half: float) -> Floats:
    """Smooth 0..1..0 over time, 1 at `middle`, flat on top for a third of its length."""
    away = np.abs(np.arange(frames) - middle) / max(half, 1e-6)
    ramp = np.clip((1 - away) * 1.5, 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp))


def _number(fraction: float, count: int, rng: np.random.Generator) -> int:
    """Random rounding, so that a tenth of five objects is sometimes one."""
    return min(count, int(np.floor(fraction * count + rng.random())))


def _half_length(frames: int, rng: np.random.Generator) -> float:
    return float(np.clip(rng.uniform(0.25, 0.45) * frames, 2.0, 12.0))


def _middle(frames: int, half: float, rng: np.random.Generator) -> float:
    """Middle of an event that leaves the first frame untouched when it can."""
    return float(rng.uniform(half, max(half + 0.5, frames - 1.0 - 0.3 * half)))


def _cross(options: SceneOptions, path: Floats, rng: np.random.Generator) -> None:
    """Lead some objects over (or under) another one in the middle of the clip, in place."""
    frames, count = path.shape[:2]
    for _ in range(_number(options.crossings, count, rng) if count > 1 else 0):
        mover = int(rng.integers(count))
        away = np.linalg.norm(path[0] - path[0, mover], axis=1)
        away[mover] = np.inf
        other = int(np.argsort(away)[int(rng.integers(min(3, count - 1)))])
        half = _half_length(frames, rng)
        middle = _middle(frames, half, rng)
        now = int(np.clip(round(middle), 0, frames - 1))
        leap = (path[now, other] - path[now, mover]) * rng.uniform(0.7, 1.0)
        path[:, mover] += _bump(frames, middle, half)[:, None] * leap


def _leave(options: SceneOptions, path: Floats, extent: Floats, rng: np.random.Generator) -> None:
    """Send the objects nearest to the border out of the frame and back, in place."""
    height, width = options.size
    frames, count = path.shape[:2]
    if frames < 3:
        return
    here = path[frames // 2]
    gaps = np.stack([here[:, 0], width - here[:, 0], here[:, 1], height - here[:, 1]], 1)  # (K, 4)
    outward = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]], float)
    for k in np.argsort(gaps.min(1))[: _number(options.exits, count, rng)]:
        half = _half_length(frames, rng)
        middle = _middle(frames, half, rng)
        side = int(gaps[k].argmin())
        axis, edge = (0, (0, width)[side % 2]) if side < 2 else (1, (0, height)[side % 2])
        sign = outward[side, axis]
        # far enough that nothing shows at the middle of the event, wherever the walk has led by then
        reach = sign * (edge - path[:, k, axis]) + 1.15 * extent[k] + 2
        path[:, k, axis] += sign * _bump(frames, middle, half) * np.clip(reach, 0, None)


def _divide(
    options: SceneOptions, radius: Floats, path: Floats, scale: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats, Floats, Floats, list[tuple[int, int, int]]]:
    """Append daughters; the last value lists (mother, daughter, frame).

    The larger daughter keeps the mother's identity, the smaller one is a new object.
    """
    frames, count = path.shape[0], path.shape[1]
    stretch = np.ones((frames, count))
    axis: Floats = rng.uniform(0, 2 * np.pi, int(count))
    mothers = _number(options.divisions, count, rng) if frames > 3 else 0
    divisions: list[tuple[int, int, int]] = []
    for m in rng.permutation(count)[:mothers]:
        when = int(rng.integers(1, frames - 1))
        after = np.arange(frames) - when
        stretch[:, m] = 1 + 0.5 * np.clip(1 + after / 3, 0, 1) * (after < 0)
        apart = np.where(after >= 0, 0.72 + 0.45 * (1 - np.exp(-np.clip(after, 0, None) / 3)), 0.0)
        way = np.array([np.cos(axis[m]), np.sin(axis[m])]) * radius[m]
        daughter = path[:, m] - apart[:, None] * way
        path[:, m] += 0.8 * apart[:, None] * way
        small = np.where(after >= 0, scale[:, m] * 0.66, 0.0)
        scale[:, m] *= np.where(after >= 0, 0.82, 1.0)
        divisions.append((int(m), path.shape[1], when))
        path = np.concatenate([path, daughter[:, None]], 1)
        scale = np.concatenate([scale, small[:, None]], 1)
        stretch = np.concatenate([stretch, np.ones((frames, 1))], 1)
        radius = np.append(radius, radius[m])
        axis = np.append(axis, axis[m])
    return radius, path, scale, stretch, axis, divisions


def _sizes(options: SceneOptions, count: int, rng: np.random.Generator) -> Floats:
    """Relative radii (T, K): growth, depth profiles and absences; 0 is absent."""
    frames = options.frames
    time = np.arange(frames)
    rate = rng.normal(0, 1, count) * options.growth
    scale = np.exp(np.clip(rate * time[:, None], -0.7, 0.7))
    if options.zstack:
        thick = rng.uniform(0.35, 0.9, count) * frames + 1
        best = rng.uniform(0, frames - 1, count)
        scale = scale * np.sqrt(np.clip(1 - ((time[:, None] - best) / thick) ** 2, 0, None))
    vanishing = _number(options.vanishings, count, rng) if frames > 2 else 0
    for k in rng.permutation(count)[:vanishing]:
        half = _half_length(frames, rng)
        away = 1 - _bump(frames, _middle(frames, half, rng), half)
        scale[:, k] *= np.sqrt(away)
    return np.where(scale < 0.15, 0.0, scale)


def _occluders(
    options: SceneOptions, path: Floats, radius: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Paths (T, N, 2) and radii (N,) of things that sweep over an object each."""
    frames = options.frames
    paths, radii = [np.zeros((frames, 0, 2))], []
    for _ in range(options.occluders):
        k = int(rng.integers(path.shape[1]))
        size = float(radius[k] * rng.uniform(0.8, 1.6))
        middle = rng.uniform(0.3, 0.8) * (frames - 1)
        turn = rng.uniform(0, 2 * np.pi)
        step = (size * 1.2 + radius[k]) / max(1.5, rng.uniform(0.2, 0.5) * frames)
        along = (np.arange(frames) - middle)[:, None] * step * np.array([np.cos(turn), np.sin(turn)])
        paths.append((path[:, k] + along)[:, None])
        radii.append(size)
    return np.concatenate(paths, 1), np.array(radii)


def make_tracks(options: SceneOptions, extent_ratio: Floats, rng: np.random.Generator) -> Tracks:
    """Poses of all objects of a scene.

    Parameters
    ----------
    options : SceneOptions
        The scene.
    extent_ratio : (objects,) float
        Reach of each outline from its centre, in mean radii.
    rng : numpy.random.Generator
        Source of randomness.
    """
    frames, count = options.frames, options.objects
    smallest, largest = np.log(options.radius)
    radius: Floats = np.exp(rng.uniform(smallest, largest, count))
    path = _walk(options, radius, rng)
    _cross(options, path, rng)
    _leave(options, path, radius * extent_ratio, rng)
    scale = _sizes(options, count, rng)
    radius, path, scale, stretch, axis, divisions = _divide(options, radius, path, scale, rng)
    total = len(radius)
    turns = (
        rng.normal(0, 1, total) * options.rotation + rng.normal(0, 0.5, (frames, total)) * options.rotation
    )
    dividing = stretch.max(0) > 1
    angle = axis + np.where(dividing, 0.0, 1.0) * np.cumsum(turns, 0)
    over, over_radius = _occluders(options, path, radius, rng)
    extra = len(over_radius)
    camera = np.cumsum(rng.normal(0, 1, (frames, 2)) * options.shake, 0)
    camera -= camera[0]
    order = np.concatenate([rng.permutation(total), total + np.arange(extra)])
    return Tracks(
        centre=np.concatenate([path, over], 1) + camera[:, None],
        scale=np.concatenate([scale, np.ones((frames, extra))], 1),
        angle=np.concatenate([angle, np.tile(rng.uniform(0, 6.28, extra), (frames, 1))], 1),
        stretch=np.concatenate([stretch, np.ones((frames, extra))], 1),
        radius=np.concatenate([radius, over_radius]),
        labelled=np.arange(total + extra) < total,
        order=order.astype(np.int64),
        camera=camera,
        divisions=tuple(divisions),
    )

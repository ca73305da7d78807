"""One synthetic clip with its exact ground truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .camera import record
from .ground import make_ground
from .motion import make_tracks
from .options import SceneOptions
from .outlines import make_outlines
from .paint import Painter
from .surface import rasterise

MIN_VISIBLE = 4


@dataclass(frozen=True)
class Clip:
    """A synthetic video and what is true of it; all tensors are on the device it was made on.

    Attributes
    ----------
    frames : (T, H, W, 3) uint8
        The video.
    labels : (T, H, W) int64
        Object in front at every pixel: 0 for ground and occluders, else an id of `object_ids`.
    visible : (T, K) bool
        Whether object `object_ids[k]` shows at least `MIN_VISIBLE` pixels.
    object_ids : tuple of int
        1..K. An object may be absent from any frame; daughters of a division appear late.
    masks_full : (T, K, H, W) bool or None
        Whole objects inside the frame, hidden parts included (`SceneOptions.amodal`).
    divisions : tuple of (int, int, int)
        Mother, daughter (a new id) and the daughter's first frame, for each division. The mother's id goes on with the
        larger daughter.
    """

    frames: Tensor
    labels: Tensor
    visible: Tensor
    object_ids: tuple[int, ...]
    masks_full: Tensor | None = None
    divisions: tuple[tuple[int, int, int], ...] = ()


def _labels(owner: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Labels without occluders and specks, and which objects they show."""
    frames = owner.shape[0]
    labels = torch.where(owner > count, 0, owner)
    offset = torch.arange(frames, device=owner.device).view(-1, 1, 1) * (count + 1)
    area = torch.bincount((labels + offset).view(-1), minlength=frames * (count + 1))
    area = area.view(frames, count + 1)
    visible = area >= MIN_VISIBLE
    specks = (area > 0) & ~visible
    specks[:, 0] = False
    if specks.any():
        keep = torch.where(specks, 0, torch.arange(count + 1, device=owner.device))
        labels = keep.view(-1)[labels + offset]
    return labels, visible[:, 1:]


def generate_clip(options: SceneOptions, seed: int, device: str | torch.device = "cpu") -> Clip:
    """Generate a clip.

    The same options and seed give the same bytes on a CPU. On another device the objects are the same up to
    rounding and the noise is another one.

    Parameters
    ----------
    options : SceneOptions
        What the scene is made of.
    seed : int
        Non-negative.
    device : str or torch.device
        Where to compute, and where the results lie.

    Raises
    ------
    ValueError
        When the options make no scene, or the seed is negative.
    """
    options.check()
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    target = torch.device(device)
    sequence = np.random.SeedSequence(seed)
    rng = np.random.default_rng(sequence)
    noise = torch.Generator(device=target)
    noise.manual_seed(int(sequence.generate_state(1, np.uint64)[0]) >> 1)
    with torch.inference_mode():
        outlines = make_outlines(options, 2 * options.objects + options.occluders, rng)
        tracks = make_tracks(options, outlines.reach[: options.objects], rng)
        count = int(tracks.labelled.sum())
        painter = Painter(options, tracks, rng, noise)
        surface = rasterise(options, tracks, outlines, painter.margin, target)
        ground = make_ground(options, tracks.camera, rng, noise)
        images = painter.paint(surface, ground)
        frames = record(options, images, rng, noise)
        labels, visible = _labels(surface.owner, count)
        full = surface.full[:, :count] if surface.full is not None else None
    # cloned outside inference mode: the caller may train on these
    return Clip(
        frames.clone(),
        labels.clone(),
        visible.clone(),
        tuple(range(1, count + 1)),
        None if full is None else full.clone(),
        tuple((mother + 1, daughter + 1, frame) for mother, daughter, frame in tracks.divisions),
    )

"""Sample data: small recordings with ground truth and prompts, the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .clip import Clip, generate_clip
from .options import Look, SceneOptions


@dataclass(frozen=True)
class FirstSight:
    """Prompts for one object, on the first frame that shows it.

    Attributes
    ----------
    frame : int
        That frame.
    click : (float, float)
        x, y of the visible pixel that is farthest from the object's outline.
    box : (float, float, float, float)
        x0, y0, x1, y1: centres of the first and last pixels that show the object.
    """

    frame: int
    click: tuple[float, float]
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Sample:
    """A recording with its ground truth.

    Attributes
    ----------
    name : str
        For layers and files.
    image : ndarray
        The recording; axes as in `axes`.
    axes : str
        "TYX", "ZYX" or "TCYX".
    labels : (T or Z, Y, X) uint16
        Object in front at every pixel, 0 for ground.
    visible : (T or Z, K) bool
        Whether object k + 1 shows on a frame.
    first_sight : dict of int to FirstSight
        Prompts by object id, for every object that is ever visible.
    scale : tuple of float
        Pixel size of the axes T or Z, Y, X in micrometres (1 for time).
    """

    name: str
    image: NDArray[np.uint8] | NDArray[np.uint16]
    axes: str
    labels: NDArray[np.uint16]
    visible: NDArray[np.bool_]
    first_sight: dict[int, FirstSight]
    scale: tuple[float, float, float]


def _first_sight(frame: int, mask: NDArray[np.bool_]) -> FirstSight:
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    top, bottom, left, right = int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])
    part = mask[top : bottom + 1, left : right + 1]
    # a border of ground, so that an object cut by the frame is not clicked at its very edge
    inner = ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(inner.argmax()), part.shape)
    box = (float(left), float(top), float(right), float(bottom))
    return FirstSight(frame, (float(x) + left, float(y) + top), box)


def _sample(name: str, clip: Clip, image: NDArray[np.uint8] | NDArray[np.uint16], axes: str) -> Sample:
    labels = clip.labels.cpu().numpy().astype(np.uint16)
    visible = clip.visible.cpu().numpy()
    sights = {}
    for k, object_id in enumerate(clip.object_ids):
        if visible[:, k].any():
            first = int(visible[:, k].argmax())
            sights[object_id] = _first_sight(first, labels[first] == object_id)
    scale = (2.0, 0.5, 0.5) if axes == "ZYX" else (1.0, 0.5, 0.5)
    return Sample(name, image, axes, labels, visible, sights, scale)


def _grey(clip: Clip) -> NDArray[np.uint8]:
    return np.ascontiguousarray(clip.frames[..., 0].cpu().numpy())


def _as_16_bit(grey: NDArray[np.uint8], gain: float, seed: int) -> NDArray[np.uint16]:
    """Camera counts: an offset, a gain, and values between the 256 levels."""
    between = np.random.default_rng(seed).random(grey.shape)
    return (110 + gain * (grey + between)).astype(np.uint16)


def sample_timelapse() -> Sample:
    """The demo: 28 frames of 256 x 256, eight cells in fluorescence that cross, hide and come back.

    Grey, 8 bit, axes TYX. Some cells pass over others, one leaves the frame and returns, one divides.
    """
    options = SceneOptions(
        size=(256, 256),
        frames=28,
        looks=("fluorescence",),
        shapes=("blob", "ellipse"),
        objects=7,
        radius=(15.0, 24.0),
        motion=0.1,
        rotation=0.04,
        deformation=0.4,
        crossings=0.3,
        exits=0.15,
        divisions=0.15,
        background="uneven",
        variation=0.3,
        blur=1.0,
        gaussian_noise=0.04,
        bleaching=0.01,
    )
    clip = generate_clip(options, 162)
    return _sample("cells (synthetic time-lapse)", clip, _grey(clip), "TYX")


def sample_zstack() -> Sample:
    """A stack of 24 planes of 192 x 192: touching nuclei that appear, grow and vanish with depth.

    Grey, 16 bit, axes ZYX; planes are 2 micrometres apart, pixels 0.5 micrometres wide.
    """
    options = SceneOptions(
        size=(192, 192),
        frames=24,
        looks=("fluorescence",),
        shapes=("ellipse",),
        objects=26,
        radius=(13.0, 20.0),
        motion=0.02,
        rotation=0.02,
        deformation=0.3,
        contact="press",
        zstack=True,
        background="uneven",
        variation=0.25,
        blur=1.1,
        poisson_noise=0.06,
        gaussian_noise=0.02,
    )
    clip = generate_clip(options, 3)
    return _sample("nuclei (synthetic z-stack)", clip, _as_16_bit(_grey(clip), 17.0, 3), "ZYX")


def sample_two_channel() -> Sample:
    """Twelve frames of 256 x 256 of an epithelium in two channels: cell bodies and membranes.

    16 bit, axes TCYX.
    """
    options = SceneOptions(
        size=(256, 256),
        frames=12,
        looks=("granular",),
        shapes=("blob",),
        objects=22,
        radius=(30.0, 36.0),
        motion=0.05,
        deformation=0.4,
        contact="press",
        background="flat",
        blur=0.9,
        gaussian_noise=0.03,
    )
    bodies = generate_clip(options, 5)
    looks: tuple[Look, ...] = ("membrane",)
    # outlines and paths are drawn before looks, so the same seed gives the same cells
    borders = generate_clip(replace(options, looks=looks, gaussian_noise=0.05), 5)
    channels = [_as_16_bit(_grey(bodies), 9.0, 5), _as_16_bit(_grey(borders), 14.0, 6)]
    return _sample("epithelium (synthetic, two channels)", bodies, np.stack(channels, 1), "TCYX")


def crowd(
    n_objects: int, size: tuple[int, int] = (256, 256), frames: int = 8, seed: int = 0, covering: float = 0.35
) -> Sample:
    """Many cells at once, for tests and benchmarks.

    Parameters
    ----------
    n_objects : int
        Number of cells, all of them there on every frame (as far as the frame border allows).
    size : (int, int)
        Height and width.
    frames : int
        Number of frames.
    seed : int
        Another seed is another crowd.
    covering : float
        Fraction of the frame that cells cover; the radius follows from it.

    Raises
    ------
    ValueError
        When the cells would be smaller than 1.5 pixels in radius.
    """
    radius = float(np.sqrt(covering * size[0] * size[1] / (np.pi * max(n_objects, 1))))
    if radius < 1.5:
        raise ValueError(
            f"{n_objects} objects do not fit into {size[0]} x {size[1]} pixels: ask for fewer, or a larger size"
        )
    options = SceneOptions(
        size=size,
        frames=frames,
        shapes=("ellipse", "blob"),
        objects=n_objects,
        radius=(0.85 * radius, 1.1 * radius),
        motion=0.08,
        contact="apart",
        gaussian_noise=0.03,
    )
    clip = generate_clip(options, seed)
    return _sample(f"crowd of {n_objects} (synthetic)", clip, _grey(clip), "TYX")

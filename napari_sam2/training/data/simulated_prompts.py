"""Simulated users: clicks in the error region, jittered boxes, worn masks.

Coordinates are (x, y) in pixels of the masks that are passed in (the model's input size in training).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_cdt

__all__ = ["correction_clicks", "depth_inside", "first_clicks", "jittered_boxes", "worn_masks"]


def depth_inside(masks: torch.Tensor) -> torch.Tensor:
    """Return the chessboard distance of each pixel to the outside: how many 3x3 erosions it survives.

    Parameters
    ----------
    masks : Tensor, (B, H, W) bool
        The image's edge counts as border.

    Returns
    -------
    Tensor, (B, H, W) float32
        0 outside, 1 at the border, more inside.
    """
    pixels = masks.cpu().numpy()
    depth = np.zeros(masks.shape, np.float32)
    for index, mask in enumerate(pixels):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            continue
        # a mask is far smaller than its frame; the thin border makes the image's edge a border as well
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        inside = distance_transform_cdt(np.pad(mask[window], 1), metric="chessboard")
        depth[index][window] = inside[1:-1, 1:-1]
    return torch.from_numpy(depth).to(masks.device)


def _random_pixels(regions: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One uniformly drawn pixel of each region, as (B, 2) of (x, y); any pixel where a region is empty."""
    flat = regions.flatten(1)
    share = torch.rand(len(flat), generator=generator, dtype=torch.float64).to(flat.device)
    owner, found = flat.nonzero().T  # ordered by region
    if not len(found):
        return _from_index((share * flat.shape[1]).long(), regions.shape[-1])
    counts = owner.bincount(minlength=len(flat))
    place = (counts.cumsum(0) - counts + (share * counts).long()).clamp_max(len(found) - 1)
    index = torch.where(counts > 0, found[place], (share * flat.shape[1]).long())
    return _from_index(index, regions.shape[-1])


def _from_index(index: torch.Tensor, width: int) -> torch.Tensor:
    rows = torch.div(index, width, rounding_mode="floor")
    return torch.stack([index % width, rows], dim=1).float()  # (B, 2) of (x, y)


def first_clicks(
    truth: torch.Tensor, generator: torch.Generator, central: float = 0.5
) -> tuple[torch.Tensor, torch.Tensor]:
    """Click once on each object: uniformly inside it or, with probability `central`, at its middle.

    Parameters
    ----------
    truth : Tensor, (B, H, W) bool
        Objects; a click on an empty one is a random negative click.
    generator : torch.Generator
        On the CPU; the same seed gives the same clicks on every device.
    central : float
        Share of clicks at the deepest pixel instead of a uniform one.

    Returns
    -------
    points : Tensor, (B, 1, 2) float32
        (x, y).
    labels : Tensor, (B, 1) int64
        1 on the object, 0 where there is none.
    """
    return correction_clicks(torch.zeros_like(truth), truth, generator, central)


def correction_clicks(
    predicted: torch.Tensor, truth: torch.Tensor, generator: torch.Generator, central: float = 0.1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Click into the region where prediction and truth differ.

    Uniform clicks take any wrong pixel, so the larger kind of error gets more of them; central clicks
    take the deepest pixel of all errors. Where nothing is wrong the click confirms the object.
    Counterparts in the reference: ``sample_random_points_from_errors``, ``sample_one_point_from_error_center``.

    Parameters
    ----------
    predicted, truth : Tensor, (B, H, W) bool
        What the network said and what is true.
    generator : torch.Generator
        On the CPU.
    central : float
        Share of central clicks.

    Returns
    -------
    points : Tensor, (B, 1, 2) float32
        (x, y).
    labels : Tensor, (B, 1) int64
        1 where object was missed (or nothing is wrong), 0 where background was taken.
    """
    if predicted.shape != truth.shape:
        raise ValueError(
            f"prediction {tuple(predicted.shape)} and truth {tuple(truth.shape)} differ in shape"
        )
    error = predicted ^ truth
    wrong = error.flatten(1).any(1)
    region = torch.where(wrong[:, None, None], error, truth)
    points = _random_pixels(region, generator)
    at_centre = (torch.rand(len(truth), generator=generator) < central).to(truth.device)
    at_centre &= region.flatten(1).any(1)  # nothing has no middle
    if bool(at_centre.any()):
        chosen = region[at_centre]
        # false positives and misses must not merge into one region with a middle between them
        missed = depth_inside(chosen & truth[at_centre])
        taken = depth_inside(chosen & ~truth[at_centre])
        deeper = missed.flatten(1).amax(1) >= taken.flatten(1).amax(1)
        depth = torch.where(deeper[:, None, None], missed, taken)
        points[at_centre] = _from_index(depth.flatten(1).argmax(1), truth.shape[-1])
    rows = torch.arange(len(truth), device=truth.device)
    column, row = points[:, 0].long(), points[:, 1].long()
    labels = truth[rows, row, column].long()
    return points[:, None], labels[:, None]


def jittered_boxes(
    truth: torch.Tensor, generator: torch.Generator, jitter: float = 0.1, limit: float = 20.0
) -> torch.Tensor:
    """Draw a box around each object as a hand would: each side off by a few per cent.

    Parameters
    ----------
    truth : Tensor, (B, H, W) bool
        Objects; an empty one gets the whole image.
    generator : torch.Generator
        On the CPU.
    jitter : float
        Standard deviation of each side as a share of the box's width or height.
    limit : float
        Largest jitter in pixels.

    Returns
    -------
    Tensor, (B, 4) float32
        x0, y0, x1, y1 inside the image.
    """
    height, width = truth.shape[-2:]
    columns, rows = truth.any(1), truth.any(2)  # (B, W), (B, H)
    boxes = torch.stack(
        [
            columns.float().argmax(1),
            rows.float().argmax(1),
            width - 1 - columns.flip(1).float().argmax(1),
            height - 1 - rows.flip(1).float().argmax(1),
        ],
        dim=1,
    ).float()
    empty = ~rows.any(1)
    boxes[empty] = boxes.new_tensor([0, 0, width - 1, height - 1])
    sides = (boxes[:, 2:] - boxes[:, :2] + 1).repeat(1, 2)  # (B, 4)
    noise = torch.randn(boxes.shape, generator=generator).to(boxes.device)
    boxes = boxes + (noise * jitter * sides).clamp(-limit, limit)
    low, high = torch.minimum(boxes[:, :2], boxes[:, 2:]), torch.maximum(boxes[:, :2], boxes[:, 2:])
    edge = boxes.new_tensor([width - 1, height - 1])
    low, high = low.clamp_min(0).minimum(edge), high.clamp_min(0).minimum(edge)
    return torch.cat([low, high], dim=1)


def worn_masks(truth: torch.Tensor, generator: torch.Generator, strength: float = 0.5) -> torch.Tensor:
    """Roughen masks as painted ones are: a border that is a little too wide, too narrow or wavy.

    Thin and small objects that would lose more than a third of themselves by it stay exact.

    Parameters
    ----------
    truth : Tensor, (B, H, W) bool
        Masks.
    generator : torch.Generator
        On the CPU.
    strength : float
        Share of masks that are roughened; the others stay exact.

    Returns
    -------
    Tensor, (B, H, W) bool
        Never empty where `truth` is not.
    """
    least_iou = 2 / 3
    noise = torch.randn(len(truth), 1, 12, 12, generator=generator).to(truth.device)
    field = F.interpolate(noise, size=truth.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    soft = F.avg_pool2d(truth[:, None].float(), 5, stride=1, padding=2)[:, 0]
    worn = soft > (0.5 + 0.25 * field).clamp(0.1, 0.9)
    take = (torch.rand(len(truth), generator=generator) < strength).to(truth.device)
    both, either = (worn & truth).flatten(1).sum(1), (worn | truth).flatten(1).sum(1)
    take &= both > least_iou * either
    return torch.where(take[:, None, None], worn, truth)

"""Prompts of one object on one frame, in (x, y) pixels of the frame.

All are frozen, hashable and comparable, so that a change is found by comparing two prompts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_sam2.masks import Rle, decode_rle, encode_rle, run_length_total

PromptKey = tuple[int, int]  # (frame, object id)


@dataclass(frozen=True)
class PointPrompt:
    """One click.

    Parameters
    ----------
    x, y : float
        Position in pixels of the frame; (0, 0) is the centre of the top left pixel.
    positive : bool
        True: the object is here. False: the object is not here.
    """

    x: float
    y: float
    positive: bool = True


@dataclass(frozen=True)
class BoxPrompt:
    """A box around the object, corners in pixels of the frame, ``x0 < x1`` and ``y0 < y1``."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True)
class MaskPrompt:
    """A mask of the object, kept as run lengths (COCO) so that it can be compared and hashed.

    Parameters
    ----------
    size : tuple of int
        (height, width) of the frame.
    counts : str
        Compressed run lengths as pycocotools writes them. An empty mask: the object is absent here.
    """

    size: tuple[int, int]
    counts: str

    @classmethod
    def from_array(cls, mask: ArrayLike) -> MaskPrompt:
        """Make a mask prompt of a (H, W) array; everything that is not zero belongs to the object."""
        array = np.asarray(mask)
        if array.ndim != 2:
            raise ValueError(f"a mask prompt has two axes (H, W), this array has {array.ndim}: {array.shape}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError("a mask prompt must be finite, this one has NaN or infinite pixels")
        rle = encode_rle(array != 0)
        return cls(rle.size, rle.counts)

    def array(self) -> NDArray[np.bool_]:
        """Return the mask as a bool array (H, W)."""
        return decode_rle(Rle(self.size, self.counts))


@dataclass(frozen=True)
class Prompt:
    """Points, box and mask of one object on one frame.

    A mask alone is the result; a mask together with clicks or a box is refined by them.

    Parameters
    ----------
    points : tuple of PointPrompt
        Clicks in the order in which they were made.
    box : BoxPrompt, optional
        At most one box.
    mask : MaskPrompt, optional
        At most one mask.
    """

    points: tuple[PointPrompt, ...] = ()
    box: BoxPrompt | None = None
    mask: MaskPrompt | None = None

    def __bool__(self) -> bool:
        return bool(self.points) or self.box is not None or self.mask is not None

    def check(self, size: tuple[int, int]) -> None:
        """Raise ValueError when this cannot be a prompt on a frame of ``size`` (height, width)."""
        height, width = size
        if not self:
            raise ValueError("this prompt is empty: give at least one point, a box or a mask")
        for point in self.points:
            _check_point(point, height, width)
        if self.box is not None:
            _check_box(self.box, height, width)
        if self.mask is not None and tuple(self.mask.size) != (height, width):
            raise ValueError(
                f"the mask is {self.mask.size[0]} × {self.mask.size[1]} (height × width) but the frame is "
                f"{height} × {width}: resize the mask to the frame"
            )

    def to_json(self) -> dict[str, Any]:
        """Return plain lists and dicts for JSON; what is absent is left out."""
        out: dict[str, Any] = {}
        if self.points:
            # float: a prompt that was read back must be told from one that was not by nothing.
            out["points"] = [[float(p.x), float(p.y)] for p in self.points]
            out["labels"] = [int(p.positive) for p in self.points]
        if self.box is not None:
            out["box"] = [float(v) for v in (self.box.x0, self.box.y0, self.box.x1, self.box.y1)]
        if self.mask is not None:
            out["mask"] = {"size": list(self.mask.size), "counts": self.mask.counts}
        return out

    @classmethod
    def from_json(cls, data: Any) -> Prompt:
        """Read what :meth:`to_json` wrote; raises ValueError naming the field that is wrong."""
        if not isinstance(data, dict):
            raise ValueError(
                f"a prompt is an object with 'points', 'box' or 'mask', not {type(data).__name__}"
            )
        unknown = sorted(set(data) - {"points", "labels", "box", "mask"})
        if unknown:
            raise ValueError(
                f"unknown field {unknown[0]!r} in a prompt: use 'points', 'labels', 'box' or 'mask'"
            )
        return cls(
            _points_from_json(data), _box_from_json(data.get("box")), _mask_from_json(data.get("mask"))
        )


PromptPart = PointPrompt | BoxPrompt | MaskPrompt | Prompt


def merged(*parts: PromptPart) -> Prompt:
    """Join clicks, boxes and masks of one object on one frame into one prompt.

    Points keep their order, of several boxes the last one stays, several masks are united.
    """
    points: tuple[PointPrompt, ...] = ()
    box: BoxPrompt | None = None
    mask: MaskPrompt | None = None
    for part in parts:
        whole = _as_prompt(part)
        points += whole.points
        box = whole.box or box
        mask = _united(mask, whole.mask)
    return Prompt(points, box, mask)


def _as_prompt(part: PromptPart) -> Prompt:
    match part:
        case Prompt():
            return part
        case PointPrompt():
            return Prompt(points=(part,))
        case BoxPrompt():
            return Prompt(box=part)
        case MaskPrompt():
            return Prompt(mask=part)
    raise TypeError(f"not a prompt: {part!r}; use PointPrompt, BoxPrompt, MaskPrompt or Prompt")


def _united(first: MaskPrompt | None, second: MaskPrompt | None) -> MaskPrompt | None:
    if first is None or second is None:
        return first or second
    if first.size != second.size:
        raise ValueError(f"masks of different sizes cannot be united: {first.size} and {second.size}")
    return MaskPrompt.from_array(first.array() | second.array())


def _check_point(point: PointPrompt, height: int, width: int) -> None:
    if point.positive not in (True, False):
        raise ValueError(f"a point is positive (1) or negative (0), not {point.positive!r}")
    if not (math.isfinite(point.x) and math.isfinite(point.y)):
        raise ValueError(f"point ({point.x}, {point.y}) is not finite")
    # Half a pixel of tolerance: a click on the rim of the last pixel is still on the image.
    if not (-0.5 <= point.x <= width - 0.5 and -0.5 <= point.y <= height - 0.5):
        raise ValueError(
            f"point (x={point.x:g}, y={point.y:g}) is outside the image, which is {width} wide and {height} high"
        )


def _check_box(box: BoxPrompt, height: int, width: int) -> None:
    corners = (box.x0, box.y0, box.x1, box.y1)
    if not all(math.isfinite(c) for c in corners):
        raise ValueError(f"box {corners} is not finite")
    if box.x1 <= box.x0 or box.y1 <= box.y0:
        raise ValueError(f"box {corners} has no area: give (x0, y0, x1, y1) with x0 < x1 and y0 < y1")
    if box.x1 < 0 or box.y1 < 0 or box.x0 > width - 0.5 or box.y0 > height - 0.5:
        raise ValueError(f"box {corners} is outside the image, which is {width} wide and {height} high")


def _numbers(values: Any, count: int, what: str) -> tuple[float, ...]:
    if not isinstance(values, (list, tuple)) or len(values) != count:
        raise ValueError(f"{what} needs {count} numbers, got {values!r}")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{what} needs {count} numbers, got {values!r}")
    try:
        return tuple(float(v) for v in values)
    except OverflowError as error:
        raise ValueError(
            f"{what} needs {count} numbers, got one of {len(str(max(values)))} digits"
        ) from error


def _points_from_json(data: dict[str, Any]) -> tuple[PointPrompt, ...]:
    points = data.get("points", [])
    if not isinstance(points, (list, tuple)):
        raise ValueError(f"'points' must be a list of [x, y] pairs, not {type(points).__name__}")
    labels = data.get("labels", [1] * len(points))
    if not isinstance(labels, (list, tuple)) or len(labels) != len(points):
        raise ValueError(f"'labels' must be a list of {len(points)} zeros and ones, one for each point")
    out = []
    for xy, label in zip(points, labels):
        x, y = _numbers(xy, 2, "a point")
        if label not in (0, 1):
            raise ValueError(f"a point's label is 1 (positive) or 0 (negative), not {label!r}")
        out.append(PointPrompt(x, y, bool(label)))
    return tuple(out)


def _box_from_json(data: Any) -> BoxPrompt | None:
    return None if data is None else BoxPrompt(*_numbers(data, 4, "a box"))


def _mask_from_json(data: Any) -> MaskPrompt | None:
    if data is None:
        return None
    if not isinstance(data, dict) or not isinstance(data.get("counts"), str):
        raise ValueError("'mask' must hold 'size' [height, width] and 'counts' (COCO compressed run lengths)")
    height, width = _numbers(data.get("size"), 2, "a mask's size")
    if not (height.is_integer() and width.is_integer() and min(height, width) >= 1):
        raise ValueError(f"a mask's size is two whole numbers of pixels, not {data['size']!r}")
    size = int(height), int(width)
    if run_length_total(data["counts"]) != size[0] * size[1]:  # nothing is decoded: the size may be absurd
        raise ValueError(
            f"the run lengths do not describe a mask of {size[0]} × {size[1]} pixels: they are damaged"
        )
    return MaskPrompt(size, data["counts"])

"""Masks of many objects on one frame or of one object through time, their run lengths, and cleaning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pycocotools import mask as coco

BoolArray = NDArray[np.bool_]
_EIGHT = np.ones((3, 3), int)  # pixels are connected across corners as well


@dataclass(frozen=True)
class Rle:
    """A mask as COCO's compressed run lengths (column by column), hashable and JSON-ready.

    Parameters
    ----------
    size : tuple of int
        (height, width).
    counts : str
        Compressed run lengths as pycocotools writes them, as text.
    """

    size: tuple[int, int]
    counts: str

    def decode(self) -> BoolArray:
        """Return the mask, bool (H, W)."""
        return decode_rle(self)

    @property
    def area(self) -> int:
        """Number of pixels in the mask."""
        return int(coco.area(self._coco()))

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """Smallest box (x0, y0, x1, y1) around the mask, right and lower edge exclusive; None when empty."""
        x, y, w, h = (int(v) for v in coco.toBbox(self._coco()))
        return None if w == 0 or h == 0 else (x, y, x + w, y + h)

    def _coco(self) -> dict[str, Any]:
        return {"size": list(self.size), "counts": self.counts.encode("ascii")}


def encode_rle(mask: NDArray[Any]) -> Rle:
    """Encode a (H, W) mask; everything that is not zero belongs to it."""
    if mask.ndim != 2:
        raise ValueError(f"a mask has two axes (H, W), this array has shape {mask.shape}")
    height, width = mask.shape
    if mask.size == 0:
        raise ValueError(f"a mask needs at least one pixel, this array has shape {mask.shape}")
    columns = np.flatnonzero(mask.any(0))
    runs = _column_runs(mask, columns[0], columns[-1] + 1) if len(columns) else [height * width]
    encoded = coco.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    return Rle((height, width), encoded["counts"].decode("ascii"))


def _column_runs(mask: NDArray[Any], x0: int, x1: int) -> list[int]:
    # Only the columns with an object are looked at: in large frames that is ten times as fast.
    height, width = mask.shape
    flat = (mask[:, x0:x1] != 0).T.ravel()
    inside = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    start, end = [0] if flat[0] else [], [len(flat)] if flat[-1] and x1 < width else []
    bounds = np.concatenate([start, inside, end]).astype(np.int64) + x0 * height
    runs: list[int] = np.diff(bounds, prepend=0, append=height * width).tolist()
    return runs


def decode_rle(rle: Rle) -> BoolArray:
    """Decode run lengths to a bool array (H, W); raises ValueError when they do not fill the size exactly."""
    height, width = rle.size
    runs = _runs(rle.counts)
    if height < 1 or width < 1 or runs is None or sum(runs) != height * width:
        raise ValueError(
            f"these run lengths do not describe a mask of {height} × {width} pixels: they are damaged"
        )
    # Runs go down the columns and begin with background. (pycocotools' decode warns under numpy 2.)
    out = np.zeros((height, width), bool)
    ends = np.cumsum(runs)
    if len(runs) > 1:
        x0, x1 = ends[0] // height, -(-ends[-1 - len(runs) % 2] // height)  # columns with an object
        bounds = np.clip(ends, x0 * height, x1 * height)
        lengths = np.diff(bounds, prepend=x0 * height)
        strip = np.repeat(np.arange(len(runs)) % 2 == 1, lengths)
        out[:, x0:x1] = strip.reshape(x1 - x0, height).T
    return out


def run_length_total(counts: str) -> int:
    """Return how many pixels compressed run lengths cover; -1 when they are damaged."""
    runs = _runs(counts)
    return -1 if runs is None else sum(runs)


def _runs(counts: str) -> list[int] | None:
    """Return the run lengths behind their compressed text; None when it is damaged.

    pycocotools decodes damaged text without complaint (and may write out of bounds), so the text is checked here.
    The coding: groups of 5 bits, least significant first, 6th bit = "more follows"; from the third run on,
    the difference to the run before the previous one is stored.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 30:
            return None
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        if len(runs) > 2:
            value += runs[-2]
        if value < 0:
            return None
        runs.append(value)
        value = shift = 0
    return None if shift else runs


@dataclass(frozen=True)
class FrameMasks:
    """The masks of some objects on one frame.

    Parameters
    ----------
    frame : int
        Index of the frame.
    object_ids : tuple of int
        One id for each mask; an id is the object's label value and its only identity.
    masks : ndarray of bool, shape (N, H, W)
        May overlap.
    object_scores : ndarray of float32, shape (N,)
        Above 0: the model sees the object.
    predicted_ious : ndarray of float32, shape (N,)
        The model's own estimate of the quality of the mask, 0 to 1.
    prompted : ndarray of bool, shape (N,)
        True where the user said something about this object on this frame.
    """

    frame: int
    object_ids: tuple[int, ...]
    masks: BoolArray
    object_scores: NDArray[np.float32]
    predicted_ious: NDArray[np.float32]
    prompted: BoolArray

    def __post_init__(self) -> None:
        n = len(self.object_ids)
        if self.masks.ndim != 3 or len(self.masks) != n:
            raise ValueError(f"{n} objects need masks of shape ({n}, H, W), not {self.masks.shape}")
        for name in ("object_scores", "predicted_ious", "prompted"):
            if getattr(self, name).shape != (n,):
                raise ValueError(f"{name} must have shape ({n},), not {getattr(self, name).shape}")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frame."""
        return self.masks.shape[1], self.masks.shape[2]

    def of(self, object_id: int) -> BoolArray:
        """Return the mask of one object (H, W); KeyError when it is not on this frame."""
        if object_id not in self.object_ids:
            raise KeyError(f"object {object_id} has no mask on frame {self.frame}")
        mask: BoolArray = self.masks[self.object_ids.index(object_id)]
        return mask

    def select(self, object_ids: Iterable[int]) -> FrameMasks:
        """Return the same frame with only these objects, in this order."""
        wanted = tuple(object_ids)
        rows = [self.object_ids.index(i) for i in wanted]
        return FrameMasks(
            self.frame,
            wanted,
            self.masks[rows],
            self.object_scores[rows],
            self.predicted_ious[rows],
            self.prompted[rows],
        )

    @classmethod
    def empty(cls, frame: int, size: tuple[int, int]) -> FrameMasks:
        """Return a frame on which no object has a mask."""
        nothing = np.zeros(0, np.float32)
        return cls(frame, (), np.zeros((0, *size), bool), nothing, nothing.copy(), np.zeros(0, bool))

    @classmethod
    def joined(cls, parts: Sequence[FrameMasks]) -> FrameMasks:
        """Join the objects of several results of the same frame."""
        if len({p.frame for p in parts}) != 1:
            raise ValueError(
                f"only results of one frame can be joined, got frames {[p.frame for p in parts]}"
            )
        return cls(
            parts[0].frame,
            tuple(i for p in parts for i in p.object_ids),
            np.concatenate([p.masks for p in parts]),
            np.concatenate([p.object_scores for p in parts]),
            np.concatenate([p.predicted_ious for p in parts]),
            np.concatenate([p.prompted for p in parts]),
        )


@dataclass(frozen=True)
class Masklet:
    """One object's masks over time, as run lengths.

    Parameters
    ----------
    object_id : int
        The label value.
    size : tuple of int
        (height, width) of the frames.
    masks : mapping of int to Rle
        Frame index to mask; frames on which the object was not looked for are missing.
    """

    object_id: int
    size: tuple[int, int]
    masks: Mapping[int, Rle] = field(default_factory=dict)

    @cached_property
    def frames(self) -> tuple[int, ...]:
        """Frames with an entry, in order."""
        return tuple(sorted(self.masks))

    def mask(self, frame: int) -> BoolArray:
        """Return the mask on a frame, bool (H, W); empty where the object has none."""
        rle = self.masks.get(frame)
        return np.zeros(self.size, bool) if rle is None else rle.decode()


def compose_labels(
    frame_masks: FrameMasks, dtype: DTypeLike = np.uint16, order: Literal["area", "id"] = "area"
) -> NDArray[Any]:
    """Draw overlapping masks into one label image (H, W).

    Parameters
    ----------
    frame_masks : FrameMasks
        Masks of one frame.
    dtype : dtype
        Integer type of the label image; every object id must fit.
    order : {"area", "id"}
        Who is on top where masks overlap: the smaller object (equal areas: the higher id), or the higher id.

    Returns
    -------
    ndarray of dtype, shape (H, W)
        The id of the object on top at each pixel, 0 where there is none.

    Raises
    ------
    ValueError
        An object id is below 1 or does not fit into ``dtype``.
    """
    out = np.zeros(frame_masks.size, dtype)
    ids = frame_masks.object_ids
    if ids and not (min(ids) >= 1 and max(ids) <= np.iinfo(out.dtype).max):
        raise ValueError(
            f"object ids must be between 1 and {np.iinfo(out.dtype).max} to be drawn as {out.dtype}"
        )
    areas = [int(np.count_nonzero(mask)) for mask in frame_masks.masks]
    for row in sorted(range(len(ids)), key=lambda r: (-areas[r] if order == "area" else 0, ids[r])):
        box = mask_box(frame_masks.masks[row])
        if box is not None:
            here = np.s_[box[1] : box[3], box[0] : box[2]]
            out[here][frame_masks.masks[row][here]] = ids[row]
    return out


def compose_run_lengths(size: tuple[int, int], masks: Mapping[int, Rle]) -> NDArray[np.uint16]:
    """Draw run lengths into one label image (H, W) without decoding whole masks; the same as :func:`compose_labels`.

    Parameters
    ----------
    size : tuple of int
        (height, width).
    masks : mapping of int to Rle
        Object id (1 to 65535) to mask. The smaller object is on top (equal areas: the higher id).

    Raises
    ------
    ValueError
        Run lengths do not fill the size exactly.
    """
    spans = []
    for object_id, rle in masks.items():
        runs = _runs(rle.counts)
        if runs is None or sum(runs) != size[0] * size[1] or rle.size != size:
            raise ValueError(
                f"the run lengths of object {object_id} do not describe a mask of {size[0]} × {size[1]}"
            )
        ends = np.cumsum(runs).tolist()
        spans.append((-sum(runs[1::2]), object_id, ends))
    flat = np.zeros(size[0] * size[1], np.uint16)  # column by column, as run lengths go
    for _, object_id, ends in sorted(spans):
        for start, end in zip(ends[::2], ends[1::2]):
            flat[start:end] = object_id
    return np.ascontiguousarray(flat.reshape(size[1], size[0]).T)


def mask_box(mask: BoolArray) -> tuple[int, int, int, int] | None:
    """Return the smallest box (x0, y0, x1, y1) around a mask (H, W), x1 and y1 exclusive; None when it is empty."""
    rows = np.flatnonzero(mask.any(1))
    if len(rows) == 0:
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def cleaned(mask: BoolArray, area: int = 0, largest: bool = False) -> BoolArray:
    """Return a mask (H, W) without small regions, and if wanted only its largest piece.

    Parameters
    ----------
    mask : ndarray of bool, shape (H, W)
        Not changed.
    area : int
        Holes and pieces of fewer pixels are filled and dropped; the largest piece stays.
    largest : bool
        Keep only the largest piece (8-connected).
    """
    box = mask_box(mask)
    if box is None or not (area or largest):
        return mask
    x0, y0, x1, y1 = box
    part = mask[y0:y1, x0:x1]
    if area:
        part, _ = without_small_regions(part, area, (mask.shape[0], mask.shape[1]), (x0, y0))
    if largest:
        labels, areas = _regions(part)
        areas[0] = 0
        part = labels == areas.argmax()
    out = mask.copy()
    out[y0:y1, x0:x1] = part
    return out


def without_small_regions(
    mask: BoolArray, area: int, size: tuple[int, int] | None = None, corner: tuple[int, int] = (0, 0)
) -> tuple[BoolArray, bool]:
    """Fill holes and remove islands smaller than ``area`` pixels; the largest island always stays.

    Counterpart: ``remove_small_regions``, for holes, then for islands. Background at the edge of the image that a mask
    cuts off from the rest is a hole like any other.

    Parameters
    ----------
    mask : ndarray of bool, shape (h, w)
        A mask, or the part of it inside its box.
    area : int
        Smallest region that stays as it is.
    size : tuple of int, optional
        (height, width) of the whole image; default: that of ``mask``.
    corner : tuple of int
        (x, y) of the upper left corner of ``mask`` on the image.

    Returns
    -------
    ndarray of bool, shape (h, w)
        The cleaned mask.
    bool
        True when there was a small region, as the reference counts: also one that stays because it is the largest.
    """
    holes = _small_holes(mask, area, size or (mask.shape[0], mask.shape[1]), corner)
    filled = mask | holes
    labels, areas = _regions(filled)
    small = areas < area
    changed = bool(holes.any() or small[1:].any())
    if small[1:].all() and len(areas) > 1:
        small[areas[1:].argmax() + 1] = False
    small[0] = False
    out: BoolArray = filled & ~small[labels]
    return out, changed


def _small_holes(mask: BoolArray, area: int, size: tuple[int, int], corner: tuple[int, int]) -> BoolArray:
    """Return the regions of background (h, w) that have fewer than ``area`` pixels on the whole image."""
    (height, width), (x0, y0) = mask.shape, corner
    left, top = int(x0 > 0), int(y0 > 0)
    right, bottom = int(x0 + width < size[1]), int(y0 + height < size[0])
    # One more pixel on each side that is not the image's edge: there the background goes on.
    framed = np.pad(mask, ((top, bottom), (left, right)))
    labels, areas = _regions(~framed)
    before, after = (x0 - left) * size[0], (size[1] - x0 - width - right) * size[0]
    above, below = (y0 - top) * size[1], (size[0] - y0 - height - bottom) * size[1]
    if left and right and not (top or bottom):  # two sides that the mask separates
        sides = [(labels[0, 0], before), (labels[0, -1], after)]
    elif top and bottom and not (left or right):
        sides = [(labels[0, 0], above), (labels[-1, 0], below)]
    else:  # the added pixels are connected, and all that lies beyond them with them
        one = labels[0, 0] if left or top else labels[-1, -1]
        sides = [(one, size[0] * size[1] - framed.size)]
    for label, beyond in sides:
        areas[label] += beyond
    small = areas < area
    small[0] = False
    holes: BoolArray = small[labels][top : top + height, left : left + width]
    return holes


def _regions(mask: BoolArray) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return labels (H, W) of 8-connected regions, and the area of each; 0 is what is outside."""
    from scipy import ndimage  # takes longer to import than everything else that masks need

    labels, count = ndimage.label(mask, _EIGHT)
    return labels, np.bincount(labels.ravel(), minlength=count + 1)

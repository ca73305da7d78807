"""Marks on prompt layers as frozen values, and their conversion to prompts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from skimage.draw import line, polygon

from napari_sam2.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt, PromptKey

ShapeKind = Literal["box", "region", "line"]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Outline:
    """One shape on one frame.

    Parameters
    ----------
    kind : {"box", "region", "line"}
        A rectangle, a closed outline (polygon, lasso, ellipse, path) or a line of two points.
    vertices : tuple of (x, y)
        In pixels of the frame.
    positive : bool
        False: erased from the object.
    width : float
        Width of a line in pixels.
    source : str
        Shape type of napari, so that it can be restored as what it was.
    """

    kind: ShapeKind
    vertices: tuple[tuple[float, float], ...]
    positive: bool = True
    width: float = 1.0
    source: str = "polygon"

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1)."""
        xs, ys = zip(*self.vertices)
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def outline(self) -> tuple[tuple[float, float], ...]:
        """The vertices; of an ellipse, which napari describes by four corners, points on its circumference."""
        if self.source != "ellipse" or len(self.vertices) != 4:
            return self.vertices
        corners = np.array(self.vertices)
        center, a, b = corners.mean(0), (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
        angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)[:, None]
        points = center + np.cos(angles) * a + np.sin(angles) * b
        return tuple((float(x), float(y)) for x, y in points)

    def region(self, size: tuple[int, int]) -> BoolArray:
        """Return the pixels inside, bool (H, W)."""
        out = np.zeros(size, bool)
        xs, ys = (np.array(c, float) for c in zip(*self.outline))
        if self.kind == "line":
            _draw_line(out, xs, ys, self.width)
        else:
            out[polygon(ys, xs, size)] = True  # type: ignore[no-untyped-call]
        return out


@dataclass(frozen=True)
class PinnedMask:
    """A mask that is on no prompt layer, and the earlier marks that it replaces.

    It comes from automatic segmentation, an accepted alternative, an edit of the results or a project, or it is
    what a negative region is erased from.

    Parameters
    ----------
    mask : MaskPrompt
        Empty if the object is not on this frame.
    points, shapes : int
        Numbers of the first points and shapes that it contains; they stay on their layers without effect.
    painted : bool
        True if it contains the painted pixels.
    """

    mask: MaskPrompt
    points: int = 0
    shapes: int = 0
    painted: bool = False


@dataclass(frozen=True)
class PromptMarks:
    """All marks of one object on one frame.

    Parameters
    ----------
    points : tuple of PointPrompt
        In the order of the layer.
    shapes : tuple of Outline
        In the order of the layer.
    painted : MaskPrompt, optional
        From a Labels layer.
    pinned : PinnedMask, optional
        A mask that is on no layer.
    """

    points: tuple[PointPrompt, ...] = ()
    shapes: tuple[Outline, ...] = ()
    painted: MaskPrompt | None = None
    pinned: PinnedMask | None = None

    def prompt(self, size: tuple[int, int]) -> Prompt:
        """Return the marks as one prompt; empty if none of them lies on the frame.

        Points outside the frame are ignored. Of several boxes the newest counts. The mask is the union of positive
        regions, painted and pinned pixels, without the negative regions.
        """
        fresh = self.fresh
        points = tuple(p for p in fresh.points if _is_inside(p, size))
        return Prompt(points, fresh._box(size), fresh._mask(size))

    @property
    def fresh(self) -> PromptMarks:
        """The marks that the pinned mask does not contain."""
        pinned = self.pinned
        if pinned is None:
            return self
        painted = None if pinned.painted else self.painted
        return PromptMarks(self.points[pinned.points :], self.shapes[pinned.shapes :], painted, pinned)

    @property
    def lost_contents(self) -> bool:
        """True if a mark that the pinned mask contains was deleted, which makes the mask invalid."""
        pinned = self.pinned
        return pinned is not None and (
            len(self.points) < pinned.points
            or len(self.shapes) < pinned.shapes
            or (pinned.painted and self.painted is None)
        )

    def pin(self, mask: MaskPrompt) -> PinnedMask:
        """Return a pinned mask that contains all of these marks."""
        return PinnedMask(mask, len(self.points), len(self.shapes), self.painted is not None)

    @property
    def needs_base(self) -> bool:
        """True if there is a negative region and nothing that it could be erased from."""
        negative = any(not s.positive for s in self.shapes)
        filled = any(s.positive and s.kind != "box" for s in self.shapes)
        return negative and not filled and self.painted is None and self.pinned is None

    def _box(self, size: tuple[int, int]) -> BoxPrompt | None:
        height, width = size
        found = None
        for shape in self.shapes:
            if shape.kind != "box" or not shape.positive:
                continue
            x0, y0, x1, y1 = shape.bounds
            x0, x1 = max(x0, -0.5), min(x1, width - 0.5)
            y0, y1 = max(y0, -0.5), min(y1, height - 0.5)
            if x1 > x0 and y1 > y0:
                found = BoxPrompt(x0, y0, x1, y1)
        return found

    def _mask(self, size: tuple[int, int]) -> MaskPrompt | None:
        masks = (self.painted, None if self.pinned is None else self.pinned.mask)
        parts = [m.array() for m in masks if m is not None and m.size == size]
        parts += [s.region(size) for s in self.shapes if s.positive and s.kind != "box"]
        if not parts:
            return None
        whole = np.logical_or.reduce(parts)
        for shape in self.shapes:
            if not shape.positive:
                whole &= ~shape.region(size)
        # A region outside the frame is no prompt, but an empty pinned mask is: the object is not here.
        if not whole.any() and self.pinned is None:
            return None
        return MaskPrompt.from_array(whole)


@dataclass(frozen=True)
class Mark:
    """A point or a shape with its frame and object."""

    frame: int
    object_id: int
    element: PointPrompt | Outline

    @property
    def key(self) -> PromptKey:
        """(frame, object id)."""
        return self.frame, self.object_id


def group_marks(
    marks: Iterable[Mark],
    painted: Mapping[PromptKey, MaskPrompt] | None = None,
    pinned: Mapping[PromptKey, PinnedMask] | None = None,
) -> dict[PromptKey, PromptMarks]:
    """Group marks by (frame, object id), in their order."""
    points: dict[PromptKey, list[PointPrompt]] = {}
    shapes: dict[PromptKey, list[Outline]] = {}
    keys: dict[PromptKey, None] = {}
    for mark in marks:
        keys[mark.key] = None
        if isinstance(mark.element, PointPrompt):
            points.setdefault(mark.key, []).append(mark.element)
        else:
            shapes.setdefault(mark.key, []).append(mark.element)
    painted, pinned = painted or {}, pinned or {}
    for key in (*painted, *pinned):
        keys[key] = None
    return {
        key: PromptMarks(
            tuple(points.get(key, ())), tuple(shapes.get(key, ())), painted.get(key), pinned.get(key)
        )
        for key in keys
    }


def marks_of(prompt: Prompt) -> PromptMarks:
    """Return marks that yield this prompt: for prompts that do not come from layers."""
    shapes: tuple[Outline, ...] = ()
    if prompt.box is not None:
        b = prompt.box
        corners = ((b.x0, b.y0), (b.x1, b.y0), (b.x1, b.y1), (b.x0, b.y1))
        shapes = (Outline("box", corners, source="rectangle"),)
    return PromptMarks(prompt.points, shapes, pinned=None if prompt.mask is None else PinnedMask(prompt.mask))


def _is_inside(point: PointPrompt, size: tuple[int, int]) -> bool:
    height, width = size
    return -0.5 <= point.x <= width - 0.5 and -0.5 <= point.y <= height - 0.5


def _draw_line(out: BoolArray, xs: NDArray[np.float64], ys: NDArray[np.float64], width: float) -> None:
    """Draw a line with round ends, clipped to the frame."""
    height, wide = out.shape
    x0, y0, x1, y1 = (round(float(v)) for v in (xs[0], ys[0], xs[-1], ys[-1]))
    rows, columns = line(y0, x0, y1, x1)  # type: ignore[no-untyped-call]
    radius = max(round(width / 2), 0)
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            if dy * dy + dx * dx <= radius * radius:
                r, c = rows + dy, columns + dx
                inside = (r >= 0) & (r < height) & (c >= 0) & (c < wide)
                out[r[inside], c[inside]] = True

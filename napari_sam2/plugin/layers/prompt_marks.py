"""What the user's layers say, as frozen values; and from there to prompts, purely."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
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
        A rectangle, a closed outline (polygon, lasso, ellipse, path) or a stroke of two points.
    vertices : tuple of (x, y)
        Pixels of the frame.
    positive : bool
        False: erased from the object.
    width : float
        Of a stroke, in pixels.
    source : str
        The napari type it came from, so that it can be put back as what it was.
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
        """The vertices; of an ellipse, which napari describes by four corners, points on its rim."""
        if self.source != "ellipse" or len(self.vertices) != 4:
            return self.vertices
        corners = np.array(self.vertices)
        center, a, b = corners.mean(0), (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
        angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)[:, None]
        rim = center + np.cos(angles) * a + np.sin(angles) * b
        return tuple((float(x), float(y)) for x, y in rim)

    def region(self, size: tuple[int, int]) -> BoolArray:
        """Return the pixels inside (H, W)."""
        out = np.zeros(size, bool)
        xs, ys = (np.array(c, float) for c in zip(*self.outline))
        if self.kind == "line":
            _stroke(out, xs, ys, self.width)
        else:
            out[polygon(ys, xs, size)] = True  # type: ignore[no-untyped-call]
        return out


@dataclass(frozen=True)
class PinnedMask:
    """A mask that is on no layer of prompts, with what was said before it and is contained in it.

    It comes from automatic segmentation, an accepted alternative, an edit of the results or a project, or it is
    what a negative region is cut out of.

    Parameters
    ----------
    mask : MaskPrompt
        May be empty: the object is not on this frame.
    points, shapes : int
        How many of the first points and shapes it contains; they stay on their layers but say nothing more.
    painted : bool
        Whether it contains what is painted.
    """

    mask: MaskPrompt
    points: int = 0
    shapes: int = 0
    painted: bool = False


@dataclass(frozen=True)
class PromptMarks:
    """Everything that is said about one object on one frame, mark by mark.

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
        """Return the prompt that all of it makes; empty when nothing is left of it on the frame.

        Points outside the frame say nothing. Of several boxes the newest counts. Positive regions and painted
        and pinned pixels are united, then negative regions are erased.
        """
        fresh = self.fresh
        points = tuple(p for p in fresh.points if _is_inside(p, size))
        return Prompt(points, fresh._box(size), fresh._mask(size))

    @property
    def fresh(self) -> PromptMarks:
        """Only what the pinned mask does not contain already."""
        pinned = self.pinned
        if pinned is None:
            return self
        painted = None if pinned.painted else self.painted
        return PromptMarks(self.points[pinned.points :], self.shapes[pinned.shapes :], painted, pinned)

    @property
    def lost_contents(self) -> bool:
        """Whether something that the pinned mask contains was deleted, so that the mask no longer stands."""
        pinned = self.pinned
        return pinned is not None and (
            len(self.points) < pinned.points
            or len(self.shapes) < pinned.shapes
            or (pinned.painted and self.painted is None)
        )

    def containing(self, mask: MaskPrompt) -> PromptMarks:
        """Return the same marks with a pinned mask that contains all of them."""
        return replace(
            self, pinned=PinnedMask(mask, len(self.points), len(self.shapes), self.painted is not None)
        )

    @property
    def needs_base(self) -> bool:
        """Whether there is a negative region and nothing that it could be erased from."""
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
        # A region that lies beside the frame says nothing; a pinned mask that is empty says "not here".
        if not whole.any() and self.pinned is None:
            return None
        return MaskPrompt.from_array(whole)


@dataclass(frozen=True)
class Mark:
    """A point or a shape with the object and the frame that it is about."""

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
    """Sort marks by frame and object, in the order in which they appear."""
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


def prompts_on_frame(
    frame: int,
    size: tuple[int, int],
    marks: Iterable[Mark],
    painted: Mapping[PromptKey, MaskPrompt] | None = None,
    pinned: Mapping[PromptKey, PinnedMask] | None = None,
) -> dict[int, Prompt]:
    """Return what all layers together say about each object on one frame.

    Parameters
    ----------
    frame : int
        Which frame.
    size : tuple of int
        (height, width) of the frame.
    marks : iterable of Mark
        Points and shapes, of any frame.
    painted, pinned : mapping of (frame, object id) to MaskPrompt and PinnedMask
        Painted masks, and masks that are on no layer.

    Returns
    -------
    dict of int to Prompt
        By object id; objects about which nothing is said on this frame are missing.
    """
    here = [m for m in marks if m.frame == frame]
    painted = {k: m for k, m in (painted or {}).items() if k[0] == frame}
    pinned = {k: m for k, m in (pinned or {}).items() if k[0] == frame}
    prompts = {key[1]: said.prompt(size) for key, said in group_marks(here, painted, pinned).items()}
    return {object_id: prompt for object_id, prompt in prompts.items() if prompt}


def marks_of(prompt: Prompt) -> PromptMarks:
    """Return marks that make this prompt: for prompts that come from elsewhere than the layers."""
    shapes: tuple[Outline, ...] = ()
    if prompt.box is not None:
        b = prompt.box
        corners = ((b.x0, b.y0), (b.x1, b.y0), (b.x1, b.y1), (b.x0, b.y1))
        shapes = (Outline("box", corners, source="rectangle"),)
    return PromptMarks(prompt.points, shapes, pinned=None if prompt.mask is None else PinnedMask(prompt.mask))


def _is_inside(point: PointPrompt, size: tuple[int, int]) -> bool:
    height, width = size
    return -0.5 <= point.x <= width - 0.5 and -0.5 <= point.y <= height - 0.5


def _stroke(out: BoolArray, xs: NDArray[np.float64], ys: NDArray[np.float64], width: float) -> None:
    """Draw a line with round ends, clipped to the picture."""
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

"""The layers on which prompts are made: attaching them, reading all of them, and writing to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from traceback import format_exception
from typing import Any, Literal

from napari_sam2.objects import MAX_OBJECT_ID, Color
from napari_sam2.plugin.controller.context import ControllerContext
from napari_sam2.plugin.layers.image_layer import unwrapped
from napari_sam2.plugin.layers.mark_layer import OBJECT_COLUMN
from napari_sam2.plugin.layers.metadata import note_project, projects_of
from napari_sam2.plugin.layers.paint_layer import PaintLink
from napari_sam2.plugin.layers.points_layer import PointsLink
from napari_sam2.plugin.layers.prompt_marks import Mark
from napari_sam2.plugin.layers.shapes_layer import ShapesLink
from napari_sam2.prompts import MaskPrompt, PointPrompt, PromptKey

LayerKind = Literal["points", "shapes", "labels"]
_NAMES = {"points": "SAM 2 points", "shapes": "SAM 2 shapes", "labels": "SAM 2 paint"}
_READING = "Reading prompts"
Link = PointsLink | ShapesLink | PaintLink
_LINKS: dict[LayerKind, Any] = {"points": PointsLink, "shapes": ShapesLink, "labels": PaintLink}


class PromptLayers:
    """All layers that are read as prompts; of each kind the first one gets new marks.

    The marks of a deleted layer still count, and come back on the next layer of its kind: tidying up the list of
    layers loses nothing. A layer that fails is reported and not read any more; its marks count until it is attached
    again.

    Parameters
    ----------
    context : ControllerContext
        What the parts share.
    on_change : callable
        Called after the user changed anything that matters.
    """

    def __init__(self, context: ControllerContext, on_change: Callable[[], None]) -> None:
        self._context = context
        self._view = context.view
        self._on_change = on_change
        self._links: dict[int, Link] = {}  # by id of the layer
        self._firsts: dict[LayerKind, int] = {}
        self._left_marks: list[Mark] = []
        self._left_painted: dict[PromptKey, MaskPrompt] = {}
        self._last_marks: dict[int, list[Mark]] = {}  # of each link, when it was read last
        self._failed: dict[int, tuple[Link, list[Mark]]] = {}
        self._colors: Mapping[int, Color] = {}
        self._defaults = (1, True)
        self._project = ""

    @property
    def layers(self) -> tuple[Any, ...]:
        """All layers that are read."""
        return tuple(link.layer for link in self._links.values())

    def get(self, kind: LayerKind) -> Any:
        """Return the layer of a kind that gets new marks; None when there is none."""
        link = self._links.get(self._firsts.get(kind, 0))
        return None if link is None else link.layer

    def ensure(self, kind: LayerKind) -> Any:
        """Return the layer of a kind, adding it when there is none."""
        found = self.get(kind)
        if found is not None:
            return found
        if kind not in _NAMES:
            raise ValueError(f"a layer of prompts is 'points', 'shapes' or 'labels', not {kind!r}")
        name = f"{_NAMES[kind]} – {self._view.image.name}"
        link: Link = _LINKS[kind].make(self._view.viewer, name=name, **self._settings(kind))
        self._add(kind, link)
        self._restore_marks(kind, link)
        return link.layer

    def attach(self, layer: Any) -> bool:
        """Read a layer of the user's own, too; False when it is read already.

        Raises
        ------
        TypeError
            It is another kind of layer.
        ValueError
            It has not as many axes as the image; a Labels layer must have its shape and place, too.
        """
        if id(layer) in self._links:
            return False
        kind = _kind_of(layer)
        link: Link = _LINKS[kind](layer, **self._settings(kind))
        self._failed.pop(id(layer), None)
        unread = 0 if isinstance(link, PaintLink) else int((link.ids == 0).sum())
        if unread:
            self._context.report(
                _READING,
                f"{layer.name!r}: {unread} of {len(layer.data)} marks are not read, because their {OBJECT_COLUMN} is "
                f"no whole number from 1 to {MAX_OBJECT_ID}: correct it in the layer's features",
            )
        self._add(kind, link)
        return True

    def detach(self, layer: Any) -> bool:
        """Stop reading a layer, and forget its marks; False if it was not read."""
        link = self._links.pop(id(layer), None)
        if link is None:
            return self._failed.pop(id(layer), None) is not None
        self._last_marks.pop(id(layer), None)
        self._firsts = {k: i for k, i in self._firsts.items() if i != id(layer)}
        link.close()
        return True

    def removed(self, layer: Any) -> bool:
        """Keep the marks of a deleted layer; False if it was not read."""
        link, marks = self._links.get(id(layer)), self._last_marks.get(id(layer), [])
        if link is not None:
            with suppress(Exception):  # it is dismantled already, or failed
                marks = link.read()
        elif id(layer) in self._failed:
            link, marks = self._failed[id(layer)]
        else:
            return False
        self._left_painted.update(link.painted)
        self._left_marks += marks
        return self.detach(layer)

    def read(self) -> tuple[list[Mark], dict[PromptKey, MaskPrompt]]:
        """Return all marks and all painted masks."""
        marks, painted = list(self._left_marks), dict(self._left_painted)
        for ident, link in list(self._links.items()):
            with self._guard(link):
                self._last_marks[ident] = link.read()
                painted.update(link.painted)
                marks += self._last_marks[ident]
        for link, left in self._failed.values():
            painted.update(link.painted)
            marks += left
        return marks, painted

    def write(
        self, replaced: set[PromptKey], marks: list[Mark], painted: Mapping[PromptKey, MaskPrompt]
    ) -> None:
        """Take away all marks of some frames and objects, and add others; layers are made where they are missing."""
        self._left_marks = [m for m in self._left_marks if m.key not in replaced]
        self._left_painted = {k: m for k, m in self._left_painted.items() if k not in replaced}
        for ident, (link, left) in self._failed.items():
            self._failed[ident] = (link, [m for m in left if m.key not in replaced])
            link.painted = {k: m for k, m in link.painted.items() if k not in replaced}
        if any(isinstance(m.element, PointPrompt) for m in marks):
            self.ensure("points")
        if any(not isinstance(m.element, PointPrompt) for m in marks):
            self.ensure("shapes")
        if painted:
            self.ensure("labels")
        firsts = set(self._firsts.values())
        for ident, link in list(self._links.items()):
            with self._guard(link):
                first = ident in firsts
                link.write(replaced, marks if first else [], painted if first else {})

    def belong_to(self, project: str) -> None:
        """Read the layers again that were used with a project earlier, and note that these are used with it."""
        self._project = project
        for layer in self._view.viewer.layers:
            if project in projects_of(layer) and id(layer) not in self._links:
                try:
                    self.attach(layer)
                except (TypeError, ValueError):  # it was changed since, or is about another plane
                    continue
                except Exception as error:
                    self._context.report(_READING, f"{layer.name!r} can't be read: {error}")
        for link in self._links.values():
            self._note(link)

    def set_defaults(self, object_id: int, positive: bool) -> None:
        """Set the object and the sign of new marks on all layers."""
        self._defaults = (object_id, positive)
        for link in list(self._links.values()):
            with self._guard(link):
                link.set_defaults(object_id, positive)

    def restyle(self, colors: Mapping[int, Color]) -> None:
        """Show the objects' colours."""
        if colors == self._colors:
            return
        self._colors = dict(colors)
        for link in list(self._links.values()):
            with self._guard(link):
                link.restyle(colors)

    def rebase(self) -> None:
        """Read the same layers with another geometry; those that do not fit any more are detached."""
        layers = self.layers
        self._project = ""
        self.close()
        for layer in layers:
            try:
                self.attach(layer)
            except Exception as error:
                if not projects_of(layer):  # the others come back with the project that they are about
                    self._context.report(_READING, str(error))

    def close(self) -> None:
        """Stop listening; layers stay."""
        for link in self._links.values():
            with self._context.attempt("Closing"):
                link.close()
        for store in (self._links, self._firsts, self._left_marks, self._left_painted, self._last_marks):
            store.clear()
        self._failed.clear()

    def _settings(self, kind: LayerKind) -> dict[str, Any]:
        """Return the parameters of a link of this kind, other than its layer."""
        view = self._view
        settings: dict[str, Any] = {
            "image": view.image,
            "geometry": view.geometry,
            "on_change": self._on_change,
            "guard": self._guard,
        }
        if kind == "labels":
            settings["shown"] = lambda: view.frame
            settings["on_notice"] = lambda message: self._context.report(_READING, message)
            settings["taken"] = lambda: self._colors
        return settings

    def _guard(self, link: Link | None) -> AbstractContextManager[None]:
        """Return the context for what a link does, which gives it up when it fails; None: for what follows from it."""
        return self._context.attempt(_READING) if link is None else self._giving_up(link)

    @contextmanager
    def _giving_up(self, link: Link) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._give_up(link, error)

    def _give_up(self, link: Link, error: Exception) -> None:
        """Stop reading a layer that failed; its marks count until it is attached again."""
        layer = link.layer
        if self._links.get(id(layer)) is not link:
            return
        self._failed[id(layer)] = (link, self._last_marks.get(id(layer), []))
        del self._links[id(layer)]
        self._firsts = {k: i for k, i in self._firsts.items() if i != id(layer)}
        with suppress(Exception):
            link.close()
        reason = str(error) or type(error).__name__
        self._context.report(
            _READING,
            f"{layer.name!r} is not read any more: {reason}. The prompts that it gave stay; new ones go to another "
            "layer, until this one is attached again (controller.prompts.attach)",
            "".join(format_exception(error)),
        )

    def _note(self, link: Link) -> None:
        if self._project:
            note_project(link.layer, self._project)

    def _add(self, kind: LayerKind, link: Link) -> None:
        self._links[id(link.layer)] = link
        self._note(link)
        self._firsts.setdefault(kind, id(link.layer))
        with self._guard(link):
            link.restyle(self._colors)
        self.set_defaults(*self._defaults)

    def _restore_marks(self, kind: LayerKind, link: Link) -> None:
        if isinstance(link, PaintLink):
            link.write(set(), [], self._left_painted)
            self._left_painted = {}
            return
        mine = [m for m in self._left_marks if isinstance(m.element, PointPrompt) == (kind == "points")]
        self._left_marks = [m for m in self._left_marks if m not in mine]
        link.write(set(), mine, {})


def _kind_of(layer: Any) -> LayerKind:
    names = {c.__name__.lower() for c in type(unwrapped(layer)).__mro__}
    for kind in _LINKS:
        if kind in names:
            return kind
    raise TypeError(f"{layer.name!r} is no Points, Shapes or Labels layer: prompts are made on these")

"""Colours and paint events of Labels layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from napari.utils.colormaps import DirectLabelColormap

from napari_sam2.objects import Color
from napari_sam2.plugin.layers.connections import Connections


class PaintEvents:
    """Calls back after each finished stroke or fill, and after its undo or redo.

    napari emits ``paint`` after the last touch of a stroke, but before it writes what a fill or a script changes;
    ``labels_update`` follows then. Undo and redo emit nothing but ``set_data``, as moving through the frames does.

    Parameters
    ----------
    layer : Labels
        Layer that is painted on.
    on_done : callable
        Called when the labels may have changed; sometimes they have not.
    """

    def __init__(self, layer: Any, on_done: Callable[[], None]) -> None:
        self._on_done = on_done
        self._painted = False
        self._connections = Connections()
        self._connections.replace(
            layer.events, paint=self._on_paint, labels_update=self._on_update, set_data=self._on_refresh
        )
        self.close = self._connections.close

    def _on_paint(self, event: Any = None) -> None:
        self._painted = True
        self._on_done()

    def _on_update(self, event: Any = None) -> None:
        # Emitted during a stroke, too, but then no ``paint`` came before.
        if self._painted:
            self._on_refresh()

    def _on_refresh(self, event: Any = None) -> None:
        self._painted = False
        self._on_done()


def label_colors(colors: Mapping[int, Color], hidden: Iterable[int]) -> DirectLabelColormap:
    """Return a colour map with the colour of each object; hidden objects are transparent."""
    transparent = set(hidden)
    table: dict[int | None, Any] = {None: (0.5, 0.5, 0.5, 1.0), 0: (0.0, 0.0, 0.0, 0.0)}
    for object_id, (r, g, b) in colors.items():
        table[object_id] = (r / 255, g / 255, b / 255, 0.0 if object_id in transparent else 1.0)
    return DirectLabelColormap(color_dict=table)

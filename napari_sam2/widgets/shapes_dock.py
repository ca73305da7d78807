"""Shapes prompts: a small dock of its own."""

from __future__ import annotations

import napari.viewer
from qtpy.QtWidgets import QWidget

from napari_sam2.widgets.prompt_dock import PromptParts

_HINT = (
    "Drag a box around an object, or draw around it. With “not here” a region is cut out of the "
    "mask. Shapes stay ordinary napari shapes: move, edit or delete them, and the mask follows."
)


class ShapesDock(QWidget):
    """Prompt objects with a Shapes layer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the dock is.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.parts = PromptParts(self, viewer, ("box", "region"), _HINT)

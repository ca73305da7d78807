"""Points prompts: a small dock of its own."""

from __future__ import annotations

import napari.viewer
from qtpy.QtWidgets import QWidget

from napari_sam2.widgets.prompt_dock import PromptParts

_HINT = (
    "Click on an object: its mask appears at once. Wrong somewhere? Choose “not here” and click "
    "there. Points stay ordinary napari points: move or delete them, and the mask follows."
)


class PointsDock(QWidget):
    """Prompt objects with a Points layer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the dock is.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.parts = PromptParts(self, viewer, ("points",), _HINT)

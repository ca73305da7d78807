"""Labels prompts: a small dock of its own."""

from __future__ import annotations

import napari.viewer
from qtpy.QtWidgets import QWidget

from napari_sam2.widgets.prompt_dock import PromptParts

_HINT = (
    "Paint an object with brush or fill; what you paint is its mask on this frame, and tracking "
    "starts from it. The eraser takes away."
)


class LabelsDock(QWidget):
    """Prompt objects with a Labels layer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the dock is.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.parts = PromptParts(self, viewer, ("paint",), _HINT)

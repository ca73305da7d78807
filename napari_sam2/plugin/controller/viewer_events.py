"""What happens in the viewer beside prompts: moving, deleting layers, replacing pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari_sam2.plugin.controller.context import ControllerContext
from napari_sam2.plugin.controller.objects import Objects
from napari_sam2.plugin.controller.progress import PropagationProgress
from napari_sam2.plugin.controller.prompts import Prompts
from napari_sam2.plugin.controller.results import ResultsLayer
from napari_sam2.plugin.controller.status import StatusLine
from napari_sam2.plugin.controller.timeline import Timeline
from napari_sam2.plugin.layers.connections import Connections


class ViewerEvents:
    """Listens to the viewer and the image; a part of a controller.

    Parameters
    ----------
    desk : Desk
        What the parts share.
    prompts, results, progress, line
        Who has to know.
    on_image_removed, on_pixels_replaced : callable
        What the controller does then.
    """

    def __init__(
        self,
        desk: ControllerContext,
        prompts: Prompts,
        results: ResultsLayer,
        progress: PropagationProgress,
        line: StatusLine,
        on_image_removed: Callable[[], None],
        on_pixels_replaced: Callable[[], None],
    ) -> None:
        self._desk = desk
        self._prompts = prompts
        self._results = results
        self._progress = progress
        self._line = line
        self._on_image_removed = on_image_removed
        self._on_pixels_replaced = on_pixels_replaced
        self._connections = Connections()
        self._connections.add(desk.viewer.dims.events, "point", self._on_moved)
        self._connections.add(desk.viewer.layers.events, "removed", self._on_removed)
        for image in desk.images:
            self._connections.add(image.events, "data", self._on_data)

    def look(self) -> None:
        """Tell the worker which frames to encode while there is nothing else to do."""
        ahead, frame = self._desk.preferences.encode_ahead, self._desk.frame
        around = [frame] if ahead else []
        for distance in range(1, ahead + 1):
            around += [frame + distance, frame - distance]
        self._desk.worker.look_at(tuple(f for f in around if 0 <= f < self._desk.geometry.n_frames))

    def close(self) -> None:
        """Stop listening."""
        self._connections.close()

    def _on_moved(self, event: Any = None) -> None:
        self._progress.moved(self._desk.frame)
        self.look()
        self._line.tell()

    def _on_removed(self, event: Any) -> None:
        layer = event.value
        if any(layer is image for image in self._desk.images):
            self._on_image_removed()
        elif not self._results.layer_removed(layer):
            self._prompts.layer_removed(layer)

    def _on_data(self, event: Any = None) -> None:
        self._on_pixels_replaced()


def wire(
    desk: ControllerContext, timeline: Timeline, objects: Objects, prompts: Prompts, results: ResultsLayer
) -> None:
    """Let the parts of a controller know what the others changed."""

    def on_objects(states: object) -> None:
        prompts.set_defaults()
        prompts.restyle()
        prompts.send()  # of objects that were unlocked
        results.restyle()

    def on_prompts(keys: object) -> None:
        timeline.set_prompted(prompts.frames_by_object())
        objects.tell()

    results.hold = prompts.hold
    objects.on_delete = prompts.forget_objects
    desk.events.objects.connect(on_objects)
    desk.events.prompts.connect(on_prompts)

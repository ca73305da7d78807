"""Take the pictures of sam1.md: a micro-sam file in the window, dark and light.

No microscopy weights are at hand, so a stand-in is where the network would be: it takes what is brighter than its
surroundings for cells. The window, and everything else, is real::

    xvfb-run -a -s "-screen 0 1920x1080x24" python docs/make_sam1_pictures.py docs/images
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

_SETTINGS = tempfile.TemporaryDirectory()
os.environ["NAPARI_CONFIG"] = str(Path(_SETTINGS.name) / "settings.yaml")  # napari with its default settings
os.environ["XDG_CACHE_HOME"] = _SETTINGS.name

import numpy as np  # noqa: E402
import torch  # noqa: E402
from picture_studio import Studio, Variant  # noqa: E402
from scipy import ndimage  # noqa: E402
from skimage.filters import threshold_otsu  # noqa: E402
from torch.nn import functional  # noqa: E402

from napari_sam2.model.sam1.config import SamConfig, VitConfig  # noqa: E402
from napari_sam2.model.sam1.sam import Sam  # noqa: E402
from napari_sam2.model.tensors import ImageFeatures, MaskCandidates, ModelOrigin  # noqa: E402
from napari_sam2.plugin.docks.automatic.automatic_dock import AutomaticDock  # noqa: E402
from napari_sam2.plugin.docks.tracker.tracker_dock import TrackerDock  # noqa: E402
from napari_sam2.plugin.qt import open_tracker as opening  # noqa: E402
from napari_sam2.plugin.state import ModelChoice, Preferences  # noqa: E402
from napari_sam2.plugin.worker import open_backend  # noqa: E402
from napari_sam2.synthetic.samples import sample_timelapse  # noqa: E402

FILE = "vit_b_lm.pt"
VARIANTS = tuple(Variant((1366, 768), theme) for theme in ("dark", "light"))


def pixels(features):
    """The grey image in features that are its patches."""
    return functional.pixel_shuffle(features, 16)[0, 0].numpy()


def cells(grey):
    """Numbered regions that are brighter than the rest, split where they are narrow."""
    smooth = ndimage.gaussian_filter(grey, 3)
    deep = ndimage.distance_transform_edt(smooth > threshold_otsu(smooth))
    seeds, _ = ndimage.label(deep > 0.6 * ndimage.maximum_filter(deep, 61))
    places = ndimage.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    return np.where(deep > 0, seeds[tuple(places)], 0), deep


class StandInDecoder(torch.nn.Module):
    """Foreground and distances of the cells, in place of micro-sam's decoder."""

    def forward(self, embedding):
        labels, deep = cells(pixels(embedding))
        deepest = ndimage.maximum(deep, labels, np.arange(labels.max() + 1))
        distance = 1 - deep / np.maximum(deepest[labels], 1)
        return torch.from_numpy(np.stack([labels > 0, distance, distance])[None].astype(np.float32))


class StandIn(Sam):
    """A network for pictures: its embedding is the image, its mask the cell at the prompt."""

    def __init__(self):
        super().__init__(SamConfig(512, VitConfig(16, 16, 1, 1, 16, (0,), 7)))
        self.requires_grad_(False)
        self.origin = ModelOrigin(FILE, FILE, "0" * 64)
        self.instance_decoder = StandInDecoder()

    def encode_image(self, images):
        patches = functional.pixel_unshuffle((images * self.pixel_std + self.pixel_mean)[:, :1], 16)
        return ImageFeatures(*(patches.new_empty(1, 0, 32 * k, 32 * k) for k in (4, 2)), patches)

    def decode_masks(self, embedding, features, prompts, multimask):
        if prompts.points is None:
            return super().decode_masks(embedding, features, prompts, multimask)
        labels, _ = cells(pixels(features.stride16))
        places = prompts.points.mean(1).round().long().tolist()
        masks = [torch.from_numpy((labels == labels[y, x]) & (labels > 0)).float() for x, y in places]
        logits = functional.avg_pool2d(torch.stack(masks)[:, None], 4) * 20 - 10
        ious = torch.full((len(masks), 1), 0.9)
        return MaskCandidates(logits, ious, torch.full_like(ious, 10), logits.new_empty(len(masks), 1, 0))


def main(folder: Path) -> None:
    """Go through the steps."""
    settings = Preferences(ModelChoice("nano", "cpu"), autosave_folder=Path(_SETTINGS.name) / "projects")
    opening.load_preferences = lambda: settings
    load = open_backend.load_image_model
    open_backend.load_image_model = lambda name, **rest: StandIn() if name == FILE else load(name, **rest)
    studio = Studio(folder, lambda step: VARIANTS)
    viewer, sample = studio.viewer, sample_timelapse()
    viewer.add_image(sample.image[:10], name="cells", scale=sample.scale)
    viewer.dims.set_point(0, 0)
    dock = TrackerDock(viewer)
    tracker = viewer.window.add_dock_widget(dock, name="SAM2 Tracker", area="right")
    studio.wait(60, lambda: dock.controller is not None and dock.controller.model.phase == "ready")
    controller = dock.controller
    dock.model.ask_file = lambda: FILE
    dock.model._on_combo(dock.model.combo.findText("Choose a file …"))
    studio.settle(controller)
    sight = next(s for s in sample.first_sight.values() if s.frame == 0)
    controller.prompts.add_point(*sight.click)
    studio.settle(controller)
    controller.propagate("forward")
    studio.settle(controller)
    controller.frame = 4
    studio.settle(controller)
    studio.take("18-sam1-click")
    controller.objects.delete(controller.objects.ids)
    controller.frame = 0
    studio.settle(controller)
    automatic = AutomaticDock(viewer)
    tracker.hide()
    found = viewer.window.add_dock_widget(automatic, name="SAM2 Auto-mask", area="right")
    studio.wait(0.5)
    automatic.section.run()
    studio.wait(120, lambda: automatic.section.finished)
    studio.take("19-sam1-cells")
    automatic.section.track_these()
    studio.settle(controller)
    viewer.window.remove_dock_widget(found)
    tracker.show()
    dock.tracking.hand_over.menu().actions()[0].trigger()
    studio.settle(controller)
    studio.wait(120, lambda: controller.model.name == "nano" and controller.model.phase == "ready")
    studio.settle(controller)
    controller.propagate("forward")
    studio.settle(controller)
    controller.frame = 6
    studio.settle(controller)
    studio.wait(8)  # for the notification to go
    studio.take("20-sam1-sam2")
    studio.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Make the pictures of the tutorial: the whole window, step by step, dark and light, small and large screens.

Run under a display at least as large as the window, for example::

    xvfb-run -a -s "-screen 0 1920x1080x24" python docs/make_screenshots.py docs/images --size 1920x1080
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
from qtpy.QtWidgets import QApplication

from napari_sam2.synthetic.samples import Sample, sample_timelapse
from napari_sam2.widgets import opening
from napari_sam2.widgets.automatic_dock import AutomaticDock
from napari_sam2.widgets.controller import Controller
from napari_sam2.widgets.opening import open_tracker
from napari_sam2.widgets.states import ModelChoice, Preferences
from napari_sam2.widgets.tracker_dock import TrackerDock

CELLS = 5


class Studio:
    """A window that is photographed."""

    def __init__(self, folder: Path, size: tuple[int, int], theme: str, model: str) -> None:
        self.folder = folder
        self.name = f"{size[0]}x{size[1]}-{theme}"
        self.model = model
        self.viewer = napari.Viewer(show=False)
        self.viewer.theme = theme
        self.viewer.show()
        self.wait(0.5)
        self.viewer.window.resize(*size)
        self.wait(0.5)

    def wait(self, seconds: float = 0.3, until: Callable[[], bool] = lambda: False) -> None:
        """Let the window live for a while, or until something is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until():
            QApplication.processEvents()
            time.sleep(0.01)

    def settle(self, controller: Controller) -> None:
        """Wait until everything that was asked for is answered."""
        controller.wait(600)
        self.wait()

    def take(self, step: str) -> None:
        """Photograph the window."""
        self.wait(0.5)
        path = self.folder / f"{step}-{self.name}.png"
        self.viewer.window.screenshot(str(path), canvas_only=False, flash=False)
        print(path)

    def open_sample(self, sample: Sample) -> Controller:
        """Show a sample and open the tracker on it."""
        scale = {"scale": sample.scale, "axis_labels": ("t", "y", "x")}
        image = self.viewer.add_image(sample.image, name="cells", **scale)
        self.viewer.dims.set_point(0, 0)
        controller = open_tracker(self.viewer, image)
        self.settle(controller)
        return controller


def keep_apart(model: str, autosave: Path) -> None:
    """Let everything be opened with a folder of its own: projects of the user's stay out of the picture."""
    preferences = Preferences(ModelChoice(model), autosave_folder=autosave, encode_ahead=0)
    opening.load_preferences = lambda: preferences


def tell_the_story(studio: Studio) -> None:
    """Empty window, first click, several objects, tracking, doubt, keys."""
    sample = sample_timelapse()
    dock = TrackerDock(studio.viewer)
    studio.viewer.window.add_dock_widget(dock, name="SAM2 Tracker", area="right")
    studio.take("1-start")
    controller = studio.open_sample(sample)
    dock.tools.choose("points")
    sights = list(sample.first_sight.items())
    add_cell(controller, sights[0])
    studio.settle(controller)
    studio.take("2-click")
    for sight in sights[1:CELLS]:
        controller.objects.add()
        add_cell(controller, sight)
    controller.objects.rename(2, "mother cell")
    studio.viewer.dims.set_point(0, 0)
    studio.settle(controller)
    studio.take("3-objects")
    controller.propagate("both")
    studio.wait(300, lambda: controller.propagation.done >= 12)
    studio.take("4-tracking")
    studio.settle(controller)
    controller.frame = 0
    controller.go_to_doubt()
    studio.settle(controller)
    studio.take("5-doubt")
    dock.show_help()
    studio.wait()
    assert dock.sheet is not None
    dock.sheet.grab().save(str(studio.folder / f"7-keys-{studio.name}.png"))
    dock.sheet.close()


def add_cell(controller: Controller, sight: tuple[int, object]) -> None:
    """Click on a cell where it is first seen."""
    _, first = sight
    controller.prompts.add_point(*first.click, frame=first.frame)  # type: ignore[attr-defined]


def find_everything(studio: Studio) -> None:
    """The Auto-mask dock with its candidates filtered."""
    controller = studio.open_sample(sample_timelapse())
    dock = AutomaticDock(studio.viewer)
    studio.viewer.window.add_dock_widget(dock, name="Auto-mask", area="right")
    studio.wait(0.5)
    dock.section.choose_preset("cells")
    dock.section.run()
    studio.wait(300, lambda: dock.section.finished)
    studio.settle(controller)
    studio.take("6-auto")


def main() -> None:
    """Read the command line, and photograph."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", default="1366x768")
    parser.add_argument("--theme", default="dark", choices=["dark", "light"])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--only", choices=["story", "auto"])
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    width, height = (int(n) for n in given.size.split("x"))
    stories = {"story": tell_the_story, "auto": find_everything}
    for name, story in stories.items():
        if given.only in (None, name):
            with tempfile.TemporaryDirectory() as autosave:
                keep_apart(given.model, Path(autosave))
                studio = Studio(given.folder, (width, height), given.theme, given.model)
                story(studio)
                studio.viewer.close()
                studio.wait(0.5)


if __name__ == "__main__":
    main()

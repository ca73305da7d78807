"""Take the pictures of the tutorial: the whole window, step by step, dark and light, on small and large screens.

One window goes through all steps with the built-in network; nothing is downloaded. The display must be as large as
the largest window::

    xvfb-run -a -s "-screen 0 1920x1080x24" python docs/make_screenshots.py docs/images
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_SETTINGS = tempfile.TemporaryDirectory()
os.environ["NAPARI_CONFIG"] = str(Path(_SETTINGS.name) / "settings.yaml")  # napari with its default settings

import numpy as np  # noqa: E402
from picture_studio import Enough, Studio, Variant, open_menu  # noqa: E402
from qtpy.QtCore import QPoint  # noqa: E402
from qtpy.QtWidgets import QApplication, QMenu  # noqa: E402
from scipy import ndimage  # noqa: E402

from napari_sam2.plugin.controller.controller import Controller  # noqa: E402
from napari_sam2.plugin.qt import open_tracker as opening  # noqa: E402
from napari_sam2.plugin.state import ModelChoice, Preferences  # noqa: E402
from napari_sam2.storage import RecordedSession  # noqa: E402
from napari_sam2.synthetic.samples import FirstSight, sample_timelapse  # noqa: E402

SMALL, LARGE = (1366, 768), (1920, 1080)
THEMES = ("dark", "light")
ON_LARGE = (
    "05-box",
    "09-tracking",
    "10-uncertainty",
    "16-auto",
)  # steps that are shown on a large screen, too
MID_RUN = 12  # frames
LARGE_ENOUGH = 400  # pixels of a cell that can be clicked
PLUGIN = "napari-sam2"


class Gate:
    """Pauses a propagation after some frames, so that a picture in the middle of it is always the same."""

    def __init__(self) -> None:
        self.after = 0
        self.reached, self.opened = threading.Event(), threading.Event()

    def install(self) -> None:
        """Install the gate in all propagations."""
        original = RecordedSession.propagate

        def propagate(session: RecordedSession, *options: Any) -> Iterator[Any]:
            for number, masks in enumerate(original(session, *options), start=1):
                yield masks
                if number == self.after:
                    self.reached.set()
                    self.opened.wait()

        RecordedSession.propagate = propagate  # type: ignore[method-assign]


class Story:
    """The tutorial, step by step."""

    def __init__(self, studio: Studio, gate: Gate, autosave: Path, rescue: Path) -> None:
        self.studio = studio
        self.viewer = studio.viewer
        self.gate = gate
        self.autosave = autosave
        self.rescue = rescue
        self.sample = sample_timelapse()
        self.sights: list[FirstSight] = [s for s in self.sample.first_sight.values() if s.frame == 0]

    @property
    def controller(self) -> Controller:
        return self.dock.controller

    def settle(self) -> None:
        self.studio.settle(self.controller)

    def open_tracker(self) -> None:
        _, self.dock = self.viewer.window.add_plugin_dock_widget(PLUGIN, "SAM2 Tracker")
        self.studio.wait(0.5)

    def open_sample(self) -> None:
        self.dock.banner.button.click()
        self.studio.wait(0.3)
        self.settle()

    # -- the tracker -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Show an empty window, the menu of samples, the list of models."""
        self.open_tracker()
        self.studio.take("01-start")
        self.take_menu("02-sample", self.viewer.window.file_menu, "Open Sample", "SAM 2")
        self.open_sample()
        combo = self.dock.model.combo
        self.studio.take("03-model", combo.showPopup, combo.hidePopup)

    def prompt(self) -> None:
        """Prompt one object with each tool."""
        tools, prompts = self.dock.tools, self.controller.prompts
        clicked, boxed, outlined, painted, last = self.sights[:5]
        tools.choose("points")
        prompts.add_point(*clicked.click, frame=0)
        self.settle()
        self.studio.take("04-click")
        self.controller.objects.add()
        tools.choose("box")
        prompts.add_box(*boxed.box, frame=0)
        self.settle()
        self.studio.take("05-box")
        self.controller.objects.add()
        tools.choose("region")
        prompts.add_region(around(outlined), frame=0)
        self.settle()
        self.studio.take("06-region")
        self.controller.objects.add()
        tools.choose("paint")
        self.paint(painted)
        self.settle()
        x, y = np.multiply(painted.click, self.sample.scale[1:])
        self.studio.take("07-paint", lambda: self.studio.point_at(y, x))
        self.controller.objects.add()
        tools.choose("points")
        prompts.add_point(*last.click, frame=0)
        self.controller.objects.rename(2, "mother cell")
        self.settle()
        self.studio.take("08-objects")

    def paint(self, sight: FirstSight) -> None:
        """Paint a cell with one stroke of the brush."""
        layer = self.controller.prompts.layer("labels")
        layer.brush_size = 8
        cell = self.sample.labels[sight.frame] == self.truth_id(sight)
        rows, columns = np.nonzero(ndimage.binary_opening(cell, iterations=3))
        layer.data_setitem((np.full_like(rows, sight.frame), rows, columns), layer.selected_label)

    def track(self) -> None:
        """Show a propagation, in the middle and after its end."""
        self.gate.after = MID_RUN
        self.dock.tracking.track("forward")
        self.studio.wait(300, self.gate.reached.is_set)
        self.studio.wait(1.0)  # the window is redrawn
        self.controller.frame = MID_RUN - 1  # the viewer may be a frame behind
        self.studio.take("09-tracking")
        shutil.copytree(self.autosave, self.rescue, dirs_exist_ok=True)  # the files of a killed process
        self.gate.after = 0
        self.gate.opened.set()
        self.studio.wait(300, lambda: self.controller.propagation.phase == "idle")
        self.settle()

    def check(self) -> None:
        """Show an uncertain frame, and its correction."""
        controller = self.controller
        controller.frame = 0
        if not controller.go_to_uncertain():
            controller.frame = int(np.argmax(controller.timeline.uncertainty()))
        self.settle()
        self.studio.take("10-uncertainty")
        self.dock.tools.choose("points")
        frame, wrong = controller.frame, controller.objects.active
        if self.seen(wrong, frame) < LARGE_ENOUGH:  # too small to click
            frame, wrong = self.worst()
        controller.frame = frame
        controller.objects.select([wrong])
        controller.prompts.add_point(*self.middle(wrong, frame), frame=frame)
        self.settle()
        self.dock.tracking.track("forward")
        self.studio.wait(300, lambda: controller.propagation.phase == "idle")
        self.settle()
        controller.frame = frame
        self.studio.take("11-corrected")

    def seen(self, object_id: int, frame: int) -> int:
        """Return the true number of pixels of an object."""
        return int((self.sample.labels[frame] == self.truth_id(self.sights[object_id - 1])).sum())

    def worst(self) -> tuple[int, int]:
        """Return the frame and the visible object whose mask differs most from the truth."""
        found = (0.0, 0, 1)
        for frame in range(1, self.controller.n_frames):
            labels = self.controller.results.labels(frame)
            for object_id, sight in enumerate(self.sights[:5], start=1):
                truth = self.sample.labels[frame] == self.truth_id(sight)
                mask = labels == object_id
                if truth.sum() >= LARGE_ENOUGH:
                    wrong = 1 - (truth & mask).sum() / max((truth | mask).sum(), 1)
                    found = max(found, (float(wrong), frame, object_id), key=lambda f: f[0])
        return found[1:]

    def truth_id(self, sight: FirstSight) -> int:
        return next(i for i, s in self.sample.first_sight.items() if s is sight)

    def middle(self, object_id: int, frame: int) -> tuple[float, float]:
        """Return a pixel well inside an object."""
        truth = self.sample.labels[frame] == self.truth_id(self.sights[object_id - 1])
        inside = ndimage.distance_transform_edt(truth)
        y, x = np.unravel_index(int(inside.argmax()), truth.shape)
        return float(x), float(y)

    def finish(self) -> None:
        """Show the undo list, the export menu, and the keys."""
        history = self.dock.history.undo.menu()
        if isinstance(history, QMenu):
            self.take_popup("12-undo", history, self.dock.history.undo, below=True)
        self.controller.frame = 0
        self.dock.results.tracks.click()
        self.studio.wait(60, lambda: any(type(layer).__name__ == "Tracks" for layer in self.viewer.layers))
        self.settle()
        self.quiet()
        self.take_popup("13-export", self.dock.results.export.menu(), self.dock.results.export)
        self.studio.take("14-keys", self.dock.show_help, lambda: self.dock.sheet.close())

    def resume(self) -> None:
        """Show the project after napari was killed while tracking."""
        self.open_tracker()
        self.open_sample()
        self.studio.take("15-resume")

    # -- Auto-mask ---------------------------------------------------------------------------------------

    def find_everything(self) -> None:
        """Show candidates with their filters, then the objects."""
        self.open_tracker()
        self.open_sample()
        _, auto = self.viewer.window.add_plugin_dock_widget(PLUGIN, "Auto-mask")
        self.studio.wait(0.5)
        auto.section.choose_preset("cells")
        auto.section.run()
        self.studio.wait(300, lambda: auto.section.finished)
        self.settle()
        x, y = np.multiply(self.sights[0].click, self.sample.scale[1:])
        self.studio.take("16-auto", lambda: self.studio.point_at(y, x))
        auto.section.track_these()
        self.settle()
        show_dock(self.dock)
        self.quiet()
        self.studio.take("17-track-these")

    # -- menus and notifications -------------------------------------------------------------------------

    def take_menu(self, step: str, menu: QMenu, *titles: str) -> None:
        bar = self.studio.window.menuBar()
        corner = bar.actionGeometry(menu.menuAction()).bottomLeft() + QPoint(0, 1)
        opened: list[QMenu] = []
        self.studio.take(
            step,
            lambda: opened.extend(open_menu(menu, bar.mapToGlobal(corner), *titles)),
            lambda: [m.close() for m in reversed(opened)] and None,
        )

    def take_popup(self, step: str, menu: QMenu, button: Any, below: bool = False) -> None:
        def show() -> None:
            menu.aboutToShow.emit()
            size = menu.sizeHint()
            right = button.mapToGlobal(QPoint(button.width(), button.height() if below else 0))
            menu.popup(right - QPoint(size.width(), 0 if below else size.height()))

        self.studio.take(step, show, lambda: menu.close() and None)

    def quiet(self) -> None:
        """Close notifications: they cover the picture."""
        for widget in QApplication.allWidgets():
            if type(widget).__name__ == "NapariQtNotification":
                widget.close()


def show_dock(widget: Any) -> None:
    """Bring a dock to the front of its tabs."""
    while widget is not None:
        widget.show()
        widget.raise_()
        widget = widget.parentWidget()


def around(sight: FirstSight) -> list[tuple[float, float]]:
    """Return a lasso around an object, as if drawn by hand."""
    x0, y0, x1, y1 = sight.box
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    wobble = 0.5 + 0.02 * np.sin(3 * angles)
    xs = (x0 + x1) / 2 + wobble * (x1 - x0) * np.cos(angles)
    ys = (y0 + y1) / 2 + wobble * (y1 - y0) * np.sin(angles)
    return [(float(x), float(y)) for x, y in zip(xs, ys)]


def keep_apart(model: str, autosave: Path) -> None:
    """Open everything with a project folder of its own, without the projects of the user."""
    preferences = Preferences(ModelChoice(model), autosave_folder=autosave, encode_ahead=0)
    opening.load_preferences = lambda: preferences


def chosen_variants(step: str, everything: bool) -> Sequence[Variant]:
    """Return all variants of a step, or those that are kept in the repository."""
    sizes = [SMALL, LARGE] if everything or step in ON_LARGE else [SMALL]
    return [Variant(size, theme) for size in sizes for theme in THEMES]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--all", action="store_true", help="every step on the large screen, too")
    parser.add_argument("--model", default="nano", help="another network, or a file")
    parser.add_argument("--until", default="", metavar="STEP", help="stop after this picture, as in 04")
    parser.add_argument("--auto-only", action="store_true", help="only the last chapter: Auto-mask")
    parser.add_argument("--font-size", type=int, help="font size, to check that nothing is cut off")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.font_size:
        from napari.settings import get_settings

        get_settings().appearance.font_size = given.font_size
    gate = Gate()
    gate.install()
    chapters = (
        ("work", ("begin", "prompt", "track", "check", "finish")),
        ("rescue", ("resume",)),
        ("auto", ("find_everything",)),
    )
    with tempfile.TemporaryDirectory() as place:
        for folder, steps in chapters[2 if given.auto_only else 0 :]:
            keep_apart(given.model, Path(place) / folder)
            studio = Studio(given.folder, lambda step: chosen_variants(step, given.all), given.until)
            story = Story(studio, gate, Path(place) / folder, Path(place) / "rescue")
            try:
                for step in steps:
                    getattr(story, step)()
            except Enough:
                return
            studio.close()


if __name__ == "__main__":
    main()

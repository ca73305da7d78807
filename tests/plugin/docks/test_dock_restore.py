"""A project whose database is destroyed: the window asks, and starts it again from prompts and objects."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QMessageBox

from napari_sam2.model.sam2 import Sam2
from napari_sam2.plugin.contributions import readers
from napari_sam2.plugin.docks.parts import controller_link
from napari_sam2.plugin.docks.tracker.tracker_dock import TrackerDock
from napari_sam2.plugin.qt.open_tracker import open_tracker
from napari_sam2.plugin.state import ModelChoice, Preferences
from napari_sam2.plugin.worker.open_backend import LoadedModel, open_backend
from napari_sam2.prompts import PointPrompt, Prompt
from napari_sam2.storage import Project, ProjectDamagedError, SourceDescription
from tests.plugin.dock_world import WAIT, add_dock, fail_on_leaks, press_button, shown
from tests.storage.tiny_sessions import CONFIG

pytestmark = pytest.mark.gui
nothing_left = pytest.fixture(autouse=True)(fail_on_leaks)
CHOICE = ModelChoice("untrained", "cpu", "exact")
PROMPTS = {(1, 3): Prompt((PointPrompt(9.0, 12.0),))}


def movie() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 200, (4, 40, 56)).astype(np.uint8)


@pytest.fixture
def open_window(qtbot, make_napari_viewer, monkeypatch, tmp_path):
    """Opens a window on the same picture again and again."""
    torch.manual_seed(3)
    model = LoadedModel()
    model._loaded = (CHOICE, Sam2(CONFIG).eval())
    settings = Preferences(CHOICE, autosave_folder=tmp_path / "projects", encode_ahead=0)
    opener = partial(open_backend, model)

    def opened(project: Path | None = None):
        monkeypatch.setattr(
            controller_link,
            "open_tracker",
            lambda viewer, images: open_tracker(
                viewer, images, preferences=settings, opener=opener, project=project
            ),
        )
        viewer = shown(make_napari_viewer(show=True))
        viewer.add_image(movie(), name="movie", contrast_limits=(0, 255))
        viewer.dims.set_point(0, 0)
        dock = add_dock(viewer, TrackerDock(viewer), "SAM2 Tracker")
        qtbot.waitUntil(lambda: dock.controller.model.phase in ("ready", "failed"), timeout=WAIT)
        return viewer, dock

    return opened


def destroy(path: Path) -> bytes:
    ruin = b"\0" * 5000
    (path / "project.db").write_bytes(ruin)
    return ruin


@pytest.mark.parametrize("named", [False, True], ids=["found again", "named"])
def test_the_banner_starts_a_destroyed_project_again(qtbot, open_window, tmp_path, named):
    path = tmp_path / "mine.sam2" if named else None
    viewer, dock = open_window(path)
    c = dock.controller
    c.prompts.add_point(9, 12, object_id=3, frame=1)
    c.objects.rename(3, "cell")
    qtbot.waitUntil(lambda: c.objects.infos[3].name == "cell" and c.status.phase == "ready", timeout=WAIT)
    c.wait()
    path = c.project.path
    viewer.close()
    assert c.closed
    ruin = destroy(path)

    viewer, dock = open_window(path if named else None)
    c, banner = dock.controller, dock.banner
    qtbot.waitUntil(lambda: banner.button.text() == "Start it again", timeout=WAIT)
    assert banner.text.text().startswith(f"{path.name} is damaged. Its prompts and objects are still there")
    press_button(qtbot, banner.button)
    qtbot.waitUntil(lambda: c.model.phase == "ready" and c.project.path == path, timeout=WAIT)
    qtbot.waitUntil(lambda: c.status.phase == "ready" and 3 in c.objects.infos, timeout=WAIT)
    assert c.project.destroyed is None
    assert c.objects.infos[3].name == "cell"
    assert c.prompts.all == PROMPTS
    assert banner.button.text() != "Start it again"
    assert (path / "project.db.damaged-1").read_bytes() == ruin, "nothing is deleted"
    viewer.close()
    with Project.open(path) as project:
        assert project.prompts == PROMPTS


def answer(qtbot, button: str, heard: list[str]) -> None:
    """Press a button of the dialog as soon as it is shown."""

    def press() -> None:
        boxes = [w for w in QApplication.topLevelWidgets() if w.objectName() == "sam2RestoreDialog"]
        shown_boxes = [box for box in boxes if isinstance(box, QMessageBox) and box.isVisible()]
        if not shown_boxes:
            QTimer.singleShot(20, press)
            return
        (box,) = shown_boxes
        heard.append(box.text())
        (found,) = [b for b in box.buttons() if b.text().replace("&", "") == button]
        qtbot.mouseClick(found, Qt.MouseButton.LeftButton)

    QTimer.singleShot(0, press)


@pytest.mark.parametrize("wanted", [True, False])
def test_opening_a_destroyed_project_asks_whether_to_start_it_again(qtbot, tmp_path, wanted):
    path = tmp_path / "a.sam2"
    tifffile.imwrite(tmp_path / "movie.tif", movie(), photometric="minisblack")
    source = SourceDescription(str(tmp_path / "movie.tif"))
    with Project.create(path, (4, 40, 56), source=source) as project:
        project.save_prompts(PROMPTS)
        project.change_object(3, "cell")
    ruin = destroy(path)
    heard: list[str] = []
    answer(qtbot, "Start again" if wanted else "Cancel", heard)
    reader = readers.get_project_reader(str(path))
    assert reader is not None
    if not wanted:
        with pytest.raises(ProjectDamagedError, match="is no SQLite database"):
            reader(str(path))
        assert (path / "project.db").read_bytes() == ruin
        return
    layers = reader(str(path))
    assert heard == ["The database of a.sam2 is damaged."]
    assert [kind for _, _, kind in layers] == ["image", "labels"]
    with Project.open(path) as project:
        assert project.prompts == PROMPTS
        assert project.objects[3].name == "cell"

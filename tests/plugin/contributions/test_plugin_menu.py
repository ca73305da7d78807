"""Docks opened as the Plugins menu opens them: napari hands them proxies of its viewer and layers."""

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

from napari_sam2.plugin.preferences import load_preferences

pytestmark = pytest.mark.gui

NAMES = ["SAM2 Tracker", "Points prompts", "Shapes prompts", "Labels prompts", "Auto-mask"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Projects are saved below a folder of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert load_preferences() is not None


@pytest.mark.parametrize("name", NAMES)
def test_every_dock_opens_from_the_menu_and_finds_the_image(make_napari_viewer, home, nano, name):
    viewer = make_napari_viewer()
    viewer.add_image(np.zeros((3, 64, 64), np.uint8), name="movie")
    _, dock = viewer.window.add_plugin_dock_widget("napari-sam2", name)
    session = dock.session
    QApplication.processEvents()
    assert session.controller is not None
    assert session.controller.image is viewer.layers["movie"]
    session.controller.wait(60)
    assert session.controller.model.phase == "ready"


def test_docks_from_the_menu_share_one_session(make_napari_viewer, home, nano):
    viewer = make_napari_viewer()
    viewer.add_image(np.zeros((3, 64, 64), np.uint8), name="movie")
    tracker = viewer.window.add_plugin_dock_widget("napari-sam2", "SAM2 Tracker")[1]
    points = viewer.window.add_plugin_dock_widget("napari-sam2", "Points prompts")[1]
    QApplication.processEvents()
    assert tracker.session.controller is points.session.controller is not None
    tracker.session.controller.wait(60)

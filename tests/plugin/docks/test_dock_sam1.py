"""A micro-sam file in the window: choose it, click, find all cells, follow them without and with memory, export.

The network has random weights, because none that were trained are at hand: its masks mean nothing, so they are compared
with what the library makes of the same frame and prompts.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from qtpy.QtCore import Qt
from safetensors.torch import load_file

from napari_sam2.automatic import segment_instances
from napari_sam2.automatic.instances import instance_filters
from napari_sam2.formats.registry import FORMATS
from napari_sam2.model.sam1.instance_decoder import InstanceDecoder
from napari_sam2.model.weights.image_models import load_image_model
from napari_sam2.plugin.docks.automatic.automatic_dock import AutomaticDock
from napari_sam2.plugin.docks.parts import controller_link
from napari_sam2.plugin.docks.tracker.tracker_dock import TrackerDock
from napari_sam2.plugin.qt.open_tracker import open_tracker
from napari_sam2.plugin.state import ModelChoice, Preferences
from napari_sam2.prompts import PointPrompt, Prompt
from napari_sam2.session import ArrayFrames, VideoSession
from tests.golden.sam1_recipe import meta_state
from tests.plugin.dock_world import WAIT, add_dock, click, fail_on_leaks, press, press_button, shown

pytestmark = pytest.mark.gui
nothing_left = pytest.fixture(autouse=True)(fail_on_leaks)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    torch.manual_seed(3)
    decoder = InstanceDecoder(256, 16).state_dict()
    # Maps of unit variance about thresholds that several instances pass.
    mean, deviation = torch.tensor([-0.46, 0.59, -0.66]), torch.tensor([0.144, 0.124, 0.156])
    decoder["out_conv.weight"] /= deviation[:, None, None, None]
    decoder["out_conv.bias"] = (decoder["out_conv.bias"] - mean) / deviation + torch.tensor([1.0, 0, 0])
    path = tmp_path_factory.mktemp("weights") / "vit_b_lm.pt"
    torch.save({"model_state": meta_state(blobs=True), "decoder_state": decoder}, path)
    return path


@pytest.fixture
def frames():
    rows, columns = np.mgrid[:120, :160]
    discs = [np.hypot(rows - 60, columns - 50 - 5 * t) < 25 for t in range(3)]
    noise = np.random.default_rng(0).integers(0, 50, (3, 120, 160))
    return (noise + 150 * np.array(discs)).astype(np.uint8)


@pytest.fixture
def window(qtbot, make_napari_viewer, monkeypatch, tmp_path, nano, frames):
    """The tracker with nano on the frames, in folders of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    settings = Preferences(ModelChoice(nano, "cpu"), autosave_folder=tmp_path / "projects", encode_ahead=0)
    monkeypatch.setattr(
        controller_link,
        "open_tracker",
        lambda viewer, images: open_tracker(viewer, images, preferences=settings),
    )
    viewer = shown(make_napari_viewer(show=True), (1300, 1000))
    viewer.add_image(frames, name="cells", contrast_limits=(0, 255))
    viewer.dims.set_point(0, 0)
    dock = add_dock(viewer, TrackerDock(viewer), "SAM2 Tracker")
    viewer.reset_view()
    qtbot.waitUntil(lambda: dock.controller.model.phase == "ready", timeout=WAIT)
    return viewer, dock


def idle(qtbot, c):
    qtbot.waitUntil(lambda: c.status.phase == "ready" and c.propagation.phase == "idle", timeout=WAIT)


def choose_file(qtbot, dock, file):
    """Choose a file in the list of models, with the keyboard."""
    combo = dock.model.combo
    dock.model.ask_file = lambda: str(file)
    index = combo.findText("Choose a file …")
    combo.setFocus()
    combo.setCurrentIndex(index - 1)
    qtbot.keyClick(combo, Qt.Key.Key_Down)
    c = dock.controller
    qtbot.waitUntil(lambda: (c.model.name, c.model.phase) == (str(file), "ready"), timeout=WAIT)


def test_choose_click_follow_hand_over_export(qtbot, window, file, frames, tmp_path):
    viewer, dock = window
    c, tracking = dock.controller, dock.tracking
    assert not tracking.hand_over.isVisible()
    choose_file(qtbot, dock, file)
    assert (c.model.frame_by_frame, c.model.finds_instances) == (True, True)
    assert tracking.hand_over.isVisible()
    assert "frame by frame" in tracking.strategy.text()

    press_button(qtbot, dock.tools.buttons["points"])
    click(qtbot, viewer, 60, 80)
    qtbot.waitUntil(lambda: (0, 1) in c.prompts.all, timeout=WAIT)
    idle(qtbot, c)
    (point,) = c.prompts.all[0, 1].points
    video = VideoSession(load_image_model(file, "cpu"), ArrayFrames(frames))
    video.set_prompt(0, 1, Prompt((PointPrompt(point.x, point.y),)))
    wanted = [found.of(1) for found in video.propagate()]
    video.close()
    assert all(mask.any() for mask in wanted)
    assert (c.results.mask(0, 1) == wanted[0]).all()

    press(qtbot, viewer, ".")
    qtbot.waitUntil(lambda: c.propagation.outcome == "finished", timeout=WAIT)
    idle(qtbot, c)
    for frame in (1, 2):
        assert (c.results.mask(frame, 1) == wanted[frame]).all()

    project = c.project.path
    hand_over = next(action for action in tracking.hand_over.menu().actions() if action.text() == "nano")
    hand_over.trigger()
    qtbot.waitUntil(lambda: (c.model.name, c.model.phase) == ("nano", "ready"), timeout=WAIT)
    idle(qtbot, c)
    assert not tracking.hand_over.isVisible()
    assert c.project.path != project
    assert set(c.prompts.all) == {(0, 1)}
    assert c.prompts.all[0, 1].points == ()
    assert (c.prompts.all[0, 1].mask.array() == wanted[0]).all()
    press(qtbot, viewer, ".")
    qtbot.waitUntil(lambda: c.propagation.outcome == "finished", timeout=WAIT)
    idle(qtbot, c)
    assert (c.results.mask(0, 1) == wanted[0]).all()

    dock.results.ask_path = lambda form, start: str(tmp_path / form.file_name)
    dock.results.write(FORMATS["tiff"])
    path = tmp_path / FORMATS["tiff"].file_name
    qtbot.waitUntil(lambda: "cells" not in dock.results.export.text() and path.exists(), timeout=WAIT)
    idle(qtbot, c)
    assert ((tifffile.imread(path)[0] == 1) == wanted[0]).all()


def test_all_cells_are_found_with_the_decoder_and_handed_over(qtbot, window, file, frames):
    viewer, dock = window
    c = dock.controller
    section = add_dock(viewer, AutomaticDock(viewer), "SAM2 Auto-mask").section
    assert section.preset.findText("cell decoder") < 0
    choose_file(qtbot, dock, file)
    assert section.preset.currentText() == "cell decoder"
    press_button(qtbot, section.go)
    qtbot.waitUntil(lambda: section.finished, timeout=WAIT)
    options = section.selection.options
    assert options == instance_filters(options)
    wanted = segment_instances(load_image_model(file, "cpu"), np.repeat(frames[0][..., None], 3, -1), options)
    assert len(wanted) > 1
    found = section.selection.result
    assert (found.labels() == wanted.labels()).all()

    smallest = min(mask.area for mask in wanted.masks)
    section._change({"min_area": smallest + 1})  # without the network
    qtbot.waitUntil(lambda: len(section.selection.result) < len(wanted), timeout=WAIT)
    count = len(section.selection.result)
    press_button(qtbot, section.track)
    qtbot.waitUntil(lambda: len(c.prompts.all) == count, timeout=WAIT)
    idle(qtbot, c)
    masks = {key: prompt.mask for key, prompt in c.prompts.all.items()}
    c.hand_over("nano")
    qtbot.waitUntil(lambda: (c.model.name, c.model.phase) == ("nano", "ready"), timeout=WAIT)
    idle(qtbot, c)
    assert {key: prompt.mask for key, prompt in c.prompts.all.items()} == masks
    assert section.preset.findText("cell decoder") < 0
    assert section.preset.currentText() == "cells"


def test_embeddings_are_made_ahead_and_found_again_on_disk(qtbot, window, file, tmp_path):
    dock = window[1]
    c = dock.controller
    choose_file(qtbot, dock, file)
    folder = tmp_path / "cache" / "napari-sam2" / "embeddings"
    assert not folder.exists()
    c.preferences = replace(c.preferences, encode_ahead=1)
    # Nobody asked for a mask: frames are encoded while there is nothing to do, the one that is shown first.
    qtbot.waitUntil(lambda: len(list(folder.glob("*.safetensors"))) == 2, timeout=WAIT)
    choose_file(qtbot, dock, file)  # a new session: its memory is empty, the files are not
    asked = c.ask("cache", lambda session: session.runner.encode_image(session.frames.frame(0)))
    qtbot.waitUntil(asked.done, timeout=WAIT)
    path = max(folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns)
    assert torch.equal(load_file(path)["stride16"], asked.result().stride16)

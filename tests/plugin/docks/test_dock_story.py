"""The whole story with the small network: click, see, track, uncertainty, correct, undo, export, close, come back."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_sam2.formats.registry import FORMATS
from napari_sam2.plugin.docks.parts import controller_link
from napari_sam2.plugin.docks.tracker.tracker_dock import TrackerDock
from napari_sam2.plugin.qt.open_tracker import open_tracker
from napari_sam2.plugin.state import ModelChoice, Preferences
from napari_sam2.synthetic.samples import sample_timelapse
from tests.plugin.dock_world import WAIT, add_dock, click, fail_on_leaks, iou, press, press_button, shown

pytestmark = [pytest.mark.gui, pytest.mark.slow]
nothing_left = pytest.fixture(autouse=True)(fail_on_leaks)
FRAMES = 8
LONG = 4 * WAIT


@pytest.fixture(scope="module")
def sample():
    return sample_timelapse()


@pytest.fixture
def open_window(qtbot, make_napari_viewer, monkeypatch, tmp_path, nano, sample):
    """Opens a window on the sample as a user would; the folder of projects is the test's."""
    settings = Preferences(ModelChoice(nano, "cpu"), autosave_folder=tmp_path / "projects", encode_ahead=0)
    monkeypatch.setattr(
        controller_link,
        "open_tracker",
        lambda viewer, images: open_tracker(viewer, images, preferences=settings),
    )

    def opened():
        viewer = shown(make_napari_viewer(show=True))
        viewer.add_image(sample.image[:FRAMES], name="cells", scale=sample.scale)
        viewer.dims.set_point(0, 0)
        dock = add_dock(viewer, TrackerDock(viewer), "SAM2 Tracker")
        viewer.reset_view()
        qtbot.waitUntil(lambda: dock.controller.model.phase == "ready", timeout=LONG)
        return viewer, dock

    return opened


def idle(qtbot, c):
    qtbot.waitUntil(lambda: c.status.phase == "ready" and c.propagation.phase == "idle", timeout=LONG)


def click_on(qtbot, viewer, sample, object_id, c):
    """Click on an object of the ground truth, and wait for its mask."""
    x, y = sample.first_sight[object_id].click
    before = len(c.prompts.all)
    click(qtbot, viewer, y * sample.scale[1], x * sample.scale[2])
    qtbot.waitUntil(lambda: len(c.prompts.all) > before, timeout=WAIT)
    active = c.objects.active
    qtbot.waitUntil(lambda: c.results.mask(0, active) is not None, timeout=LONG)


def quality(c, sample, frame, object_id, truth):
    mask = c.results.mask(frame, object_id)
    return 0.0 if mask is None else iou(mask, sample.labels[frame] == truth)


def test_from_the_first_click_to_the_day_after(qtbot, open_window, sample, tmp_path):
    viewer, dock = open_window()
    c = dock.controller
    truths = [i for i, sight in sample.first_sight.items() if sight.frame == 0][:3]

    press_button(qtbot, dock.tools.buttons["points"])
    for number, truth in enumerate(truths):
        if number:
            press(qtbot, viewer, "N")
        click_on(qtbot, viewer, sample, truth, c)
    idle(qtbot, c)
    found = [quality(c, sample, 0, i + 1, truth) for i, truth in enumerate(truths)]
    assert min(found) > 0.7, found

    press(qtbot, viewer, ".")
    qtbot.waitUntil(lambda: c.propagation.done >= 2, timeout=LONG)
    press(qtbot, viewer, "H")
    idle(qtbot, c)
    assert c.propagation.outcome == "stopped"
    assert c.results.mask(1, 1) is not None
    assert c.results.mask(FRAMES - 1, 1) is None
    press(qtbot, viewer, ".")
    qtbot.waitUntil(lambda: c.propagation.outcome == "finished", timeout=LONG)
    idle(qtbot, c)
    later = [quality(c, sample, 4, i + 1, truth) for i, truth in enumerate(truths)]
    assert np.median(later) > 0.7, later

    kept = {i: c.results.mask(5, i) for i in (2, 3)}
    c.objects.select([1])
    c.frame = 5
    rows, columns = np.nonzero(sample.labels[5] == truths[0])
    middle = np.argmin(np.abs(rows - rows.mean()) + np.abs(columns - columns.mean()))
    click(qtbot, viewer, rows[middle] * sample.scale[1], columns[middle] * sample.scale[2])
    qtbot.waitUntil(lambda: (5, 1) in c.prompts.all, timeout=WAIT)
    idle(qtbot, c)
    assert quality(c, sample, 5, 1, truths[0]) > 0.7
    for object_id, mask in kept.items():
        # What is shown of another object may only change where the corrected one covers or uncovers it.
        now = c.results.mask(5, object_id)
        assert mask is not None
        assert now is not None
        assert iou(mask, now) > 0.95

    press(qtbot, viewer, "U")
    qtbot.waitUntil(lambda: (5, 1) not in c.prompts.all, timeout=WAIT)
    idle(qtbot, c)
    press(qtbot, viewer, "Shift-U")
    qtbot.waitUntil(lambda: (5, 1) in c.prompts.all, timeout=WAIT)
    idle(qtbot, c)
    assert quality(c, sample, 5, 1, truths[0]) > 0.7

    dock.results.ask_path = lambda form, start: str(tmp_path / form.file_name)
    dock.results.write(FORMATS["tiff"])
    qtbot.waitUntil(lambda: (tmp_path / "labels.tif").exists(), timeout=LONG)
    idle(qtbot, c)
    before = [np.array(c.results.labels(t)) for t in range(FRAMES)]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "labels.tif"), np.stack(before))
    viewer.close()
    assert c.closed

    viewer, dock = open_window()
    c = dock.controller
    idle(qtbot, c)
    assert "Welcome back: 3 objects" in dock.banner.text.text()
    assert [s.object_id for s in dock.objects.model.states] == [1, 2, 3]
    for t, labels in enumerate(before):
        np.testing.assert_array_equal(c.results.labels(t), labels)
    assert c.history.can_undo

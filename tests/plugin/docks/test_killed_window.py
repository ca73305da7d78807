"""napari is killed while it tracks; the next window finds everything and goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from napari_sam2.plugin.docks.parts import controller_link
from napari_sam2.plugin.docks.tracker.tracker_dock import TrackerDock
from napari_sam2.plugin.qt.open_tracker import open_tracker
from napari_sam2.plugin.state import ModelChoice, Preferences
from napari_sam2.storage import Project
from napari_sam2.synthetic.samples import sample_timelapse
from tests.plugin.dock_world import WAIT, add_dock, fail_on_leaks, press_button, shown

pytestmark = [pytest.mark.gui, pytest.mark.slow]
nothing_left = pytest.fixture(autouse=True)(fail_on_leaks)
FRAMES = 8
LONG = 4 * WAIT

WINDOW = """
    import sys
    from pathlib import Path
    import napari
    from qtpy.QtCore import QTimer
    from napari_sam2.synthetic.samples import sample_timelapse
    from napari_sam2.plugin.docks.parts import controller_link
    from napari_sam2.plugin.qt.open_tracker import open_tracker
    from napari_sam2.plugin.state import ModelChoice, Preferences
    from napari_sam2.plugin.docks.tracker.tracker_dock import TrackerDock

    folder, model, frames = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    settings = Preferences(ModelChoice(model, "cpu"), autosave_folder=folder, encode_ahead=0)
    controller_link.open_tracker = lambda viewer, images: open_tracker(viewer, images, preferences=settings)
    sample, viewer = sample_timelapse(), napari.Viewer()
    viewer.add_image(sample.image[:frames], name="movie", scale=sample.scale)
    viewer.dims.set_point(0, 0)
    dock = TrackerDock(viewer)
    viewer.window.add_dock_widget(dock)
    c = dock.controller
    c.events.propagation.connect(lambda p: print("frame", p.frame, flush=True))
    track = QTimer()
    track.timeout.connect(lambda: begin())
    track.start(50)

    def begin():
        if c.model.phase != "ready" or c.status.phase != "ready":
            return
        if not c.prompts.all:
            c.objects.add("followed")
            c.prompts.add_point(*sample.first_sight[1].click)
        elif c.results.layer is not None:
            track.stop()
            dock.tracking.forward.click()

    napari.run()
"""


def killed_while_tracking(folder: Path, model: str) -> None:
    """Open a window in a process of its own, track there, and kill it after some frames."""
    command = [sys.executable, "-c", textwrap.dedent(WINDOW), str(folder), model, str(FRAMES)]
    paths = {"PYTHONPATH": str(Path(__file__).parents[3]), "NAPARI_CONFIG": str(folder / "settings.yaml")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", **paths}
    ) as process:
        for line in process.stdout:
            if line.startswith("frame 3"):
                process.send_signal(signal.SIGKILL)
                break
    assert process.wait(30) == -signal.SIGKILL


def test_a_killed_window_is_gone_on_with(qtbot, make_napari_viewer, monkeypatch, nano, tmp_path):
    folder = tmp_path / "projects"
    folder.mkdir()
    killed_while_tracking(folder, nano)
    [path] = folder.glob("*.sam2")
    with Project.open(path) as left:
        before = {t: np.array(left.labels.frame(t)) for t in left.frames()}
    assert len(before) >= 3

    settings = Preferences(ModelChoice(nano, "cpu"), autosave_folder=folder, encode_ahead=0)
    monkeypatch.setattr(
        controller_link, "open_tracker", lambda v, images: open_tracker(v, images, preferences=settings)
    )
    sample, viewer = sample_timelapse(), shown(make_napari_viewer(show=True))
    viewer.add_image(sample.image[:FRAMES], name="another name", contrast_limits=(0, 90))
    viewer.dims.set_point(0, 0)
    dock = add_dock(viewer, TrackerDock(viewer))
    c = dock.controller
    qtbot.waitUntil(lambda: c.status.phase == "ready" and c.results.layer is not None, timeout=LONG)
    assert c.project.path == path
    assert set(c.prompts.all) == {(0, 1)}
    assert len(c.prompts.layer("points").data) == 1
    assert [state.name for state in dock.objects.model.states] == ["followed"]
    for t, labels in before.items():
        np.testing.assert_array_equal(c.results.labels(t), labels)
    assert f"interrupted at frame {c.project.interrupted_at}" in dock.banner.text.text()
    assert 3 <= c.project.interrupted_at < FRAMES - 1

    assert dock.banner.button.text() == "Go on"
    press_button(qtbot, dock.banner.button)
    qtbot.waitUntil(lambda: c.propagation.outcome == "finished", timeout=LONG)
    assert c.propagation.done == FRAMES - 1 - c.project.interrupted_at  # only what was missing
    assert all(c.results.labels(t).any() for t in range(FRAMES))

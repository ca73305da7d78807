"""Two-dimensional images: the same docks, prompts, undo and autosave, and nothing about time."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager

from napari_sam2.model.weights.checkpoints import load_model
from napari_sam2.plugin.docks.parts import controller_link
from napari_sam2.plugin.docks.tracker.tracker_dock import TrackerDock
from napari_sam2.plugin.qt.open_tracker import open_tracker
from napari_sam2.plugin.state import ModelChoice, Preferences
from napari_sam2.prompts import BoxPrompt, PointPrompt, Prompt
from napari_sam2.session import ImageSession
from napari_sam2.synthetic.samples import sample_timelapse
from tests.plugin.dock_world import WAIT, add_dock, click, fail_on_leaks, press, shown

nothing_left = pytest.fixture(fail_on_leaks)


def test_a_single_image_is_answered_as_an_image_session_answers(nano, tmp_path):
    """One frame of a video has no memory to look at, so that one kind of session is enough for both."""
    sample = sample_timelapse()
    sight = sample.first_sight[1]
    prompts = {1: Prompt((PointPrompt(*sight.click),)), 2: Prompt((), BoxPrompt(*sight.box))}
    viewer = ViewerModel()
    image = viewer.add_image(sample.image[0])
    settings = Preferences(ModelChoice(nano, "cpu", "exact"), autosave_folder=tmp_path, encode_ahead=0)
    c = open_tracker(viewer, image, preferences=settings)
    try:
        c.wait()
        c.prompts.add_point(*sight.click, object_id=1)
        c.prompts.add_box(*sight.box, object_id=2)
        c.wait()
        found = c.wait(until=c.ask("Reading", lambda session: session.masks(0)))
        picture = c.wait(until=c.ask("Looking", lambda session: session.frames.frame(0)))
    finally:
        c.close()
    session = ImageSession(load_model(nano, device="cpu"))
    session.set_image(picture)
    for object_id, prompt in prompts.items():
        several = prompt.box is None  # an ambiguous click: the best of three
        expected = session.predict(prompt, multimask=several)
        best = expected.masks[0, expected.ious[0].argmax()]
        assert (found.of(object_id) != best).mean() < 1e-4  # what is stored is rounded to 16 bit


@pytest.mark.gui
@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("shape", [(60, 80), (1, 60, 80), (60, 80, 3)], ids=["plain", "one frame", "colour"])
def test_a_single_image_has_no_tracking_no_timeline_and_says_so(
    qtbot, make_napari_viewer, monkeypatch, fake, preferences, shape
):
    monkeypatch.setattr(
        controller_link, "open_tracker", lambda v, i: open_tracker(v, i, opener=fake, preferences=preferences)
    )
    viewer = shown(make_napari_viewer(show=True))
    viewer.add_image(np.zeros(shape, np.uint8), name="picture", rgb=shape[-1] == 3)
    viewer.reset_view()
    dock = add_dock(viewer, TrackerDock(viewer))
    c = dock.controller
    qtbot.waitUntil(lambda: c.model.phase == "ready", timeout=WAIT)
    assert c.n_frames == 1
    qtbot.waitUntil(lambda: dock._timeline_dock is not None, timeout=WAIT)
    assert not dock.timeline.isVisible()
    assert not dock.tracking.isVisible()
    press(qtbot, viewer, "Control-1")
    click(qtbot, viewer, 20, 30)
    qtbot.waitUntil(lambda: c.results.layer is not None, timeout=WAIT)
    assert c.results.layer.get_value((0,) * (c.results.layer.ndim - 2) + (20, 30), world=True) == 1
    with notification_manager:
        press(qtbot, viewer, ".")
        assert "single image" in notification_manager.records[-1].message
    assert c.propagation.phase == "idle"
    assert fake.session.calls[-1][0] == "prompt"

    viewer.layers.clear()
    viewer.add_image(np.zeros((4, 60, 80), np.uint8), name="movie")
    qtbot.waitUntil(lambda: dock.controller is not None and dock.controller.n_frames == 4, timeout=WAIT)
    assert dock.timeline.isVisible()
    assert dock.tracking.isVisible()
    qtbot.waitUntil(lambda: dock.controller.model.phase == "ready", timeout=WAIT)

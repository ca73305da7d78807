"""Volumes over time: one plane at a time, moved in mid-work; and layers of an earlier session that are gone on with."""

from __future__ import annotations

import copy
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_sam2.plugin.docks.parts import controller_link
from napari_sam2.plugin.docks.tracker.tracker_dock import TrackerDock
from napari_sam2.plugin.layers.image_layer import geometry_of
from napari_sam2.plugin.layers.placement import results_placement
from napari_sam2.plugin.qt.open_tracker import open_tracker
from napari_sam2.plugin.state import ProjectState
from tests.plugin.dock_world import WAIT, add_dock, click, fail_on_leaks, press_button, shown

SHAPE = (5, 4, 60, 80)
TURN = np.deg2rad(30)
IN_PLANE = np.eye(5)
IN_PLANE[2:4, 2:4] = [[np.cos(TURN), -1.5 * np.sin(TURN)], [np.sin(TURN), 1.5 * np.cos(TURN)]]
IN_PLANE[:4, 4] = [0, 3, 20, -7]
TILTED = IN_PLANE.copy()
TILTED[1, 2] = 0.3  # depth depends on y
PLACES = {
    "plain": {},
    "scaled": {"scale": (1, 2, 0.5, 0.25), "translate": (0, 10, 100, -20)},
    "rotated": {"scale": (1, 2, 0.5, 0.5), "translate": (0, 10, 5, -2), "rotate": 30, "shear": [0, 0, 0, 0, 0, 0.2]},
    "affine": {"scale": (1, 3, 0.5, 0.5), "translate": (0, 1, 2, 3), "affine": IN_PLANE},
    "tilted": {"scale": (1, 3, 0.5, 0.5), "translate": (0, 1, 2, 3), "affine": TILTED, "rotate": 20},
}  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_results_of_a_plane_lie_where_the_plane_is(name):
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros(SHAPE, np.uint8), **PLACES[name])
    geometry = geometry_of([image], image.data_to_world((0, 2, 30, 40)))
    assert geometry.fixed_axes == ((1, 2),)
    results = viewer.add_labels(np.zeros(geometry.result_shape, int), **results_placement(image, geometry))
    for t, y, x in ((0, 0, 0), (3, 10, 20), (4, 59, 79)):
        np.testing.assert_allclose(results.data_to_world((t, 0, y, x)), image.data_to_world((t, 2, y, x)))


class Saving:
    """Opens fake sessions; what is said about a plane is found again, as in a project."""

    def __init__(self, fake):
        self.fake = fake
        self.saved = {}

    def __call__(self, spec, progress):
        name = Path(f"plane-{dict(spec.frames.options.fixed)}-{spec.frames.options.axis}.sam2")
        opened = self.fake(spec, progress)
        resumed = name in self.saved
        if resumed:
            opened.session.content = self.saved[name]
        self.saved[name] = opened.session.content
        return replace(opened, project=ProjectState(name, resumed))


@pytest.fixture
def opened(monkeypatch, fake, preferences):
    """Docks open images with sessions that are found again by their plane."""
    opener = Saving(fake)
    monkeypatch.setattr(
        controller_link,
        "open_tracker",
        lambda v, i: open_tracker(v, i, opener=opener, preferences=preferences),
    )
    return fake


nothing_left = pytest.fixture(fail_on_leaks)
windowed = pytest.mark.usefixtures("nothing_left", "opened")


@pytest.fixture
def start(qtbot, make_napari_viewer):
    """A window with a tracker on a volume over time, at z = 2."""

    def begin(viewer=None, **place):
        if viewer is None:
            viewer = shown(make_napari_viewer(show=True))
            viewer.add_image(np.zeros(SHAPE, np.uint8), name="volume", **place)
        image = viewer.layers["volume"]
        viewer.dims.set_point(range(4), image.data_to_world((0, 2, 30, 40)))
        dock = add_dock(viewer, TrackerDock(viewer))
        viewer.reset_view()
        qtbot.waitUntil(lambda: dock.controller.model.phase == "ready", timeout=WAIT)
        return viewer, dock

    return begin


def click_in_image(qtbot, viewer, c, y, x):
    """Click where a pixel of the image is in the world, on the plane and frame that are shown."""
    image, before = c.image, len(c.prompts.all)
    place = image.world_to_data(viewer.dims.point)
    world = image.data_to_world((place[0], place[1], y, x))
    click(qtbot, viewer, *world[-2:])
    qtbot.waitUntil(lambda: len(c.prompts.all) > before, timeout=WAIT)
    qtbot.waitUntil(lambda: c.results.layer is not None and c.results.labels(c.frame).any(), timeout=WAIT)
    return world


def move_to(qtbot, viewer, dock, z):
    """Move the slider of the depth, and press what the dock offers then."""
    c = dock.controller
    viewer.dims.set_point(1, c.image.data_to_world((0, z, 0, 0))[1])
    qtbot.waitUntil(lambda: not c.status.plane_is_current, timeout=WAIT)
    assert dock.banner.button.text() == "Work here"
    press_button(qtbot, dock.banner.button)
    qtbot.waitUntil(lambda: c.status.plane_is_current and c.status.phase == "ready", timeout=WAIT)


@pytest.mark.gui
@windowed
@pytest.mark.parametrize("name", ["scaled", "affine"])
def test_a_click_on_a_plane_of_a_placed_volume_is_prompted_and_answered_there(qtbot, start, name):
    viewer, dock = start(**PLACES[name])
    c = dock.controller
    press_button(qtbot, dock.tools.buttons["points"])
    world = click_in_image(qtbot, viewer, c, 25, 50)
    [point] = c.prompts.all[0, 1].points
    assert (point.x, point.y) == pytest.approx((50, 25), abs=1)
    assert c.results.layer.get_value(world, world=True) == 1
    outside = c.image.data_to_world((0, 2, 25 + 12, 50))
    assert c.results.layer.get_value(outside, world=True) == 0


@pytest.mark.gui
@windowed
def test_moving_z_in_mid_work_and_back_loses_nothing(qtbot, start):
    viewer, dock = start()
    c = dock.controller
    press_button(qtbot, dock.tools.buttons["points"])
    click_in_image(qtbot, viewer, c, 20, 30)
    press_button(qtbot, dock.tracking.forward)
    qtbot.waitUntil(lambda: c.propagation.outcome == "finished" and c.status.phase == "ready", timeout=WAIT)
    below, kept = c.results.layer, [np.array(c.results.labels(t)) for t in range(5)]
    assert all(labels.any() for labels in kept)

    move_to(qtbot, viewer, dock, 3)
    assert c.prompts.all == {}
    assert dock.objects.model.rowCount() == 0
    c.frame = 0
    click_in_image(qtbot, viewer, c, 40, 60)
    assert [p.points[0].y for p in c.prompts.all.values()] == pytest.approx([40], abs=1)
    above = c.results.layer
    assert above is not below
    assert not below.editable, "what is painted on a plane where nobody works would be lost"
    for t, labels in enumerate(kept):
        np.testing.assert_array_equal(np.asarray(below.data[t, 0]), labels)

    move_to(qtbot, viewer, dock, 2)
    assert c.results.layer is below
    assert below.editable
    assert set(c.prompts.all) == {(0, 1)}
    np.testing.assert_array_equal(c.results.labels(4), kept[4])
    names = [layer.name for layer in viewer.layers]
    assert len(names) == 4, names  # the volume, points, and results of two planes
    c.results.layer.fill((0, 0, 2, 2), 1)
    qtbot.waitUntil(lambda: c.prompts.all[0, 1].mask is not None, timeout=WAIT)


@pytest.mark.gui
@windowed
def test_moving_z_while_it_tracks_stops_and_keeps_what_is_done(qtbot, start, opened):
    viewer, dock = start()
    c = dock.controller
    press_button(qtbot, dock.tools.buttons["points"])
    click_in_image(qtbot, viewer, c, 20, 30)
    session = opened.session
    session.gate = threading.Semaphore(3)
    press_button(qtbot, dock.tracking.forward)
    qtbot.waitUntil(lambda: c.propagation.done == 3, timeout=WAIT)
    viewer.dims.set_point(1, 0)
    qtbot.waitUntil(lambda: dock.banner.button.text() == "Work here", timeout=WAIT)
    press_button(qtbot, dock.banner.button)
    session.gate.release(10)
    qtbot.waitUntil(lambda: c.status.phase == "ready" and c.propagation.phase == "idle", timeout=WAIT)
    assert session.closed
    assert c.prompts.all == {}
    move_to(qtbot, viewer, dock, 2)
    assert [t for t in range(5) if c.results.labels(t).any()][:3] == [0, 1, 2]


@pytest.mark.gui
@windowed
def test_a_dock_that_is_opened_again_goes_on_with_its_layers(qtbot, start):
    viewer, dock = start()
    c = dock.controller
    for tool in ("points", "box"):
        press_button(qtbot, dock.tools.buttons[tool])
    c.prompts.add_point(30, 20)
    c.objects.add()
    c.prompts.add_box(40, 30, 60, 50)
    c.prompts.ensure_layer("labels").fill((0, 0, 2, 2), 7)
    qtbot.waitUntil(lambda: len(c.prompts.all) == 3 and c.results.layer is not None, timeout=WAIT)
    qtbot.waitUntil(lambda: c.status.phase == "ready", timeout=WAIT)
    said, layers = c.prompts.all, list(viewer.layers)
    viewer.window.remove_dock_widget(dock)
    qtbot.waitUntil(lambda: c.closed, timeout=WAIT)
    viewer.layers.selection = {c.prompts.layers[0]} if c.prompts.layers else set()

    viewer, dock = start(viewer)
    again = dock.controller
    qtbot.waitUntil(lambda: again.status.phase == "ready" and again.prompts.all == said, timeout=WAIT)
    assert list(viewer.layers) == layers
    points = again.prompts.layer("points")
    points.selected_data = {0}
    points.remove_selected()
    qtbot.waitUntil(lambda: (0, 1) not in again.prompts.all, timeout=WAIT)


def test_a_copy_of_the_results_is_an_array_and_a_copy_of_points_is_nobody_s(fake, preferences):
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros(SHAPE, np.uint8), name="volume")
    viewer.dims.set_point(1, 2)
    opener = Saving(fake)
    c = open_tracker(viewer, image, opener=opener, preferences=preferences)
    c.wait()
    c.prompts.add_point(30, 20, frame=0)
    c.wait()
    data, state, _ = c.results.layer.as_layer_data_tuple()
    snapshot = viewer.add_labels(copy.deepcopy(data), **{**state, "name": "copy"})
    assert isinstance(snapshot.data, np.ndarray)
    np.testing.assert_array_equal(snapshot.data[0, 0], c.results.labels(0))
    points, state, _ = c.prompts.layer("points").as_layer_data_tuple()
    twin = viewer.add_points(copy.deepcopy(points), **copy.deepcopy(state))
    c.close()
    c = open_tracker(viewer, image, opener=opener, preferences=preferences)
    c.wait()
    assert twin not in c.prompts.layers
    assert len(c.prompts.all[0, 1].points) == 1
    c.close()

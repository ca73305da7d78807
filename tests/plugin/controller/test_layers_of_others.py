"""Layers of the user's own, and layers that fail: nothing is lost, and the tracker can always be closed."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_sam2.plugin.qt.open_tracker import find_controller, open_tracker

SHAPE = (6, 40, 60)


@pytest.fixture
def world(fake, preferences):
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros(SHAPE, np.uint8), name="movie")
    viewer.dims.set_point(0, 0)
    controller = open_tracker(viewer, image, opener=fake, preferences=preferences)
    controller.wait()
    yield viewer, image, controller, fake
    controller.close()
    assert controller.closed


def reports(controller):
    found = []
    controller.events.error.connect(found.append)
    return found


def add_layer(viewer, kind):
    """Return a layer that marks one object on frame 0, and a function that marks another place on it."""
    if kind == "points":
        layer = viewer.add_points([[0, 20, 20]], name="mine")
        return layer, lambda: layer.add([0, 25, 30])
    if kind == "shapes":
        corners = np.array([[0, 5, 5], [0, 5, 20], [0, 20, 20], [0, 20, 5]])
        layer = viewer.add_shapes([corners], shape_type="rectangle", name="mine")
        return layer, lambda: layer.add([corners + [0, 10, 10]], shape_type="rectangle")
    data = np.zeros(SHAPE, np.int32)
    data[0, 5:20, 5:20] = 1
    layer = viewer.add_labels(data, name="mine")
    return layer, lambda: layer.paint((0, 30, 40), 1)


def fail(*args):
    raise RuntimeError("the layer is broken")


# The first thing of each link that an event of its layer needs.
FAILING = {"points": "restyle", "shapes": "read", "labels": "_read_frame"}


@pytest.mark.parametrize("kind", list(FAILING))
def test_a_layer_that_raises_in_an_event_is_reported_and_the_rest_goes_on(world, kind):
    viewer, image, c, fake = world
    layer, mark = add_layer(viewer, kind)
    c.prompts.attach(layer)
    c.wait()
    before = fake.session.prompts[0, 1]
    link = c.prompts._layers._links[id(layer)]
    setattr(link, FAILING[kind], fail)
    heard = reports(c)
    mark()
    c.wait()
    assert [r.title for r in heard] == ["Reading prompts"]
    assert heard[0].message.startswith("'mine' is not read any more: the layer is broken. The prompts")
    assert "RuntimeError" in heard[0].details
    assert fake.session.prompts[0, 1] == before  # what it gave stays
    assert layer not in c.prompts.layers

    c.prompts.add_point(40, 20, object_id=2)  # other layers go on
    c.wait()
    assert set(fake.session.prompts) == {(0, 1), (0, 2)}
    c.prompts.attach(layer)  # mended: with the mark that came meanwhile
    c.wait()
    assert len(heard) == 1
    assert fake.session.prompts[0, 1] != before
    layer.name = "renamed"
    viewer.layers.remove(layer)
    c.wait()
    assert set(fake.session.prompts) == {(0, 1), (0, 2)}
    c.close()
    assert c.closed
    assert find_controller(viewer, [image]) is None


@pytest.mark.parametrize("kind", list(FAILING))
def test_a_layer_that_fails_on_every_access_does_not_keep_the_tracker_open(world, kind, monkeypatch):
    viewer, image, c, fake = world
    layer, _ = add_layer(viewer, kind)
    c.prompts.attach(layer)
    c.wait()
    link = c.prompts._layers._links[id(layer)]
    for name in ("read", "write", "restyle", "set_defaults", "close"):
        setattr(link, name, fail)
    viewer.layers.remove(layer)
    assert layer not in c.prompts.layers
    c.wait()
    assert (0, 1) in fake.session.prompts
    viewer.layers.remove(image)
    assert c.closed
    assert fake.session.closed


def test_closing_comes_to_its_end_whatever_fails(world, monkeypatch):
    viewer, image, c, fake = world
    c.prompts.add_point(20, 20)
    c.wait()
    heard, order = reports(c), []
    for part in (c.results, c.prompts, c._connections):
        monkeypatch.setattr(part, "close", fail)
    c.events.closed.connect(lambda: order.append("closed"))
    c.replies.post(fail)
    c.replies.post(lambda: order.append("reply"))
    c.close()
    assert c.closed
    assert fake.session.closed
    assert order == ["reply", "closed"]
    assert {(r.title, r.message) for r in heard} == {("Closing", "the layer is broken")}
    assert find_controller(viewer, [image]) is None


def test_a_listener_that_raises_is_reported_and_the_prompts_of_the_layer_stay(world):
    viewer, _, c, fake = world
    layer = c.prompts.ensure_layer("points")
    heard = reports(c)
    c.events.prompts.connect(fail)
    layer.add([0, 20, 20])
    c.events.prompts.disconnect(fail)
    assert [r.title for r in heard] == ["Reading prompts"]
    assert layer in c.prompts.layers
    layer.add([0, 25, 20])
    c.wait()
    assert len(fake.session.prompts[0, 1].points) == 2


def test_labels_that_are_no_object_ids_are_renumbered_and_the_layer_keeps_them(world):
    viewer, _, c, fake = world
    c.prompts.add_point(50, 5, object_id=1)
    c.wait()
    data = np.zeros(SHAPE, np.int32)
    data[0, :4], data[0, 10:14, 10:14], data[2, 20:24, 20:24] = -1, 70000, 3
    before = data.copy()
    layer = viewer.add_labels(data, name="TrackMate")
    heard = reports(c)
    c.prompts.attach(layer)
    c.wait()
    assert [r.message for r in heard] == [
        "'TrackMate': negative labels are background; object ids are 1 to 65535, so others were renumbered "
        "(70000 → 2)"
    ]
    assert set(fake.session.prompts) == {(0, 1), (0, 2), (2, 3)}
    assert (fake.session.prompts[0, 2].mask.array() == (before[0] == 70000)).all()
    np.testing.assert_array_equal(layer.data, before)
    c.objects.select([2])
    assert layer.selected_label == 70000
    c.objects.select([3])
    c.prompts.clear(frame=2)
    np.testing.assert_array_equal(layer.data[0], before[0])
    assert not layer.data[2].any()
    c.wait()
    c.undo()
    c.wait()
    np.testing.assert_array_equal(layer.data, before)
    c.prompts.detach(layer)
    c.prompts.attach(layer)  # the same objects as before
    c.wait()
    assert set(fake.session.prompts) == {(0, 1), (0, 2), (2, 3)}
    layer.paint((1, 30, 30), 70001)  # as with napari's key for an unused label
    viewer.dims.set_point(0, 1)
    layer.paint((1, 32, 30), 70001)
    c.wait()
    assert heard[-1].message.endswith("(70001 → 4)")
    assert (1, 4) in fake.session.prompts


def test_floats_are_refused_by_napari_with_a_remedy_before_they_can_be_attached(world):
    viewer, _, c, _ = world
    with pytest.raises(TypeError, match="[Ii]nteger"):
        viewer.add_labels(np.zeros(SHAPE, np.float32))
    image = viewer.add_image(np.zeros(SHAPE, np.float32), name="labels")
    with pytest.raises(TypeError, match="'labels' is no Points, Shapes or Labels layer"):
        c.prompts.attach(image)


def test_large_layers_are_refused_with_the_remedy(world, monkeypatch):
    from napari_sam2.plugin.layers import paint_layer

    monkeypatch.setattr(paint_layer, "_SCANNED_BYTES", 10)
    viewer, _, c, fake = world
    data = np.zeros(SHAPE, np.int32)
    data[0, 10:14, 10:14] = 70000
    layer = viewer.add_labels(data, name="big")
    heard = reports(c)
    c.prompts.attach(layer)
    layer.paint((0, 30, 30), 2)
    c.wait()
    assert len(heard) == 1
    assert "'big' is not read any more: it has the label 70000, object ids are 1 to 65535" in heard[0].message
    assert "relabel_sequential" in heard[0].message
    assert not fake.session.prompts


def test_marks_without_a_valid_object_are_counted_when_their_layer_is_attached(world):
    viewer, _, c, fake = world
    layer = viewer.add_points(
        [[0, 20, 20], [0, 25, 30], [0, 30, 10]], features={"object_id": [70000, 2, -1]}, name="mine"
    )
    heard = reports(c)
    c.prompts.attach(layer)
    c.wait()
    assert [r.message for r in heard] == [
        "'mine': 2 of 3 marks are not read, because their object_id is no whole number from 1 to 65535: correct it "
        "in the layer's features"
    ]
    assert set(fake.session.prompts) == {(0, 2)}


def test_an_error_while_painting_on_the_results_is_reported_and_undone_on_the_layer(world, monkeypatch):
    viewer, image, c, fake = world
    c.prompts.add_point(20, 20, object_id=1)
    c.wait()
    layer, shown = c.results.layer, c.results.labels(0).copy()
    assert shown.any()
    heard = reports(c)
    monkeypatch.setattr(c.results, "_on_paint", fail)
    layer.paint((0, 30, 45), 1)
    layer.fill((0, 35, 50), 1)
    c.wait()
    assert {(r.title, r.message) for r in heard} == {("Painting", "the layer is broken")}
    np.testing.assert_array_equal(c.results.labels(0), shown)  # nothing is shown that is not saved
    monkeypatch.undo()
    layer.paint((0, 30, 45), 1)
    c.wait()
    assert fake.session.prompts[0, 1].mask.array()[30, 45]

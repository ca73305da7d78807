"""The controller without a window and without a network: layers in, layers and signals out."""

from __future__ import annotations

import time

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_sam2.plugin.qt.open_tracker import find_controller, open_tracker
from napari_sam2.plugin.state import Preferences
from napari_sam2.prompts import BoxPrompt, PointPrompt, Prompt


@pytest.fixture
def world(fake, preferences):
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((10, 40, 60), np.uint8), name="movie")
    viewer.dims.set_point(0, 0)
    controller = open_tracker(viewer, image, opener=fake, preferences=preferences)
    controller.wait()
    yield viewer, image, controller, fake
    controller.close()


def heard(controller, name):
    found = []
    getattr(controller.events, name).connect(lambda *args: found.append(args[0] if args else None))
    return found


def disc_center(labels, object_id):
    rows, columns = np.nonzero(labels == object_id)
    return round(float(columns.mean()), 3), round(float(rows.mean()), 3)


def test_one_click_becomes_a_mask_at_the_click(world):
    viewer, _, c, fake = world
    layer = c.prompts.ensure_layer("points")
    viewer.dims.set_point(0, 3)
    layer.add([3, 20, 30])
    c.wait()
    assert fake.session.prompts == {(3, 1): Prompt((PointPrompt(30, 20),))}
    assert disc_center(c.results.layer.data[3], 1) == (30, 20)
    assert not c.results.layer.data[2].any()
    assert c.objects.ids == (1,)
    assert c.objects.active == 1


def test_a_status_is_ready_only_when_every_answer_is_shown(world):
    _, _, c, _ = world
    c.prompts.add_point(10, 10)
    c.objects.add()
    c.prompts.add_point(30, 30)
    worker = c._context.session.worker
    while worker.pending:  # all answers are in the queue, none is handled
        c.replies.wait(0.01)
    c.process(0)  # handles one
    assert len(c.replies)
    assert c.status.phase == "working"
    c.process()
    assert c.status.phase == "ready"
    assert set(np.unique(c.results.labels(0))) == {0, 1, 2}


def test_the_session_is_used_by_its_own_thread_only(world):
    _, _, c, fake = world
    c.prompts.add_point(30, 20)
    c.propagate()
    c.wait()
    assert fake.session.threads == {"napari-sam2 session"}


def test_moving_and_deleting_a_point_moves_and_deletes_the_mask(world):
    _, _, c, fake = world
    c.prompts.add_point(30, 20)
    layer = c.prompts.layer("points")
    layer.data = np.array([[0, 10.0, 12.0]])
    c.wait()
    assert disc_center(c.results.layer.data[0], 1) == (12, 10)
    layer.selected_data = {0}
    layer.remove_selected()
    c.wait()
    assert not c.results.layer.data[0].any()
    assert fake.session.prompts == {}


def test_active_object_and_sign_decide_about_new_points_whatever_is_selected(world):
    _, _, c, fake = world
    c.prompts.add_point(10, 10)
    layer = c.prompts.layer("points")
    c.objects.add("second")
    c.prompts.positive = False
    layer.selected_data = {0}  # napari makes the features of selected points the defaults
    layer.add([0, 5, 6])
    c.wait()
    assert fake.session.prompts[0, 2] == Prompt((PointPrompt(6, 5, False),))
    assert [str(s) for s in layer.symbol] == ["disc", "x"]


def test_editing_features_moves_a_point_to_another_object(world):
    _, _, c, fake = world
    c.prompts.add_point(10, 10)
    layer = c.prompts.layer("points")
    features = layer.features.copy()
    features["object_id"] = [4]
    layer.features = features
    c.wait()
    assert set(fake.session.prompts) == {(0, 4)}
    assert 4 in c.objects


def test_only_what_changed_is_asked_for(world):
    _, _, c, fake = world
    c.prompts.add_point(10, 10, frame=0)
    c.prompts.add_point(20, 20, frame=5)
    c.wait()
    before = len(fake.session.calls)
    c.prompts.add_point(22, 20, frame=5)
    c.prompts.refresh()
    c.prompts.refresh()
    c.wait()
    assert [call[:3] for call in fake.session.calls[before:]] == [("prompt", 5, 1)]


def test_newer_click_supersedes_a_queued_one(world):
    _, _, c, fake = world
    c.prompts.add_point(10, 10, frame=9)
    c.propagate("backward")
    fake.session.gate = __import__("threading").Semaphore(0)
    c.wait(until=lambda: c.propagation.phase == "idle" or ("propagate" in {x[0] for x in fake.session.calls}))
    for x in range(10, 20):  # the thread is held inside a step
        c.prompts.add_point(x, 10, frame=3)
    fake.session.gate.release(1000)
    c.wait()
    asked = [call for call in fake.session.calls if call[:3] == ("prompt", 3, 1)]
    assert len(asked) < 10
    assert len(asked[-1][3].points) == 10


def test_propagation_follows_shows_and_reports(world):
    viewer, _, c, _ = world
    progress = heard(c, "propagation")
    c.prompts.add_point(20, 20)
    c.propagate()
    c.wait()
    assert disc_center(c.results.layer.data[7], 1) == (27, 20)
    assert progress[-1].phase == "idle"
    assert progress[-1].outcome == "finished"
    assert (progress[-1].done, progress[-1].total) == (10, 10)
    assert c.objects.state(1).present == 10
    assert viewer.dims.current_step[0] > 0


def test_following_ends_when_the_user_goes_elsewhere(world):
    viewer, _, c, fake = world
    c.prompts.add_point(20, 20)
    c.wait()
    fake.session.gate = gate = __import__("threading").Semaphore(3)
    c.propagate()
    c.wait(until=lambda: c.propagation.done == 3)
    viewer.dims.set_point(0, 8)
    gate.release(1000)
    c.wait()
    assert c.frame == 8


def test_stop_keeps_what_is_done(world):
    _, _, c, fake = world
    c.prompts.add_point(20, 20)
    c.wait()
    fake.session.gate = gate = __import__("threading").Semaphore(4)
    c.propagate()
    c.wait(until=lambda: c.propagation.done == 4)
    c.stop()
    assert c.propagation.phase == "stopping"
    gate.release(1)  # the frame that is being computed is finished
    c.wait()
    assert c.propagation.outcome == "stopped"
    assert c.objects.state(1).last in (3, 4)
    assert c.results.layer.data[3].any()
    assert not c.results.layer.data[6].any()


def test_click_during_propagation_pauses_applies_and_goes_on(world):
    _, _, c, fake = world
    c.prompts.add_point(20, 10, object_id=1)
    c.wait()
    fake.session.gate = gate = __import__("threading").Semaphore(6)
    phases = heard(c, "propagation")
    c.propagate()
    c.wait(until=lambda: c.propagation.done == 6)
    c.prompts.add_point(30, 30, frame=4, object_id=1)  # a correction behind the front
    gate.release(1000)
    c.wait()
    assert "paused" in {p.phase for p in phases}
    assert c.propagation.outcome == "finished"
    assert disc_center(c.results.layer.data[4], 1) == (30, 30)
    assert disc_center(c.results.layer.data[6], 1) == (32, 30)  # tracked again from the correction
    assert disc_center(c.results.layer.data[9], 1) == (35, 30)
    order = [x[0] if x[0] != "step" else x[1] for x in fake.session.calls if x[0] != "object"]
    assert order[order.index("prompt", 2) + 1 :].count("propagate") == 1


def test_new_object_during_propagation_joins_in(world):
    _, _, c, fake = world
    c.prompts.add_point(20, 10, object_id=1)
    c.wait()
    fake.session.gate = gate = __import__("threading").Semaphore(3)
    c.propagate()
    c.wait(until=lambda: c.propagation.done == 3)
    c.prompts.add_point(10, 30, frame=5, object_id=2)
    gate.release(1000)
    c.wait()
    assert disc_center(c.results.layer.data[8], 2) == (13, 30)


def test_ranges_and_directions(world):
    _, _, c, fake = world
    c.prompts.add_point(20, 20, frame=5)
    c.wait()

    def steps(*args, **kwargs):
        before = len(fake.session.calls)
        c.propagate(*args, **kwargs)
        c.wait()
        return [call[1] for call in fake.session.calls[before:] if call[0] == "step"]

    assert steps("forward") == [5, 6, 7, 8, 9]
    assert steps("backward") == [5, 4, 3, 2, 1, 0]
    assert steps("both") == [5, 6, 7, 8, 9, 5, 4, 3, 2, 1, 0]
    assert steps("forward", start=6, stop=7) == [6, 7]
    assert steps("both", start=4, stop=6) == [4, 5, 6, 6, 5, 4]
    c.frame = 5
    assert steps("forward", count=2) == [5, 6, 7]
    c.frame = 5  # the viewer followed
    assert steps("both", count=1) == [5, 6, 5, 4]
    with pytest.raises(ValueError, match="direction"):
        c.propagate("sideways")


def test_propagating_nothing_says_what_to_do(world):
    _, _, c, _ = world
    errors = heard(c, "error")
    c.propagate()
    c.wait()
    assert "click on an object first" in errors[-1].message
    assert c.propagation.outcome == "failed"


def test_locked_objects_are_left_as_they_are(world):
    _, _, c, fake = world
    c.prompts.add_point(10, 10, object_id=1)
    c.prompts.add_point(30, 30, object_id=2)
    c.wait()
    c.objects.lock([1])
    c.prompts.add_point(50, 10, object_id=1)
    c.propagate()
    c.wait()
    assert [x[4] for x in fake.session.calls if x[0] == "propagate"] == [(2,)]
    assert len(fake.session.prompts[0, 1].points) == 1
    c.objects.lock([1], False)
    c.wait()
    assert len(fake.session.prompts[0, 1].points) == 2


def test_undo_and_redo_bring_layers_back(world):
    _, _, c, fake = world
    c.prompts.add_point(10, 10)
    c.prompts.add_region([(20, 20), (30, 20), (30, 30)], object_id=2)
    c.wait()
    assert [str(t) for t in c.prompts.layer("shapes").shape_type] == ["polygon"]
    c.undo()
    c.wait()
    assert len(c.prompts.layer("shapes").data) == 0
    assert set(c.prompts.all) == {(0, 1)}
    assert c.objects.ids == (1,)
    c.undo()
    c.wait()
    assert len(c.prompts.layer("points").data) == 0
    assert not c.history.can_undo
    before = len(fake.session.calls)
    c.redo()
    c.redo()
    c.wait()
    np.testing.assert_allclose(c.prompts.layer("points").data, [[0, 10, 10]])
    assert [str(t) for t in c.prompts.layer("shapes").shape_type] == ["polygon"]
    assert fake.session.calls[before:] == []  # layers that are put back ask for nothing


def test_undo_of_a_propagation_takes_the_timeline_back(world):
    _, _, c, _ = world
    c.prompts.add_point(10, 10)
    c.propagate()
    c.wait()
    assert c.objects.state(1).present == 10
    c.undo()
    c.wait()
    c.wait(until=lambda: c.objects.state(1).present == 1, timeout=10)
    assert not c.results.layer.data[5].any()


def test_deleting_objects_leaves_the_others(world):
    _, _, c, fake = world
    for object_id in (1, 2, 3):
        c.prompts.add_point(10 * object_id, 10, object_id=object_id)
    c.wait()
    kept = fake.session.content.masks[0, 2].copy()
    c.objects.delete([1, 3])
    c.wait()
    assert c.objects.ids == (2,)
    assert c.objects.active == 2
    assert len(c.prompts.layer("points").data) == 1
    np.testing.assert_array_equal(fake.session.content.masks[0, 2], kept)
    assert set(np.unique(c.results.layer.data[0])) == {0, 2}
    c.undo()
    c.wait()
    assert c.objects.ids == (1, 2, 3)
    assert len(c.prompts.layer("points").data) == 3
    assert c.objects.add() == 4  # ids are never used twice


def test_names_colours_solo_and_selection(world):
    _, _, c, fake = world
    rows = heard(c, "objects")
    first = c.objects.add("cell", (1, 2, 3))
    second = c.objects.add()
    c.objects.rename(second, "other")
    c.objects.recolor(second, (9, 9, 9))
    c.prompts.add_point(10, 10, object_id=second)
    c.wait()
    assert (fake.session.objects[1].name, fake.session.objects[1].color) == ("cell", (1, 2, 3))
    assert fake.session.objects[2].color == (9, 9, 9)
    c.objects.show_alone([first])
    colors = c.results.layer.colormap.color_dict
    assert colors[2][3] == 0
    assert colors[1][3] == 1
    assert not rows[-1][1].visible
    c.objects.select([first, second])
    assert c.objects.active == second
    assert c.objects.step() == first
    assert c.objects.step() == second
    with pytest.raises(ValueError, match="does not exist"):
        c.objects.active = 99


def test_a_box_a_region_and_an_eraser(world):
    _, _, c, fake = world
    shapes = c.prompts.ensure_layer("shapes")
    box = [[0, 5, 6], [0, 5, 16], [0, 15, 16], [0, 15, 6]]
    shapes.add([box], shape_type="rectangle")
    c.wait()
    assert fake.session.prompts[0, 1].box == BoxPrompt(6, 5, 16, 15)
    c.prompts.positive = False
    shapes.add([[[0, 0, 0], [0, 0, 60], [0, 10, 60], [0, 10, 0]]], shape_type="polygon")
    c.wait()
    mask = fake.session.prompts[0, 1].mask.array()
    assert not mask[:10].any()  # erased from the mask that was shown
    assert mask[11:].any()
    assert fake.session.prompts[0, 1].box is not None


def test_painting_makes_mask_prompts(world):
    _, _, c, fake = world
    layer = c.prompts.ensure_layer("labels")
    c.objects.add()
    layer.brush_size = 5
    layer.paint((2, 20, 20), layer.selected_label)
    c.wait()
    assert fake.session.prompts[2, 1].mask.array()[20, 20]
    layer.undo()
    c.wait()
    assert fake.session.prompts == {}


def test_painting_on_the_results_corrects_them(world):
    _, _, c, fake = world
    c.prompts.add_point(20, 20)
    c.wait()
    before = fake.session.content.masks[0, 1]
    c.results.layer.brush_size = 9
    c.results.layer.paint((0, 20, 26), 1)
    c.wait()
    mask = fake.session.prompts[0, 1].mask.array()
    assert mask.sum() > before.sum()
    assert (mask | ~before).all()
    assert fake.session.prompts[0, 1].points == ()  # the click is contained in the painted mask
    assert len(c.prompts.layer("points").data) == 1
    c.prompts.add_point(40, 20)  # a new click counts beside it
    c.wait()
    assert fake.session.prompts[0, 1].points == (PointPrompt(40, 20),)
    assert fake.session.prompts[0, 1].mask is not None


def test_alternatives_are_cycled_and_come_round(world):
    _, _, c, fake = world
    c.prompts.add_point(20, 20)
    c.wait()
    seen = []
    for _ in range(3):
        c.prompts.cycle_alternative()
        c.wait()
        seen.append(fake.session.prompts[0, 1])
    assert seen[0].mask.array()[:4, :4].all()
    assert seen[0].points == ()
    assert seen[2] == Prompt((PointPrompt(20, 20),))
    c.frame = 7
    with pytest.raises(ValueError, match="click on it first"):
        c.prompts.cycle_alternative()


def test_masks_from_elsewhere_seed_objects(world):
    _, _, c, fake = world
    masks = {3: np.zeros((40, 60), bool), 9: np.zeros((40, 60), bool)}
    masks[3][:5, :5] = masks[9][3:8, 3:8] = True  # overlapping
    c.prompts.set_masks(masks, frame=2)
    c.wait()
    assert c.objects.ids == (3, 9)
    assert fake.session.prompts[2, 9].mask.array()[3, 3]
    assert fake.session.prompts[2, 3].mask.array()[3, 3]
    with pytest.raises(ValueError, match="resize the mask"):
        c.prompts.set_masks({1: np.ones((5, 5))})


def test_failing_prompt_is_reported_and_the_session_goes_on(world):
    _, _, c, fake = world
    errors = heard(c, "error")
    fake.session.fail_on = lambda call: call == "prompt"
    c.prompts.add_point(20, 20)
    c.wait()
    assert errors[-1].title == "Prompting object 1 on frame 0"
    assert errors[-1].message == "prompt broke"
    assert "Traceback" in errors[-1].details
    fake.session.fail_on = lambda call: False
    c.prompts.add_point(22, 20)
    c.wait()
    assert len(fake.session.prompts[0, 1].points) == 2


def test_failing_frame_ends_the_propagation_and_keeps_the_rest(world):
    _, _, c, fake = world
    errors = heard(c, "error")
    c.prompts.add_point(20, 20)
    c.wait()
    fake.session.fail_on = lambda call: call == "frame 4"
    c.propagate()
    c.wait()
    assert c.propagation.outcome == "failed"
    assert errors[-1].message == "frame 4 broke"
    assert c.results.layer.data[3].any()
    fake.session.fail_on = lambda call: False
    c.propagate()
    c.wait()
    assert c.results.layer.data[9].any()


def test_deleted_layers_lose_nothing(world):
    viewer, _, c, fake = world
    c.prompts.add_point(20, 20)
    c.prompts.add_box(1, 1, 9, 9, object_id=2)
    c.wait()
    viewer.layers.remove(c.prompts.layer("points"))
    viewer.layers.remove(c.results.layer)
    c.prompts.refresh()
    c.wait()
    assert set(fake.session.prompts) == {(0, 1), (0, 2)}
    assert c.prompts.layer("points") is None
    assert c.results.layer is None
    np.testing.assert_allclose(c.prompts.ensure_layer("points").data, [[0, 20, 20]])
    assert disc_center(c.results.ensure_layer().data[0], 1) == (20, 20)
    c.prompts.add_point(30, 20)
    c.wait()
    assert len(fake.session.prompts[0, 1].points) == 2


def test_deleting_the_image_closes_and_saves(world):
    viewer, image, c, fake = world
    c.prompts.add_point(20, 20)
    viewer.layers.remove(image)
    assert c.closed
    assert fake.session.closed
    assert (0, 1) in fake.session.prompts  # what was asked for was still answered
    with pytest.raises(RuntimeError, match="closed"):
        c.propagate()


def test_renaming_hiding_and_reordering_change_nothing(world):
    viewer, image, c, fake = world
    c.prompts.add_point(20, 20)
    c.wait()
    calls = len(fake.session.calls)
    image.name = "renamed"
    c.prompts.layer("points").name = "mine"
    c.prompts.layer("points").visible = False
    viewer.layers.move(0, 2)
    c.wait()
    assert len(fake.session.calls) == calls
    c.prompts.add_point(25, 20)
    c.wait()
    assert len(fake.session.prompts[0, 1].points) == 2


def test_replaced_pixels_open_another_session_with_the_same_prompts(world):
    _, image, c, fake = world
    c.prompts.add_point(20, 20)
    c.wait()
    image.data = np.ones((10, 40, 60), np.uint8)
    c.wait()
    assert len(fake.sessions) == 2
    assert fake.sessions[0].closed
    assert set(fake.session.prompts) == {(0, 1)}
    image.data = np.ones((4, 30, 30), np.uint8)
    c.wait()
    assert c.n_frames == 4
    assert fake.session.size == (30, 30)
    assert c.objects.state(1).present == 1


def test_another_model_keeps_prompts(world):
    _, _, c, fake = world
    c.prompts.add_point(20, 20)
    c.objects.rename(1, "cell")
    c.wait()
    c.load_model("tiny")
    assert c.model.phase == "loading"
    c.prompts.add_point(25, 20)  # while it loads
    c.wait()
    assert c.model.phase == "ready"
    assert fake.specs[-1].choice.name == "tiny"
    assert len(fake.session.prompts[0, 1].points) == 2
    assert fake.session.objects[1].name == "cell"


def test_model_that_cannot_be_loaded_says_so_and_another_can(fake, preferences):
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((3, 20, 20), np.uint8))
    fake.error = OSError("no such weights")
    c = open_tracker(viewer, image, opener=fake, preferences=preferences)
    errors = heard(c, "error")
    c.prompts.add_point(5, 5)
    c.wait()
    assert c.model.phase == "failed"
    assert errors[-1].message == "no such weights"
    with pytest.raises(RuntimeError, match="no session"):
        c.propagate()
    fake.error = None
    c.load_model("nano")
    c.wait()
    assert set(fake.session.prompts) == {(2, 1)} or set(fake.session.prompts) == {(1, 1)}
    c.close()


def test_resumed_project_fills_layers_and_timeline(fake, preferences):
    first = ViewerModel()
    c = open_tracker(
        first, first.add_image(np.zeros((6, 30, 30), np.uint8)), opener=fake, preferences=preferences
    )
    c.wait()
    c.prompts.add_point(5, 5, frame=0)
    c.prompts.add_box(10, 10, 20, 20, frame=1, object_id=2)
    c.prompts.set_masks({3: np.eye(30)}, frame=2)
    c.objects.rename(2, "boxed")
    c.propagate()
    c.wait()
    fake.saved = fake.session.content
    c.close()
    viewer = ViewerModel()
    again = open_tracker(
        viewer, viewer.add_image(np.zeros((6, 30, 30), np.uint8)), opener=fake, preferences=preferences
    )
    again.wait()
    assert again.project.resumed
    assert again.prompts.all == fake.saved.prompts
    assert fake.session.calls == []  # nothing is asked for again
    assert again.objects.state(2).name == "boxed"
    again.wait(until=lambda: again.objects.state(1).present == 6, timeout=10)
    assert len(again.prompts.layer("points").data) == 1
    assert again.results.layer.data[5].any()
    again.close()


def test_one_controller_for_each_image_and_viewer(world, fake, preferences):
    viewer, image, c, _ = world
    assert open_tracker(viewer, image) is c
    other = ViewerModel()
    other.layers.append(image)
    second = open_tracker(other, image, opener=fake, preferences=preferences)
    assert second is not c
    copied = viewer.add_image(image.data, metadata=dict(image.metadata))
    assert find_controller(viewer, [copied]) is None
    second.close()
    assert find_controller(other, [image]) is None
    assert find_controller(viewer, [image]) is c


def test_uncertain_frames_are_found_from_where_the_viewer_is(world):
    _, _, c, fake = world
    c.prompts.add_point(20, 20)
    c.propagate()
    c.wait()
    assert not c.go_to_uncertain()
    session = fake.session
    session.content.masks[6, 1] = np.zeros((40, 60), bool)
    c._session.worker.load_facts()
    c.wait(until=lambda: c.timeline.row(1).uncertainty.max() > 0.5, timeout=10)
    c.frame = 0
    assert c.go_to_uncertain()
    assert c.frame in (6, 7)
    assert not c.go_to_uncertain()
    c.frame = 9
    assert c.go_to_uncertain(-1)


def test_neighbours_are_encoded_while_nothing_else_is_to_do(fake, preferences):
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((9, 20, 20), np.uint8))
    viewer.dims.set_point(0, 4)
    ahead = Preferences(autosave_folder=preferences.autosave_folder, encode_ahead=1)
    c = open_tracker(viewer, image, opener=fake, preferences=ahead)
    c.wait()
    c.frame = 5
    c.wait(until=lambda: len(fake.session.encoded) >= 3, timeout=10)
    assert fake.session.encoded[-3:] == [5, 6, 4]
    time.sleep(0.4)
    assert len(fake.session.encoded) == len(set(fake.session.encoded))
    c.close()


def test_results_of_last_time_are_shown_also_when_there_is_none_on_the_frame_that_is_shown(world):
    viewer, image, c, fake = world
    c.objects.add()
    c.prompts.add_point(10, 10)
    c.wait()
    fake.saved = fake.session.content
    c.close()
    later = ViewerModel()
    later.add_image(image.data, name="other name")
    later.dims.set_point(0, 7)
    again = open_tracker(later, later.layers[0], opener=fake, preferences=Preferences())
    again.wait(until=lambda: again.results.layer is not None, timeout=30)
    assert again.results.layer in later.layers
    assert not again.results.labels(7).any()
    again.frame = 0
    assert again.results.labels(0).any()
    again.close()

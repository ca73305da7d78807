"""One thing that the user does is one step of undo, and undo and redo lead back and forth: no window, no network."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_sam2.plugin.qt.open_tracker import open_tracker
from napari_sam2.plugin.state import HistoryState
from napari_sam2.prompts import BoxPrompt

SIZE = (40, 60)


@pytest.fixture
def c(fake, preferences):
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((10, *SIZE), np.uint8), name="movie")
    viewer.dims.set_point(0, 0)
    controller = open_tracker(viewer, image, opener=fake, preferences=preferences)
    controller.wait()
    yield controller
    controller.close()


def mask(x=20, y=10):
    found = np.zeros(SIZE, bool)
    found[y : y + 8, x : x + 8] = True
    return found


def world(c):
    """Everything that undo has to bring back."""
    return {
        "prompts": c.prompts.all,
        "objects": c.objects.infos,
        "labels": [c.results.labels(t).tobytes() for t in range(c.n_frames)],
        "marks": _marks(c),
    }


def _marks(c):
    points, shapes = c.prompts.layer("points"), c.prompts.layer("shapes")
    rows = [] if points is None else sorted(map(tuple, np.asarray(points.data).tolist()))
    return rows, [] if shapes is None else sorted(np.asarray(s).tolist() for s in shapes.data)


def two_objects(c):
    c.prompts.add_point(10, 20, object_id=1)
    c.wait()
    c.prompts.add_point(40, 20, object_id=2)
    c.wait()


def move_point(c):
    c.prompts.layer("points").data = np.array([[0, 22.0, 12.0], [0, 20.0, 40.0]])


def delete_points(c):
    layer = c.prompts.layer("points")
    layer.selected_data = {0, 1}
    layer.remove_selected()


def paint_results(c):
    labels = np.array(c.results.labels(0))
    labels[18:24, 8:44] = 1  # over both objects
    c.results.layer.data[0] = labels
    c.results.layer.events.paint(value=[])
    c.results.layer.events.labels_update(data=labels, offset=(0, 0))


def other_mask(c):
    c.objects.select([1])
    c.prompts.cycle_alternative()


def track_some(c):
    with c.undo_group("Track these"):
        c.prompts.set_masks({5: mask(2), 6: mask(30), 7: mask(48)})


GESTURES = {
    "Point on object 1, frame 0": lambda c: c.prompts.add_point(14, 22, object_id=1),
    "Point “not here” on object 1, frame 0": lambda c: c.prompts.add_point(14, 22, False, object_id=1),
    "Point on object 3, frame 4": lambda c: c.prompts.add_point(14, 22, frame=4, object_id=3),
    "Box on object 2, frame 0": lambda c: c.prompts.add_box(30, 10, 50, 30, object_id=2),
    "Region on object 1, frame 0": lambda c: c.prompts.add_region([(5, 5), (20, 5), (12, 25)], object_id=1),
    "Cut on object 1, frame 0": lambda c: c.prompts.add_region(
        [(5, 5), (20, 5), (12, 25)], False, object_id=1
    ),
    "Move point on object 1, frame 0": move_point,
    "Clear 2 objects, frame 0": delete_points,
    "Clear object 1, frame 0": lambda c: c.prompts.clear(0, 1),
    "Mask on object 9, frame 3": lambda c: c.prompts.set_masks({9: mask()}, 3),
    "Mask on 3 objects, frame 3": lambda c: c.prompts.set_masks({7: mask(), 8: mask(2), 9: mask(40)}, 3),
    "Paint on frame 0": paint_results,
    "Other mask of object 1, frame 0": other_mask,
    "Track these": track_some,
    "Add object 3": lambda c: c.objects.add(),
    "Rename object 1": lambda c: c.objects.rename(1, "alpha"),
    "Recolour object 2": lambda c: c.objects.recolor(2, (1, 2, 3)),
    "Lock object 1": lambda c: c.objects.lock([1]),
    "Lock 2 objects": lambda c: c.objects.lock([1, 2]),
    "Delete object 2": lambda c: c.objects.delete([2]),
    "Delete 2 objects": lambda c: c.objects.delete([1, 2]),
    "Track forward": lambda c: c.propagate(),
    "Track backward": lambda c: c.propagate("backward", start=6, stop=0),
    "Track both ways": lambda c: c.propagate("both"),
}


@pytest.mark.parametrize("label", GESTURES)
def test_one_gesture_is_one_step_that_undo_and_redo_lead_over(c, label):
    two_objects(c)
    before, steps = world(c), len(c.history.steps)
    if label == "Track backward":
        c.prompts.add_point(14, 22, frame=6, object_id=1)
        c.wait()
        before, steps = world(c), len(c.history.steps)
    GESTURES[label](c)
    c.wait()
    after = world(c)
    assert after != before
    assert c.history.undo_label == label
    assert (len(c.history.steps), c.history.applied) == (steps + 1, steps + 1)
    for _ in range(2):
        c.undo()
        c.wait()
        assert world(c) == before
        assert (c.history.redo_label, c.history.applied) == (label, steps)
        c.redo()
        c.wait()
        assert world(c) == after
    assert (c.history.undo_label, c.history.can_redo) == (label, False)


def test_what_changes_nothing_is_no_step(c):
    two_objects(c)
    steps = c.history.steps
    c.objects.rename(1, "")
    c.objects.lock([1], False)
    c.objects.delete([])
    c.prompts.refresh()
    c.objects.select([2])
    c.objects.show_alone([1])
    c.wait()
    assert c.history.steps == steps


def test_a_stopped_propagation_is_a_step_with_what_was_done(c, fake):
    two_objects(c)
    fake.session.gate = gate = threading.Semaphore(4)
    c.propagate()
    c.wait(until=lambda: c.propagation.done == 4)
    assert c.history.undo_label == "Track forward", "what undo would take back, while it goes on"
    c.stop()
    gate.release(20)
    c.wait()
    assert c.propagation.outcome == "stopped"
    assert c.results.labels(2).any()
    c.undo()
    c.wait()
    assert not c.results.labels(2).any()
    assert c.results.labels(0).any()
    assert c.history.redo_label == "Track forward"


def test_a_click_while_tracking_is_one_step_with_the_tracking_after_it(c, fake):
    two_objects(c)
    fake.session.gate = gate = threading.Semaphore(4)
    c.propagate()
    c.wait(until=lambda: c.propagation.done == 4)
    c.prompts.add_point(20, 30, frame=8, object_id=1)
    gate.release(100)
    c.wait()
    labels = [step.label for step in c.history.steps]
    assert labels[-2:] == ["Track forward", "Point on object 1, frame 8, and tracking on"]
    c.undo()
    c.wait()
    assert (8, 1) not in c.prompts.all
    assert c.results.labels(2).any()
    assert not c.results.labels(9).any()


def test_several_steps_at_once_and_no_more_than_there_are(c):
    two_objects(c)
    start = world(c)
    for x in (10, 12, 14):
        c.prompts.add_point(x, 30, frame=2, object_id=1)
        c.wait()
    c.undo(3)
    c.wait()
    assert world(c) == start
    c.redo(99)
    c.wait()
    assert len(c.prompts.all[2, 1].points) == 3
    c.undo(99)
    c.wait()
    assert (c.prompts.all, c.objects.ids, c.history.applied) == ({}, (), 0)
    errors = []
    c.events.error.connect(lambda report: errors.append(report.message))
    c.undo()
    c.wait()
    assert errors == ["there is nothing to undo"]
    assert len(c.history.steps) == 5


def test_gestures_are_told_apart_by_their_number_not_by_their_words(c):
    for _ in range(2):
        with c.undo_group("Twice"):
            c.prompts.add_point(10, 10, object_id=1)
            c.prompts.add_box(2, 2, 30, 30, object_id=2)
        c.wait()
        c.prompts.clear(0, 2)
        c.wait()
    assert [s.label for s in c.history.steps] == ["Twice", "Clear object 2, frame 0"] * 2
    c.undo(2)
    c.wait()
    assert len(c.prompts.all[0, 1].points) == 1


def test_a_gesture_that_fails_half_way_keeps_what_was_answered(c, fake):
    two_objects(c)
    fake.session.fail_on = lambda call: call == "prompt" and len(fake.session.calls) % 2 == 0
    with c.undo_group("Some"):
        c.prompts.set_masks({5: mask(2), 6: mask(30)})
    c.wait()
    done = {i for _, i in fake.session.prompts} - {1, 2}
    assert len(done) == 1
    assert c.history.undo_label == "Some"
    c.undo()
    c.wait()
    assert {i for _, i in fake.session.prompts} == {1, 2}


def test_who_shows_the_history_hears_only_of_the_last_of_several_undos(c, fake):
    two_objects(c)
    heard: list[HistoryState] = []
    c.events.history.connect(heard.append)
    for _ in range(2):
        c.undo()
    c.wait()
    assert [h.applied for h in heard] == [0]
    c.redo(2)
    c.prompts.add_box(5, 5, 9, 9, frame=3, object_id=2)
    c.wait()
    assert c.prompts.all[3, 2].box == BoxPrompt(5, 5, 9, 9)
    assert heard[-1].applied == len(heard[-1].steps) == 3


def test_a_name_given_while_an_undo_is_under_way_stays(c, fake):
    two_objects(c)
    c.undo()
    c.objects.rename(1, "kept")
    c.wait()
    assert c.objects.state(1).name == "kept"
    assert fake.session.objects[1].name == "kept"


def test_locks_are_saved_and_keep_tracking_away_after_undo_and_redo(c, fake):
    two_objects(c)
    c.objects.lock([2])
    c.wait()
    c.undo()
    c.redo()
    c.wait()
    assert c.objects.locked == {2}
    assert fake.session.objects[2].locked
    c.propagate()
    c.wait()
    assert 2 not in np.unique(c.results.labels(3))

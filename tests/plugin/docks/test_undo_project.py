"""Undo over a real project: a gesture is one step on disk, also after closing, also after the process was killed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from napari.components import ViewerModel

from napari_sam2.model.sam2 import Sam2
from napari_sam2.plugin.qt.open_tracker import open_tracker
from napari_sam2.plugin.state import ModelChoice
from napari_sam2.plugin.worker.open_backend import LoadedModel, open_backend
from tests.storage.tiny_sessions import CONFIG

CHOICE = ModelChoice("untrained", "cpu", "exact")
FRAMES, SIZE = 10, (40, 56)


def movie():
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 90, (FRAMES, *SIZE)).astype(np.uint8)
    for t in range(FRAMES):
        pixels[t, 8:20, t : t + 14] += 140
        pixels[t, 26:36, 40 - t : 52 - t] += 90
    return pixels


@pytest.fixture
def begin(preferences):
    """Open the tracker on the same picture again and again; everything is closed at the end."""
    torch.manual_seed(3)
    model = LoadedModel()
    model._loaded = (CHOICE, Sam2(CONFIG).eval())
    opener = partial(open_backend, model)
    opened = []

    def start(project=None):
        viewer = ViewerModel()
        image = viewer.add_image(movie(), name="movie", contrast_limits=(0, 255))
        viewer.dims.set_point(0, 0)
        settings = replace(preferences, model=CHOICE)
        controller = open_tracker(viewer, image, opener=opener, preferences=settings, project=project)
        controller.heard = []
        controller.events.error.connect(lambda report: controller.heard.append(report.message))
        opened.append(controller)
        controller.wait()
        return controller

    yield start
    for controller in opened:
        controller.close()
        assert controller.heard == []


def mask(x, y=10):
    found = np.zeros(SIZE, bool)
    found[y : y + 8, x : x + 8] = True
    return found


GESTURES = {
    "Point on object 1, frame 0": lambda c: c.prompts.add_point(7, 14, object_id=1),
    "Box on object 2, frame 0": lambda c: c.prompts.add_box(38, 24, 54, 38, object_id=2),
    "Rename object 2": lambda c: c.objects.rename(2, "bar"),
    "Track forward": lambda c: c.propagate(count=5),
    "Mask on 3 objects, frame 3": lambda c: c.prompts.set_masks({7: mask(2), 8: mask(20), 9: mask(40)}, 3),
    "Track both ways": lambda c: c.propagate("both"),
    "Lock object 7": lambda c: c.objects.lock([7]),
    "Delete 2 objects": lambda c: c.objects.delete([1, 8]),
    "Clear bar, frame 0": lambda c: c.prompts.clear(0, 2),
    "Find and track": lambda c: _both(c),
}


def _both(c):
    with c.undo_group("Find and track"):
        c.prompts.set_masks({11: mask(5), 12: mask(30)}, 6)
        c.propagate("backward")


def world(c):
    return {
        "prompts": c.prompts.all,
        "objects": c.objects.infos,
        "labels": [c.results.labels(t).tobytes() for t in range(FRAMES)],
    }


def back_and_forth(c, worlds):
    for number in range(len(worlds) - 2, -1, -1):
        c.undo()
        c.wait()
        assert world(c) == worlds[number], c.history.redo_label
    assert not c.history.can_undo
    for number in range(1, len(worlds)):
        c.redo()
        c.wait()
        assert world(c) == worlds[number], c.history.undo_label
    assert not c.history.can_redo


def test_every_gesture_is_one_step_in_the_project_also_when_it_is_opened_again(begin, tmp_path):
    c = begin()
    worlds = [world(c)]
    for number, gesture in enumerate(GESTURES.values(), start=1):
        gesture(c)
        c.wait()
        worlds.append(world(c))
        assert [s.label for s in c.history.steps] == list(GESTURES)[:number]
        if number == 5:
            # As it is on disk when the process dies now, a moment after the answer.
            killed = shutil.copytree(c.project.path, tmp_path / "killed.sam2")
    assert len({str(w) for w in worlds}) == len(worlds)
    back_and_forth(c, worlds)
    c.undo(3)
    c.wait()
    c.close()
    again = begin()
    assert again.project.path == c.project.path
    assert world(again) == worlds[-4]
    assert ([s.label for s in again.history.steps], again.history.applied) == (list(GESTURES), 7)
    again.redo(3)
    again.wait()
    back_and_forth(again, worlds)
    after = begin(killed)
    assert world(after) == worlds[5]
    back_and_forth(after, worlds[:6])


def test_a_run_that_joined_a_click_goes_on_where_it_was_stopped(begin, tmp_path):
    c = begin()
    c.prompts.add_point(7, 14, object_id=1)
    c.wait()
    c.propagate()
    c.wait(until=lambda: c.propagation.done >= 2)
    c.prompts.add_point(15, 14, frame=8, object_id=1)  # ahead: results of the run that joins it lie before
    c.wait(until=lambda: c.propagation.done >= 4 or c.propagation.phase == "idle")
    path = c.project.path
    # In the session's thread, between two frames: the disk as it is when the process dies now.
    killed = c.wait(until=c.ask("Copy", lambda session: shutil.copytree(path, tmp_path / "killed.sam2")))
    c.wait()
    expected = world(c)
    after = begin(killed)
    if after.project.interrupted_at is not None:
        assert after.project.interrupted_at < FRAMES - 1
        after.resume()
        after.wait()
    assert world(after) == expected

"""Looking at an image leaves nothing behind; whatever was done to it does."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_sam2.plugin.qt.open_tracker import open_tracker
from napari_sam2.plugin.state import ModelChoice, Preferences
from napari_sam2.storage.project_folder import discard
from napari_sam2.storage.write_lock import WriterLock


@pytest.fixture
def look(nano, tmp_path):
    """Open a small movie, do something, close; returns the project folders that are left."""
    viewer = ViewerModel()
    image = viewer.add_image(np.random.default_rng(0).integers(0, 255, (3, 64, 64), np.uint8))
    settings = Preferences(ModelChoice(nano, "cpu"), autosave_folder=tmp_path / "projects", encode_ahead=0)

    def opened(act=lambda c: None, **options):
        c = open_tracker(viewer, image, preferences=settings, **options)
        try:
            c.wait()
            act(c)
            c.wait()
        finally:
            c.close()
        return c, sorted(p.name for p in (tmp_path / "projects").glob("*"))

    return opened


def test_a_project_in_which_nothing_was_done_is_taken_away(look):
    c, left = look(lambda c: c.results.ensure_layer())
    assert left == []
    assert not c.project.path.exists()
    assert not np.asarray(c.results.layer.data).any()  # the layer can still be looked at


@pytest.mark.parametrize(
    "act",
    [
        lambda c: c.prompts.add_point(20, 20),
        lambda c: c.objects.add("named"),
        lambda c: (c.prompts.add_point(20, 20), c.wait(), c.undo()),  # it can be done again
    ],
    ids=["prompt", "object", "undone"],
)
def test_whatever_was_done_is_kept(look, act):
    c, left = look(act)
    assert left == [c.project.path.name]
    again, left = look()
    assert again.project.resumed
    assert left == [c.project.path.name]


def test_a_project_that_was_asked_for_by_name_stays(look, tmp_path):
    look(project=tmp_path / "mine.sam2")
    assert (tmp_path / "mine.sam2").is_dir()


def test_a_project_that_somebody_writes_to_stays(tmp_path):
    project = tmp_path / "some.sam2"
    lock = WriterLock(project)
    project.mkdir()
    lock.acquire()
    assert not discard(project)
    assert project.is_dir()
    lock.release()
    assert discard(project)
    assert list(tmp_path.iterdir()) == []

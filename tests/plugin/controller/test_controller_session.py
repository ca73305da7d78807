"""The controller with a trained network and a project on disk: the whole story, without a window."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel

from napari_sam2.frames import UnreadableFramesWarning
from napari_sam2.plugin.qt.open_tracker import open_tracker
from napari_sam2.plugin.state import Preferences
from napari_sam2.storage import Project
from napari_sam2.synthetic.samples import sample_timelapse

FRAMES = 5


@pytest.fixture(scope="module")
def sample():
    return sample_timelapse()


@pytest.fixture
def start(nano, preferences, sample):
    """Open the tracker on the first frames of the sample; all controllers are closed at the end."""
    opened = []

    def begin(frames=FRAMES, viewer=None, data=None, **options):
        viewer = viewer or ViewerModel()
        image = viewer.add_image(sample.image[:frames] if data is None else data, name="movie")
        viewer.dims.set_point(0, 0)
        options.setdefault("preferences", preferences)
        controller = open_tracker(viewer, image, nano, device="cpu", **options)
        opened.append(controller)
        errors = controller.events.error
        controller.heard = []
        errors.connect(controller.heard.append)
        controller.wait()
        return controller

    yield begin
    for controller in opened:
        controller.close()


def iou(mask, truth):
    return float((mask & truth).sum() / max((mask | truth).sum(), 1))


def first_objects(sample, count=2):
    return [(i, s) for i, s in sample.first_sight.items() if s.frame == 0][:count]


def click_all(controller, sample, count=2):
    for object_id, sight in first_objects(sample, count):
        controller.prompts.add_point(*sight.click, object_id=object_id)
    controller.wait()


def test_clicks_find_cells_and_propagation_follows_them(start, sample):
    c = start()
    click_all(c, sample)
    c.propagate()
    c.wait()
    assert c.heard == []
    assert c.propagation.outcome == "finished"
    for object_id, _ in first_objects(sample):
        scores = [iou(c.results.labels(t) == object_id, sample.labels[t] == object_id) for t in range(FRAMES)]
        assert scores[0] > 0.7
        assert np.mean(scores) > 0.6
        assert c.objects.state(object_id).present == FRAMES
    assert c.timeline.row(1).known.all()


def test_everything_is_in_the_project_and_comes_back(start, sample):
    c = start()
    click_all(c, sample)
    c.objects.rename(first_objects(sample)[0][0], "alpha")
    c.propagate(stop=3)
    c.wait()
    shown = [c.results.labels(t).copy() for t in range(FRAMES)]
    prompts, path = c.prompts.all, c.project.path
    assert not c.project.resumed
    c.close()
    with Project.open(path) as saved:
        np.testing.assert_array_equal(saved.labels[:], shown)
        assert saved.prompts == prompts
    again = start()
    assert again.project.resumed
    assert again.project.path == path
    assert again.prompts.all == prompts
    assert again.objects.state(first_objects(sample)[0][0]).name == "alpha"
    for t in range(FRAMES):
        np.testing.assert_array_equal(again.results.labels(t), shown[t])
    again.wait(until=lambda: again.objects.state(first_objects(sample)[0][0]).present == 4, timeout=60)
    assert again.history.undo_label == "Track forward"
    again.undo()
    again.wait()
    assert not again.results.labels(2).any()
    again.redo()
    again.wait()
    np.testing.assert_array_equal(again.results.labels(2), shown[2])


def test_projects_are_found_by_content_not_by_name_or_contrast(start, sample):
    c = start()
    click_all(c, sample, 1)
    path = c.project.path
    c.close()
    viewer = ViewerModel()
    image = viewer.add_image(sample.image[:FRAMES].copy(), name="another name", contrast_limits=(10, 90))
    again = open_tracker(viewer, image, c.model.name, device="cpu", preferences=c.preferences)
    again.wait()
    assert again.project.path == path
    again.refresh_contrast()  # another contrast is another recording
    again.wait()
    assert again.project.path != path
    assert set(again.prompts.all) == set(c.prompts.all)
    again.close()
    other = start(data=sample.image[1 : FRAMES + 1])
    assert other.project.path not in (path, again.project.path)


def test_a_second_window_on_the_same_recording_does_not_corrupt_the_first(start, sample):
    c = start()
    click_all(c, sample, 1)
    second = start()
    assert second.project.path != c.project.path
    assert "is open for writing" in second.project.message
    click_all(second, sample, 1)
    assert second.heard == []


def test_unwritable_folder_is_told_and_work_goes_on(start, sample, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    c = start(preferences=Preferences(autosave_folder=blocked / "sub", encode_ahead=0))
    assert c.project.temporary
    assert "Choose another autosave folder" in c.project.message
    click_all(c, sample, 1)
    assert c.results.labels(0).any()
    labels = c.results.layer.data
    c.close()
    assert labels[0].any()  # still shown after closing


def test_a_single_image(start, sample):
    viewer = ViewerModel()
    c = start(viewer=viewer, data=sample.image[0])
    assert (c.n_frames, c.geometry.frame_axis) == (1, None)
    object_id, sight = first_objects(sample, 1)[0]
    c.prompts.add_box(*sight.box, object_id=object_id)
    c.wait()
    assert c.heard == []
    assert c.results.layer.data.shape == sample.image[0].shape
    assert iou(np.asarray(c.results.layer.data) == object_id, sample.labels[0] == object_id) > 0.7


def test_moving_z_in_a_volume_over_time(start, sample):
    volume = np.stack([sample.image[:3], sample.image[3:6]], axis=1)  # (t, z, y, x)
    viewer = ViewerModel()
    c = start(viewer=viewer, data=volume)
    viewer.dims.set_point(1, 0)
    c.follow_plane()
    c.wait()
    first = c.project.path
    sight = first_objects(sample, 1)[0][1]
    c.prompts.add_point(*sight.click)
    c.wait()
    assert c.results.layer.data.shape == (3, 1, *sample.image.shape[1:])
    viewer.dims.set_point(1, 1)
    assert not c.status.plane_is_current
    c.follow_plane()
    c.wait()
    assert c.status.plane_is_current
    assert c.project.path != first
    assert c.prompts.all == {}  # the click is on another plane
    c.prompts.add_point(*sight.click)
    c.wait()
    np.testing.assert_allclose(c.results.layer.data_to_world((0, 0, 0, 0)), (0, 1, 0, 0))
    assert len(c.prompts.layer("points").data) == 2
    viewer.dims.set_point(1, 0)
    c.follow_plane()
    c.wait()
    assert c.project.path == first
    assert set(c.prompts.all) == {(0, 1)}
    c.set_frame_axis(1)
    c.wait()
    assert c.n_frames == 2


def test_alternatives_and_edits_are_prompts_that_undo_takes_back(start, sample):
    c = start()
    click_all(c, sample, 1)
    object_id = first_objects(sample, 1)[0][0]
    c.objects.active = object_id
    before = c.results.labels(0).copy()
    c.prompts.cycle_alternative()
    c.wait()
    assert c.prompts.all[0, object_id].mask is not None
    c.undo()
    c.wait()
    np.testing.assert_array_equal(c.results.labels(0), before)
    c.results.layer.paint((0, 2, 2), object_id)
    c.wait()
    assert c.heard == []
    assert c.results.labels(0)[2, 2] == object_id


def test_exports_tracks_and_measurements(start, sample):
    c = start()
    click_all(c, sample)
    c.propagate(stop=2)
    c.wait()
    c.wait(until=c.results.export("coco"))
    assert (c.project.path / "exports" / "coco.json").is_file()
    rows = c.wait(until=c.results.measure())
    assert len(rows) == 6
    assert rows[0]["area_px"] > 50
    tracks = c.wait(until=c.results.add_tracks())
    assert tracks.data.shape == (6, 4)
    y, x = tracks.data[0, 2:]
    assert c.results.labels(0)[round(y), round(x)] == tracks.data[0, 0]
    with pytest.raises(ValueError, match="unknown export format"):
        c.results.export("docx")
    again = c.results.export("coco")
    with pytest.raises(FileExistsError):
        c.wait(until=again)
    assert c.heard[-1].title == "Writing coco.json"
    seen = []
    c.events.export.connect(seen.append)
    written = c.results.export("csv")
    c.prompts.add_point(3, 3, frame=3)  # the session is free meanwhile
    c.wait(until=written)
    assert [(s.phase, s.done) for s in seen][-2:] == [("running", FRAMES), ("finished", FRAMES)]


KILLED = """
    import sys
    import numpy as np
    from pathlib import Path
    from napari.components import ViewerModel
    from napari_sam2.synthetic.samples import sample_timelapse
    from napari_sam2.plugin.qt.open_tracker import open_tracker
    from napari_sam2.plugin.state import Preferences
    folder, model = sys.argv[1:]
    sample, viewer = sample_timelapse(), ViewerModel()
    image = viewer.add_image(sample.image[:12], name="movie")
    viewer.dims.set_point(0, 0)
    c = open_tracker(viewer, image, model, device="cpu", preferences=Preferences(autosave_folder=Path(folder)))
    c.wait()
    c.prompts.add_point(*sample.first_sight[1].click, object_id=1)
    c.wait()
    c.events.propagation.connect(lambda p: print("frame", p.frame, flush=True))
    c.propagate()
    c.wait()
"""


def test_killed_process_loses_nothing(start, sample, nano, preferences):
    assert sample.first_sight[1].frame == 0
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(preferences.autosave_folder), nano]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout:
            if line.startswith("frame 3"):
                process.send_signal(signal.SIGKILL)
                break
    assert process.wait(30) == -signal.SIGKILL
    c = start(frames=12)
    assert c.project.resumed
    assert set(c.prompts.all) == {(0, 1)}
    for t in range(4):
        assert c.results.labels(t).any(), t
    assert c.heard == []
    done = c.project.interrupted_at
    assert done >= 3
    c.resume()
    c.wait()
    assert c.propagation.outcome == "finished"
    assert c.propagation.done == 11 - done  # only what was missing
    assert c.results.labels(11).any()


def test_a_layer_with_a_plane_that_cannot_be_read_is_tracked_around_it(start, sample):
    broken = []

    def plane(block_id):
        if block_id[0] in broken:
            raise OSError("the disk has a bad sector")
        return sample.image[block_id[0]][None]

    shape = sample.image[:FRAMES].shape
    data = da.map_blocks(plane, chunks=((1,) * FRAMES, *((n,) for n in shape[1:])), dtype=sample.image.dtype)
    c = start(data=data)
    click_all(c, sample, 1)
    broken.append(2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UnreadableFramesWarning)
        c.propagate()
        c.wait()
    text = "frame 2 can't be read and was passed over (Frame 2 can't be read: the disk has a bad sector)"
    assert [str(w.message) for w in caught if w.category is UnreadableFramesWarning] == [text]
    assert c.heard == []
    assert c.propagation.outcome == "finished"
    object_id = first_objects(sample, 1)[0][0]
    assert [bool((c.results.labels(t) == object_id).any()) for t in range(FRAMES)] == [1, 1, 0, 1, 1]


def test_another_input_size_has_a_project_of_its_own_which_comes_back(start, sample, nano):
    c = start(frames=2)
    click_all(c, sample, 1)
    own, side = c.project.path, c.model.image_size
    c.load_model(nano, "cpu", image_size=side // 2)
    c.wait()
    assert c.heard == []
    assert c.model.image_size == side // 2
    assert c.project.path != own
    assert c.project.message == ""
    sized = c.project.path
    with Project.open(sized) as project:
        assert project.model.image_size == side // 2
    c.load_model(nano, "cpu")
    c.wait()
    assert (c.project.path, c.model.image_size) == (own, side)
    c.close()
    again = start(frames=2, project=sized)  # a project that is named brings its model and size along
    assert (again.project.path, again.model.image_size, again.heard) == (sized, side // 2, [])


def test_decisions_of_the_review_are_steps_of_undo_and_change_what_is_shown(start, sample):
    c = start()
    click_all(c, sample)
    c.propagate()
    c.wait()
    first, second = c.objects.ids
    before = [c.results.mask(4, i).copy() for i in (first, second)]
    c.review.swap(first, second, 3)
    c.wait()
    assert np.array_equal(c.results.mask(4, first), before[1])
    assert np.array_equal(c.results.mask(4, second), before[0])
    assert c.history.undo_label == f"Swap object {first} and object {second}"
    assert (3, first) in c.prompts.all
    c.review.mark_absent(first, 4)
    c.wait()
    assert first not in np.unique(c.results.labels(4))
    c.lineage.divide(second, 2, [second, first])
    c.wait()
    new = max(c.objects.ids)
    assert c.lineage.graph == {first: [second], new: [second]}
    assert c.lineage.generations == {first: 1, second: 0, new: 1}
    states = c.wait(until=c.review.states())
    assert states[second].tolist() == [6, 1, 7, 7, 7]
    c.undo(3)
    c.wait()
    assert np.array_equal(c.results.mask(4, first), before[0])
    assert c.lineage.graph == {}
    assert c.heard == []
    queue = c.wait(until=c.review.queue("time"))
    assert all(item.kind in ("uncertain", "missing") for item in queue.items)
    c.review.accept(first, 0, 4)
    c.wait()
    assert c.objects.infos[first].accepted == ((0, 4),)

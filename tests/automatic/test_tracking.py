"""Masks of one frame become objects of a video: seeding, new objects, everything, stacks and files."""

import json
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from napari_sam2.automatic import (
    AutomaticOptions,
    InteractiveFilter,
    MaskFinder,
    add_new_objects,
    add_objects,
    find_candidates,
    generate_stack,
    lazy_labels,
    mask_generator,
    run_automatic,
    track_everything,
)
from napari_sam2.automatic.files import write_masks
from napari_sam2.formats.atomic_output import SIGNATURE
from napari_sam2.masks import FrameMasks, Rle, decode_rle
from napari_sam2.session.array_frames import ArrayFrames
from napari_sam2.session.video import VideoSession
from tests.automatic.toy import DiscSession, discs
from tests.golden.recipe import recipe_model

SIZE = (96, 128)
FRAMES = ArrayFrames(
    [
        discs(SIZE, (30, 30, 12), (90, 30, 14)),
        discs(SIZE, (33, 30, 12), (90, 33, 14)),
        discs(SIZE, (36, 30, 12), (90, 36, 14), (60, 75, 13)),
        discs(SIZE, (39, 30, 12), (90, 39, 14), (60, 75, 13)),
    ]
)
OPTIONS = AutomaticOptions(points_per_side=12, stability_score_thresh=0.7)
LOOSE = AutomaticOptions(
    points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=0.3
)


def found(frame):
    return InteractiveFilter(find_candidates(DiscSession(), FRAMES.frame(frame), OPTIONS)).result()


@pytest.fixture(scope="module")
def model():
    return recipe_model()


@pytest.fixture
def session(model):
    session = VideoSession(model, FRAMES)
    yield session
    session.close()


@pytest.fixture
def disc_finder(monkeypatch):
    """Objects are found by the toy network, so that what must be found is known; tracking is the network's."""
    real = mask_generator.generate_masks
    monkeypatch.setattr(mask_generator, "generate_masks", lambda model, *rest: real(DiscSession(), *rest))


def test_masks_become_objects(session):
    result = found(0)
    ids = add_objects(session, 0, result)
    assert ids == (1, 2)
    assert session.object_ids == ids
    for object_id, mask in zip(ids, result.masks):
        assert (session.prompts[0, object_id].mask.array() == mask.array()).all()
    # adopting a mask goes through low resolution
    shown = session.masks(0)
    for object_id, mask in zip(ids, result.masks):
        a, b = shown.of(object_id), mask.array()
        assert (a & b).sum() / (a | b).sum() > 0.9


def test_chosen_masks_only_and_ids_follow(session):
    add_objects(session, 0, found(0).keep([1]))
    assert session.object_ids == (1,)
    assert add_objects(session, 2, found(2)) == (2, 3, 4)


def test_new_objects_are_what_no_object_covers(session, disc_finder):
    add_objects(session, 2, found(0).keep([]))
    assert session.object_ids == ()
    assert add_new_objects(session, 0, OPTIONS) == (1, 2)
    assert add_new_objects(session, 0, OPTIONS) == ()
    early = {i: session.masks(0).of(i) for i in (1, 2)}
    # Two discs of frame 2 lie on the objects that are put there, the third is new.
    for object_id in (1, 2):
        session.set_prompt(2, object_id, found(2).prompts()[object_id])
    known = session.masks(2).masks.any(0)
    new = add_new_objects(session, 2, OPTIONS)
    assert new == (3,)
    new_object = session.prompts[2, 3].mask.array()
    assert (new_object & known).sum() <= 0.2 * new_object.sum()
    assert all((session.masks(0).of(i) == early[i]).all() for i in (1, 2))


def test_track_everything_visits_every_frame(session, disc_finder):
    seen = list(track_everything(session, OPTIONS))
    assert [masks.frame for masks in seen] == [0, 1, 2, 3]
    assert all(masks.object_ids == (1, 2) for masks in seen)


def test_track_everything_with_new_objects(session, disc_finder):
    asked = {}
    for masks in track_everything(session, OPTIONS, new_objects_every=2):
        asked[masks.frame] = session.object_ids
    assert asked[1] == (1, 2)
    # Whatever the untrained network lost by frame 2 is found again; the disc that appears there is new.
    assert len(asked[2]) > 2
    assert any((session.prompts[2, i].mask.array()[75, 60]) for i in asked[2][2:])
    with pytest.raises(ValueError, match="new_objects_every must not be negative"):
        next(track_everything(session, OPTIONS, new_objects_every=-1))


class StillSession:
    """A session in which every object stays where it was prompted, on the frames that it was carried to."""

    def __init__(self, frames):
        self.frames, self.size = frames, SIZE
        self.runner = SimpleNamespace(model=None)
        self.prompts, self.carried, self.calls = {}, {}, []

    @property
    def object_ids(self):
        return tuple(sorted({i for _, i in self.prompts}))

    def set_prompt(self, frame, object_id, prompt):
        self.prompts[frame, object_id] = prompt
        self.carried.setdefault(frame, {})[object_id] = prompt.mask.array()

    def masks(self, frame):
        here = self.carried.get(frame, {})
        ids = self.object_ids
        masks = np.array([here.get(i, np.zeros(SIZE, bool)) for i in ids]).reshape(-1, *SIZE)
        ones = np.ones(len(ids), np.float32)
        return FrameMasks(frame, ids, masks, ones, ones, ones > 0)

    def propagate(self, start, stop):
        self.calls.append((start, stop))
        for frame in range(start, stop + 1):
            for object_id in self.object_ids:
                first, prompt = next((f, p) for (f, i), p in self.prompts.items() if i == object_id)
                if frame >= first:
                    self.carried.setdefault(frame, {})[object_id] = prompt.mask.array()
            yield self.masks(frame)


@pytest.mark.parametrize("every", [1, 2, 3])
def test_only_what_is_new_is_added(disc_finder, every):
    """Objects are followed onto a frame before new objects are searched there: else all would be found again."""
    still = discs(SIZE, (30, 30, 12), (90, 30, 14))
    more = discs(SIZE, (30, 30, 12), (90, 30, 14), (60, 75, 13))
    session = StillSession(ArrayFrames([still, still, more, more, more]))
    seen = [masks.frame for masks in track_everything(session, OPTIONS, new_objects_every=every)]
    assert seen == [0, 1, 2, 3, 4]  # each once, in order
    appeared = {1: 2, 2: 2, 3: 3}[every]
    assert sorted(session.prompts) == [(0, 1), (0, 2), (appeared, 3)]
    assert session.prompts[appeared, 3].mask.array()[75, 60]


def test_nothing_to_track_is_no_error(model):
    black = VideoSession(model, ArrayFrames(np.zeros((3, 20, 20), np.uint8)))
    strict = OPTIONS.changed(points_per_side=2, pred_iou_thresh=1.0)
    assert list(track_everything(black, strict)) == []
    black.close()


def test_stack_frame_by_frame(model):
    assert [(i, len(r) > 0) for i, r in generate_stack(model, FRAMES, LOOSE, indices=[2, 0])] == [
        (2, True),
        (0, True),
    ]
    with pytest.raises(ValueError, match="there is no frame 4: the video has frames 0 to 3"):
        list(generate_stack(model, FRAMES, LOOSE, indices=[4]))


def test_lazy_labels_compute_only_what_is_looked_at(model):
    class Counting(ArrayFrames):
        read = []

        def frame(self, index):
            self.read.append(index)
            return super().frame(index)

    frames = Counting(FRAMES._frames)
    labels = lazy_labels(model, frames, LOOSE)
    assert labels.shape == (4, *SIZE)
    assert labels.dtype == np.uint16
    assert frames.read == []
    third = labels[2].compute()
    assert frames.read == [2]
    assert (third == next(generate_stack(model, FRAMES, LOOSE, [2]))[1].labels()).all()
    assert third.any()


# -- files -------------------------------------------------------------------------------------------------


def coco_masks(data, frame):
    """Annotations of a frame of a COCO file, with their masks decoded."""
    chosen = [a for a in data["annotations"] if a["image_id"] == frame + 1]
    return [
        (a, decode_rle(Rle(tuple(a["segmentation"]["size"]), a["segmentation"]["counts"]))) for a in chosen
    ]


def test_masks_file(model, tmp_path):
    path = tmp_path / "masks.json"
    report = run_automatic(model, FRAMES, path, LOOSE, indices=[0, 3])
    data = json.loads(path.read_text())
    assert [(i["frame_index"], i["height"], i["width"]) for i in data["images"]] == [(0, *SIZE), (3, *SIZE)]
    assert data["automatic"]["options"]["points_per_side"] == 3
    assert [a["id"] for a in data["annotations"]] == list(range(1, report.masks + 1))
    expected = dict(generate_stack(model, FRAMES, LOOSE, [0, 3]))
    for frame, result in expected.items():
        for (written, pixels), mask in zip(coco_masks(data, frame), result.masks, strict=True):
            assert (pixels == mask.array()).all()
            assert written["predicted_iou"] == written["score"] == mask.predicted_iou
            assert written["stability_score"] == pytest.approx(mask.stability_score, nan_ok=True)
    explanations = [(entry["frame"], entry["explanation"]) for entry in data["automatic"]["frames"]]
    assert explanations == [(frame, result.explanation) for frame, result in expected.items()]
    assert data["automatic"]["frames"][0]["stages"][0] == {"name": "found", "left": 27}
    assert report.frames == 2
    assert report.masks == sum(len(r) for r in expected.values()) > 0
    assert "Frame 3:" in report.explanation
    assert list(tmp_path.iterdir()) == [path]


def test_masks_are_written_while_they_are_found(model, tmp_path):
    """Neither file holds more than one frame: what is found is written before the next frame is searched."""
    results = dict(generate_stack(model, FRAMES, LOOSE, [0, 1, 2]))
    for path in (tmp_path / "masks.json", tmp_path / "masks.tif"):
        alive = []

        def one_at_a_time(alive=alive):
            for frame in results:
                copy = results[frame].keep(range(len(results[frame])))
                alive.append(weakref.ref(copy))
                yield frame, copy
                del copy
                assert sum(ref() is not None for ref in alive) <= 2

        found = write_masks(one_at_a_time(), [0, 1, 2], SIZE, path, options=LOOSE)
        assert [one.objects for one in found] == [len(result) for result in results.values()]


@pytest.mark.parametrize(("indices", "shape"), [([1], SIZE), ([0, 1, 2], (3, *SIZE))])
def test_labels_file(model, tmp_path, indices, shape):
    path = tmp_path / "labels.tif"
    run_automatic(model, FRAMES, path, LOOSE, indices=indices)
    labels = tifffile.imread(path)
    assert labels.shape == shape
    expected = [r.labels() for _, r in generate_stack(model, FRAMES, LOOSE, indices)]
    assert (labels.reshape(len(indices), *SIZE) == np.stack(expected)).all()


@pytest.mark.parametrize("suffix", ["json", "tif"])
def test_tracked_file_has_every_frame(model, tmp_path, disc_finder, suffix):
    path = tmp_path / f"tracked.{suffix}"
    done = []
    report = run_automatic(
        model, FRAMES, path, OPTIONS, indices=[1], track=True, progress=lambda *a: done.append(a)
    )
    assert report.frames == 4
    assert report.objects == 2
    assert done[-1] == (4, 4)
    if suffix == "tif":
        labels = tifffile.imread(path)
        assert labels.shape == (4, *SIZE)
        assert set(np.unique(labels[1])) == {0, 1, 2}
    else:
        data = json.loads(path.read_text())
        assert [image["frame_index"] for image in data["images"]] == [0, 1, 2, 3]
        assert [entry["track_id"] for entry, _ in coco_masks(data, 1)] == [1, 2]
        assert "object_score" in data["annotations"][0]
        assert len(data["annotations"]) == report.masks


def test_nothing_found_is_written_and_said(model, tmp_path):
    strict = LOOSE.changed(pred_iou_thresh=1.0)
    path = tmp_path / "labels.tif"
    report = run_automatic(model, FRAMES, path, strict, track=True)
    assert report.objects == 0
    assert report.explanation.startswith("No objects were found")
    assert not tifffile.imread(path).any()
    with pytest.raises(FileExistsError, match=r"labels\.tif exists already: choose another name or allow"):
        run_automatic(model, FRAMES, path, strict)
    alone = run_automatic(model, FRAMES, path, strict, overwrite=True)
    assert "No masks: none of 27 candidates" in alone.explanation


@pytest.mark.parametrize(
    ("name", "indices", "message"),
    [
        ("masks.png", [0], "must end in .json"),
        ("masks.json", [], "no frames were chosen"),
        ("masks.json", [-1], "there is no frame -1"),
    ],
)
def test_refuses_targets_and_frames(model, tmp_path, name, indices, message):
    with pytest.raises(ValueError, match=message):
        run_automatic(model, FRAMES, tmp_path / name, LOOSE, indices=indices)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["json", "tif"])
def test_a_failure_leaves_the_old_file(model, tmp_path, suffix):
    path = tmp_path / f"masks.{suffix}"
    old = f'"old {SIGNATURE}"'
    path.write_text(old)

    def breaks(done, total):
        raise RuntimeError(f"power cut after {done} of {total}")

    with pytest.raises(RuntimeError, match="power cut after 1 of 2"):
        run_automatic(model, FRAMES, path, LOOSE, indices=[0, 1], progress=breaks, overwrite=True)
    assert path.read_text() == old
    assert list(tmp_path.iterdir()) == [path]


def test_progress_that_raises_ends_the_search(model):
    class Stopped(Exception):
        pass

    def stop(frame, done, total):
        raise Stopped(f"frame {frame}, {done} of {total}")

    finder = MaskFinder(model, FRAMES, LOOSE.changed(points_per_batch=4), progress=stop)
    with pytest.raises(Stopped, match="frame 2, 4 of 9"):
        finder.find(2)


def test_a_finder_drops_what_lies_on_known_objects_and_outside_a_region():
    finder = MaskFinder(DiscSession(), FRAMES, OPTIONS)
    everything = finder.find(2)
    assert len(everything) == 3
    first = everything.masks[0].array()
    assert len(finder.find(2, known=first)) == 2
    below = np.zeros(SIZE, bool)
    below[50:] = True
    (mask,) = MaskFinder(DiscSession(), FRAMES, OPTIONS, region=below).find(2).masks
    assert mask.array()[75, 60]
    # What is there on every frame is left out only when the options ask for it, as without --track.
    assert len(MaskFinder(DiscSession(), FRAMES, OPTIONS, existing=first).find(2)) == 3
    strict = OPTIONS.changed(max_overlap=0.5)
    assert len(MaskFinder(DiscSession(), FRAMES, strict, existing=first).find(2)) == 2


def test_more_objects_than_labels_hold_are_refused(session):
    result = found(0)
    session.set_prompt(0, 65534, result.prompts()[1])
    with pytest.raises(ValueError, match="at most 65535 objects: raise min_area"):
        add_objects(session, 0, result)
    assert session.object_ids == (65534,)

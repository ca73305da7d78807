"""The evaluation tables, on data whose right answers are known."""

from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from napari_sam2.model.sam2 import Sam2
from napari_sam2.training.benchmarks import suites as benchmark
from napari_sam2.training.benchmarks.baselines import copied, flow_warped, threshold_watershed
from napari_sam2.training.benchmarks.data import read_image_sets, read_sequences, synthetic_videos
from napari_sam2.training.benchmarks.suites import (
    Extent,
    Table,
    j_and_f,
    middle_click,
    resized_model,
    run_suite,
    some_ids,
    tight_box,
)
from tests.golden.tiny_network import TINY


def textured(shift: float, side: int = 96):
    """A smooth random texture, moved to the right by `shift` pixels."""
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[:side, :side]
    image = np.zeros((side, side))
    for _ in range(40):
        fy, fx, phase = rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5), rng.uniform(0, 7)
        image += np.cos(fy * yy + fx * (xx - shift) + phase)
    image = (image - image.min()) / np.ptp(image) * 255
    return np.repeat(image.astype(np.uint8)[..., None], 3, axis=2)


def test_optical_flow_carries_a_mask_along_and_copying_does_not():
    frames = np.stack([textured(1.5 * t) for t in range(5)])
    first = np.zeros((1, 96, 96), bool)
    first[0, 30:60, 30:60] = True
    true_last = np.zeros((96, 96), bool)
    true_last[30:60, 36:66] = True

    def iou(mask):
        return (mask & true_last).sum() / (mask | true_last).sum()

    assert iou(flow_warped(first, frames)[-1, 0]) > 0.85
    assert iou(copied(first, frames)[-1, 0]) == pytest.approx(24 / 36)


@pytest.mark.parametrize("inverted", [False, True])
def test_threshold_and_watershed_find_touching_discs_of_either_polarity(inverted):
    yy, xx = np.mgrid[:80, :80]
    discs = ((xx - 25) ** 2 + (yy - 40) ** 2 < 196) | ((xx - 51) ** 2 + (yy - 40) ** 2 < 196)
    grey = np.where(discs, 200, 40).astype(np.uint8)
    frame = np.repeat((255 - grey if inverted else grey)[..., None], 3, axis=2)
    labels = threshold_watershed(frame)
    assert len(np.unique(labels)) == 3
    assert labels[40, 25] != labels[40, 51]
    assert ((labels > 0) == discs).mean() > 0.97


def test_j_and_f_on_a_case_done_by_hand():
    labels = np.zeros((3, 20, 20), int)
    labels[:2, 5:15, 5:15] = 4  # absent on the last frame
    masks = np.zeros((3, 1, 20, 20), bool)
    masks[1, 0, 5:15, 5:10] = True  # half of it
    assert j_and_f(masks, labels, [4])[0] == pytest.approx((0.5 + 1) / 2)
    masks[2, 0, 0, 0] = True
    assert j_and_f(masks, labels, [4])[0] == pytest.approx((0.5 + 0) / 2)


def test_prompts_are_taken_from_the_truth():
    mask = np.zeros((20, 30), bool)
    mask[4:13, 10:19] = True
    click, box = middle_click(mask), tight_box(mask)
    assert (click.x, click.y) == (14, 8)
    assert (box.x0, box.y0, box.x1, box.y1) == (10, 4, 18, 12)


def test_objects_are_taken_evenly_and_specks_left_out():
    labels = np.repeat(np.arange(11), 40).reshape(11, 40)
    labels[10, 5:] = 0
    assert some_ids(labels, 20) == list(range(1, 10))
    assert some_ids(labels, 3) == [1, 5, 9]


def test_eventful_videos_have_absences_and_are_the_same_every_time():
    hidden = 0
    for _, labels in synthetic_videos(4, 12, 96, eventful=True):
        for object_id in some_ids(labels[0], 5):
            hidden += int((~(labels == object_id).any((1, 2))).sum())
    assert hidden > 0
    calm = sum(
        int((~(labels == object_id).any((1, 2))).sum())
        for _, labels in synthetic_videos(4, 12, 96)
        for object_id in some_ids(labels[0], 5)
    )
    assert hidden > 2 * calm
    one, two = (next(synthetic_videos(1, 3, 64)) for _ in range(2))
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])


def test_a_look_in_between_takes_scenes_that_are_not_quoted():
    assert Extent().first == 0
    assert Extent.quick().first >= Extent().images
    first, second = (labels for _, labels in synthetic_videos(2, 2, 64))
    (again,) = (labels for _, labels in synthetic_videos(1, 2, 64, first=1))
    assert np.array_equal(second, again)
    assert not np.array_equal(first, again)


class Drawn:
    """A session that answers every object with what is drawn under its prompt on each frame, in any order of ids."""

    def __init__(self, model, frames, options):
        self._frames, self._prompts = frames, {}

    def set_prompt(self, frame, object_id, prompt):
        rows, columns = np.nonzero(prompt.mask.array()) if prompt.box is None else (None, None)
        box = prompt.box
        x, y = (
            (columns.mean(), rows.mean()) if box is None else ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
        )
        self._prompts[object_id] = int(y), int(x)

    def propagate(self):
        ids = tuple(reversed(self._prompts))
        shades = [self._frames.frame(0)[self._prompts[i]][0] for i in ids]
        for t in range(len(self._frames)):
            grey = self._frames.frame(t)[..., 0]
            masks = np.stack([grey == shade for shade in shades])
            yield SimpleNamespace(
                frame=t, object_ids=ids, masks=masks, object_scores=masks.any((1, 2)) - np.float32(0.5)
            )

    def close(self):
        pass


def test_a_tracker_that_is_always_right_gets_full_marks(monkeypatch):
    labels = np.zeros((4, 48, 48), np.int32)
    for t in range(4):
        labels[t, 4:16, 4 + 6 * t : 16 + 6 * t] = 3
        labels[t, 28:40, 20:34] = 7 * (t < 2)  # leaves
    frames = np.repeat((labels * 20).astype(np.uint8)[..., None], 3, axis=-1)
    monkeypatch.setattr(benchmark, "VideoSession", Drawn)
    monkeypatch.setattr(benchmark, "synthetic_videos", lambda *_, **__: [(frames, labels)])
    videos, presence = run_suite(None, None, ("videos", "presence"), Extent(videos=1))
    assert videos.rows == (("box", "1", "1.000", "1.000", "1.000"), ("both", "1", "1.000", "1.000", "1.000"))
    assert presence.rows == (("1.000", "6", "1.000", "2"),)


@pytest.fixture
def data_dir(tmp_path):
    """One sequence (16 bit), one image set, and one training set that must not be read."""
    sequence = tmp_path / "moving"
    (sequence / "frames").mkdir(parents=True)
    labels = np.zeros((3, 64, 64), np.uint16)
    for t in range(3):
        labels[t, 20:40, 10 + 4 * t : 30 + 4 * t] = 5
        Image.fromarray((labels[t] * 1000).astype(np.uint16)).save(sequence / "frames" / f"{t:05d}.png")
    tifffile.imwrite(sequence / "masks.tif", labels, photometric="minisblack")
    for name in ("stills", "train_stills"):
        (tmp_path / name / "images").mkdir(parents=True)
        (tmp_path / name / "masks").mkdir()
        Image.fromarray((labels[0] * 40).astype(np.uint8)).save(tmp_path / name / "images" / "a.png")
        tifffile.imwrite(tmp_path / name / "masks" / "a.tif", labels[0])
    return tmp_path


def test_real_data_are_read_and_training_sets_are_left_out(data_dir):
    (sequence,) = read_sequences(data_dir)
    assert sequence.frames.shape == (3, 64, 64, 3)
    assert sequence.frames.dtype == np.uint8
    assert sequence.frames.max() == 255
    assert [images.name for images in read_image_sets(data_dir)] == ["stills"]


def test_the_suite_prints_one_table_each_and_the_baselines_in_them_are_right(data_dir):
    torch.manual_seed(0)
    model = Sam2(TINY).eval().requires_grad_(False)
    extent = Extent(images=2, videos=2, frames=3, side=64, objects=2, sequence_frames=3)
    suites = ("images", "videos", "presence", "sequences", "clicks")
    seen = []
    tables = run_suite(model, data_dir, suites, extent, done=seen.append)
    assert len(tables) == 5
    assert seen == tables
    sequences = tables[3].rows[0]
    assert sequences[0] == "moving"
    # 16 and 12 of 24 and 28 columns overlap after steps of 4 and 8 pixels
    assert float(sequences[3].split(" / ")[0]) == pytest.approx((16 / 24 + 12 / 28) / 2, abs=1e-3)
    stills = tables[4].rows[0]
    assert stills[0] == "stills"
    assert float(stills[3]) > 0.8
    for table in tables:
        assert table.text().count("|---") == len(table.header)


def test_without_real_data_their_suites_are_left_out_and_unknown_ones_refused():
    model = Sam2(TINY).eval()
    assert run_suite(model, None, ("sequences", "clicks")) == []
    with pytest.raises(ValueError, match="unknown suite"):
        run_suite(model, None, ("beauty",))


def test_a_table_is_markdown():
    table = Table("t", ("a", "b"), (("1", "2"),))
    assert table.text() == "**t**\n\n| a | b |\n|---|---|\n| 1 | 2 |"


def test_a_resized_model_keeps_its_weights():
    model = Sam2(TINY)
    other = resized_model(model, 128)
    assert other.config.image_size == 128
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))

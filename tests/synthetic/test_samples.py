"""The sample data: as described, with prompts that are on their objects."""

import numpy as np
import pytest
from scipy import ndimage

from napari_sam2.synthetic import Sample, crowd, sample_timelapse, sample_two_channel, sample_zstack


@pytest.fixture(scope="module")
def timelapse() -> Sample:
    return sample_timelapse()


def check_prompts(sample: Sample) -> None:
    seen = {int(i) for i in np.unique(sample.labels)} - {0}
    assert set(sample.first_sight) == seen
    for object_id, sight in sample.first_sight.items():
        mask = sample.labels[sight.frame] == object_id
        assert not (sample.labels[: sight.frame] == object_id).any()
        x, y = (int(v) for v in sight.click)
        assert mask[y, x]
        x0, y0, x1, y1 = (int(v) for v in sight.box)
        assert mask[y0 : y1 + 1, x0 : x1 + 1].sum() == mask.sum()
        assert mask[y0].any()
        assert mask[y1].any()
        assert mask[:, x0].any()
        assert mask[:, x1].any()


def test_timelapse_has_a_crossing_an_exit_and_a_division(timelapse: Sample) -> None:
    assert timelapse.axes == "TYX"
    assert timelapse.image.shape == timelapse.labels.shape == (28, 256, 256)
    assert timelapse.image.dtype == np.uint8
    check_prompts(timelapse)
    visible = timelapse.visible
    assert visible.shape == (28, 8)
    assert visible[0].sum() == 7
    returned = visible[0] & visible[-1] & ~visible.all(0)
    assert returned.sum() == 1
    born = ~visible[0]
    assert born.sum() == 1
    area = np.stack([(timelapse.labels == i).sum((1, 2)) for i in range(1, 8)], 1)[:, ~returned[:7]]
    hidden_and_back = (area.min(0) < 0.4 * area[0]) & (area[-1] > 0.7 * area[0])
    assert hidden_and_back.any()


def test_samples_are_the_same_each_time(timelapse: Sample) -> None:
    again = sample_timelapse()
    np.testing.assert_array_equal(again.image, timelapse.image)
    np.testing.assert_array_equal(again.labels, timelapse.labels)
    assert again.first_sight == timelapse.first_sight


def test_zstack_is_16_bit_with_objects_that_appear_and_vanish() -> None:
    sample = sample_zstack()
    assert sample.axes == "ZYX"
    assert sample.image.dtype == np.uint16
    assert sample.image.shape == (24, 192, 192)
    assert sample.image.max() > 3000
    assert sample.scale[0] > sample.scale[1]
    check_prompts(sample)
    assert (~sample.visible[0]).sum() >= 3
    assert (~sample.visible[-1]).sum() >= 3
    # once gone, an object of a stack stays gone
    assert (np.abs(np.diff(sample.visible.astype(int), axis=0)).sum(0) <= 2).mean() > 0.9


def test_two_channels_show_the_same_cells() -> None:
    sample = sample_two_channel()
    assert sample.axes == "TCYX"
    assert sample.image.shape == (12, 2, 256, 256)
    assert sample.labels.shape == (12, 256, 256)
    assert sample.image.dtype == np.uint16
    check_prompts(sample)
    inside = sample.labels > 0

    def same(width: int) -> np.ndarray:
        window = (1, width, width)
        return ndimage.maximum_filter(sample.labels, window) == ndimage.minimum_filter(sample.labels, window)

    border, core = ~same(3), inside & same(9)
    # 110 is the camera's offset
    bodies, membranes = sample.image[:, 0] - 110.0, sample.image[:, 1] - 110.0
    assert bodies[inside].mean() > 1.5 * bodies[~inside].mean()
    assert membranes[border].mean() > 2 * membranes[core].mean()


def test_a_crowd_has_as_many_objects_as_asked_for() -> None:
    sample = crowd(40, (128, 160), frames=3, seed=2)
    assert sample.image.shape == (3, 128, 160)
    assert sample.visible.shape == (3, 40)
    assert sample.visible.all()
    covered = (sample.labels > 0).mean()
    assert 0.2 < covered < 0.45
    check_prompts(sample)
    assert not np.array_equal(sample.image, crowd(40, (128, 160), frames=3, seed=3).image)


def test_a_crowd_that_cannot_be_seen_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        crowd(2000, (64, 64))

"""FrameStack: which pixels become frame t, whatever the array."""

import json
import pickle

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam2.frames import ChannelOptions, FrameStack, FrameStackOptions, guess_options
from napari_sam2.frames.stack import resolve_layout


def numbered(shape, dtype=np.uint8):
    """Every pixel different from its neighbours along every axis."""
    return (np.arange(np.prod(shape)) * 7 % 251).reshape(shape).astype(dtype)


class Recorder:
    """An array that notes what is read of it."""

    def __init__(self, array):
        self._array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, []

    def __getitem__(self, index):
        part = self._array[index]
        self.read.append(part.shape)
        return part


def test_a_grey_video():
    video = numbered((4, 5, 6))
    frames = FrameStack(video)
    assert len(frames) == 4
    assert frames.size == (5, 6)
    for t in range(4):
        np.testing.assert_array_equal(frames.frame(t), np.repeat(video[t, ..., None], 3, axis=-1))


def test_an_rgb_video_is_passed_through_as_a_copy():
    video = numbered((4, 5, 6, 3))
    video.flags.writeable = False
    frame = FrameStack(video).frame(2)
    np.testing.assert_array_equal(frame, video[2])
    assert frame.flags.writeable
    assert frame.flags.c_contiguous


def test_a_single_image():
    assert len(FrameStack(numbered((5, 6)))) == 1
    assert len(FrameStack(numbered((5, 6, 3)))) == 1
    np.testing.assert_array_equal(FrameStack(numbered((5, 6, 3))).frame(0), numbered((5, 6, 3)))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (FrameStackOptions(axis=0, fixed=((1, 2),)), lambda a, t: a[t, 2]),  # TZYX along T
        (FrameStackOptions(axis=1, fixed=((0, 1),)), lambda a, t: a[1, t]),  # along Z
        (FrameStackOptions(axis=0), lambda a, t: a[t, 2]),  # the middle of Z (4) where nothing is said
        (FrameStackOptions(axis=1, fixed=((0, -1),)), lambda a, t: a[2, t]),
        (FrameStackOptions(axis=1, fixed=((0, 0),), reverse=True), lambda a, t: a[0, 3 - t]),
        (
            FrameStackOptions(axis=2, plane=(1, 3), fixed=((0, 1),)),
            lambda a, t: a[1, :, t],
        ),  # along Y: ZX planes
        (
            FrameStackOptions(axis=-1, plane=(2, 1), fixed=((0, 1),)),
            lambda a, t: a[1, :, :, t].T,
        ),  # along X: YZ planes
        (FrameStackOptions(axis=None, fixed=((0, 2), (1, 1))), lambda a, t: a[2, 1]),
    ],
)
def test_any_axis_can_be_travelled(options, expected):
    array = numbered((3, 4, 5, 6))
    frames = FrameStack(array, options)
    for t in range(len(frames)):
        np.testing.assert_array_equal(frames.frame(t)[..., 0], expected(array, t))
        np.testing.assert_array_equal(frames.intensities(t), expected(array, t))
    assert frames.size == expected(array, 0).shape


def test_position_counts_on_the_travelled_axis():
    assert [
        FrameStack(numbered((3, 5, 6)), FrameStackOptions(reverse=True)).position(t) for t in range(3)
    ] == [2, 1, 0]


@given(
    shape=st.lists(st.integers(1, 4), min_size=2, max_size=5).map(tuple),
    data=st.data(),
    reverse=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_every_layout_is_what_moving_axes_says(shape, data, reverse):
    axes = data.draw(st.permutations(range(len(shape))))
    rows, columns, *rest = axes
    axis = rest.pop() if rest and data.draw(st.booleans()) else None
    channel = rest.pop() if rest and data.draw(st.booleans()) else None
    fixed = tuple((a, data.draw(st.integers(0, shape[a] - 1))) for a in rest)
    array = numbered(shape)
    options = FrameStackOptions(
        axis=axis, plane=(rows, columns), fixed=fixed, channel_axis=channel, reverse=reverse, contrast="full"
    )
    frames = FrameStack(array, options)
    held = dict(fixed)
    for t in range(len(frames)):
        position = len(frames) - 1 - t if reverse else t
        for c in range(1 if channel is None else shape[channel]):
            index = [slice(None)] * len(shape)
            for a, place in held.items():
                index[a] = slice(place, place + 1)
            if axis is not None:
                index[axis] = slice(position, position + 1)
            if channel is not None:
                index[channel] = slice(c, c + 1)
            expected = np.moveaxis(array[tuple(index)], (rows, columns), (-2, -1)).reshape(
                shape[rows], shape[columns]
            )
            np.testing.assert_array_equal(frames.intensities(t, c), expected)


@pytest.mark.parametrize("kind", ["numpy", "dask", "zarr", "multiscale", "list of levels"])
def test_anything_with_shape_dtype_and_brackets(tmp_path, kind):
    video = numbered((4, 8, 10))
    small = video[:, ::2, ::2]
    if kind == "dask":
        array = da.from_array(video, chunks=(1, 8, 10))
    elif kind == "zarr":
        array = zarr.create_array(str(tmp_path / "a.zarr"), data=video, chunks=(1, 8, 10))
    elif kind == "multiscale":
        array = pytest.importorskip("napari.layers._multiscale_data").MultiScaleData([video, small])
    else:
        array = {"numpy": video, "list of levels": [video, small]}[kind]
    frames = FrameStack(array)
    assert frames.size == (8, 10)
    np.testing.assert_array_equal(frames.frame(3)[..., 1], video[3])
    again = pickle.loads(pickle.dumps(frames))
    np.testing.assert_array_equal(again.frame(3), frames.frame(3))


def test_only_the_frame_and_channels_that_are_needed_are_read():
    array = Recorder(numbered((9, 5, 4, 8, 10)))
    options = FrameStackOptions(channel_axis=2, fixed=((1, 0),), channels=(ChannelOptions(3, (0, 255)),))
    FrameStack(array, options).frame(5)
    assert array.read == [(8, 10)]


def test_samples_that_lie_together_are_read_once():
    array = Recorder(numbered((9, 8, 10, 5)))
    FrameStack(array, FrameStackOptions(channel_axis=3, contrast="full")).frame(0)
    assert array.read == [(8, 10, 5)]


def test_making_a_stack_reads_nothing():
    array = Recorder(numbered((9, 8, 10), np.float32))
    assert len(FrameStack(array)) == 9
    assert array.read == []


def test_percentiles_look_at_a_few_frames_once():
    array = Recorder(numbered((900, 8, 10), np.uint16))
    frames = FrameStack(array, FrameStackOptions(sampled_frames=4))
    frames.frame(0)
    frames.frame(1)
    assert len(array.read) == 4 + 2


OPTIONS = FrameStackOptions(
    axis=1,
    plane=(3, 4),
    fixed=((0, 2),),
    channel_axis=2,
    reverse=True,
    channels=(ChannelOptions(1, (3, 9.5), 0.7, "green"), ChannelOptions(0, color=(1, 0.5, 0))),
    contrast="percentile",
    percentiles=(1, 99),
    sampled_frames=3,
)


def test_options_survive_json():
    saved = json.loads(json.dumps(OPTIONS.to_dict()))
    assert FrameStackOptions.from_dict(saved) == OPTIONS
    assert hash(OPTIONS) == hash(FrameStackOptions.from_dict(saved))
    assert FrameStackOptions.from_dict({}) == FrameStackOptions()
    assert FrameStackOptions().to_dict() == {}


def test_explicit_options_rebuild_the_same_frames():
    array = np.random.default_rng(0).normal(size=(3, 6, 2, 7, 8)).astype(np.float32)
    frames = FrameStack(array, OPTIONS)
    saved = json.loads(json.dumps(frames.options.to_dict()))
    array_with_other_samples = array.copy()
    array_with_other_samples[:, 1:] *= 100  # percentiles would differ now
    again = FrameStack(array_with_other_samples, FrameStackOptions.from_dict(saved))
    np.testing.assert_array_equal(again.frame(5), frames.frame(5))  # reversed: position 0
    assert again.options == frames.options


@pytest.mark.parametrize(
    "saved",
    [
        {"axes": 1},
        {"channels": 3},
        {"channels": [{"colour": "red"}]},
        {"fixed": [1]},
        {"contrast": "best"},
        {"plane": 5},
    ],
)
def test_broken_saved_options_are_refused(saved):
    with pytest.raises(ValueError):
        FrameStack(numbered((3, 4, 5)), FrameStackOptions.from_dict(saved))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((3, 4, 5), FrameStackOptions(axis=3), "axis 3 does not exist"),
        ((3, 4, 5), FrameStackOptions(axis=0, plane=(0, 1)), "must be different"),
        ((3, 4, 5), FrameStackOptions(axis=0, channel_axis=1), "no two axes"),
        ((3, 4, 5, 6), FrameStackOptions(fixed=((1, 4),)), "positions 0 to 3, not 4"),
        ((3, 4, 5, 6), FrameStackOptions(fixed=((3, 0),)), "can't be held"),
        ((3, 4, 5, 6), FrameStackOptions(rgb=True), "3 or 4 samples"),
        ((3, 0, 5), FrameStackOptions(), "no frame"),
        ((7,), FrameStackOptions(), "no two axes"),
        ((3, 2, 5, 6), FrameStackOptions(channel_axis=1, channels=(ChannelOptions(2),)), "channels 0 to 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(shape, options, message):
    with pytest.raises(ValueError, match=message):
        FrameStack(np.zeros(shape, np.uint8), options)


def test_what_is_no_picture_is_refused():
    with pytest.raises(TypeError, match="complex"):
        FrameStack(np.zeros((3, 4, 5), complex))
    with pytest.raises(TypeError, match="list is none"):
        FrameStack([1, 2, 3])
    with pytest.raises(TypeError, match=r"np\.stack"):
        FrameStack([np.zeros((4, 5)), np.zeros((4, 5))])
    with pytest.raises(IndexError, match="frames 0 to 2"):
        FrameStack(np.zeros((3, 4, 5))).frame(3)


def test_guesses():
    assert guess_options((9, 8, 3), np.uint8) == FrameStackOptions(axis=None, rgb=True)
    assert guess_options((9, 8, 3), np.float32) == FrameStackOptions(axis=0)
    assert guess_options((2, 9, 8, 4), np.uint8) == FrameStackOptions(axis=0, rgb=True)
    assert resolve_layout((2, 6, 9, 8), guess_options((2, 6, 9, 8), np.uint16)).held == ((1, 3),)

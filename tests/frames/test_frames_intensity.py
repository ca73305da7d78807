"""From intensities to what the model sees: contrast, gamma, colours, NaN."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sam2.frames import ChannelOptions, FrameStack, FrameStackOptions, color_stops


def seen(array, *channels, **options):
    return FrameStack(np.asarray(array), FrameStackOptions(channels=channels, **options)).frame(0)


def test_limits_are_black_and_white():
    picture = np.array([[[0, 100, 300, 500, 900]]], np.uint16)
    np.testing.assert_array_equal(
        seen(picture, ChannelOptions(0, (100, 500)))[0, :, 0], [0, 0, 128, 255, 255]
    )


def test_gamma_bends():
    picture = np.array([[[0.0, 0.25, 1.0]]])
    np.testing.assert_array_equal(seen(picture, ChannelOptions(0, (0, 1), 0.5))[0, :, 2], [0, 128, 255])


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64]
)
def test_full_range_of_every_integer(dtype):
    info = np.iinfo(dtype)
    ends = np.array([[[info.min, info.min // 2 + info.max // 2, info.max]]], dtype)
    grey = seen(ends, contrast="full")[0, :, 0].astype(int)
    assert grey[0] == 0
    assert grey[2] == 255
    assert abs(grey[1] - 127.5) <= 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint16, np.int32, ">u2", ">f4"])
def test_auto_stretches_deep_data(dtype):
    ramp = np.linspace(100, 900, 1000).reshape(1, 20, 50).astype(dtype)
    grey = seen(ramp)[..., 0]
    assert grey.min() == 0
    assert grey.max() == 255
    assert abs(int(np.median(grey)) - 128) <= 2


def test_auto_leaves_bytes_and_bools_alone():
    np.testing.assert_array_equal(seen(np.full((1, 2, 2), 90, np.uint8))[..., 0], np.full((2, 2), 90))
    np.testing.assert_array_equal(seen(np.array([[[True, False]]]))[0, :, 0], [255, 0])


def test_percentiles_over_sampled_frames():
    video = np.zeros((5, 10, 100), np.uint16)
    video[:, :, :] = np.arange(100)
    video[2] += 1000
    frames = FrameStack(video, FrameStackOptions(contrast="percentile", percentiles=(10, 90)))
    low, high = frames.channels[0].contrast_limits
    np.testing.assert_allclose((low, high), np.percentile(video, (10, 90)))


def test_sparse_objects_on_a_constant_background_stay_visible():
    video = np.full((1, 100, 100), 7, np.uint16)
    video[0, 3, 3] = 4000
    grey = seen(video)[..., 0]
    assert grey[3, 3] == 255
    assert grey[0, 0] == 0


def test_nan_and_infinity_never_pass():
    picture = np.array([[[np.nan, -np.inf, np.inf, 0.0, 1.0, 0.5]]], np.float32)
    np.testing.assert_array_equal(seen(picture, ChannelOptions(0, (0, 1)))[0, :, 0], [0, 0, 255, 0, 255, 128])
    # and they do not count for the limits
    frames = FrameStack(picture, FrameStackOptions(contrast="full"))
    frames.frame(0)
    assert frames.channels[0].contrast_limits == (0.0, 1.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 7.5])
def test_frames_without_contrast_are_legal(value):
    grey = seen(np.full((2, 4, 4), value))
    assert grey.shape == (4, 4, 3)
    assert grey.min() == grey.max()


@given(
    hnp.arrays(np.float32, (2, 3, 4), elements=st.floats(width=32)),
    st.sampled_from(["auto", "full", "percentile"]),
)
@settings(max_examples=200, deadline=None)
def test_any_float_gives_a_picture(video, contrast):
    frames = FrameStack(video, FrameStackOptions(contrast=contrast))
    low, high = frames.channels[0].contrast_limits
    assert np.isfinite([low, high]).all()
    assert low < high
    picture = frames.frame(1)
    assert picture.dtype == np.uint8
    assert (picture[np.isnan(video[1])] == 0).all()


def test_look_up_and_arithmetic_agree():
    values = np.random.default_rng(0).integers(-3000, 3000, (1, 30, 30)).astype(np.int16)
    channel = ChannelOptions(0, (-1234.5, 2000.25), 1.7)
    np.testing.assert_array_equal(seen(values, channel), seen(values.astype(np.float64), channel))


def test_colours_add_up_and_clip():
    red, green = np.array([[0, 100, 255, 255]], np.uint8), np.array([[0, 50, 0, 255]], np.uint8)
    array = np.stack([red, green])[None]  # (T, C, Y, X)
    channels = ChannelOptions(0, (0, 255), color="red"), ChannelOptions(1, (0, 255), color="yellow")
    picture = seen(array, *channels, channel_axis=1)
    np.testing.assert_array_equal(picture[0], [[0, 0, 0], [150, 50, 0], [255, 0, 0], [255, 255, 0]])


def test_channels_can_be_left_out_and_reordered():
    array = np.stack([np.full((4, 4), c * 50, np.uint8) for c in range(4)])[None]
    picture = seen(array, ChannelOptions(3, color="blue"), ChannelOptions(1, color="red"), channel_axis=1)
    np.testing.assert_array_equal(picture[0, 0], [50, 0, 150])


def test_default_colours_are_those_of_napari():
    array = np.zeros((1, 2, 1, 1), np.uint8)
    array[0, 0] = 255
    np.testing.assert_array_equal(seen(array, channel_axis=1)[0, 0], [255, 0, 255])
    three = FrameStack(np.zeros((1, 3, 2, 2), np.uint8), FrameStackOptions(channel_axis=1)).channels
    assert [channel.color[-1] for channel in three] == [(0, 1, 1), (1, 1, 0), (1, 0, 1)]


@pytest.mark.parametrize("name", ["green", "magenta", "gray", "viridis", "bop orange", "inferno"])
@pytest.mark.parametrize("gamma", [1.0, 0.6])
def test_a_channel_looks_as_in_napari(name, gamma):
    colormaps = pytest.importorskip("napari.utils.colormaps")
    colormap = colormaps.ensure_colormap(name)
    values = np.linspace(0, 200, 300).reshape(1, 15, 20)
    limits = (20.0, 180.0)
    unit = np.clip((values[0] - limits[0]) / (limits[1] - limits[0]), 0, 1) ** gamma
    expected = colormap.map(unit.reshape(-1)).reshape(15, 20, 4)[..., :3]
    stops = colormap.map(np.linspace(0, 1, 256))
    picture = seen(values, ChannelOptions(0, limits, gamma, stops))
    assert np.abs(picture / 255 - expected).max() <= 1.01 / 255


def test_rgb_of_other_types():
    floats = np.zeros((1, 1, 2, 3), np.float32)
    floats[0, 0, 0] = (0, 0.5, 2)
    np.testing.assert_array_equal(seen(floats, rgb=True)[0, 0], [0, 128, 255])
    deep = np.full((1, 1, 1, 3), 32768, np.uint16)
    np.testing.assert_array_equal(seen(deep, rgb=True)[0, 0], [128, 128, 128])
    stretched = seen(deep, ChannelOptions(0, (0, 32768)), rgb=True)
    np.testing.assert_array_equal(stretched[0, 0], [255, 255, 255])


def test_transparent_pixels_are_seen_on_black():
    rgba = np.full((1, 1, 2, 4), 200, np.uint8)
    rgba[0, 0, :, 3] = 255, 0
    np.testing.assert_array_equal(seen(rgba, rgb=True)[0], [[200] * 3, [0] * 3])


def test_rgb_samples_on_another_axis():
    planes = np.arange(12, dtype=np.uint8).reshape(1, 3, 2, 2)
    picture = seen(planes, rgb=True, channel_axis=1)
    np.testing.assert_array_equal(picture, planes[0].transpose(1, 2, 0))


def test_colours():
    assert color_stops("red") == color_stops("#ff0000") == color_stops((1, 0, 0)) == ((0, 0, 0), (1, 0, 0))
    assert color_stops([(0, 0, 0, 1), (0.5, 0, 0, 1), (1, 1, 1, 1)])[1] == (0.5, 0, 0)
    for wrong in ("mauve", "#12345", "#zzzzzz", (1, 2, 3), (1, 1), [(0, 0, 0)], (0, 0, float("nan"))):
        with pytest.raises(ValueError, match=r"colou?r"):
            color_stops(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"contrast_limits": (1, 1)},
        {"contrast_limits": (0, float("nan"))},
        {"gamma": 0},
        {"gamma": float("inf")},
    ],
)
def test_impossible_channels_are_refused(wrong):
    with pytest.raises(ValueError, match=r"limits|gamma"):
        ChannelOptions(**wrong)

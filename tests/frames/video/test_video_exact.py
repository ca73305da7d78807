"""Frame i of a video is the same picture in any order of access, in every kind of file."""

import random

import numpy as np
import pytest

from napari_sam2.frames import open_source
from napari_sam2.frames.video.reader import VideoReader


def test_every_variant_is_exact(variant_video, variant, number_of):
    path, first, count, turns = variant_video(variant)
    reader = VideoReader(path)
    try:
        assert len(reader) == count
        pictures = [reader.frame(t).copy() for t in range(count)]
    finally:
        reader.close()
    numbers = [number_of(np.rot90(picture, -turns)) for picture in pictures]
    assert numbers == list(range(first, first + count))

    # cache_bytes=1: every jump really decodes
    reader = VideoReader(path, cache_bytes=1)
    order = random.Random(1).sample(range(count), 12)
    order += range(count - 1, count - 6, -1)  # and backwards, from the end
    try:
        for t in order:
            np.testing.assert_array_equal(reader.frame(t), pictures[t], err_msg=f"frame {t}")
    finally:
        reader.close()


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le"])
@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
def test_colours_are_those_of_the_matrix_that_the_file_names(tmp_path, run_ffmpeg, pixel_format, matrix):
    color = np.array([200.0, 40.0, 90.0])
    kr, kb = (0.2126, 0.0722) if matrix == "bt709" else (0.299, 0.114)
    luma = kr * color[0] + (1 - kr - kb) * color[1] + kb * color[2]
    blue, red = (color[2] - luma) / (2 - 2 * kb), (color[0] - luma) / (2 - 2 * kr)
    y, u, v = (
        16 + luma * 219 / 255,
        128 + blue * 224 / 255,
        128 + red * 224 / 255,
    )  # BT.601/709, limited range
    deep = pixel_format.endswith("10le")
    planes = [
        np.full((48, 64), round(value * (4 if deep else 1)), "<u2" if deep else "u1") for value in (y, u, v)
    ]
    rows, columns = {"yuv420p": (2, 2), "yuv422p": (1, 2), "yuv444p": (1, 1), "yuv420p10le": (2, 2)}[
        pixel_format
    ]
    planes[1:] = [plane[::rows, ::columns] for plane in planes[1:]]
    (tmp_path / "raw").write_bytes(b"".join(plane.tobytes() for plane in planes))
    raw = ("-f", "rawvideo", "-pix_fmt", pixel_format, "-s", "64x48", "-i", tmp_path / "raw")
    run_ffmpeg(*raw, "-vf", f"setparams=colorspace={matrix}", "-c:v", "ffv1", tmp_path / "a.mkv")
    reader = VideoReader(tmp_path / "a.mkv")
    np.testing.assert_allclose(
        reader.frame(0)[10:40, 10:50].reshape(-1, 3), color[None].repeat(1200, 0), atol=3
    )
    reader.close()


def test_rotation_turns_the_size(variant_video):
    with open_source(variant_video("rotation")[0]) as source:
        assert source.array.shape[1:] == (64, 48, 3)


def test_deep_grey_keeps_its_depth(tmp_path, run_ffmpeg):
    ramp = np.arange(48 * 64, dtype="<u2").reshape(48, 64) * 20
    (tmp_path / "raw").write_bytes(ramp.tobytes())
    raw = ("-f", "rawvideo", "-pix_fmt", "gray16le", "-s", "64x48", "-i", tmp_path / "raw")
    run_ffmpeg(*raw, "-c:v", "ffv1", tmp_path / "a.mkv")
    reader = VideoReader(tmp_path / "a.mkv")
    np.testing.assert_array_equal(reader.frame(0), ramp)
    reader.close()


def test_times_of_a_variable_frame_rate(variant_video):
    with open_source(variant_video("variable frame rate")[0]) as source:
        n = np.arange(60)
        np.testing.assert_allclose(source.frame_times, (n + n // 5 * 3) / 25, atol=1e-3)
        assert source.scale[0] == pytest.approx(source.frame_times[-1] / 59)
        assert source.units[0] == "second"


def test_times_of_a_constant_frame_rate(variant_video):
    with open_source(variant_video("edit list")[0]) as source:
        np.testing.assert_allclose(source.frame_times, np.arange(41) / 25, atol=1e-6)
        assert source.axes == ("t", "y", "x", "s")


def test_a_stream_without_index_is_copied_to_the_cache_once(variant_video, cache):
    path = variant_video("MPEG-TS")[0]
    VideoReader(path).close()
    (copy,) = (cache / "videos").iterdir()
    made = copy.stat().st_ino
    VideoReader(path).close()
    assert [file.stat().st_ino for file in (cache / "videos").iterdir()] == [made]


def test_an_indexed_file_is_read_where_it_is(variant_video, cache):
    VideoReader(variant_video("b-frames")[0]).close()
    assert not (cache / "videos").exists()

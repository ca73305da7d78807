"""Files of several positions, wells, wavelengths, arrays and streams: all is read, or named with the way to get it."""

import subprocess
import warnings

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_sam2.frames import PartialSourceWarning, SourceError, open_source
from napari_sam2.frames.open_source import image_files
from napari_sam2.frames.video.ffmpeg import executable


def save(folder, name, value):
    folder.mkdir(exist_ok=True)
    tifffile.imwrite(folder / name, np.full((20, 30), value, np.uint16), photometric="minisblack")


def opened(path, **how):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return open_source(path, **how), " ".join(str(w.message) for w in caught)


def metamorph(folder):
    for w, dye in ((1, "DAPI"), (2, "GFP")):
        for s in (1, 2):
            for t in range(1, 12):
                save(folder, f"exp_w{w}{dye}_s{s}_t{t}.TIF", w * 1000 + s * 100 + t)
    return (
        (11, 2),
        ("w1DAPI", "w2GFP"),
        ("s1", "s2"),
        lambda p, t, c: (c + 1) * 1000 + (p + 1) * 100 + t + 1,
    )


def metamorph_one_time(folder):
    for w, dye in ((1, "DAPI"), (2, "GFP")):
        for s in (1, 2):
            save(folder, f"exp_w{w}{dye}_s{s}.TIF", w * 1000 + s * 100)
    return (1, 2), ("w1DAPI", "w2GFP"), ("s1", "s2"), lambda p, t, c: (c + 1) * 1000 + (p + 1) * 100


def micro_manager(folder):
    for p in (0, 1):
        for t in range(4):
            for z in range(3):
                save(
                    folder, f"img_channel000_position{p:03d}_time{t:09d}_z{z:03d}.tif", p * 1000 + t * 10 + z
                )
    return (4, 3), (), ("position0", "position1"), lambda p, t, z: p * 1000 + t * 10 + z


def yokogawa(folder):
    for row, well in enumerate(("B02", "C02")):
        for t in (1, 2, 3):
            for c in (1, 2):
                save(folder, f"plate_{well}_T{t:04d}F001L01A01Z01C{c:02d}.tif", row * 100 + t * 10 + c)
    return (
        (3, 2),
        ("channel1", "channel2"),
        ("B02 f1", "C02 f1"),
        lambda p, t, c: p * 100 + (t + 1) * 10 + c + 1,
    )


@pytest.mark.parametrize(
    "make", [metamorph, metamorph_one_time, micro_manager, yokogawa], ids=lambda f: f.__name__
)
def test_positions_in_names_are_series(make, tmp_path):
    grid, channels, series, value = make(tmp_path / "run")
    for number, name in enumerate(series):
        source, _ = opened(tmp_path / "run", series=name)
        assert source.array.shape == (*grid, 20, 30)
        assert (source.series, source.channel_names) == (series, channels)
        for t, k in ((0, 0), (grid[0] - 1, grid[1] - 1)):
            assert int(source.array[t, k, 0, 0].compute()) == value(number, t, k)
        source.close()
    _, said = opened(tmp_path / "run")
    assert f"holds 2 series (0 {series[0]}, 1 {series[1]}); 0 is opened" in said
    with pytest.raises(SourceError, match=f"has no series 'x9': there are 0 {series[0]}"):
        open_source(tmp_path / "run", series="x9")


@pytest.mark.parametrize(
    "names",
    [
        [f"f{t:03d}.tif" for t in range(4)],
        [f"s{t}.tif" for t in range(4)],
        [f"frame{t}_s1.tif" for t in range(4)],
        [f"mouse2_pos{t}.tif" for t in range(4)],
        [f"f{t}_z0.tif" for t in range(4)],
    ],
)
def test_numbers_of_frames_are_no_positions(names, tmp_path):
    for t, name in enumerate(names):
        save(tmp_path / "run", name, t)
    with open_source(tmp_path / "run") as source:
        assert source.array.shape == (4, 20, 30)
        assert source.array[:, 0, 0].compute().tolist() == [0, 1, 2, 3]
        assert source.series == ()


def test_the_names_of_frames_are_those_of_the_position_that_is_open(tmp_path):
    metamorph(tmp_path / "run")
    first = image_files(tmp_path / "run", series="s2")
    assert [f.rsplit("/", 1)[-1] for f in first[:2]] == ["exp_w1DAPI_s2_t1.TIF", "exp_w1DAPI_s2_t2.TIF"]


def test_files_of_other_names_are_named(tmp_path):
    for t in range(4):
        Image.new("L", (30, 20), t).save(_made(tmp_path / "run") / f"img{t}.png")
    Image.new("L", (30, 20)).save(tmp_path / "run" / "background.png")
    with pytest.warns(
        PartialSourceWarning, match=r"holds background\.png beside 4 images like img#\.png; all"
    ):
        source = open_source(tmp_path / "run")
    assert len(source.frames()) == 5
    assert len(open_source(str(tmp_path / "run" / "img*.png")).frames()) == 4


def _made(folder):
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_frames_that_were_written_as_a_picture_are_told(count, dtype, tmp_path):
    pages = np.stack([np.full((20, 30), 40 * k, dtype) for k in range(count)])
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="rgb", planarconfig="separate")
    with pytest.warns(
        PartialSourceWarning, match=rf"one RGB picture, as it says\. If its {count} planes are frames"
    ):
        source = open_source(tmp_path / "a.tif")
    assert source.axes == ("y", "x", "s")
    for axes in ("tyx", "cyx"):
        with open_source(tmp_path / "a.tif", axes=axes) as source:
            np.testing.assert_array_equal(source.array.compute(), pages)
            assert "".join(source.axes) == axes
    tifffile.imwrite(tmp_path / "b.tif", np.moveaxis(pages, 0, -1), photometric="rgb")
    with open_source(tmp_path / "b.tif") as source:  # a real one: nothing to say
        assert source.axes == ("y", "x", "s")


def test_arrays_of_an_npz_file_are_series(tmp_path):
    one, other = np.arange(3 * 20 * 30).reshape(3, 20, 30), np.ones((2, 20, 30), np.uint8)
    np.savez_compressed(tmp_path / "a.npz", movie=one, mask=other, scale=np.float64(2))
    with pytest.warns(PartialSourceWarning, match=r"holds 2 series \(0 movie, 1 mask\); 0 is opened"):
        source = open_source(tmp_path / "a.npz")
    np.testing.assert_array_equal(source.array.compute(), one)
    with open_source(tmp_path / "a.npz", series="mask", axes="zyx") as source:
        np.testing.assert_array_equal(source.array.compute(), other)
        assert (source.axes, source.series) == (("z", "y", "x"), ("movie", "mask"))
    np.savez(tmp_path / "b.npz", x=np.array([None]), y=np.arange(3))
    with pytest.raises(SourceError, match=r"b\.npz holds no array of pixels"):
        open_source(tmp_path / "b.npz")


def test_images_and_arrays_of_a_zarr_group_are_series(tmp_path):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    for k in (1, 2):
        group.create_array(f"im{k}", data=np.full((4, 32, 40), k, np.uint8))
    with pytest.raises(SourceError, match=r"several arrays \(im1, im2\); choose one with series"):
        open_source(tmp_path / "a.zarr")
    with open_source(tmp_path / "a.zarr", series="im2") as source:
        assert (source.array.compute() == 2).all()
    group.attrs["multiscales"] = [
        {"name": f"M{k}", "axes": [{"name": c} for c in "tyx"], "datasets": [{"path": f"im{k}"}]}
        for k in (1, 2)
    ]
    with pytest.warns(PartialSourceWarning, match=r"holds 2 series \(0 M1, 1 M2\); 0 is opened"):
        open_source(tmp_path / "a.zarr").close()
    with open_source(tmp_path / "a.zarr", series="M2") as source:
        assert (source.array.compute() == 2).all()


def test_chunks_that_were_never_written_are_told(tmp_path):
    zarr.create_array(str(tmp_path / "a.zarr"), data=np.ones((7, 32, 40), np.uint8), chunks=(1, 32, 40))
    (tmp_path / "a.zarr" / "c" / "3" / "0" / "0").unlink()
    with pytest.warns(
        PartialSourceWarning, match=r"holds 6 of 7 chunks; the others were never .* are read as 0"
    ):
        open_source(tmp_path / "a.zarr").close()


def test_a_second_video_stream_is_told(tmp_path):
    two = [arg for _ in range(2) for arg in ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=10:d=0.5")]
    command = [
        executable(),
        "-v",
        "error",
        *two,
        "-map",
        "0",
        "-map",
        "1",
        "-c:v",
        "libx264",
        tmp_path / "a.mkv",
    ]
    subprocess.run(command, check=True)
    with pytest.warns(PartialSourceWarning, match="holds 2 video streams; the first is read"):
        source = open_source(tmp_path / "a.mkv")
    assert len(source.frames()) == 5
    source.close()

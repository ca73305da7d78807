"""Every kind of file that a path can name: pixels, axes, scale, units, times."""

import pickle

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_sam2.frames import DamagedSourceWarning, FrameReadError, FrameStack, SourceError, open_source
from napari_sam2.frames.open_source import natural_key

STACK = np.random.default_rng(0).integers(0, 60000, (4, 3, 2, 20, 30)).astype(np.uint16)  # TZCYX


def check(source, expected, axes):
    """Lazy, one chunk per plane, right pixels, before and after pickling and closing."""
    assert "".join(source.axes) == axes
    assert source.array.shape == expected.shape
    assert source.array.dtype == expected.dtype
    inner = 3 if source.rgb else 2
    for n, chunks in zip(expected.shape[:-inner], source.array.chunks[:-inner]):
        assert chunks == (1,) * n
    np.testing.assert_array_equal(source.array.compute(), expected)
    source.close()
    last = (-1,) * (expected.ndim - inner)
    np.testing.assert_array_equal(source.array[last].compute(), expected[last])
    again = pickle.loads(pickle.dumps(source.array))
    np.testing.assert_array_equal(again[last].compute(), expected[last])
    source.close()


def write_images(folder, pictures, name="frame{}.png", first=8):
    folder.mkdir(exist_ok=True)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / name.format(i + first))


# ---------------------------------------------------------------- images


def test_a_folder_of_images_in_natural_order(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 255, (5, 20, 30), np.uint8)
    write_images(tmp_path / "run", pictures)  # frame8 … frame12
    (tmp_path / "run" / "notes.txt").write_text("not an image")
    (tmp_path / "run" / "._frame8.png").write_bytes(b"what a Mac leaves behind")
    source = open_source(tmp_path / "run")
    assert source.kind == "images"
    check(source, pictures, "tyx")


def test_a_pattern_and_a_single_image(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 255, (3, 20, 30, 3), np.uint8)
    write_images(tmp_path / "run", pictures)
    write_images(tmp_path / "run", pictures[:1, :5], "thumb{}.png")
    check(open_source(tmp_path / "run" / "frame*.png"), pictures, "tyxs")
    check(open_source(tmp_path / "run" / "frame9.png"), pictures[1:2], "tyxs")
    with pytest.raises(SourceError, match="does not exist|No file matches"):
        open_source(tmp_path / "run" / "none*.png")


def test_images_of_16_bits_float_bool_and_with_palette(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65535, (2, 20, 30)).astype(np.uint16)
    write_images(tmp_path / "deep", deep)
    check(open_source(tmp_path / "deep"), deep, "tyx")
    flags = np.random.default_rng(0).random((2, 20, 30)) > 0.5
    write_images(tmp_path / "flags", flags)
    check(open_source(tmp_path / "flags"), flags, "tyx")
    (tmp_path / "palette").mkdir()
    Image.fromarray(np.full((5, 5, 3), (200, 10, 30), np.uint8)).quantize(4).save(
        tmp_path / "palette" / "a.png"
    )
    source = open_source(tmp_path / "palette")
    assert source.axes[-1] == "s"
    np.testing.assert_array_equal(source.array[0, 2, 2].compute(), (200, 10, 30))


def test_photographs_are_upright(tmp_path):
    picture = Image.new("RGB", (30, 20))
    exif = picture.getexif()
    exif[0x0112] = 6  # the camera was held upright
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert open_source(tmp_path / "a.jpg").array.shape == (1, 30, 20, 3)


def test_axes_can_be_given(tmp_path):
    pictures = np.zeros((5, 20, 30), np.uint8)
    write_images(tmp_path / "run", pictures)
    source = open_source(tmp_path / "run", axes="zyx")
    assert source.axes == ("z", "y", "x")
    for wrong in ("tzyx", "yx", "abc", "tyy", "syx", ""):
        with pytest.raises(SourceError, match="axes|axis"):
            open_source(tmp_path / "run", axes=wrong)


def test_a_folder_of_tiff_stacks(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for t in range(4):
        tifffile.imwrite(
            folder / f"t{t}.tif", STACK[t, :, 0], metadata={"axes": "ZYX"}, photometric="minisblack"
        )
    check(open_source(folder), STACK[:, :, 0], "tzyx")


def test_one_bad_image_is_named_and_the_others_go_on(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 255, (6, 20, 30), np.uint8)
    write_images(tmp_path / "run", pictures)
    (tmp_path / "run" / "frame10.png").write_bytes(b"broken")
    Image.fromarray(pictures[0, :7]).save(tmp_path / "run" / "frame11.png")
    frames = open_source(tmp_path / "run").frames()
    with pytest.raises(FrameReadError, match=r"Frame 2 .*frame10\.png"):
        frames.frame(2)
    with pytest.raises(
        FrameReadError, match=r"frame11\.png, is 7 × 30 uint8, but the first image is 20 × 30 uint8"
    ):
        frames.frame(3)
    np.testing.assert_array_equal(frames.frame(4)[..., 0], pictures[4])


def test_images_that_differ_are_refused_at_once(tmp_path):
    write_images(tmp_path / "run", [np.zeros((4, 5), np.uint8), np.zeros((6, 5), np.uint8)])
    with pytest.raises(SourceError, match="must be alike"):
        open_source(tmp_path / "run")


def test_natural_order():
    names = ["a10", "a9", "B1", "a09b", "a", "a9b2", "a9b10"]
    assert sorted(names, key=natural_key) == ["a", "a9", "a09b", "a9b2", "a9b10", "a10", "B1"]


# ---------------------------------------------------------------- TIFF


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_an_ome_tiff_with_everything(tmp_path, compression, byteorder):
    path = tmp_path / "a.ome.tif"
    metadata = {
        "axes": "TZCYX",
        "PhysicalSizeX": 0.25,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": 0.5,
        "PhysicalSizeYUnit": "µm",
        "PhysicalSizeZ": 2000,
        "PhysicalSizeZUnit": "nm",
        "TimeIncrement": 3,
        "TimeIncrementUnit": "min",
        "Channel": {"Name": ["DAPI", "GFP"]},
    }
    tifffile.imwrite(
        path,
        STACK,
        metadata=metadata,
        ome=True,
        compression=compression,
        byteorder=byteorder,
        photometric="minisblack",
    )
    source = open_source(path)
    assert source.scale == (3, 2000, 1, 0.5, 0.25)
    assert source.units == ("minute", "nanometer", "", "micrometer", "micrometer")
    assert source.channel_names == ("DAPI", "GFP")
    np.testing.assert_allclose(source.frame_times, np.arange(4) * 180)
    assert source.reader.mapped == (compression is None)
    check(source, STACK, "tzcyx")


def test_ome_planes_with_their_own_times(tmp_path):
    planes = {"DeltaT": [0.0, 1.5, 4.0, 4.5], "DeltaTUnit": ["s"] * 4}
    tifffile.imwrite(
        tmp_path / "a.ome.tif", STACK[:, 0, 0], metadata={"axes": "TYX", "Plane": planes}, ome=True
    )
    np.testing.assert_allclose(open_source(tmp_path / "a.ome.tif").frame_times, [0, 1.5, 4, 4.5])


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_an_imagej_hyperstack(tmp_path, compression):
    tifffile.imwrite(
        tmp_path / "a.tif",
        STACK,
        imagej=True,
        compression=compression,
        resolution=(4.0, 2.0),
        metadata={"axes": "TZCYX", "spacing": 1.5, "unit": "um", "finterval": 0.2},
    )
    source = open_source(tmp_path / "a.tif")
    assert source.scale == pytest.approx((0.2, 1.5, 1, 0.5, 0.25))
    assert source.units == ("second", "micrometer", "", "micrometer", "micrometer")
    np.testing.assert_allclose(source.frame_times, np.arange(4) * 0.2)
    check(source, STACK, "tzcyx")


def test_plain_tiffs(tmp_path):
    video = STACK[:, 0, 0]
    tifffile.imwrite(tmp_path / "a.tif", video, photometric="minisblack")
    source = open_source(tmp_path / "a.tif")
    assert source.scale == (1, 1, 1)
    assert source.units == ("pixel",) * 3
    assert source.frame_times is None
    check(source, video, "tyx")
    rgb = np.random.default_rng(0).integers(0, 255, (3, 20, 30, 3), np.uint8)
    tifffile.imwrite(tmp_path / "rgb.tif", rgb, photometric="rgb")
    check(open_source(tmp_path / "rgb.tif"), rgb, "tyxs")
    tifffile.imwrite(
        tmp_path / "planar.tif", rgb.transpose(0, 3, 1, 2), photometric="rgb", planarconfig="separate"
    )
    check(open_source(tmp_path / "planar.tif"), rgb, "tyxs")
    check(open_source(tmp_path / "planar.tif", axes="tcyx"), rgb.transpose(0, 3, 1, 2), "tcyx")
    tifffile.imwrite(tmp_path / "tiled.tif", video[0], tile=(16, 16), compression="zlib")
    check(open_source(tmp_path / "tiled.tif"), video[0], "yx")


def test_an_lzw_tiff(tmp_path):
    pages = [Image.fromarray(plane) for plane in STACK[:, 0, 0]]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    check(open_source(tmp_path / "a.tif"), STACK[:, 0, 0], "tyx")


def test_of_a_pyramid_the_full_resolution_is_taken(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        writer.write(STACK[:, 0, 0], subifds=1, metadata={"axes": "TYX"})
        writer.write(STACK[:, 0, 0, ::2, ::2], subfiletype=1)
    check(open_source(tmp_path / "a.ome.tif"), STACK[:, 0, 0], "tyx")


def test_a_truncated_tiff(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, compression="zlib", photometric="minisblack", metadata=None)
    content = (tmp_path / "a.tif").read_bytes()
    for keep in (0, 4, 100):
        (tmp_path / "cut.tif").write_bytes(content[:keep])
        with pytest.raises(SourceError, match=r"cut\.tif"):
            open_source(tmp_path / "cut.tif")


def test_a_truncated_memory_mapped_tiff_says_what_is_left(tmp_path):
    description = '{"shape": [12, 20, 30], "truncated": true}'  # one page stands for twelve
    with tifffile.TiffWriter(tmp_path / "a.tif", byteorder=">") as writer:
        writer.write(STACK[0, 0, 0], description=description, metadata=None, photometric="minisblack")
    content = (tmp_path / "a.tif").read_bytes() + STACK[:, :, 0].reshape(12, 20, 30)[1:].astype(
        ">u2"
    ).tobytes()
    (tmp_path / "a.tif").write_bytes(content)
    check(open_source(tmp_path / "a.tif"), STACK[:, :, 0].reshape(12, 20, 30), "tyx")
    (tmp_path / "a.tif").write_bytes(content[: -4 * 1200 + 600])
    with pytest.warns(DamagedSourceWarning, match="8 of 12 planes are readable"):
        source = open_source(tmp_path / "a.tif")
    np.testing.assert_array_equal(source.array[7].compute(), STACK[2, 1, 0])
    with pytest.raises(FrameReadError, match="ends after 8 pages"):
        source.array[8].compute()
    source.close()


def test_a_tiff_that_lost_its_later_pages_says_so(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK[:, :, 0], imagej=True, metadata={"axes": "TZYX"})
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[: int(len(content) * 0.7)])
    with pytest.warns(DamagedSourceWarning, match="planes are readable .*invalid"):
        open_source(tmp_path / "a.tif").close()


def test_a_header_that_claims_the_impossible_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK[0, 0, 0], compression="zlib", metadata=None)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        tags = file.pages[0].tags
        places = [tags[name].valueoffset for name in ("ImageWidth", "ImageLength", "RowsPerStrip")]
    for place in places:
        content[place : place + 2] = b"\xff\xff"
    (tmp_path / "a.tif").write_bytes(bytes(content))
    with pytest.raises(SourceError, match="can't hold them"):
        open_source(tmp_path / "a.tif")


def test_a_header_with_far_too_many_strips_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK[0, 0, 0], compression="zlib", rowsperstrip=20, metadata=None)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        tags = file.pages[0].tags
        length, rows = (tags[name].valueoffset for name in ("ImageLength", "RowsPerStrip"))
    content[length : length + 2] = b"\xff\xff"
    content[rows : rows + 2] = b"\x01\x00"
    (tmp_path / "a.tif").write_bytes(bytes(content))
    with pytest.raises(SourceError, match="1 of 65535 strips"):
        open_source(tmp_path / "a.tif")


def test_a_damaged_page_is_named_and_the_others_go_on(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK[:, 0, 0], compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        start = file.pages[2].dataoffsets[0]
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[start : start + 20] = bytes(20)
    (tmp_path / "a.tif").write_bytes(bytes(content))
    frames = open_source(tmp_path / "a.tif").frames()
    with pytest.raises(FrameReadError, match="2"):
        frames.frame(2)
    assert frames.frame(3).shape == (20, 30, 3)


# ---------------------------------------------------------------- zarr and npy


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("chunks", [(1, 1, 1, 20, 30), (2, 3, 1, 7, 9), (4, 3, 2, 20, 30)])
def test_zarr_arrays(tmp_path, version, chunks):
    zarr.create_array(str(tmp_path / "a.zarr"), data=STACK, chunks=chunks, zarr_format=version)
    check(open_source(tmp_path / "a.zarr", axes="tzcyx"), STACK, "tzcyx")


def test_named_dimensions_of_zarr(tmp_path):
    names = ["time", "z", "channel", "y", "x"]
    zarr.create_array(str(tmp_path / "a.zarr"), data=STACK, dimension_names=names)
    assert open_source(tmp_path / "a.zarr").axes == ("t", "z", "c", "y", "x")


def test_a_chunk_over_many_planes_is_read_once(tmp_path, monkeypatch):
    zarr.create_array(str(tmp_path / "a.zarr"), data=STACK[:, 0, 0], chunks=(4, 20, 30))
    source = open_source(tmp_path / "a.zarr")
    reads = []
    genuine = zarr.Array.__getitem__
    monkeypatch.setattr(
        zarr.Array, "__getitem__", lambda self, index: reads.append(index) or genuine(self, index)
    )
    frames = source.frames()
    frames.frame(0)
    reads.clear()
    for t in range(4):
        np.testing.assert_array_equal(frames.intensities(t), STACK[t, 0, 0])
    assert len(reads) <= 1


@pytest.mark.parametrize("ome_version", ["0.4", "0.5"])
def test_ome_zarr(tmp_path, ome_version):
    axes = [
        {"name": "t", "type": "time", "unit": "millisecond"},
        {"name": "c", "type": "channel"},
        {"name": "z", "type": "space", "unit": "micrometer"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    data = STACK.transpose(0, 2, 1, 3, 4)
    attributes = {
        "multiscales": [
            {
                "version": ome_version,
                "axes": axes,
                "datasets": [
                    {
                        "path": str(level),
                        "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 2, s, s]}],
                    }
                    for level, s in enumerate((0.25, 0.5))
                ],
                "coordinateTransformations": [{"type": "scale", "scale": [40, 1, 1, 1, 1]}],
            }
        ],
        "omero": {"channels": [{"label": "DAPI"}, {"label": "GFP"}]},
    }
    old = ome_version == "0.4"
    group = zarr.open_group(str(tmp_path / "a.ome.zarr"), mode="w", zarr_format=2 if old else 3)
    group.create_array("0", data=data, chunks=(1, 1, 1, 16, 16))
    group.create_array("1", data=data[..., ::2, ::2], chunks=(1, 1, 1, 16, 16))
    group.attrs.update(attributes if old else {"ome": {"version": "0.5", **attributes}})
    source = open_source(tmp_path / "a.ome.zarr")
    assert source.scale == (40, 1, 2, 0.25, 0.25)
    assert source.units == ("millisecond", "", "micrometer", "micrometer", "micrometer")
    assert source.channel_names == ("DAPI", "GFP")
    np.testing.assert_allclose(source.frame_times, np.arange(4) * 0.04)
    check(source, data, "tczyx")


@pytest.mark.filterwarnings("ignore:Call to deprecated class Scaler")
def test_what_the_ome_zarr_library_writes(tmp_path):
    import ome_zarr.writer

    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    ome_zarr.writer.write_image(STACK[:, 0, 0], group, axes="tyx", scale_factors=(2,))
    check(open_source(tmp_path / "a.zarr"), STACK[:, 0, 0], "tyx")


def test_a_zarr_group_of_several_arrays_asks_for_one(tmp_path):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    group.create_array("one", data=STACK)
    np.testing.assert_array_equal(open_source(tmp_path / "a.zarr").array[1, 2, 1].compute(), STACK[1, 2, 1])
    group.create_array("two", data=STACK)
    with pytest.raises(SourceError, match="one, two"):
        open_source(tmp_path / "a.zarr")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(SourceError, match=r"empty\.zarr"):
        open_source(tmp_path / "empty.zarr")


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy(tmp_path, order):
    np.save(tmp_path / "a.npy", np.asarray(STACK, order=order))
    source = open_source(tmp_path / "a.npy", axes="tzcyx")
    assert source.kind == "npy"
    check(source, STACK, "tzcyx")


def test_npy_of_objects_or_nothing_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    (tmp_path / "b.npy").write_bytes(b"\x93NUMPY")
    np.save(tmp_path / "c.npy", np.zeros(4))
    for name in "abc":
        with pytest.raises(SourceError, match=rf"{name}\.npy|shape"):
            open_source(tmp_path / f"{name}.npy")


# ---------------------------------------------------------------- as frames


@pytest.mark.parametrize(
    ("axes", "travelled", "channel"),
    [
        ("tzcyx", 0, 2),
        ("ztcyx", 1, 2),
        ("zcyx", 0, 1),
        ("cyx", None, 0),
        ("yx", None, None),
        ("pzyx", 1, None),
    ],
)
def test_what_is_travelled_when_nothing_is_said(tmp_path, axes, travelled, channel):
    shape = {"t": 4, "z": 3, "c": 2, "p": 2, "y": 20, "x": 30}
    np.save(tmp_path / "a.npy", np.zeros([shape[letter] for letter in axes], np.uint16))
    options = open_source(tmp_path / "a.npy", axes=axes).options()
    assert (options.axis, options.channel_axis) == (travelled, channel)


def test_a_single_time_point_is_travelled_along_z(tmp_path):
    np.save(tmp_path / "a.npy", STACK[:1, :, 0])
    frames = open_source(tmp_path / "a.npy", axes="tzyx").frames()
    assert isinstance(frames, FrameStack)
    assert len(frames) == 3


def test_what_is_nothing_at_all(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("hello")
    for name, message in (
        ("none", "does not exist"),
        ("empty", "holds no images"),
        ("a.txt", "neither a video nor"),
    ):
        with pytest.raises(SourceError, match=message):
            open_source(tmp_path / name)

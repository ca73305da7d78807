"""What a file holds is read, or a warning says what is left out and how to get it."""

import re
import shutil
import warnings

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_sam2.formats import read_masks
from napari_sam2.frames import (
    DamagedSourceWarning,
    FrameReadError,
    PartialSourceWarning,
    SourceError,
    open_source,
)

STACK = np.random.default_rng(0).integers(0, 60000, (6, 20, 30)).astype(np.uint16)


def pixels(path, **options):
    with open_source(path, **options) as source:
        return "".join(source.axes), source.array.compute()


# ---------------------------------------------------------------- TIFF


def test_pages_written_one_by_one_or_appended_are_one_stack(tmp_path):
    with tifffile.TiffWriter(tmp_path / "one.tif") as writer:
        for plane in STACK:
            writer.write(plane, photometric="minisblack")
    tifffile.imwrite(tmp_path / "two.tif", STACK[:3], photometric="minisblack")
    tifffile.imwrite(tmp_path / "two.tif", STACK[3:], append=True, photometric="minisblack")
    for name in ("one.tif", "two.tif"):
        axes, found = pixels(tmp_path / name)
        assert axes == "tyx"
        np.testing.assert_array_equal(found, STACK)
    with tifffile.TiffWriter(tmp_path / "labels.tif") as writer:
        for k in range(3):
            writer.write(np.full((4, 5), k + 1, np.uint8), photometric="minisblack")
    assert {i: m.frames for i, m in read_masks(tmp_path / "labels.tif").masklets.items()} == {
        1: (0,),
        2: (1,),
        3: (2,),
    }


def test_images_of_other_sizes_are_named(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(STACK, photometric="minisblack")
        writer.write(STACK[0, :5, :5], photometric="minisblack")
    with pytest.warns(
        PartialSourceWarning, match="holds 2 series .* 0 is opened, choose another with series"
    ):
        assert pixels(tmp_path / "a.tif")[1].shape == STACK.shape
    np.testing.assert_array_equal(pixels(tmp_path / "a.tif", series=1)[1], STACK[0, :5, :5])


def test_positions_of_an_ome_tiff_can_be_chosen(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        for i in range(3):
            writer.write(
                STACK[i : i + 2] + i, metadata={"axes": "TYX", "Name": f"Pos{i}"}, photometric="minisblack"
            )
    with pytest.warns(PartialSourceWarning, match=r"3 series \(0 Pos0, 1 Pos1, 2 Pos2\)"):
        source = open_source(tmp_path / "a.ome.tif")
    assert source.series == ("Pos0", "Pos1", "Pos2")
    for wanted in (1, "1", "Pos1"):
        np.testing.assert_array_equal(pixels(tmp_path / "a.ome.tif", series=wanted)[1], STACK[1:3] + 1)
    with pytest.raises(SourceError, match=r"has no series 'Pos9': there are 0 Pos0, 1 Pos1"):
        open_source(tmp_path / "a.ome.tif", series="Pos9")


def write_half_of_two(path, stack, second="run_1.ome.tif"):
    ids = [f"urn:uuid:00000000-0000-0000-0000-00000000000{i}" for i in range(2)]
    files = (path.name, second)
    data = "".join(
        f'<TiffData FirstT="{t}" FirstC="0" FirstZ="0" IFD="{t % 3}" PlaneCount="1">'
        f'<UUID FileName="{files[t // 3]}">{ids[t // 3]}</UUID></TiffData>'
        for t in range(6)
    )
    height, width = stack.shape[1:]
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        f'UUID="{ids[0]}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" '
        f'SizeX="{width}" SizeY="{height}" SizeZ="1" SizeC="1" SizeT="6">'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{data}</Pixels></Image></OME>'
    )
    with tifffile.TiffWriter(path, ome=False) as writer:
        for k, plane in enumerate(stack[:3]):
            writer.write(plane, description=None if k else xml, metadata=None, photometric="minisblack")


def test_a_missing_file_of_an_ome_tiff_is_named_and_its_frames_are_not_black(tmp_path):
    write_half_of_two(tmp_path / "run_0.ome.tif", STACK)
    with pytest.warns(
        DamagedSourceWarning, match=r"run_1\.ome\.tif is missing, so 3 of 6 planes are readable"
    ):
        source = open_source(tmp_path / "run_0.ome.tif")
    np.testing.assert_array_equal(source.array[2].compute(), STACK[2])
    with pytest.raises(FrameReadError, match=r"lies in a file that is missing: run_1\.ome\.tif"):
        source.array[4].compute()
    source.close()


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("count", [None, 4])
def test_rgb_in_separate_planes_is_the_same_picture(tmp_path, compression, count):
    shape = (20, 30, 3) if count is None else (count, 20, 30, 3)
    rgb = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.moveaxis(rgb, -1, -3),
        photometric="rgb",
        planarconfig="separate",
        compression=compression,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if count is None else "error", PartialSourceWarning)
        axes, found = pixels(tmp_path / "a.tif")
    assert axes[-3:] == "yxs"
    np.testing.assert_array_equal(found, rgb)


def test_channels_behind_the_pixels_are_channels(tmp_path):
    data = np.stack([STACK, STACK // 2], axis=-1)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack", planarconfig="contig")
    np.save(tmp_path / "a.npy", data)
    for name in ("a.tif", "a.npy"):
        with open_source(tmp_path / name) as source:
            frames = source.frames()
            assert (len(frames), frames.size) == (6, (20, 30))
            for channel in (0, 1):
                np.testing.assert_array_equal(frames.intensities(3, channel), data[3, ..., channel])
            assert source.axes[0] == "t"


# ---------------------------------------------------------------- zarr


def write_ome(path, data, axes, group=None):
    group = zarr.open_group(str(path), mode="w", zarr_format=2) if group is None else group
    group.create_array("0", data=np.ascontiguousarray(data))
    scale = [{"type": "scale", "scale": [float(k + 1) for k in range(data.ndim)]}]
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": [{"name": a} for a in axes],
            "datasets": [{"path": "0", "coordinateTransformations": scale}],
        }
    ]


@pytest.mark.parametrize(
    ("axes", "order", "ordered", "scale"),
    [
        ("xyt", (2, 1, 0), "tyx", (3, 2, 1)),
        ("tyx", (0, 1, 2), "tyx", (1, 2, 3)),
        ("ytx", (1, 0, 2), "tyx", (2, 1, 3)),
    ],
)
def test_named_axes_in_another_order_are_transposed(tmp_path, axes, order, ordered, scale):
    write_ome(tmp_path / "a.zarr", STACK.transpose(order), axes)
    with open_source(tmp_path / "a.zarr") as source:
        assert ("".join(source.axes), source.scale) == (ordered, scale)
        np.testing.assert_array_equal(source.array.compute(), STACK)
    write_ome(tmp_path / "labels.zarr", (STACK[:, :4, :5] % 3).transpose(order), axes)
    found = read_masks(tmp_path / "labels.zarr")
    np.testing.assert_array_equal(found.masklets[1].mask(4), STACK[4, :4, :5] % 3 == 1)


def test_channels_last_in_zarr_are_channels(tmp_path):
    write_ome(tmp_path / "a.zarr", np.stack([STACK, STACK // 2], -1), "tyxc")
    axes, found = pixels(tmp_path / "a.zarr")
    assert axes == "tcyx"
    np.testing.assert_array_equal(found, np.stack([STACK, STACK // 2], 1))


def test_axes_without_x_and_y_are_refused(tmp_path):
    write_ome(tmp_path / "a.zarr", STACK, "tab")
    with pytest.raises(SourceError, match=r"names its axes t, a, b .*; say what they are with axes"):
        open_source(tmp_path / "a.zarr")
    assert pixels(tmp_path / "a.zarr", axes="tyx")[0] == "tyx"


def test_plates_and_bioformats2raw_open_and_list_their_images(tmp_path):
    plate = zarr.open_group(str(tmp_path / "plate.zarr"), mode="w", zarr_format=2)
    plate.attrs["plate"] = {"wells": [{"path": "A/1"}, {"path": "B/2"}]}
    for k, well in enumerate(("A/1", "B/2")):
        plate.create_group(well).attrs["well"] = {"images": [{"path": "0"}]}
        write_ome(None, STACK + k, "tyx", plate.create_group(f"{well}/0"))
    raw = zarr.open_group(str(tmp_path / "raw.zarr"), mode="w", zarr_format=2)
    raw.attrs["bioformats2raw.layout"] = 3
    raw.create_group("OME").attrs["series"] = ["0"]
    write_ome(None, STACK, "tyx", raw.create_group("0"))
    with pytest.warns(PartialSourceWarning, match=r"2 series \(0 A/1/0, 1 B/2/0\)"):
        np.testing.assert_array_equal(pixels(tmp_path / "plate.zarr")[1], STACK)
    np.testing.assert_array_equal(pixels(tmp_path / "plate.zarr", series="B/2/0")[1], STACK + 1)
    np.testing.assert_array_equal(pixels(tmp_path / "raw.zarr")[1], STACK)  # one image: nothing to choose


@pytest.mark.parametrize("inside", [True, False])
def test_zarr_in_a_zip_file(tmp_path, inside):
    write_ome(tmp_path / "a.zarr", STACK, "tyx")
    shutil.make_archive(
        str(tmp_path / "b.ome.zarr"), "zip", tmp_path, "a.zarr"
    ) if inside else shutil.make_archive(str(tmp_path / "b.ome.zarr"), "zip", tmp_path / "a.zarr")
    shutil.copy(tmp_path / "b.ome.zarr.zip", tmp_path / "b.ozx")
    for name in ("b.ome.zarr.zip", "b.ozx"):
        axes, found = pixels(tmp_path / name)
        assert axes == "tyx"
        np.testing.assert_array_equal(found, STACK)


# ---------------------------------------------------------------- images


def test_animated_png_and_webp_have_all_their_frames(tmp_path):
    pictures = [Image.fromarray(np.full((20, 30), 20 * t, np.uint8)) for t in range(8)]
    for name in ("a.png", "a.webp"):
        pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], lossless=True)
        axes, found = pixels(tmp_path / name)
        assert axes[0] == "t"
        assert found.reshape(8, -1)[:, 0].tolist() == [20 * t for t in range(8)]


def write_tiffs(folder, names):
    folder.mkdir()
    for name, value in names.items():
        tifffile.imwrite(folder / name, np.full((4, 5), value, np.uint16), photometric="minisblack")


def test_a_file_for_each_channel_and_time_makes_channels(tmp_path):
    names = {f"img_{t:09d}_{c}_000.tif": 10 * t + k for t in range(4) for k, c in enumerate(("DAPI", "FITC"))}
    write_tiffs(tmp_path / "run", names)
    with pytest.warns(PartialSourceWarning, match="2 images for each frame, read as channels DAPI, FITC"):
        source = open_source(tmp_path / "run")
    assert ("".join(source.axes), source.channel_names) == ("tcyx", ("DAPI", "FITC"))
    assert source.array[:, :, 0, 0].compute().tolist() == [[10 * t, 10 * t + 1] for t in range(4)]
    with open_source(f"{tmp_path}/run/*{{FITC,DAPI}}*.tif") as chosen:
        assert chosen.channel_names == ("FITC", "DAPI")
        assert chosen.array[2, :, 0, 0].compute().tolist() == [21, 20]
        assert chosen.frame_names[1] == "img_000000001_FITC_000.tif"
    with pytest.raises(SourceError, match=r"different numbers of files: .*\(4\), .*\(1\)"):
        open_source(f"{tmp_path}/run/*{{FITC,1_DAPI}}*.tif")


@pytest.mark.parametrize(
    ("name", "axes"),
    [("img_t{t:03d}_c{c}.tif", "tcyx"), ("run_w{c}_s1_t{t}.tif", "tcyx"), ("a{t:02d}_z{c:02d}.tif", "tzyx")],
)
def test_numbers_of_channels_and_planes_in_names(tmp_path, name, axes):
    write_tiffs(tmp_path / "run", {name.format(t=t, c=c): 10 * t + c for t in range(3) for c in (1, 2)})
    found_axes, found = pixels(tmp_path / "run")
    assert found_axes == axes
    assert found[:, :, 0, 0].tolist() == [[10 * t + 1, 10 * t + 2] for t in range(3)]


def test_masks_beside_the_frames_are_left_out_and_named(tmp_path):
    write_tiffs(tmp_path / "run", {f"{kind}_{t}.tif": t for t in range(3) for kind in ("frame", "mask")})
    with pytest.warns(PartialSourceWarning, match=re.escape("mask_#.tif is taken for masks and left out")):
        assert pixels(tmp_path / "run")[1].shape == (3, 4, 5)


def test_the_same_frames_with_two_endings_are_read_once(tmp_path):
    (tmp_path / "run").mkdir()
    for t in range(3):
        for ending in ("png", "jpg"):
            Image.fromarray(np.full((4, 5), t, np.uint8)).save(tmp_path / "run" / f"{t}.{ending}")
    with pytest.warns(PartialSourceWarning, match="the same names with several endings"):
        assert pixels(tmp_path / "run")[1].shape == (3, 4, 5)


def test_ordinary_folders_open_without_a_warning(tmp_path):
    write_tiffs(tmp_path / "run", {f"img_2024-01-02_{t}.tif": t for t in range(12)})
    write_tiffs(tmp_path / "names", {f"{name}.tif": 1 for name in ("cell", "nucleus", "other1", "other2")})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pixels(tmp_path / "run")[1][:, 0, 0].tolist() == list(range(12))
        assert pixels(tmp_path / "names")[1].shape == (4, 4, 5)


def test_a_damaged_first_image_does_not_hide_the_others(tmp_path):
    write_tiffs(tmp_path / "run", {f"{t}.tif": t for t in range(4)})
    for t in (0, 3):
        (tmp_path / "run" / f"{t}.tif").write_bytes(b"")
    with open_source(tmp_path / "run") as source:
        assert source.array[1, 0, 0].compute() == 1
        with pytest.raises(FrameReadError, match=r"Frame 0 can't be read from .*0\.tif"):
            source.array[0].compute()

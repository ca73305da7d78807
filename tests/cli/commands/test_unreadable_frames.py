"""A damaged frame in the middle of a recording, in every format: tracked around, named, exported, resumed."""

import csv

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from tests.cli.conftest import HEIGHT, LENGTH, WIDTH, drawn_movie
from tests.frames.conftest import encode

pytestmark = pytest.mark.filterwarnings("always::UserWarning")
BAD = 5


def cut_npy(folder):
    np.save(folder / "a.npy", drawn_movie())
    content = (folder / "a.npy").read_bytes()
    (folder / "a.npy").write_bytes(content[: 128 + (BAD * HEIGHT + 3) * WIDTH])
    return folder / "a.npy", list(range(BAD, LENGTH))


def tiff_page(folder):
    tifffile.imwrite(folder / "a.tif", drawn_movie(), photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(folder / "a.tif") as file:
        place = file.pages[BAD].dataoffsets[0]
    content = bytearray((folder / "a.tif").read_bytes())
    content[place : place + 40] = bytes(40)
    (folder / "a.tif").write_bytes(content)
    return folder / "a.tif", [BAD]


def zarr_chunk(folder):
    zarr.create_array(str(folder / "a.zarr"), data=drawn_movie(), chunks=(1, HEIGHT, WIDTH))
    (folder / "a.zarr" / "c" / str(BAD) / "0" / "0").write_bytes(b"no chunk")
    return folder / "a.zarr", [BAD]


def zarr_slab(folder):
    zarr.create_array(str(folder / "a.zarr"), data=drawn_movie(), chunks=(3, HEIGHT, WIDTH))
    (folder / "a.zarr" / "c" / "1" / "0" / "0").write_bytes(b"no chunk")
    return folder / "a.zarr", [3, 4, 5]


def png_folder(folder):
    (folder / "a").mkdir()
    for t, frame in enumerate(drawn_movie()):
        Image.fromarray(frame).save(folder / "a" / f"f{t:03d}.png")
    (folder / "a" / f"f{BAD:03d}.png").write_bytes(b"\x89PNG cut")
    return folder / "a", [BAD]


def other_size(folder):
    path, bad = png_folder(folder)
    Image.new("L", (WIDTH, HEIGHT - 2)).save(path / f"f{BAD:03d}.png")
    return path, bad


def mjpeg(folder):
    encode(folder / "a.avi", drawn_movie(), "-c:v", "mjpeg", "-pix_fmt", "yuvj420p")
    content = bytearray((folder / "a.avi").read_bytes())
    place = -1
    for _ in range(BAD + 1):
        place = content.find(b"\xff\xd8\xff", place + 1)
    content[place : place + 600] = bytes(600)
    (folder / "a.avi").write_bytes(content)
    return folder / "a.avi", [BAD]


@pytest.mark.parametrize(
    "make",
    [cut_npy, tiff_page, zarr_chunk, zarr_slab, png_folder, other_size, mjpeg],
    ids=lambda f: f.__name__,
)
def test_a_damaged_frame_is_passed_over_in_every_format(make, napari_sam2, checkpoint, tmp_path):
    source, bad = make(tmp_path)
    run = napari_sam2(
        *("--json", "track", source, "--box", "0:1:0,8,14,20", "--model", checkpoint, "--out", "p.sam2"),
        *("--export", "csv,mp4"),
    )
    assert run.ok()["unreadable_frames"] == bad
    said = [e["message"] for e in run.events if e["event"] == "warning"]
    assert any("can't be read and w" in m and f"frame{'s' * (len(bad) > 1)} {bad[0]}" in m for m in said), (
        said
    )
    with open(tmp_path / "p.sam2" / "exports" / "measurements.csv") as file:
        assert [int(row["frame"]) for row in csv.DictReader(file)] == [
            t for t in range(LENGTH) if t not in bad
        ]
    assert napari_sam2("--json", "info", "p.sam2").ok()["unreadable_frames"] == bad
    again = napari_sam2("--json", "resume", "p.sam2", "--export", "csv,coco")
    assert again.ok()["exports"].keys() == {"csv", "coco"}


def test_a_range_behind_the_damage_is_tracked(napari_sam2, checkpoint, tmp_path):
    source, _ = png_folder(tmp_path)
    run = napari_sam2(
        *("--json", "track", source, "--box", "6:1:12,8,26,20", "--model", checkpoint, "--range", "6:9")
    )
    assert run.ok()["frames"] == 3
    assert run.ok()["unreadable_frames"] == []


def test_masks_of_many_frames_are_found_around_a_damaged_one(napari_sam2, checkpoint, tmp_path):
    source, _ = png_folder(tmp_path)
    run = napari_sam2(
        *("--json", "auto", source, "--model", checkpoint, "--frames", "4:7", "--points-per-side", 4),
        *("--out", "a.json"),
    )
    frames = run.ok()["frames"]
    assert [f["frame"] for f in frames] == [4, 5, 6]
    assert frames[1]["objects"] == 0
    assert frames[1]["explanation"].startswith("It can't be read: Frame 5")

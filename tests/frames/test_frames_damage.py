"""Planes that can't be read leave the others usable, and files that run code or claim the absurd are refused."""

import json
from importlib import import_module

import numcodecs
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_sam2.formats import ImportProblem, read_masks
from napari_sam2.frames import DamagedSourceWarning, FrameReadError, SourceError, fingerprint, open_source
from napari_sam2.frames.open_source import image_files
from napari_sam2.storage.frames_fingerprint import frames_hash

STACK = np.random.default_rng(0).integers(0, 200, (24, 48, 64)).astype(np.uint8)


def test_a_cut_stack_is_recognised_and_read_up_to_the_cut(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack")
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[: int(len(content) * 0.7)])
    with pytest.warns(DamagedSourceWarning):
        source = open_source(tmp_path / "a.tif")
    frames = source.frames()
    assert len(fingerprint(source.array)) == 40
    assert frames_hash(frames).startswith("sha256:")
    np.testing.assert_array_equal(frames.frame(10)[..., 0], STACK[10])
    with pytest.raises(FrameReadError, match="Frame 23 can't be read: Page 23 .* is missing") as caught:
        frames.frame(23)
    assert caught.value.frame == 23
    source.close()


def test_a_damaged_chunk_names_its_frame(tmp_path):
    zarr.create_array(str(tmp_path / "a.zarr"), data=STACK, chunks=(1, 48, 64))
    (tmp_path / "a.zarr" / "c" / "5" / "0" / "0").write_bytes(b"no chunk")
    with open_source(tmp_path / "a.zarr") as source:
        with pytest.raises(FrameReadError, match=r"Frame 5 of .*a\.zarr can't be read"):
            source.frames().frame(5)
        np.testing.assert_array_equal(source.frames().frame(6)[..., 0], STACK[6])


class _Trap:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code of the file ran')",))


@pytest.mark.parametrize("codec", [numcodecs.Pickle(), numcodecs.JSON(), numcodecs.MsgPack()])
def test_codecs_that_may_run_code_are_refused_before_a_chunk_is_read(tmp_path, codec):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    group.create_array("0", shape=(2, 48, 64), dtype="uint8", chunks=(1, 48, 64), compressors=None)
    about = json.loads((tmp_path / "a.zarr" / "0" / ".zarray").read_text())
    about["compressor"] = codec.get_config()
    (tmp_path / "a.zarr" / "0" / ".zarray").write_text(json.dumps(about))
    (tmp_path / "a.zarr" / "0" / "0.0.0").write_bytes(__import__("pickle").dumps(_Trap()))
    for reader, error in ((open_source, SourceError), (read_masks, ImportProblem)):
        with pytest.raises(error, match=f"with the codec '{codec.codec_id}', which is not read"):
            reader(tmp_path / "a.zarr" / "0")


def test_chunks_that_claim_gigabytes_are_refused(tmp_path):
    zarr.create_array(
        str(tmp_path / "a.zarr"), shape=(40000, 256, 256), chunks=(40000, 256, 256), dtype="uint8"
    )
    with pytest.raises(SourceError, match=r"chunks of 2\.4 GiB"):
        open_source(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((3, 4, 5), complex), "Pixels of type complex128 .* take the absolute value"),
        (np.zeros((0, 4, 5)), r"shape \(0, 4, 5\): there is no pixel in it"),
        (np.zeros((3, 4, 5), "M8[s]"), "Pixels of type datetime64"),
        (np.array([[None, 1]]), "Pixels of type object can't be shown; convert them"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused_in_a_sentence(tmp_path, array, sentence):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(SourceError, match=sentence) as caught:
        open_source(tmp_path / "a.npy")
    assert "damaged" not in str(caught.value)


def test_frames_of_one_pixel_and_absurd_sizes_of_pixels(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(3, dtype=np.uint8).reshape(3, 1, 1))
    with open_source(tmp_path / "a.npy") as source:
        assert source.frames().frame(2).tolist() == [[[2, 2, 2]]]
    metadata = {"axes": "TYX", "PhysicalSizeX": 1e300, "PhysicalSizeY": 0.5, "TimeIncrement": 1e-320}
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata=metadata, photometric="minisblack")
    with open_source(tmp_path / "a.ome.tif") as source:
        assert source.scale == (1, 0.5, 1)


def test_a_search_through_folders_can_be_ended(tmp_path, monkeypatch):
    for name in ("a/b/2.png", "a/10.png", "a/.hidden/3.png", "[c]/x/b/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(STACK[0]).save(tmp_path / name)
    (tmp_path / "a" / "round").symlink_to(tmp_path)
    found = {
        pattern: image_files(tmp_path / pattern)
        for pattern in ("**/*.png", "a/**", "**/b/**/*.png", "*/**/1*.png")
    }
    assert {p: [f.removeprefix(f"{tmp_path}/") for f in files] for p, files in found.items()} == {
        "**/*.png": ["[c]/x/b/1.png", "a/10.png", "a/b/2.png"],
        "a/**": ["a/10.png", "a/b", "a/b/2.png", "a/round"],
        "**/b/**/*.png": ["[c]/x/b/1.png", "a/b/2.png"],
        "*/**/1*.png": ["[c]/x/b/1.png", "a/10.png"],
    }
    monkeypatch.setattr(import_module("napari_sam2.frames.open_source"), "_MOST_SECONDS", 0.0)
    with pytest.raises(
        SourceError, match=r"\*\*/nothing matches too many files or folders; name the folder more"
    ):
        open_source(tmp_path / "**" / "nothing")


@pytest.mark.parametrize("shape", [(10**9, 8, 8), (10**5, 10**3, 8, 8)])
def test_a_billion_frames_are_refused(tmp_path, shape):
    zarr.create_array(
        str(tmp_path / "a.zarr"), shape=shape, chunks=(1,) * (len(shape) - 2) + (8, 8), dtype="uint8"
    )
    with pytest.raises(SourceError, match=r"claims \d+ planes; up to 4000000 can be read"):
        open_source(tmp_path / "a.zarr")


def test_what_is_no_file_is_not_read(tmp_path):
    for name in ("a.mp4", "a.tif", "a.npy", "a.json", "b.tif"):
        (tmp_path / name).symlink_to("/dev/zero")
    for name in ("a.mp4", "a.tif", "a.npy"):
        with pytest.raises(SourceError, match=f"{name} is neither a file nor a folder"):
            open_source(tmp_path / name)
    for name in ("a.json", "b.tif"):
        with pytest.raises(ImportProblem, match=f"{name} is neither a file nor a folder"):
            read_masks(tmp_path / name)

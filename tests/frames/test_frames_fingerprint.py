"""A recording is recognised by its content."""

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

from napari_sam2.frames import fingerprint, open_source

VIDEO = np.random.default_rng(0).integers(0, 4000, (7, 3, 20, 30)).astype(np.uint16)


def test_the_same_content_in_any_wrapping(tmp_path):
    expected = fingerprint(VIDEO)
    assert len(expected) == 40
    np.save(tmp_path / "a.npy", VIDEO)
    tifffile.imwrite(tmp_path / "b.tif", VIDEO, metadata={"axes": "TZYX"}, ome=True, compression="zlib")
    zarr.create_array(str(tmp_path / "c.zarr"), data=VIDEO)
    for array in (
        da.from_array(VIDEO, chunks=(2, 1, 7, 30)),
        VIDEO.astype(">u2"),
        np.asfortranarray(VIDEO),
        [VIDEO, VIDEO[..., ::2, ::2]],
        *(open_source(tmp_path / name).array for name in ("a.npy", "b.tif", "c.zarr")),
    ):
        assert fingerprint(array) == expected


@pytest.mark.parametrize("place", [(0, 0, 0, 0), (6, 2, 19, 29)])
def test_other_content_differs(place):
    other = VIDEO.copy()
    other[place] += 1
    assert fingerprint(other) != fingerprint(VIDEO)


def test_other_shapes_and_types_differ():
    zeros = np.zeros((4, 6, 8), np.uint8)
    different = [
        zeros,
        zeros.reshape(4, 8, 6),
        zeros.reshape(2, 2, 6, 8),
        zeros.astype(np.int8),
        zeros.astype(bool),
    ]
    assert len({fingerprint(array) for array in different}) == 5


def test_few_planes_are_read():
    class Counting:
        shape, dtype = (100_000, 6, 5), np.dtype(np.uint8)
        reads = 0

        def __getitem__(self, index):
            self.reads += 1
            return np.zeros((6, 5), np.uint8)

    array = Counting()
    fingerprint(array)
    assert array.reads == 4


def test_images_and_vectors():
    assert fingerprint(np.zeros((4, 5))) != fingerprint(np.ones((4, 5)))
    with pytest.raises(TypeError):
        fingerprint("a name")

"""Damaged headers: no hang, no exception but our own, and a sentence that names the file."""

import struct

import numpy as np
import pytest
import tifffile

from napari_sam2.frames import SourceError, open_source
from tests.frames import odd_media

STACK = np.arange(4 * 12 * 20, dtype=np.uint16).reshape(4, 12, 20)


def test_a_hundred_damaged_files_are_read_or_refused(tmp_path):
    seen = odd_media.run(120, 1, tmp_path, odd_media.recordings())
    assert sum(seen.values()) == 120
    assert min(seen["read"], seen["refused"], seen["frames lost"]) > 3  # all ends are tried


def test_damaged_videos_are_read_or_refused(tmp_path):
    seen = odd_media.run(6, 2, tmp_path, odd_media.videos())
    assert sum(seen.values()) == 6


def test_undamaged_recordings_are_read(tmp_path):
    for name, content in odd_media.recordings().items():
        (tmp_path / name).write_bytes(content)
        assert odd_media.look(tmp_path / name) == "read", name


@pytest.mark.parametrize(
    ("announced", "absurd"),
    [('SizeT="4"', 'SizeT="2147483647"'), ('PlaneCount="4"', 'PlaneCount="2147483647"')],
)
def test_an_ome_tiff_that_announces_absurd_numbers_is_refused(tmp_path, announced, absurd):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", metadata={"axes": "TYX"})
    xml = tifffile.tiffcomment(path)
    changed = xml.replace(announced, absurd)
    assert changed != xml
    with tifffile.TiffWriter(path) as writer:
        for t, plane in enumerate(STACK):
            writer.write(plane, description=None if t else changed.encode(), metadata=None, contiguous=False)
    with odd_media.limited(3), pytest.raises(SourceError, match="announces 2147483647 planes"):
        open_source(path)


def test_a_circle_of_many_pages_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for _ in range(150):
            writer.write(STACK[0], metadata=None, contiguous=False)
    with tifffile.TiffFile(path) as file:
        last, second = file.pages[-1], file.pages[1].offset
        place = last.offset + 2 + 12 * len(last.tags)
    content = bytearray(path.read_bytes())
    assert content[place : place + 4] == bytes(4)
    content[place : place + 4] = struct.pack("<I", second)
    path.write_bytes(content)
    with odd_media.limited(3), pytest.raises(SourceError, match="its list of pages never ends"):
        open_source(path)

"""Real recordings, where the development data lies beside the repository."""

from pathlib import Path

import numpy as np
import pytest

from napari_sam2.frames import SourceError, fingerprint, open_source
from napari_sam2.frames.video.reader import VideoReader

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = [pytest.mark.shared, pytest.mark.skipif(not DATA.exists(), reason="no development data here")]


@pytest.mark.parametrize(
    ("name", "shape", "axes"),
    [
        ("videos/bedroom.mp4", (200, 540, 960, 3), "tyxs"),
        ("videos/tracktor_spiders.mp4", (2352, 1080, 1920, 3), "tyxs"),
        ("videos/sleap_two_flies_1100f.mp4", (1100, 384, 384, 3), "tyxs"),
        ("usiigaci_t98g/frames", (20, 1022, 1024), "tyx"),
        ("usiigaci_t98g/masks.tif", (20, 1022, 1024), "tyx"),
        ("kubric_teaser/frames", (24, 326, 327, 3), "tyxs"),
        ("em_flyem_z/frames", (100, 250, 250), "tyx"),
        ("nuclei3d_synth_z/frames", (31, 61, 57), "tyx"),
        ("img_c2c12_laptrack/images/*.png", (10, 234, 234), "tyx"),
    ],
)
def test_opens_as_a_user_would(name, shape, axes):
    with open_source(DATA / name) as source:
        assert source.array.shape == shape
        assert "".join(source.axes) == axes
        frames = source.frames()
        assert len(frames) == shape[0]
        picture = frames.frame(shape[0] // 2)
        assert picture.shape == (*shape[1:3], 3)
        assert picture.std() > 5
        assert fingerprint(source.array) == fingerprint(source.array)


def test_images_of_different_sizes_are_refused_with_a_remedy():
    with pytest.raises(SourceError, match="must be alike"):
        open_source(DATA / "img_dsb2018" / "images")


def test_a_real_video_is_the_same_in_any_order():
    path = DATA / "videos" / "bedroom.mp4"
    reader, jumping = VideoReader(path), VideoReader(path, cache_bytes=1)
    for t in (199, 3, 130, 61):
        np.testing.assert_array_equal(jumping.frame(t), reader.frame(t))
    for r in (reader, jumping):
        r.close()

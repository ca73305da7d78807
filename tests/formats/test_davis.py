from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_sam2.formats import TrackingResults
from napari_sam2.formats.davis import davis_palette, write_davis
from napari_sam2.masks import FrameMasks
from napari_sam2.objects import ObjectInfo


def test_pillow_reads_ids_as_palette_indices(
    run: TrackingResults, labels: np.ndarray, tmp_path: Path
) -> None:
    folder = write_davis(run, tmp_path / "davis")
    files = sorted(folder.iterdir())
    assert [f.name for f in files] == [f"{t:05d}.png" for t in range(8)]
    for file, expected in zip(files, labels):
        with Image.open(file) as image:
            assert image.mode == "P"
            np.testing.assert_array_equal(np.asarray(image), expected)


def test_colours_are_those_of_the_data_set(run: TrackingResults, tmp_path: Path) -> None:
    # The first colours as the data set's own images have them.
    expected = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)]
    palette = np.array(davis_palette()).reshape(256, 3)
    assert [tuple(c) for c in palette[:7].tolist()] == expected
    assert palette[255].tolist() == [224, 224, 192]
    assert len({tuple(c) for c in palette.tolist()}) == 256
    with Image.open(write_davis(run, tmp_path / "davis") / "00000.png") as image:
        rgb = np.asarray(image.convert("RGB"))
        assert tuple(rgb[1, 1]) == expected[1]


def test_ids_above_254_are_refused(tmp_path: Path) -> None:
    run = TrackingResults((2, 2), 1, lambda t: FrameMasks.empty(t, (2, 2)), (ObjectInfo(255),))
    with pytest.raises(ValueError, match="254 and object 255"):
        write_davis(run, tmp_path / "davis")
    assert not (tmp_path / "davis").exists()

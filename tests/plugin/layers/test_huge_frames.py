"""Images of 16k × 16k: frames have as many pixels as the network can use, and marks and masks lie where they belong."""

from __future__ import annotations

from functools import partial

import dask.array as da
import numpy as np
import pytest
import zarr
from napari.components import ViewerModel
from napari.layers import Image
from napari.utils.notifications import notification_manager

from napari_sam2.plugin.docks.parts import controller_link
from napari_sam2.plugin.docks.tracker.tracker_dock import TrackerDock
from napari_sam2.plugin.layers import image_layer as layers
from napari_sam2.plugin.layers.frame_stack import Strided, calibration_of, frames_of
from napari_sam2.plugin.layers.geometry import MOST_PIXELS, Geometry, Reduction, reduction_of
from napari_sam2.plugin.layers.image_layer import geometry_of
from napari_sam2.plugin.qt.open_tracker import open_tracker
from napari_sam2.plugin.state import ModelChoice, Preferences
from tests.plugin.dock_world import WAIT, add_dock, click, drag, fail_on_leaks, iou, press_button, shown

SIDE = 16384
ROUND = [(16384, 16384), (8192, 8192), (4096, 4096), (2048, 2048)]


@pytest.mark.parametrize(
    ("levels", "level", "stride", "step"),
    [
        ([(1080, 1920)], 0, 1, 1),
        ([(4096, 4096)], 0, 1, 1),
        ([(4096, 4096), (2048, 2048)], 0, 1, 1),  # a pyramid that is not huge is seen at full resolution
        ([(4320, 7680)], 0, 2, 2),
        ([(16384, 16384)], 0, 4, 4),
        (ROUND, 3, 1, 8),
        ([(16384, 16384), (512, 512)], 0, 4, 4),  # a thumbnail is no level to work on
        ([(16384, 16384), (8192, 8192)], 1, 2, 4),
    ],
)
def test_a_frame_has_as_many_pixels_as_the_network_can_use(levels, level, stride, step):
    found = reduction_of(levels)
    assert (found.level, found.stride, found.steps) == (level, stride, (step, step))
    height, width = levels[level]
    assert height * width / stride**2 <= MOST_PIXELS


def test_places_survive_the_way_to_a_reduced_frame_and_back():
    reduction = reduction_of([(16384, 10000), (8192, 5000)])
    geometry = Geometry((7, 16384, 10000), 0, (0, 0, 0), (4096, 2500), reduction)
    data = np.array([[3, 100.25, 50.5], [3, 16000, 9000]])
    np.testing.assert_allclose(geometry.to_data(3, geometry.to_xy(data)), data)
    # The pixels of level 1 are twice as large; of two of them the second is taken: its middle is at 2.5.
    np.testing.assert_allclose(geometry.to_xy([[0, 2.5, 2.5]]), [[0, 0]])
    np.testing.assert_allclose(geometry.to_xy([[0, 6.5, 10.5]]), [[2, 1]])


@pytest.mark.parametrize("rgb", [False, True])
def test_a_strided_array_is_the_array_cut(rgb, tmp_path):
    whole = np.random.default_rng(0).integers(0, 255, (3, 21, 34, *([3] * rgb)), np.uint8)
    saved = zarr.create_array(tmp_path / "a.zarr", data=whole)
    cut = Reduction(0, 4).cut()
    seen = whole[(slice(None), cut, cut)]
    part = Strided(saved, cut, rgb)
    assert (part.shape, part.dtype, part.ndim) == (seen.shape, seen.dtype, seen.ndim)
    for key in (1, (2,), (1, slice(None), slice(None)), (slice(0, 2), 1), slice(None)):
        np.testing.assert_array_equal(part[key], seen[key])


def test_a_huge_plain_image_is_read_in_part_whatever_holds_it(tmp_path, monkeypatch):
    monkeypatch.setattr(layers, "reduction_of", partial(reduction_of, most=300 * 300))
    pixels = np.zeros((2, 600, 600), np.uint8)
    pixels[1, 300:330, 60:90] = 200
    store = zarr.create_array(tmp_path / "a.zarr", data=pixels, chunks=(1, 200, 200))
    seen = []
    for data in (pixels, da.from_array(pixels, chunks=(1, 200, 200)), store):
        image = Image(data, contrast_limits=(0, 200))
        geometry = geometry_of([image], (0, 0, 0))
        assert (geometry.shape, geometry.size) == ((2, 600, 600), (300, 300))
        seen.append(frames_of([image], geometry).frame(1)[..., 0])
    np.testing.assert_array_equal(seen[0], pixels[1, 1::2, 1::2] // 200 * 255)
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0], seen[2])
    assert calibration_of(image, geometry).scale[1:] == (2, 2)


# -- in a window -------------------------------------------------------------------------------------------

nothing_left = pytest.fixture(fail_on_leaks)
windowed = [pytest.mark.gui, pytest.mark.usefixtures("nothing_left")]


class Levels:
    """A pyramid of black squares, made when they are looked at; counts the chunks of each level."""

    def __init__(self, count=6, chunk=1024):
        self.made = [0] * count
        self.levels = [self._level(i, SIDE >> i, chunk) for i in range(count)]

    def _level(self, index, side, chunk):
        def block(block_info=None):
            self.made[index] += 1
            return np.zeros(block_info[None]["chunk-shape"], np.uint8)

        side_chunks = (min(chunk, side),) * max(1, side // chunk)
        return da.map_blocks(
            block, chunks=(side_chunks, side_chunks), dtype=np.uint8, meta=np.zeros((0, 0), np.uint8)
        )


@pytest.mark.gui
@pytest.mark.usefixtures("nothing_left")
def test_click_and_box_on_a_pyramid_of_16k(qtbot, make_napari_viewer, monkeypatch, fake, preferences):
    monkeypatch.setattr(
        controller_link, "open_tracker", lambda v, i: open_tracker(v, i, opener=fake, preferences=preferences)
    )
    viewer = shown(make_napari_viewer(show=True))
    pyramid = Levels()
    viewer.add_image(
        pyramid.levels, multiscale=True, contrast_limits=(0, 255), scale=(0.5, 0.5), translate=(100, 40)
    )
    with notification_manager:
        dock = add_dock(viewer, TrackerDock(viewer))
        assert any("reduced to 2048 × 2048" in str(r.message) for r in notification_manager.records)
    c = dock.controller
    qtbot.waitUntil(lambda: c.model.phase == "ready", timeout=WAIT)
    viewer.reset_view()
    place = np.array([100 + 0.5 * 5000.0, 40 + 0.5 * 12000.0])  # world
    press_button(qtbot, dock.tools.buttons["points"])
    click(qtbot, viewer, *place)
    qtbot.waitUntil(lambda: c.results.layer is not None, timeout=WAIT)
    point = c.prompts.all[0, 1].points[0]
    zoom = 8192 / 600  # one pixel of the screen
    assert (point.x * 8 + 3.5, point.y * 8 + 3.5) == pytest.approx((12000, 5000), abs=4 * zoom)
    # What is shown lies under the click: the middle of the disc in the world is where the point is.
    rows, columns = np.nonzero(c.results.mask(0, 1))
    middle = c.results.layer.data_to_world((rows.mean(), columns.mean()))
    np.testing.assert_allclose(middle, c.prompts.layer("points").data_to_world(
        c.prompts.layer("points").data[0]), atol=4)  # fmt: skip
    assert c.results.layer.data.shape == (2048, 2048)
    for end, side in ((-0.5, -0.5), (2047.5, SIDE - 0.5)):  # the outer rims of the pixels at the corners
        np.testing.assert_allclose(
            c.results.layer.data_to_world((end, end)), c.image.data_to_world((side, side))
        )

    press_button(qtbot, dock.tools.buttons["box"])
    start, end = place + 500, place + 1000
    drag(qtbot, viewer, tuple(start), tuple(end))
    qtbot.waitUntil(lambda: c.prompts.all[0, 1].box is not None, timeout=WAIT)
    box = c.prompts.all[0, 1].box
    assert (box.x0 * 4 + 40, box.y1 * 4 + 100) == pytest.approx((start[1], end[0]), abs=3 * zoom)
    assert pyramid.made[0] == pyramid.made[1] == 0, "a whole level of 16k or 8k was not meant to be read"


def test_the_small_network_finds_a_disc_on_26_megapixels(nano, tmp_path):
    side, radius, at = 5200, 400, (2000, 3500)
    pixels = np.full((side, side), 60, np.uint8)
    rows, columns = np.ogrid[:side, :side]
    disc = (rows - at[0]) ** 2 + (columns - at[1]) ** 2 < radius**2
    pixels[disc] = 200
    viewer = ViewerModel()
    image = viewer.add_image(pixels, contrast_limits=(0, 255))
    preferences = Preferences(ModelChoice(nano, "cpu"), autosave_folder=tmp_path, encode_ahead=0)
    c = open_tracker(viewer, image, preferences=preferences)
    try:
        c.wait()
        c.prompts.ensure_layer("points").add(np.array(at, float))  # as a click: where it is in the image
        c.wait()
        mask = c.results.mask(0, 1)
        assert mask.shape == (2600, 2600)
        assert iou(mask, disc[1::2, 1::2]) > 0.7
    finally:
        c.close()

"""Instances of micro-sam's decoder: from maps of distances to labels, and through the filters of automatic masks."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_sam2.automatic import AutomaticOptions, SpatialFilter, instance_labels, segment_instances
from napari_sam2.automatic.instances import InstanceFinder
from napari_sam2.model.sam1.instance_decoder import InstanceDecoder
from napari_sam2.model.weights.checkpoints import load_model
from napari_sam2.model.weights.sam1_layouts import build_sam1, read_sam1
from napari_sam2.session import ArrayFrames, ImageSession
from tests.golden.sam1_recipe import meta_state

SIZE = (120, 160)
CELLS = ((30, 40, 18), (62, 40, 18), (120, 70, 25))  # x, y, radius; the first two overlap


def cells(size=SIZE):
    """True labels (H, W) of the cells; each pixel belongs to the nearest centre."""
    yy, xx = np.mgrid[: size[0], : size[1]]
    distances = np.stack([np.hypot(xx - x, yy - y) / r for x, y, r in CELLS])
    return np.where(distances.min(0) <= 1, distances.argmin(0) + 1, 0)


def perfect_maps(labels):
    """What a perfect decoder gives: foreground, distance to the centre, distance to the boundary (small inside)."""
    maps = np.ones((3, *labels.shape), np.float32)
    maps[0] = labels > 0
    for label in range(1, labels.max() + 1):
        mask = labels == label
        depth = ndimage.distance_transform_edt(mask)
        y, x = ndimage.center_of_mass(mask)
        yy, xx = np.nonzero(mask)
        away = np.hypot(xx - x, yy - y)
        maps[1][mask] = away / away.max()
        maps[2][mask] = 1 - depth[mask] / depth.max()
    return maps


def test_watershed_of_perfect_maps_gives_the_cells():
    truth = cells()
    found = instance_labels(perfect_maps(truth))
    assert found.max() == 3
    for label in (1, 2, 3):
        mask = truth == label
        same = found == np.bincount(found[mask]).argmax()
        assert (same & mask).sum() / (same | mask).sum() > 0.93  # smoothing takes some of the rim
    assert instance_labels(np.zeros((3, 8, 8), np.float32)).max() == 0


class PerfectDecoder(torch.nn.Module):
    """Gives the maps of the cells in the place where a padded frame lies."""

    def __init__(self):
        super().__init__()
        self.out_conv = torch.nn.Conv2d(1, 1, 1)

    def forward(self, embedding):
        maps = torch.from_numpy(perfect_maps(cells()))[None]
        maps = torch.nn.functional.interpolate(maps, size=(192, 256), mode="bilinear")
        return torch.nn.functional.pad(maps, (0, 0, 0, 64))


@pytest.fixture
def sam():
    return build_sam1(read_sam1(meta_state()), "small").requires_grad_(False)


def test_instances_pass_the_filters_of_automatic_masks(sam):
    sam.instance_decoder = PerfectDecoder()
    image = np.zeros((*SIZE, 3), np.uint8)
    result = segment_instances(sam, image)
    assert len(result) == 3
    assert [mask.predicted_iou > 0.9 for mask in result.masks] == [True] * 3
    for mask in result.masks:
        x, y = (int(v) for v in mask.point)
        assert mask.array()[y, x]
    truth = cells()
    overlap = result.labels() > 0
    assert (overlap & (truth > 0)).sum() / (overlap | (truth > 0)).sum() > 0.95
    largest = segment_instances(sam, image, AutomaticOptions(min_area=1500))
    assert [mask.point[0] > 100 for mask in largest.masks] == [True]
    known = truth == 3
    new = segment_instances(
        sam, image, AutomaticOptions(max_overlap=0.2), spatial_filter=SpatialFilter(None, known)
    )
    assert len(new) == 2
    finder = InstanceFinder(ImageSession(sam), ArrayFrames(image[None]))
    assert len(finder.find(0)) == 3
    assert len(finder.find(0, known)) == 2


def test_a_real_decoder_runs_on_real_features(sam):
    torch.manual_seed(0)
    sam.instance_decoder = InstanceDecoder(256, 16).eval()
    image = np.random.default_rng(0).integers(0, 255, (90, 130, 3), dtype=np.uint8)
    result = segment_instances(sam, image)
    assert result.size == (90, 130)
    assert result.explanation


def test_models_without_a_decoder_say_so(sam):
    with pytest.raises(ValueError, match="no decoder for instances: micro-sam's models have one"):
        segment_instances(sam, np.zeros((10, 10, 3), np.uint8))
    frames = ArrayFrames(np.zeros((1, 64, 64), np.uint8))
    with pytest.raises(ValueError, match="SAM 2 has no decoder for instances"):
        InstanceFinder(load_model("nano", "cpu"), frames).find(0)

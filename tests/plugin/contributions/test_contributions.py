"""What the manifest points at: readers, sample data, writers, preferences."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import tifffile
import yaml
from napari.components import ViewerModel
from napari.layers import Layer
from npe2 import PluginManifest

from napari_sam2.frames.video.reader import VideoReader
from napari_sam2.masks import encode_rle
from napari_sam2.plugin.contributions import readers, samples, writers
from napari_sam2.plugin.layers.metadata import PROJECT_KEY
from napari_sam2.plugin.preferences import load_preferences
from napari_sam2.prompts import PointPrompt, Prompt
from napari_sam2.storage import ModelDescription, Project, SourceDescription

ROOT = Path(__file__).parents[3]
MANIFEST = yaml.safe_load((ROOT / "napari.yaml").read_text())


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    """A video of 12 frames whose grey level is 20 times the frame number."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    stream = imageio_ffmpeg.write_frames(str(path), (64, 48), fps=10, codec="libx264", quality=9)
    stream.send(None)
    for t in range(12):
        stream.send(np.full((48, 64, 3), 20 * t, np.uint8))
    stream.close()
    return path


def layer(data):
    return Layer.create(*data)


# -- manifest ----------------------------------------------------------------------------------------------


def test_manifest_is_valid_and_every_command_is_used():
    manifest = PluginManifest.from_file(ROOT / "napari.yaml")
    used = {w.command for w in manifest.contributions.widgets}
    for part in (
        manifest.contributions.readers,
        manifest.contributions.writers,
        manifest.contributions.sample_data,
    ):
        used |= {c.command for c in part}
    assert used == {c.id for c in manifest.contributions.commands}


def test_every_function_of_the_manifest_exists():
    for command in MANIFEST["contributions"]["commands"]:
        module, name = command["python_name"].split(":")
        if "contributions" in module:
            assert callable(getattr(import_module(module), name))


def test_menus_name_widgets():
    menus = MANIFEST["contributions"]["menus"]
    widgets = {w["command"] for w in MANIFEST["contributions"]["widgets"]}
    assert set(menus) == {"napari/layers/segment", "napari/layers/track", "napari/layers/annotate"}
    assert {item["command"] for items in menus.values() for item in items} == widgets


# -- sample data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [samples.timelapse, samples.zstack, samples.two_channel])
def test_samples_open_with_truth_where_the_image_is(make):
    viewer = ViewerModel()
    for data, details, kind in make():
        getattr(viewer, f"add_{kind}")(data, **details)
    image, truth = viewer.layers[0], viewer.layers[-1]
    assert truth.data.shape == image.data.shape
    np.testing.assert_allclose(truth.scale, image.scale)
    assert truth.data.max() > 2
    assert not truth.visible
    inside = image.data[0][truth.data[0] > 0].mean()
    assert inside != pytest.approx(image.data[0][truth.data[0] == 0].mean(), rel=0.05)


def test_two_channels_are_two_layers_of_16_bit():
    viewer = ViewerModel()
    data, details, _ = samples.two_channel()[0]
    layers = viewer.add_image(data, **details)
    assert len(layers) == 2
    assert layers[0].data.dtype == np.uint16


# -- readers -----------------------------------------------------------------------------------------------


def test_video_is_opened_lazily_and_frame_by_frame(movie):
    read = readers.get_video_reader(str(movie))
    [data] = read(str(movie))
    image = layer(data)
    assert image.rgb
    assert image.data.shape == (12, 48, 64, 3)
    assert image.data.chunks[0] == (1,) * 12
    for t in (7, 2, 11):
        assert np.asarray(image.data[t]).mean() == pytest.approx(20 * t, abs=3)
    assert image.name == "clip"
    assert image.axis_labels == ("t", "y", "x")


def test_readers_take_only_what_they_can_read(movie, tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("no video")
    assert readers.get_video_reader(str(text)) is None
    assert readers.get_video_reader([str(movie), str(text)]) is None
    assert readers.get_video_reader(str(tmp_path / "missing.mp4")) is None
    assert readers.get_video_reader([]) is None
    assert readers.get_project_reader(str(tmp_path)) is None
    assert readers.get_project_reader(str(movie)) is None


def project(path, source, frames=4, size=(20, 30)):
    with Project.create(path, (frames, *size), source=source, model=ModelDescription("nano")) as made:
        made.change_object(3, "left", "#ff0000")
        made.save_prompts({(0, 3): Prompt((PointPrompt(5, 5),))})
        for t in range(frames):
            mask = np.zeros(size, bool)
            mask[2:8, t : t + 6] = True
            with made.history.action("put"):
                made.store.put_masks(_frame(t, {3: mask, 4: np.roll(mask, 2, 0)}), "imported")
    return path


def _frame(t, masks):
    from napari_sam2.masks import FrameMasks

    n = len(masks)
    one = np.ones(n, np.float32)
    return FrameMasks(t, tuple(masks), np.stack(list(masks.values())), one, one, np.zeros(n, bool))


def test_project_brings_recording_and_masks(tmp_path):
    recording = tmp_path / "movie.tif"
    tifffile.imwrite(
        recording,
        np.arange(4 * 20 * 30, dtype=np.uint16).reshape(4, 20, 30),
        imagej=True,
        metadata={"axes": "TYX"},
    )
    path = project(tmp_path / "run.sam2", SourceDescription(str(recording), kind="tiff"))
    layers = [layer(d) for d in readers.get_project_reader(str(path))(str(path))]
    assert [type(x).__name__ for x in layers] == ["Image", "Labels"]
    assert layers[0].metadata[PROJECT_KEY] == str(path)
    assert set(np.unique(layers[1].data[2])) == {0, 3, 4}
    recording.unlink()
    assert [type(layer(d)).__name__ for d in readers.read_projects(str(path))] == ["Labels"]


# -- writers -----------------------------------------------------------------------------------------------


@pytest.fixture
def labels():
    data = np.zeros((3, 20, 30), np.int32)
    data[:, 3:9, 4:12] = 5
    data[1:, 12:15, 20:25] = 8
    return data, {"name": "cells", "scale": (1, 0.5, 0.5), "units": ("pixel", "um", "um"), "metadata": {}}


def test_coco_of_plain_labels(labels, tmp_path):
    [path] = writers.write_coco(str(tmp_path / "out.json"), *labels)
    saved = json.loads(Path(path).read_text())
    found = {(a["image_id"], a["track_id"]) for a in saved["annotations"] if a["area"]}
    assert len(found) == 5
    rle = encode_rle(labels[0][2] == 8)
    assert rle.counts in {a["segmentation"]["counts"] for a in saved["annotations"]}


def test_ctc_folder_and_ome_zarr_and_measurements(labels, tmp_path):
    [folder] = writers.write_ctc(str(tmp_path / "01.ctc"), *labels)
    assert Path(folder).name == "01_RES"
    np.testing.assert_array_equal(tifffile.imread(Path(folder) / "mask002.tif") > 0, labels[0][2] > 0)
    [pyramid] = writers.write_ome_zarr(str(tmp_path / "out.ome.zarr"), *labels)
    assert Path(pyramid).is_dir()
    [table] = writers.write_measurements(str(tmp_path / "out.csv"), *labels)
    rows = Path(table).read_text().splitlines()
    assert "area_µm2" in rows[0]
    assert len(rows) == 1 + 5


def test_saving_replaces_a_file_that_the_dialog_asked_about(labels, tmp_path):
    target = tmp_path / "out.json"
    target.write_text("old")
    writers.write_coco(str(target), *labels)
    assert target.read_text() != "old"


def test_overlay_video_shows_the_image_with_the_objects(labels, tmp_path):
    grey = np.full((3, 80, 120), 120, np.uint8)
    big = np.kron(labels[0], np.ones((1, 4, 4), np.int32))
    image = Layer.create(grey, {"contrast_limits": (0, 255), "name": "movie"}, "image")
    layers = [image.as_layer_data_tuple(), (big, labels[1], "labels")]
    [path] = writers.write_overlay(str(tmp_path / "out.mp4"), layers)
    reader = VideoReader(path)
    frame = reader.frame(0).astype(int)
    reader.close()
    assert frame.shape == (80, 120, 3)
    inside, outside = frame[15, 19], frame[70, 12]  # beside the number in the object's middle
    assert np.ptp(outside) < 12  # grey
    assert np.ptp(inside) > 25  # coloured
    with pytest.raises(ValueError, match="select both"):
        writers.write_overlay(str(tmp_path / "x.mp4"), layers[1:])


def test_labels_of_a_project_are_written_with_all_that_is_known(tmp_path):
    path = project(tmp_path / "run.sam2", SourceDescription())
    [(data, details, _)] = readers.read_projects(str(path))
    [coco] = writers.write_coco(str(tmp_path / "out.json"), data, details)
    saved = json.loads(Path(coco).read_text())
    first = [a for a in saved["annotations"] if a["area"]][:2]
    assert sum(a["area"] for a in first) == 72  # the pixels that both have count twice: 36 each
    assert "left" in json.dumps(saved)


def test_labels_with_too_many_axes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="save a part of them"):
        writers.write_coco(str(tmp_path / "x.json"), np.zeros((3, 4, 9, 9), int), {})


# -- preferences -------------------------------------------------------------------------------------------


def test_preferences_have_defaults_without_a_plugin_or_with_an_old_napari():
    found = load_preferences()
    assert found.model.name
    assert found.cache_mb >= 16


def test_defaults_of_the_manifest_are_those_of_the_code():
    from napari_sam2.plugin.state import Preferences

    saved = {
        k: v["default"]
        for k, v in MANIFEST["contributions"]["configurations"]["tracker"]["properties"].items()
    }
    default = Preferences()
    assert saved == {
        "model": default.model.name,
        "device": default.model.device,
        "precision": default.model.precision,
        "cache_mb": default.cache_mb,
        "autosave_folder": "",
        "follow": default.follow,
        "encode_ahead": default.encode_ahead,
    }

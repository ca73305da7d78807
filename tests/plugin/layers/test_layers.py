"""Layers as prompts: transforms, planes, shapes, painted labels, and arrays that napari paints on."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from dask.callbacks import Callback
from napari.components import ViewerModel
from napari.layers import Image, Labels, Points, Shapes

from napari_sam2.plugin.layers.frame_array import FrameArray
from napari_sam2.plugin.layers.frame_stack import frames_of
from napari_sam2.plugin.layers.geometry import Geometry, default_frame_axis
from napari_sam2.plugin.layers.image_layer import geometry_of
from napari_sam2.plugin.layers.navigation import frame_shown, plane_shown, show_frame
from napari_sam2.plugin.layers.paint_layer import PaintLink
from napari_sam2.plugin.layers.placement import transform_between
from napari_sam2.plugin.layers.points_layer import PointsLink
from napari_sam2.plugin.layers.prompt_marks import (
    Mark,
    Outline,
    PinnedMask,
    PromptMarks,
    group_marks,
    marks_of,
)
from napari_sam2.plugin.layers.shapes_layer import ShapesLink
from napari_sam2.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt

FLAT = Geometry((5, 20, 30), 0, (0, 0, 0))
MOVIE = np.zeros((5, 20, 30), np.uint8)


def nothing():
    pass


# -- geometry ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "labels", "axis"),
    [
        ((9, 8), (), None),
        ((5, 9, 8), (), 0),
        ((5, 7, 9, 8), (), 0),
        ((1, 7, 9, 8), (), 1),
        ((5, 7, 9, 8), ("z", "t", "y", "x"), 1),
        ((1, 1, 9, 8), (), 0),
    ],
)
def test_default_frame_axis(shape, labels, axis):
    assert default_frame_axis(shape, labels) == axis


def test_points_of_other_planes_are_on_no_frame():
    geometry = Geometry((4, 3, 20, 30), 0, (0, 2, 0, 0))
    points = [[1, 2, 5, 6], [1, 1, 5, 6], [7, 2, 5, 6], [0.4, 2.3, 5, 6], [np.nan, 2, 5, 6], [-1, 2, 0, 0]]
    assert geometry.frames_of(points).tolist() == [1, -1, -1, 0, -1, -1]
    np.testing.assert_array_equal(geometry.to_xy(points[:1]), [[6, 5]])
    np.testing.assert_array_equal(geometry.to_data(3, [(6, 5)]), [[3, 2, 5, 6]])
    assert geometry.result_shape == (4, 1, 20, 30)


def test_an_axis_that_cannot_count_frames_is_refused():
    with pytest.raises(ValueError, match="cannot count frames"):
        Geometry((5, 20, 30), 1, (0, 0, 0))


def test_transform_between_layers_is_napari_s():
    rotated = Image(MOVIE, scale=(2, 0.5, 0.3), translate=(1, 10, -4), rotate=30, shear=[0.1, 0, 0])
    points = Points([[1.0, 2, 3], [4, 5, 6]], scale=(1, 2, 2), translate=(0, 3, 3))
    transform = transform_between(points, rotated)
    expected = [rotated.world_to_data(points.data_to_world(p)) for p in points.data]
    np.testing.assert_allclose(transform(points.data), expected, atol=1e-9)
    np.testing.assert_allclose(
        transform_between(rotated, points)(transform(points.data)), points.data, atol=1e-9
    )


def test_viewer_moves_along_the_frame_axis_only_and_in_world_units():
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((6, 4, 20, 30), np.uint8), scale=(10, 2, 1, 1), translate=(5, 0, 0, 0))
    geometry = geometry_of([image], viewer.dims.point, 0)
    before = viewer.dims.point
    show_frame(viewer, image, geometry, 4)
    assert viewer.dims.point[0] == 45
    assert viewer.dims.point[1:] == before[1:]
    assert frame_shown(viewer, image, geometry) == 4
    assert plane_shown(viewer, image, geometry)
    viewer.dims.set_point(1, 0)
    assert not plane_shown(viewer, image, geometry)


def test_frames_are_found_beside_layers_with_more_axes():
    viewer = ViewerModel()
    image = viewer.add_image(MOVIE)
    viewer.add_image(np.zeros((3, 5, 20, 30), np.uint8))
    geometry = geometry_of([image], viewer.dims.point)
    show_frame(viewer, image, geometry, 3)
    assert frame_shown(viewer, image, geometry) == 3


def test_channels_must_fit_together():
    viewer = ViewerModel()
    one = viewer.add_image(MOVIE, colormap="magenta", contrast_limits=(0, 100))
    two = viewer.add_image(MOVIE + 50, colormap="green", contrast_limits=(0, 100))
    geometry = geometry_of([one, two], viewer.dims.point)
    frame = frames_of([one, two], geometry).frame(0)
    assert frame.shape == (20, 30, 3)
    np.testing.assert_allclose(frame[0, 0], [0, 127, 0], atol=2)  # half green, no magenta
    other = viewer.add_image(np.zeros((5, 20, 31), np.uint8), name="wide")
    with pytest.raises(ValueError, match="wide"):
        geometry_of([one, other], viewer.dims.point)
    shifted = viewer.add_image(MOVIE, translate=(0, 5, 0))
    with pytest.raises(ValueError, match="different places"):
        geometry_of([one, shifted], viewer.dims.point)
    with pytest.raises(TypeError, match="choose an Image layer"):
        geometry_of([viewer.add_labels(MOVIE.astype(np.uint16))], viewer.dims.point)


def test_model_sees_the_contrast_that_is_shown():
    image = Image(np.full((2, 4, 4), 500, np.uint16), contrast_limits=(0, 1000), gamma=1)
    frame = frames_of([image], geometry_of([image], (0, 0, 0))).frame(1)
    np.testing.assert_allclose(frame, 127, atol=1)


def test_rgb_multiscale_and_moving_z():
    rgb = Image(np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), np.uint8), rgb=True)
    geometry = geometry_of([rgb], (0, 0, 0))
    assert (geometry.shape, geometry.n_frames) == ((3, 16, 16), 3)
    np.testing.assert_array_equal(frames_of([rgb], geometry).frame(2), rgb.data[2])
    levels = [np.arange(2 * 32 * 32, dtype=np.uint16).reshape(2, 32, 32)]
    levels.append(levels[0][:, ::2, ::2])
    pyramid = Image(levels, multiscale=True, contrast_limits=(0, 2048))
    assert geometry_of([pyramid], (0, 0, 0)).size == (32, 32)
    volume = np.zeros((3, 4, 8, 8), np.uint8)
    volume[2, 1] = 200
    moving = Image(volume, contrast_limits=(0, 255))
    held = geometry_of([moving], (0, 1, 0, 0))
    assert frames_of([moving], held).frame(2).max() == 200
    depth = geometry_of([moving], (2, 0, 0, 0), frame_axis=1)
    assert depth.n_frames == 4
    assert [frames_of([moving], depth).frame(z).max() for z in range(4)] == [0, 200, 0, 0]


# -- marks to prompts --------------------------------------------------------------------------------------


def square(x0, y0, x1, y1, positive=True, kind="region", source="polygon"):
    return Outline(kind, ((x0, y0), (x1, y0), (x1, y1), (x0, y1)), positive, source=source)


def test_marks_of_each_object_on_each_frame_make_one_prompt():
    size = (20, 30)
    painted = np.zeros(size, bool)
    painted[15:, 20:] = True
    marks = [
        Mark(2, 1, PointPrompt(3, 4)),
        Mark(2, 1, PointPrompt(5, 6, False)),
        Mark(2, 1, square(2, 2, 8, 9, kind="box")),
        Mark(2, 7, square(0, 0, 9, 9)),
        Mark(2, 7, square(0, 0, 4, 9, positive=False)),
        Mark(3, 1, PointPrompt(9, 9)),
        Mark(2, 8, PointPrompt(99, 4)),
    ]
    grouped = group_marks(marks, {(2, 9): MaskPrompt.from_array(painted)})
    prompts = {key: found.prompt(size) for key, found in grouped.items()}
    assert prompts[3, 1] == Prompt((PointPrompt(9, 9),))
    found = {key[1]: prompt for key, prompt in prompts.items() if key[0] == 2 and prompt}
    assert found[1] == Prompt((PointPrompt(3, 4), PointPrompt(5, 6, False)), BoxPrompt(2, 2, 8, 9))
    assert found[7].mask.array()[5, 7]
    assert not found[7].mask.array()[5, 2]
    np.testing.assert_array_equal(found[9].mask.array(), painted)
    assert set(found) == {1, 7, 9}  # a point beside the frame says nothing
    for prompt in found.values():
        prompt.check(size)


def test_newest_box_counts_and_is_cut_at_the_rim():
    said = PromptMarks(shapes=(square(1, 1, 5, 5, kind="box"), square(-9, 3, 99, 8, kind="box")))
    assert said.prompt((20, 30)).box == BoxPrompt(-0.5, 3, 29.5, 8)
    assert not PromptMarks(shapes=(square(50, 50, 60, 60, kind="box"),)).prompt((20, 30))


def test_ellipse_and_stroke_have_their_own_areas():
    ellipse = square(5, 4, 25, 16, source="ellipse").region((20, 30))
    assert ellipse.sum() == pytest.approx(np.pi * 10 * 6, rel=0.05)
    assert not ellipse[5, 6]
    line = Outline("line", ((2, 10), (27, 10)), width=4).region((20, 30))
    assert line[10, 5]
    assert line[12, 15]
    assert not line[14, 15]


def test_held_mask_contains_what_was_said_before_it():
    mask = np.zeros((20, 30), bool)
    mask[5:9, 5:9] = True
    said = PromptMarks((PointPrompt(6, 6), PointPrompt(7, 7)), (square(0, 0, 3, 3),))
    held = replace(said, pinned=said.pin(MaskPrompt.from_array(mask)))
    assert held.prompt((20, 30)) == Prompt(mask=MaskPrompt.from_array(mask))
    more = PromptMarks((*held.points, PointPrompt(20, 10)), held.shapes, None, held.pinned)
    assert more.prompt((20, 30)).points == (PointPrompt(20, 10),)
    assert PromptMarks(held.points[:1], held.shapes, None, held.pinned).lost_contents
    assert not held.lost_contents


def test_empty_held_mask_says_the_object_is_not_here():
    prompt = PromptMarks(pinned=PinnedMask(MaskPrompt.from_array(np.zeros((4, 4))))).prompt((4, 4))
    assert prompt.mask is not None
    assert not prompt.mask.array().any()


def test_a_prompt_from_elsewhere_comes_back_as_the_same_prompt():
    mask = MaskPrompt.from_array(np.eye(20, 30))
    for prompt in (
        Prompt((PointPrompt(1, 2), PointPrompt(3, 4, False))),
        Prompt(box=BoxPrompt(1, 2, 8, 9)),
        Prompt((PointPrompt(1, 2),), BoxPrompt(1, 2, 8, 9), mask),
    ):
        assert marks_of(prompt).prompt((20, 30)) == prompt


# -- layers ------------------------------------------------------------------------------------------------


def test_points_in_the_world_are_points_on_the_frame():
    image = Image(MOVIE, scale=(2, 0.5, 0.5), translate=(0, 100, 200))
    geometry = geometry_of([image], (0, 100, 200))
    layer = Points([[4.0, 105, 210]])  # world units
    assert PointsLink(layer, image, geometry, nothing).read() == [Mark(2, 1, PointPrompt(20, 10))]


def test_points_written_come_back_where_they_were():
    viewer = ViewerModel()
    image = viewer.add_image(MOVIE, scale=(1, 0.5, 0.5), translate=(0, 10, 0))
    link = PointsLink.make(viewer, image, FLAT, nothing, "p")
    marks = [
        Mark(1, 3, PointPrompt(4.5, 6)),
        Mark(4, 2, PointPrompt(1, 2, False)),
        Mark(1, 2, PointPrompt(9, 9)),
    ]
    link.write(set(), marks, {})
    assert link.read() == marks
    link.write({(1, 3)}, [Mark(0, 5, PointPrompt(7, 7))], {})
    assert link.read() == [*marks[1:], Mark(0, 5, PointPrompt(7, 7))]
    np.testing.assert_allclose(link.layer.scale, image.scale)


def test_shapes_written_come_back_as_what_they_were():
    viewer = ViewerModel()
    image = viewer.add_image(MOVIE)
    link = ShapesLink.make(viewer, image, FLAT, nothing, "s")
    marks = [
        Mark(1, 3, square(2, 3, 8, 9, kind="box", source="rectangle")),
        Mark(2, 1, square(2, 3, 8, 9, source="ellipse")),
        Mark(2, 4, Outline("region", ((1, 1), (9, 2), (5, 8)), False, source="polygon")),
        Mark(3, 4, Outline("region", ((1, 1), (9, 2), (5, 8)), True, source="path")),
    ]
    link.write(set(), marks, {})
    back = link.read()
    assert [(m.key, m.element.kind, m.element.source, m.element.positive) for m in back] == [
        (m.key, m.element.kind, m.element.source, m.element.positive) for m in marks
    ]
    for old, new in zip(marks, back):
        np.testing.assert_allclose(new.element.vertices, old.element.vertices, atol=1e-4)
    link.write({(2, 1), (1, 3)}, [], {})
    assert [m.key for m in link.read()] == [(2, 4), (3, 4)]
    assert link.layer.features["object_id"].tolist() == [4, 4]


def test_sign_and_object_are_seen():
    viewer = ViewerModel()
    link = PointsLink.make(viewer, viewer.add_image(MOVIE), FLAT, nothing, "p")
    link.restyle({1: (255, 0, 0), 2: (0, 0, 255)})
    link.write(set(), [Mark(0, 1, PointPrompt(1, 1)), Mark(0, 2, PointPrompt(2, 2, False))], {})
    np.testing.assert_allclose(link.layer.face_color, [[1, 0, 0, 1], [0, 0, 1, 1]])
    assert [str(s) for s in link.layer.symbol] == ["disc", "x"]
    np.testing.assert_allclose(link.layer.border_color, [[1, 1, 1, 1], [0, 0, 0, 1]])


def test_features_that_a_user_wrote_are_read_with_care():
    image = Image(MOVIE)
    layer = Points(
        np.zeros((5, 3)), features={"object_id": [1, 2.5, "x", -1, 3], "positive": [1, 1, 1, 1, "no"]}
    )
    marks = PointsLink(layer, image, FLAT, nothing).read()
    assert [(m.object_id, m.element.positive) for m in marks] == [(1, True), (3, False)]


class Category(Enum):
    A = 1


@pytest.mark.parametrize(
    "features",
    [
        None,
        {"cell type": ["a", "b"], "weight": [0.5, np.nan]},
        {"object_id": [np.nan, None], "kind": [Category.A, Category.A]},
        {"object_id": ["", " "], "positive": [np.nan, np.nan]},
        {"object_id": np.array([4, 4], np.uint8), "positive": [1, 1]},
        pd.DataFrame(
            {"object_id": pd.Series([pd.NA, pd.NA], dtype="Int64"), "x": pd.Categorical(["a", "b"])}
        ),
    ],
    ids=["none", "others", "missing", "empty", "small type", "pandas"],
)
@pytest.mark.parametrize("kind", [Points, Shapes])
def test_a_user_s_own_layer_gets_the_columns_beside_its_others(kind, features):
    point, outline = [1.0, 5, 6], [[1.0, 4, 4], [1, 4, 9], [1, 9, 9]]
    data = [point, point] if kind is Points else [np.array(outline), np.array(outline)]
    layer = kind(data, features=features, **({} if kind is Points else {"shape_type": "polygon"}))
    before = layer.features.copy()
    link = (PointsLink if kind is Points else ShapesLink)(layer, Image(MOVIE), FLAT, nothing)
    link.set_defaults(4, True)
    assert [(m.frame, m.object_id, m.element.positive) for m in link.read()] == [(1, 4, True)] * 2
    link.set_defaults(300, False)  # another object is active now: older marks stay with theirs
    layer.add(data[0], **({} if kind is Points else {"shape_type": "polygon"}))
    assert [(m.object_id, m.element.positive) for m in link.read()] == [(4, True), (4, True), (300, False)]
    element = PointPrompt(1, 1) if kind is Points else Outline("region", ((1, 1), (9, 2), (5, 8)))
    link.write({(1, 300)}, [Mark(2, 9, element)], {})
    assert [(m.frame, m.object_id) for m in link.read()] == [(1, 4), (1, 4), (2, 9)]
    for name in set(before) - {"object_id", "positive"}:
        # As objects: napari itself turns categories into texts when marks are added.
        assert layer.features[name].iloc[:2].astype(object).equals(before[name].astype(object))


def test_ids_of_a_user_s_own_layer_that_are_none_are_kept_beside():
    layer = Points(np.zeros((4, 3)), features=pd.DataFrame({"object_id": ["nucleus", 3, 70000, True]}))
    link = PointsLink(layer, Image(MOVIE), FLAT, nothing)
    link.set_defaults(1, True)
    assert [m.object_id for m in link.read()] == [3]
    assert layer.features["object_id"].tolist() == [0, 3, 0, 0]
    assert layer.features["object_id (original)"].tolist() == ["nucleus", 3, 70000, True]


def test_layers_without_the_image_s_axes_are_refused():
    image = Image(MOVIE)
    with pytest.raises(ValueError, match="2 axes, the image has 3"):
        PointsLink(Points(np.zeros((1, 2)), name="flat"), image, FLAT, nothing)
    with pytest.raises(ValueError, match="2 axes"):
        ShapesLink(Shapes(ndim=2), image, FLAT, nothing)
    with pytest.raises(ValueError, match="paint on a layer of that shape"):
        PaintLink(Labels(np.zeros((5, 20, 31), np.uint8)), image, FLAT, nothing, lambda: 0)
    with pytest.raises(ValueError, match="another scale"):
        PaintLink(Labels(np.zeros((5, 20, 30), np.uint8), scale=(1, 2, 2)), image, FLAT, nothing, lambda: 0)
    with pytest.raises(ValueError, match="elsewhere"):
        PaintLink(
            Labels(np.zeros((5, 20, 30), np.uint8), translate=(0, 2, 2)), image, FLAT, nothing, lambda: 0
        )


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint64])
def test_labels_of_any_integer_type_are_read_and_written(dtype):
    data = np.zeros((5, 20, 30), dtype)
    data[3, 5:9, 5:9] = 7
    heard = []
    link = PaintLink(Labels(data), Image(MOVIE), FLAT, lambda: heard.append(1), lambda: 3)
    assert list(link.painted) == [(3, 7)]
    link.layer.paint((3, 12, 12), 4)
    assert set(link.painted) == {(3, 7), (3, 4)}
    assert heard
    link.write({(3, 7)}, [], {(1, 2): MaskPrompt.from_array(np.eye(20, 30))})
    assert set(link.painted) == {(3, 4), (1, 2)}
    assert not (data[3] == 7).any()


def test_undo_of_painting_is_noticed():
    viewer = ViewerModel()
    image = viewer.add_image(MOVIE)
    heard = []
    link = PaintLink.make(viewer, image, FLAT, lambda: heard.append(dict(link.painted)), lambda: 0, "paint")
    link.layer.paint((2, 10, 10), 3)
    link.layer.fill((2, 0, 0), 5)
    assert set(link.painted) == {(2, 3), (2, 5)}
    link.layer.undo()
    assert set(link.painted) == {(2, 3)}
    link.layer.redo()
    assert set(link.painted) == {(2, 3), (2, 5)}
    assert len(heard) == 4


# -- the array ---------------------------------------------------------------------------------------------


def indices(shape):
    middle = shape[0] // 2
    yield 0
    yield -1
    yield middle
    yield slice(None)
    yield slice(1, None, 2)
    yield (middle, slice(2, 4), 3)
    yield (Ellipsis, 1)
    yield (slice(1, 3), Ellipsis)
    yield (np.array([2, 0, 2]), np.array([1, 2, 3]), np.array([0, 1, 2]))
    yield (np.array([2, 0]), slice(None), slice(1, 3))
    yield (slice(2, 3), slice(0, 4), slice(1, 5))


@pytest.mark.parametrize("index", list(indices((5, 8, 9))), ids=str)
def test_frame_array_indexes_and_assigns_as_numpy_does(index):
    truth = np.random.default_rng(0).integers(0, 9, (5, 8, 9)).astype(np.uint16)
    written = {}
    array = FrameArray((5, 8, 9), 0, lambda t: truth[t].copy(), written.__setitem__)
    np.testing.assert_array_equal(array[index], truth[index])
    expected = truth.copy()
    expected[index] = 77
    array[index] = 77
    np.testing.assert_array_equal(np.asarray(array), expected)
    changed = {t for t in range(5) if (expected[t] != truth[t]).any()}
    assert changed <= set(written)
    for t, labels in written.items():
        np.testing.assert_array_equal(labels, expected[t])


def test_frame_array_with_held_axes_and_of_a_single_image():
    frames = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5)
    array = FrameArray((1, 3, 1, 4, 5), 1, lambda t: frames[t])
    np.testing.assert_array_equal(array[0, 2, 0], frames[2])
    np.testing.assert_array_equal(array[:, 1:], frames[None, 1:, None])
    single = FrameArray((4, 5), None, lambda t: frames[0])
    np.testing.assert_array_equal(single[1:3, 2], frames[0, 1:3, 2])
    single[0, 0] = 9
    assert single[0, 0] == 9


def test_frame_array_keeps_a_bounded_number_of_frames():
    reads = []
    array = FrameArray((10**6, 4096, 4096), 0, lambda t: reads.append(t) or np.zeros((4096, 4096), np.uint16))
    for t in (0, 1, 0, 1, 500_000, 999_999):
        array[t]
    assert reads == [0, 1, 500_000, 999_999]
    assert len(array._cache) <= 8
    with pytest.raises(IndexError, match="out of range"):
        array[10**6]


def test_marks_are_collected_in_order():
    found = group_marks(
        [Mark(0, 1, PointPrompt(1, 1)), Mark(0, 2, PointPrompt(5, 5)), Mark(0, 1, PointPrompt(2, 2))],
        {},
        {(3, 4): PinnedMask(MaskPrompt.from_array(np.eye(4)))},
    )
    assert found[0, 1].points == (PointPrompt(1, 1), PointPrompt(2, 2))
    assert list(found) == [(0, 1), (0, 2), (3, 4)]


def test_dask_frames_are_read_past_the_cache_that_napari_registers():
    """That cache is not made for two threads: the worker's KeyErrors came from it."""
    seen = []
    array = da.from_array(np.arange(5 * 8 * 9, dtype=np.uint8).reshape(5, 8, 9), chunks=(1, 8, 9))
    image = Image(array, contrast_limits=(0, 255))
    one = frames_of([image], geometry_of([image], (0, 0, 0)))
    two = frames_of([image, image], geometry_of([image, image], (0, 0, 0)))
    with Callback(pretask=lambda key, dsk, state: seen.append(key)):
        np.testing.assert_array_equal(
            one.frame(3)[..., 0], np.arange(216, 288).astype(np.uint8).reshape(8, 9)
        )
        assert two.frame(3).shape == (8, 9, 3)
        assert seen == []
        np.asarray(array[3])
        assert seen

"""Every mistake gets an error that says what is wrong; nothing is changed by it."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from napari_sam2.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt
from napari_sam2.session import ArrayFrames, ImageSession, RecencyPolicy, SessionOptions, VideoSession
from tests.session.conftest import HEIGHT, WIDTH, box, click, painted


@pytest.fixture
def session(model, frames):
    opened = VideoSession(model, frames)
    yield opened
    # Whatever was refused left no trace.
    assert opened.object_ids == ()
    assert opened.prompts == {}


@pytest.mark.parametrize("frame", [-1, 24, 10**12])
def test_frame_out_of_range(session, frame):
    with pytest.raises(ValueError, match=r"frame -?\d+ is out of range: this video has frames 0 to 23"):
        session.set_prompt(frame, 1, click(1, 1))
    with pytest.raises(ValueError, match="out of range"):
        session.masks(frame)
    with pytest.raises(ValueError, match="out of range"):
        session.scores(frame)


@pytest.mark.parametrize("frame", [1.5, "3", None, True, np.float64(2)])
def test_frame_that_is_no_integer(session, frame):
    with pytest.raises(TypeError, match="a frame must be an integer"):
        session.set_prompt(frame, 1, click(1, 1))


@pytest.mark.parametrize("object_id", [0, -3])
def test_object_id_that_is_not_positive(session, object_id):
    with pytest.raises(ValueError, match="must be positive"):
        session.set_prompt(0, object_id, click(1, 1))


def test_object_id_that_is_no_integer(session):
    with pytest.raises(TypeError, match="an object id must be an integer"):
        session.set_prompt(0, "cell", click(1, 1))


@pytest.mark.parametrize(("x", "y"), [(-1, 5), (WIDTH, 5), (5, HEIGHT), (5, -2), (10**9, 5)])
def test_point_outside_the_image(session, x, y):
    with pytest.raises(ValueError, match=f"outside the image, which is {WIDTH} wide and {HEIGHT} high"):
        session.set_prompt(0, 1, click(x, y))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_coordinates_that_are_not_finite(session, bad):
    with pytest.raises(ValueError, match="not finite"):
        session.set_prompt(0, 1, click(bad, 5))
    with pytest.raises(ValueError, match="not finite"):
        session.set_prompt(0, 1, box(1, bad, 5, 6))


@pytest.mark.parametrize("label", [2, -1, 0.5, "yes"])
def test_labels_that_are_not_0_or_1(session, label):
    with pytest.raises(ValueError, match="positive .1. or negative .0."):
        session.set_prompt(0, 1, Prompt((PointPrompt(5, 5, label),)))


@pytest.mark.parametrize("corners", [(10, 10, 5, 20), (10, 10, 20, 5), (10, 10, 10, 20)])
def test_box_of_negative_size(session, corners):
    with pytest.raises(ValueError, match="has no area"):
        session.set_prompt(0, 1, box(*corners))


def test_box_outside_the_image(session):
    with pytest.raises(ValueError, match="outside the image"):
        session.set_prompt(0, 1, Prompt(box=BoxPrompt(200, 200, 300, 300)))


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH + 1), (WIDTH, HEIGHT), (1, 1)])
def test_mask_of_the_wrong_shape(session, shape):
    with pytest.raises(ValueError, match=f"but the frame is {HEIGHT} × {WIDTH}"):
        session.set_prompt(0, 1, painted(np.ones(shape, bool)))


def test_mask_with_three_axes_or_nan():
    with pytest.raises(ValueError, match="two axes"):
        MaskPrompt.from_array(np.ones((2, 3, 4)))
    with pytest.raises(ValueError, match="finite"):
        MaskPrompt.from_array(np.full((2, 3), np.nan))


def test_empty_prompt(session):
    with pytest.raises(ValueError, match="this prompt is empty"):
        session.set_prompt(0, 1, Prompt())


def test_something_that_is_no_prompt(session):
    with pytest.raises(TypeError, match="takes a Prompt, not PointPrompt"):
        session.set_prompt(0, 1, PointPrompt(1, 1))


def test_prompt_for_a_removed_object(session):
    session.set_prompt(0, 5, click(5, 5))
    session.remove_object(5)
    with pytest.raises(ValueError, match="object 5 was removed.*restore_object"):
        session.set_prompt(0, 5, click(5, 5))
    with pytest.raises(ValueError, match="object 5 was removed"):
        session.clear_prompt(0, 5)
    with pytest.raises(ValueError, match="object 5 was removed"):
        session.remove_object(5)
    session.restore_object(5)
    session.set_prompt(0, 5, click(5, 5))
    session.remove_object(5)


def test_unknown_objects(session):
    for action in (
        lambda: session.remove_object(3),
        lambda: session.clear_prompt(0, 3),
        lambda: session.alternatives(0, 3),
        lambda: session.propagate(objects=[3]),
    ):
        with pytest.raises(ValueError, match="object 3 does not exist in this session"):
            action()


def test_clearing_what_was_never_said(model, frames):
    session = VideoSession(model, frames)
    session.set_prompt(0, 1, click(5, 5))
    with pytest.raises(ValueError, match="no prompt on frame 3"):
        session.clear_prompt(3, 1)
    with pytest.raises(ValueError, match="no prompt on frame 3"):
        session.alternatives(3, 1)


def test_propagate_with_no_prompts(session):
    with pytest.raises(ValueError, match="nothing to propagate: set a prompt"):
        session.propagate()


@pytest.mark.parametrize(
    "arguments",
    [
        {"start": 24},
        {"stop": 24},
        {"start": -1},
        {"start": 5, "stop": 2},
        {"start": 2, "stop": 5, "reverse": True},
    ],
)
def test_propagate_over_an_impossible_range(model, frames, arguments):
    session = VideoSession(model, frames)
    session.set_prompt(0, 1, click(5, 5))
    with pytest.raises(ValueError, match="out of range|cannot go"):
        session.propagate(**arguments)


def test_video_without_frames(model):
    with pytest.raises(ValueError, match="at least one frame"):
        ArrayFrames(np.zeros((0, 4, 4), np.uint8))
    empty = SimpleNamespace(size=(4, 4), frame=None)
    with pytest.raises(ValueError, match="at least one frame"):
        VideoSession(model, Sized(empty, 0))


class Sized:
    def __init__(self, source, length):
        self._source, self._length = source, length
        self.size = source.size

    def __len__(self):
        return self._length

    def frame(self, index):
        return self._source.frame(index)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, bool, np.int64])
def test_pixels_of_the_wrong_type(model, dtype):
    with pytest.raises(TypeError, match=r"frames must be uint8.*FrameStack"):
        ArrayFrames(np.zeros((2, 4, 4, 3), dtype))
    with pytest.raises(TypeError, match="frames must be uint8"):
        ImageSession(model).set_image(np.zeros((4, 4, 3), dtype))


def test_pixels_that_are_not_finite(model):
    frames = np.zeros((2, 4, 4, 3), np.float32)
    frames[0, 0, 0] = np.nan
    with pytest.raises(TypeError, match="some are not finite"):
        ArrayFrames(frames)


@pytest.mark.parametrize("shape", [(4,), (4, 4, 2), (4, 4, 4), (0, 4, 3), (2, 2, 3, 3)])
def test_frames_of_impossible_shapes(model, shape):
    with pytest.raises(ValueError, match="a frame"):
        ImageSession(model).set_image(np.zeros(shape, np.uint8))


def test_a_frame_whose_size_changes(model):
    source = SimpleNamespace(size=(8, 8), frame=lambda index: np.zeros((8, 9, 3), np.uint8))
    session = VideoSession(model, Sized(source, 3))
    with pytest.raises(ValueError, match="frame 1 is 8 × 9"):
        session.set_prompt(1, 1, click(2, 2))
    assert session.object_ids == ()


def test_a_source_that_cannot_be_read_leaves_the_session_usable(model, frames):
    def frame(index):
        if index == 3:
            raise OSError("damaged")
        return frames.frame(index)

    session = VideoSession(model, Sized(SimpleNamespace(size=frames.size, frame=frame), 24))
    session.set_prompt(0, 1, click(5, 5))
    seen = []
    with pytest.raises(OSError, match="damaged"):
        seen += [m.frame for m in session.propagate()]
    assert session.store.frames(1) == [0, 1, 2]
    session.set_prompt(4, 1, click(5, 5))
    assert [m.frame for m in session.propagate(start=4)] == list(range(4, 24))


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "double"},
        {"memory_dtype": "int8"},
        {"store_dtype": "float64"},
        {"resize": "nearest"},
        {"refine": "never"},
        {"feature_cache_mb": -1},
        {"memory_stride": 0},
        {"max_conditioning": 1},
        {"max_memories": 0},
    ],
)
def test_impossible_options(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        SessionOptions(**options)


def test_unknown_reference_option():
    with pytest.raises(TypeError, match="no session option is called 'fill'"):
        SessionOptions.reference(fill=3)


def test_more_memories_than_the_network_has(model, frames):
    with pytest.raises(ValueError, match="trained with 7 memories, not 9"):
        VideoSession(model, frames, SessionOptions(max_memories=9))
    assert RecencyPolicy(memories=3).spatial_reach == 3


def test_image_session_mistakes(model, frames):
    session = ImageSession(model)
    with pytest.raises(RuntimeError, match=r"call set_image\(\) first"):
        session.predict(click(1, 1))
    session.set_image(frames.frame(0))
    with pytest.raises(ValueError, match="at least one prompt"):
        session.predict([])
    with pytest.raises(ValueError, match="outside the image"):
        session.predict(click(1000, 1))
    import torch

    with pytest.raises(ValueError, match="previous_logits must have shape"):
        session.predict(click(1, 1), previous_logits=torch.zeros(1, 3, 3))

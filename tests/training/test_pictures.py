"""Pictures show the prediction in colour and the truth as a white outline."""

import numpy as np

from napari_sam2.training.pictures import COLOURS, outlined, picture_strip


def test_predictions_are_tinted_and_truth_is_outlined():
    frame = np.full((40, 60, 3), 100, np.uint8)
    said = np.zeros((2, 40, 60), bool)
    said[1, 10:30, 5:25] = True
    true = np.zeros((2, 40, 60), bool)
    true[1, 10:30, 35:55] = True
    picture = outlined(frame, said, true, height=40)
    assert picture.shape == (40, 60, 3)
    assert np.allclose(picture[20, 15], 0.55 * 100 + 0.45 * COLOURS[1], atol=1)
    assert (picture[20, 35] == 255).all()
    assert (picture[20, 45] == 100).all()


def test_a_strip_shows_the_chosen_frames_in_order():
    frames = np.stack([np.full((20, 30, 3), 10 * t, np.uint8) for t in range(5)])
    nothing = np.zeros((5, 1, 20, 30), bool)
    picture = picture_strip(frames, nothing, nothing, [4, 1], height=20)
    assert picture.shape == (20, 30 + 4 + 30, 3)
    assert picture[10, 10, 0] == 40
    assert picture[10, 50, 0] == 10
